//! What gates decide, and the rules that several of them share.

use mos_core::{
    Error, Input, Mat, Offsets, Pass, Result, Tape,
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

/// What is routed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A sample: its experts read the whole history, and their outputs are mixed by the gate's weights.
    Sequence,
    /// A behaviour: an expert reads the behaviours that chose it, each scaled by its weight; outputs are summed. An encoder
    /// that scales its rows itself takes the weight out again: behind Atten-Mixer's unit lengths the click loss does not reach
    /// the gate at all, behind the norms with which Mamba4Rec and HSTU begin hardly.
    Token,
}

/// The R decisions that a gate has to take for one input.
#[derive(Clone, Copy, Debug)]
pub struct Decisions<'a> {
    /// What is routed.
    pub input: &'a Input,
    /// A decision for each sample (R = B) or for each behaviour (R = N).
    pub level: Level,
}

impl Decisions<'_> {
    /// R.
    pub fn count(&self) -> usize {
        match self.level {
            Level::Sequence => self.input.target.rows(),
            Level::Token => self.input.rows.rows(),
        }
    }

    /// What a gate looks at: (target, mean of the history) of a sample, (behaviour, target) of a behaviour.
    ///
    /// # Shapes
    /// `[R, 2 d]`
    pub fn features(&self, tape: &mut Tape) -> Mat {
        let Input { target, rows, events } = self.input;
        match self.level {
            Level::Sequence => {
                let mean = ops::segment_mean(tape, rows, &events.offsets);
                let mean = self.input.for_samples(tape, &mean);
                ops::concat(tape, &[target, &mean])
            }
            Level::Token => {
                let targets = ops::gather_rows(tape, target, &events.offsets.segment_of_rows());
                ops::concat(tape, &[rows, &targets])
            }
        }
    }

    /// Borders of the decisions that are taken together: the behaviours of one history, or all samples of a shard.
    pub fn groups(&self) -> Offsets {
        match self.level {
            Level::Sequence => Offsets::from_lengths([self.count()]),
            Level::Token => self.input.events.offsets.clone(),
        }
    }

    /// Takes experts from decisions that come too late: of each group, an expert serves no more than
    /// [`Capacity::of`] decisions, all first choices before all second choices, the most recent decisions first. Between samples
    /// that holds in training alone: a score must not depend on the batch.
    #[must_use]
    pub fn limit(&self, pass: &Pass<'_>, mut chosen: Vec<Vec<usize>>, rule: Capacity) -> Vec<Vec<usize>> {
        if rule.factor == 0.0 || (self.level == Level::Sequence && !pass.is_step()) {
            return chosen;
        }
        for group in self.groups().ranges() {
            let mut left = vec![rule.of(group.len()); rule.experts];
            let mut kept = vec![Vec::new(); group.len()];
            for rank in 0..rule.top_k {
                for (choices, kept) in chosen[group.clone()].iter().zip(&mut kept).rev() {
                    if let Some(e) = choices.get(rank).copied().filter(|e| left[*e] > 0) {
                        left[e] -= 1;
                        kept.push(e);
                    }
                }
            }
            chosen[group].iter_mut().zip(kept).for_each(|(c, kept)| *c = kept);
        }
        chosen
    }
}

/// How many decisions of a group an expert may serve.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Experts of each decision.
    pub top_k: usize,
    /// Experts E.
    pub experts: usize,
    /// Times the share at perfect balance; 0 = no limit.
    pub factor: f32,
}

impl Capacity {
    /// ceil(top_k n / E · factor)
    pub fn of(&self, n: usize) -> usize {
        ((self.top_k * n) as f32 / self.experts as f32 * self.factor).ceil() as usize
    }

    /// # Errors
    /// [`Error::Config`] if the factor is negative or not finite, or `top_k` does not lie between 1 and `experts`.
    pub fn check(self, name: &str) -> Result<Self> {
        check_top_k(name, self.top_k, self.experts)?;
        if !(self.factor >= 0.0 && self.factor.is_finite()) {
            return Err(Error::config(format!("{name}.capacity"), self.factor, "must be 0 or more"));
        }
        Ok(self)
    }
}

/// # Errors
/// [`Error::Config`] if `top_k` does not lie between 1 and `experts`.
pub fn check_top_k(name: &str, top_k: usize, experts: usize) -> Result<()> {
    if top_k == 0 || top_k > experts {
        return Err(Error::config(format!("{name}.top_k"), top_k, "must lie between 1 and `experts`"));
    }
    Ok(())
}

/// A gate's decisions.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Weight of each expert `[R, E]`; read only where it is chosen.
    pub weights: Mat,
    /// Experts of each decision `[R]`.
    pub chosen: Vec<Vec<usize>>,
}

impl Routing {
    /// The decisions that chose expert `e`, in order.
    pub fn of_expert(&self, e: usize) -> Vec<u32> {
        (0..self.chosen.len() as u32).filter(|r| self.chosen[*r as usize].contains(&e)).collect()
    }
}

/// The `k` largest of each row of `[R, experts]`, best first (ties: the lowest).
pub fn top(values: &[f32], experts: usize, k: usize) -> Vec<Vec<usize>> {
    let best = |row: &[f32]| {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        order.truncate(k);
        order
    };
    values.chunks(experts).map(best).collect()
}

/// The gates of the chosen experts, divided by their sum; the others are zero.
///
/// # Shapes
/// `gates: [R, E]` → `[R, E]`
pub fn renormalize(tape: &mut Tape, gates: &Mat, chosen: &[Vec<usize>]) -> Mat {
    let experts = gates.cols();
    let mask = chosen.iter().flat_map(|c| (0..experts).map(|e| f32::from(c.contains(&e)))).collect();
    let kept = ops::mul(tape, gates, &Mat::new(gates.rows(), experts, mask));
    ops::renormalize_rows(tape, &kept)
}

/// Σ_r Σ_e gates_re by_e
///
/// # Shapes
/// `gates: [R, E]`, `by: [E]` → `[1, 1]`
pub fn total(tape: &mut Tape, gates: &Mat, by: Vec<f32>) -> Mat {
    let rows = gates.rows();
    let sums = ops::linear(tape, gates, &Mat::new(gates.cols(), 1, by), None, Activation::None);
    ops::linear(tape, &Mat::new(1, rows, vec![1.0; rows]), &sums, None, Activation::None)
}

/// Balance loss of Switch, E Σ_e f_e P_e: f_e the share of decisions whose first choice is e (no gradient), P_e the mean
/// gate. 1 at balance, E when everything goes to one expert.
///
/// # Shapes
/// `gates: [R, E]` → `[1, 1]`
pub fn balance(tape: &mut Tape, gates: &Mat, chosen: &[Vec<usize>]) -> Mat {
    let (rows, experts) = (gates.rows(), gates.cols());
    let mut first = vec![0.0; experts];
    chosen.iter().for_each(|c| first[c[0]] += experts as f32 / (rows * rows).max(1) as f32);
    total(tape, gates, first)
}

/// CV², the squared coefficient of variation of the column sums over experts: 0 at balance, E − 1 when all falls on one.
///
/// # Shapes
/// `shares: [R, E]`, R at least 1 → `[1, 1]`
pub fn variation(tape: &mut Tape, shares: &Mat) -> Mat {
    let ones = Mat::new(1, shares.rows(), vec![1.0; shares.rows()]);
    let sums = ops::linear(tape, &ones, shares, None, Activation::None);
    // CV² = E Σ s² / (Σ s)² − 1.
    let shares = ops::renormalize_rows(tape, &sums);
    let square = ops::mean_square(tape, &shares);
    ops::sum_scalars(tape, &[(&square, shares.cols() as f32), (&Mat::new(1, 1, vec![1.0]), -1.0)])
}
