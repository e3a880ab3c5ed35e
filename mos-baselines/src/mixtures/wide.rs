//! `wide`: one encoder of about the cost of several (control). Target and behaviours are lifted from d to w numbers by one
//! linear map, an encoder of width w reads the whole history, and a linear map brings each of its vectors back to d. What a
//! mixture gains over it is not a matter of multiply-adds.

use mos_core::{
    Builder, Cost, Error, Input, Interest, Mat, Pass, Result, SequenceEncoder, layers::Linear,
    ops::Activation,
};
use serde::{Deserialize, Serialize};

use super::{Expert, short::WithShort};

/// Configuration of [`Wide`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WideConfig {
    /// Width of the encoder in widths d of the item vectors; rounded up to a multiple of 4, so that heads divide it.
    pub factor: f32,
    /// Behaviours of the short branch, of width d; 0 = none.
    pub short: usize,
}

impl Default for WideConfig {
    fn default() -> Self {
        Self { factor: 1.5, short: 20 }
    }
}

/// One encoder of another width than its input.
#[derive(Debug)]
pub struct Wide {
    lift: Linear,
    expert: Box<dyn SequenceEncoder>,
    lower: Linear,
}

/// Builds the encoder and the maps around it; without biases, so that an empty history stays zero.
///
/// # Errors
/// [`Error::Config`] if `factor` is not a positive number, and those of the encoder.
pub fn build(builder: &mut Builder<'_>, config: &WideConfig, expert: &mut Expert<'_>) -> Result<WithShort> {
    if !(config.factor > 0.0 && config.factor.is_finite()) {
        return Err(Error::config("wide.factor", config.factor, "must be positive"));
    }
    let narrow = builder.width();
    let width = ((narrow as f32 * config.factor).ceil() as usize).next_multiple_of(4);
    let wide = Wide {
        lift: Linear::without_bias(&mut builder.at("lift"), narrow, width),
        expert: expert(&mut builder.with_width(width).at("expert"))?,
        lower: Linear::without_bias(&mut builder.at("lower"), width, narrow),
    };
    WithShort::around(wide, builder, config.short, expert)
}

impl Wide {
    fn lifted(&self, pass: &mut Pass<'_>, input: &Input) -> Input {
        let mut lift = |x: &Mat| self.lift.forward(pass, x, Activation::None);
        Input { target: lift(&input.target), rows: lift(&input.rows), events: input.events.clone() }
    }
}

impl SequenceEncoder for Wide {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let lifted = self.lifted(pass, input);
        let Interest { vectors, evidence } = self.expert.forward(pass, &lifted)?;
        let mut lower = |x: &Mat| self.lower.forward(pass, x, Activation::None);
        Ok(Interest { vectors: vectors.iter().map(&mut lower).collect(), evidence })
    }

    fn vectors(&self) -> usize {
        self.expert.vectors()
    }

    fn evidence(&self) -> usize {
        self.expert.evidence()
    }

    fn shares_histories(&self) -> bool {
        self.expert.shares_histories()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.expert.as_ref()]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (samples, events) = (input.target.rows(), input.rows.rows());
        let around = self.lift.macs(samples + events) + self.lower.macs(samples * self.vectors());
        let lifted = self.lifted(pass, input);
        Ok(self.expert.cost(pass, &lifted)? + Cost::encoder(around))
    }
}
