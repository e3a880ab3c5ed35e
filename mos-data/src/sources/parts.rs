//! Sets that are published as one file or as one file per part.

use super::{Reading, files::Member};
use crate::{Error, Part, Result};

/// The part that a name says: `ml-100k.train.inter`, `dev.csv`.
fn part_of(name: &str) -> Option<Part> {
    name.split(['.', '_', '-']).find_map(|word| match word {
        "train" => Some(Part::Train),
        "valid" | "val" | "dev" => Some(Part::Valid),
        "test" => Some(Part::Test),
        _ => None,
    })
}

/// The wanted files of a set, in the order of their parts: one file, or at most one for each part. A set that is one file
/// is that, whatever its name. `wanted` is asked without `.gz`; `expected` says what it wants.
pub(super) fn parts(
    reading: &Reading,
    expected: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(Option<Part>, Member)>> {
    let mut found = reading.files.matching(|_| true);
    if found.len() != 1 {
        found.retain(|file| wanted(&file.name()));
    }
    let mut found: Vec<_> = found.into_iter().map(|file| (part_of(&file.name()), file)).collect();
    found.sort_by_key(|(part, _)| *part);
    let refuse = |message: String, hint: String| Err(Error::file(reading.files.root(), message, hint));
    if found.is_empty() {
        return refuse("none of the expected files is here".into(), format!("expected {expected}"));
    }
    if found.len() > 1 {
        for pair in found.windows(2) {
            if pair[0].0.is_none() || pair[0].0 == pair[1].0 {
                let names = [pair[0].1.name(), pair[1].1.name()].join(" and ");
                return refuse(format!("{names} could both be read"), "name one of them as the path".into());
            }
        }
    }
    Ok(found)
}
