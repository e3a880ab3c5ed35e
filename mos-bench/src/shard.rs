//! A share of the trainings of an experiment, for one of several machines.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, bail};

/// Part `part` of `of`, counted from 1: every `of`-th training, so that each part gets some of each encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    part: usize,
    of: usize,
}

impl Shard {
    /// Whether the training with this number (from 0) belongs to it.
    pub fn has(self, training: usize) -> bool {
        training % self.of == self.part - 1
    }
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (part, of) = text.split_once('/').context("needs the form I/N, as in 1/8")?;
        let number = |text: &str| text.parse::<usize>().with_context(|| format!("{text:?} is no number"));
        let (part, of) = (number(part)?, number(of)?);
        if part == 0 || part > of {
            bail!("{part}/{of}: parts count from 1 to N");
        }
        Ok(Self { part, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_training_belongs_to_exactly_one_part(of in 1usize..20, training in 0usize..100) {
            let parts = (1..=of).map(|part| format!("{part}/{of}").parse::<Shard>().unwrap());
            prop_assert_eq!(parts.filter(|p| p.has(training)).count(), 1);
        }
    }

    #[test]
    fn parts_count_from_one() {
        assert_eq!("2/3".parse::<Shard>().unwrap().to_string(), "2/3");
        for (text, wanted) in
            [("0/3", "from 1 to N"), ("4/3", "from 1 to N"), ("3", "I/N"), ("a/3", "no number")]
        {
            assert!(text.parse::<Shard>().unwrap_err().to_string().contains(wanted), "{text}");
        }
    }
}
