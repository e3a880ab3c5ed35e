//! TWIN (Chang et al., KDD 2023): one target attention for search and for interest.
//!
//! Per head the `top_k` behaviours by (W_q q)·(W_k h_t) / sqrt(d_h) enter a softmax; their values are summed, heads
//! joined, W_o. Folded, so that behaviours are never projected. Departures: no cross features (as LongCTR runs it), search
//! and interest refreshed together instead of asynchronously.

use mos_core::{
    Builder, Cost, Input, Interest, Pass, Result, SequenceEncoder, check_sizes, layers::TargetAttention,
};
use serde::{Deserialize, Serialize};

use super::short_term::ShortTerm;

/// Configuration of [`Twin`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwinConfig {
    /// Attention heads (published: 4 of width 32 or more; 2 for d = 16).
    pub heads: usize,
    /// Behaviours per head that enter the softmax (published: 100).
    pub top_k: usize,
    /// Width of the attention; 0 = that of the items.
    pub attention: usize,
    /// Behaviours of a short part of its own (LongCTR: 50). None by default: mixtures bring one.
    pub short: usize,
}

impl Default for TwinConfig {
    fn default() -> Self {
        Self { heads: 2, top_k: 100, attention: 0, short: 0 }
    }
}

/// Two-stage interest network.
#[derive(Debug)]
pub struct Twin {
    attention: TargetAttention,
    short: ShortTerm,
    top_k: usize,
}

impl Twin {
    /// Builds it.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] if the heads do not divide the width, or nothing is to be attended to.
    pub fn new(builder: &mut Builder<'_>, config: &TwinConfig) -> Result<Self> {
        let &TwinConfig { heads, top_k, attention, short } = config;
        check_sizes("twin", &[("top_k", top_k)])?;
        Ok(Self {
            attention: TargetAttention::new(builder, "twin.heads", heads, attention)?,
            short: ShortTerm::new(builder, "twin.heads", heads, attention, short)?,
            top_k,
        })
    }
}

impl SequenceEncoder for Twin {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (spans, top_k) = (input.events.spans(), Some(self.top_k));
        let long = self.attention.forward(pass, &input.target, &input.rows, spans, top_k);
        Ok(self.short.beside(pass, input, long))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn vectors(&self) -> usize {
        self.short.vectors()
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        Ok(self.attention.cost(input.events.spans(), Some(self.top_k)) + self.short.cost(input))
    }
}
