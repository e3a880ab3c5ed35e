//! `scales`: a global expert on the whole history and a short expert on its end, no themes. The control that MoS must
//! beat before themes can be said to matter.

use mos_core::{Builder, Cost, Error, Input, Interest, Pass, Result, SequenceEncoder};
use serde::{Deserialize, Serialize};

use super::Expert;

/// Configuration of [`Scales`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalesConfig {
    /// Behaviours that the short expert reads.
    pub short: usize,
}

impl Default for ScalesConfig {
    fn default() -> Self {
        Self { short: 20 }
    }
}

/// Global and short experts side by side.
#[derive(Debug)]
pub struct Scales {
    global: Box<dyn SequenceEncoder>,
    short: Short,
}

impl Scales {
    /// Builds both experts.
    ///
    /// # Errors
    /// [`Error::Config`] for a short expert of nothing, and those of the encoder.
    pub fn new(builder: &mut Builder<'_>, config: &ScalesConfig, expert: &mut Expert<'_>) -> Result<Self> {
        let global = expert(&mut builder.at("global"))?;
        Ok(Self { global, short: Short::new(builder, config.short, expert)? })
    }
}

impl SequenceEncoder for Scales {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let mut interest = self.global.forward(pass, input)?;
        interest.extend(self.short.forward(pass, input)?);
        Ok(interest)
    }

    fn vectors(&self) -> usize {
        self.global.vectors() + self.short.vectors()
    }

    fn evidence(&self) -> usize {
        self.global.evidence() + self.short.evidence()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.global.as_ref(), &self.short]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        Ok(self.global.cost(pass, input)? + self.short.cost(pass, input)?)
    }
}

/// The short branch: an expert on the last behaviours.
#[derive(Debug)]
pub(super) struct Short {
    expert: Box<dyn SequenceEncoder>,
    length: usize,
}

impl Short {
    pub(super) fn new(builder: &mut Builder<'_>, length: usize, expert: &mut Expert<'_>) -> Result<Self> {
        if length == 0 {
            return Err(Error::config("short", 0, "must be at least 1"));
        }
        Ok(Self { expert: expert(&mut builder.at("short"))?, length })
    }
}

impl SequenceEncoder for Short {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let last = input.last(&mut pass.tape, self.length);
        self.expert.forward(pass, &last)
    }

    fn vectors(&self) -> usize {
        self.expert.vectors()
    }

    fn evidence(&self) -> usize {
        self.expert.evidence()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.expert.as_ref()]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let last = input.last(&mut pass.tape, self.length);
        self.expert.cost(pass, &last)
    }
}
