//! DIN (Zhou et al., KDD 2018): an MLP scores each behaviour against the target.
//!
//! a_t = MLP([q; h_t; q − h_t; q ∗ h_t]), interest = Σ_t a_t h_t, without softmax so that the intensity survives.
//! Departures: ReLU in place of Dice, whose batch statistics would make a score depend on other samples; hidden widths
//! default to a single layer of 16 for d = 16 (published for d = 64 and more: 512, 256). The first layer is folded, the
//! same function in d F instead of 4 d F multiply-adds for each behaviour.

use mos_core::{
    Builder, Cost, Error, Init, Input, Interest, ParamId, Pass, Result, SequenceEncoder, layers::Mlp, ops,
};
use serde::{Deserialize, Serialize};

/// Configuration of [`Din`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinConfig {
    /// Hidden widths of the attention MLP.
    pub hidden: Vec<usize>,
    /// Softmax over the history instead of raw weights.
    pub softmax: bool,
}

impl Default for DinConfig {
    fn default() -> Self {
        Self { hidden: vec![16], softmax: false }
    }
}

/// Deep Interest Network.
#[derive(Debug)]
pub struct Din {
    weight: ParamId,
    bias: ParamId,
    rest: Mlp,
    width: usize,
    first: usize,
    softmax: bool,
}

impl Din {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] without a hidden layer, or with an empty one.
    pub fn new(builder: &mut Builder<'_>, config: &DinConfig) -> Result<Self> {
        let Some((first, rest)) = config.hidden.split_first().filter(|_| !config.hidden.contains(&0)) else {
            return Err(Error::config(
                "din.hidden",
                format!("{:?}", config.hidden),
                "needs at least one layer, none of width 0",
            ));
        };
        let width = builder.width();
        Ok(Self {
            weight: builder.param("hidden.weight", 4 * width, *first, Init::XavierNormal),
            bias: builder.param("hidden.bias", 1, *first, Init::Zeros),
            rest: Mlp::new(&mut builder.at("score"), *first, rest, 1),
            width,
            first: *first,
            softmax: config.softmax,
        })
    }
}

impl SequenceEncoder for Din {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (w, b, spans) = (pass.param(self.weight), pass.param(self.bias), &input.events.spans());
        let hidden = ops::din_hidden(&mut pass.tape, &input.target, &input.rows, spans, &w, &b);
        let scores = self.rest.forward(pass, &hidden);
        Ok(Interest::one(ops::weighted_sum(&mut pass.tape, &scores, &input.rows, spans, self.softmax)))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, n) = (input.target.rows(), input.events.spans().lengths().sum::<usize>());
        let (d, f, rest) = (self.width, self.first, self.rest.macs(n) + n * self.width);
        Ok(Cost::folded((2 * b + n) * d * f + rest, 4 * n * d * f + rest))
    }
}
