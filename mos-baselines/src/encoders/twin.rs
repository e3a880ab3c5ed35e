//! TWIN (Chang et al., KDD 2023): one target attention for search and for interest.
//!
//! Per head the `top_k` behaviours by (W_q q)·(W_k h_t) / sqrt(d_h) enter a softmax; their values are summed, heads
//! joined, W_o. Folded: W_k on the query's side, W_v behind the sum, so rows are never projected. Departures: no cross
//! features (as LongCTR runs it), search and interest refreshed together instead of asynchronously.

use mos_core::{
    Builder, Cost, Error, Init, Input, Interest, ParamId, Pass, Result, SequenceEncoder, check_heads, ops,
    ops::Activation,
};
use serde::{Deserialize, Serialize};

/// Configuration of [`Twin`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwinConfig {
    /// Attention heads (published: 4 of width 32 or more; 2 for d = 16).
    pub heads: usize,
    /// Behaviours per head that enter the softmax (published: 100).
    pub top_k: usize,
}

impl Default for TwinConfig {
    fn default() -> Self {
        Self { heads: 2, top_k: 100 }
    }
}

/// Two-stage interest network.
#[derive(Debug)]
pub struct Twin {
    query: ParamId,
    key: ParamId,
    value: ParamId,
    out: ParamId,
    width: usize,
    config: TwinConfig,
}

impl Twin {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] if the heads do not divide the width, or nothing is to be attended to.
    pub fn new(builder: &mut Builder<'_>, config: &TwinConfig) -> Result<Self> {
        let width = builder.width();
        check_heads("twin.heads", config.heads, width)?;
        if config.top_k == 0 {
            return Err(Error::config("twin.top_k", 0, "must be at least 1"));
        }
        // Xavier-normal of the [d, d] matrix whose blocks it holds.
        let value = Init::Normal((1.0 / width as f32).sqrt());
        let mut square = |name: &str| builder.param(name, width, width, Init::XavierNormal);
        Ok(Self {
            query: square("query"),
            // Both are kept as their transposes: head h owns the rows h d_h .. (h + 1) d_h of `key`, and the block h of
            // `value` is the whole map from a row to the head's values.
            key: square("key"),
            value: builder.param("value", config.heads * width, width / config.heads, value),
            out: builder.param("out", width, width, Init::XavierNormal),
            width,
            config: config.clone(),
        })
    }
}

impl SequenceEncoder for Twin {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let heads = self.config.heads;
        let scale = 1.0 / ((self.width / heads) as f32).sqrt();
        let [query, key, value, out] = [self.query, self.key, self.value, self.out].map(|p| pass.param(p));
        let tape = &mut pass.tape;
        let q = ops::linear(tape, &input.target, &query, None, Activation::None);
        let folded = ops::head_project(tape, &q, &key, heads);
        let top_k = Some(self.config.top_k);
        let sums = ops::attend(tape, &folded, &input.rows, &input.events.offsets, heads, scale, top_k);
        let values = ops::head_project(tape, &sums, &value, heads);
        Ok(Interest::one(ops::linear(tape, &values, &out, None, Activation::None)))
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (d, heads) = (self.width, self.config.heads);
        let read: usize = input.events.offsets.lengths().map(|n| n + n.min(self.config.top_k)).sum();
        Ok(Cost::encoder(4 * input.target.rows() * d * d + heads * d * read))
    }
}
