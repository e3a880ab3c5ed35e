//! Where time is cut, found without having all times in memory.

use super::{Cuts, LabelRule, plan::Blocks, targets::each_target};
use crate::{Error, Part, Result};

/// Pieces in which the times between two are counted.
const PIECES: u64 = 1 << 16;

/// Starts of validation and test; `None` where the parts are the published ones.
///
/// # Errors
/// [`Error::Config`] for cuts that cannot be, [`Error::TooFew`] where there is nothing to cut.
pub(super) fn cut(blocks: &dyn Blocks, cuts: Cuts, rule: &LabelRule) -> Result<Option<[i64; 2]>> {
    match cuts {
        Cuts::Published {} => {
            let mut later = false;
            blocks.each(&mut |block| each_target(block, rule, |t| later |= t.part != Part::Train))?;
            if !later {
                let message = "this log was not published with a split";
                return Err(Error::config("task.cuts.at", "published", message));
            }
            Ok(None)
        }
        Cuts::Time { valid, test } if valid < test => Ok(Some([valid, test])),
        Cuts::Time { valid, test } => {
            let message = "valid must come before test";
            Err(Error::config("task.cuts", format!("{valid}, {test}"), message))
        }
        Cuts::Quantile { valid, test } if 0.0 < valid && valid < test && test < 1.0 => {
            Ok(Some(quantiles(blocks, rule, [valid, test])?))
        }
        Cuts::Quantile { valid, test } => {
            let message = "valid must come before test, both inside (0, 1)";
            Err(Error::config("task.cuts", format!("{valid}, {test}"), message))
        }
    }
}

/// Times among which the one of a rank is looked for.
#[derive(Clone, Copy)]
struct Search {
    low: i64,
    high: i64,
    /// Of the wanted time among those between `low` and `high`, from 0.
    rank: u64,
}

impl Search {
    /// The width of a piece.
    fn width(&self) -> u64 {
        self.high.abs_diff(self.low) / PIECES + 1
    }
}

/// The times at these quantiles of the targets' times, by narrowing ranges: a pass for each 16 bits that they differ in.
fn quantiles(blocks: &dyn Blocks, rule: &LabelRule, at: [f64; 2]) -> Result<[i64; 2]> {
    let (mut n, mut low, mut high) = (0u64, i64::MAX, i64::MIN);
    blocks.each(&mut |block| {
        each_target(block, rule, |t| (n, low, high) = (n + 1, low.min(t.time), high.max(t.time)))
    })?;
    if n == 0 {
        return Err(Error::too_few("there is nothing to predict", "check task.label"));
    }
    let mut searches = at.map(|q| Search { low, high, rank: ((n as f64 * q) as u64).min(n - 1) });
    while searches.iter().any(|s| s.low < s.high) {
        let mut counts = searches.map(|_| vec![0u64; PIECES as usize + 1]);
        blocks.each(&mut |block| {
            each_target(block, rule, |t| {
                for (search, counts) in searches.iter().zip(&mut counts) {
                    if (search.low..=search.high).contains(&t.time) {
                        counts[(t.time.abs_diff(search.low) / search.width()) as usize] += 1;
                    }
                }
            })
        })?;
        for (search, counts) in searches.iter_mut().zip(counts) {
            let width = search.width();
            let mut piece = 0;
            while search.rank >= counts[piece] {
                search.rank -= counts[piece];
                piece += 1;
            }
            search.low = search.low.saturating_add_unsigned(piece as u64 * width);
            search.high = search.high.min(search.low.saturating_add_unsigned(width - 1));
        }
    }
    Ok(searches.map(|s| s.low))
}
