//! `none`: no mixture, the encoder reads the whole history.

use mos_core::{Builder, Cost, Input, Interest, Pass, Result, SequenceEncoder};

use super::Expert;

/// One expert and nothing around it.
#[derive(Debug)]
pub struct Alone(Box<dyn SequenceEncoder>);

impl Alone {
    /// Builds the encoder.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn new(builder: &mut Builder<'_>, _options: &(), expert: &mut Expert<'_>) -> Result<Self> {
        Ok(Self(expert(builder)?))
    }
}

impl SequenceEncoder for Alone {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        self.0.forward(pass, input)
    }

    fn vectors(&self) -> usize {
        self.0.vectors()
    }

    fn evidence(&self) -> usize {
        self.0.evidence()
    }

    fn shares_histories(&self) -> bool {
        self.0.shares_histories()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.0.as_ref()]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        self.0.cost(pass, input)
    }
}
