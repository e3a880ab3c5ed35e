//! TransAct (Xia et al., KDD 2023; LongCTR's form): a transformer over tokens [h_t; q], read at its newest columns.
//!
//! Early fusion: the target stands in every token of width 2 d. Layers with norms behind the residuals, no positions; the
//! newest `first_k` outputs go on. Departures: they pass through a bias-free map to width d, so that mixtures can treat all
//! encoders alike; no max-pooled column, no action types and no random time-window mask (LongCTR's tuned models have none
//! either); the feature-interaction part of the paper (DCNv2) is the model's head. The last layer computes the columns it
//! returns and no others, with keys and values folded: the same function.

use mos_core::{
    Builder, Cost, Input, Interest, Pass, Result, SequenceEncoder, check_rate, check_sizes,
    layers::{Linear, Transformer, TransformerConfig},
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

/// Configuration of [`TransAct`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransActConfig {
    /// Transformer layers (published: 2; LongCTR's most stable: 1).
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layer (LongCTR: 512 for tokens of 256 and 384; 64 for tokens of 32).
    pub feed_forward: usize,
    /// Newest columns that are read (published: 10; LongCTR's most stable: 1).
    pub first_k: usize,
    /// Dropout inside the layers.
    pub dropout: f32,
}

impl Default for TransActConfig {
    fn default() -> Self {
        Self { layers: 1, heads: 2, feed_forward: 64, first_k: 1, dropout: 0.0 }
    }
}

/// Transformer over realtime actions.
#[derive(Debug)]
pub struct TransAct {
    layers: Vec<Transformer>,
    last: Transformer,
    out: Linear,
    first_k: usize,
}

impl TransAct {
    /// Builds it.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] without a layer or column, or for heads that do not divide 2 d.
    pub fn new(builder: &mut Builder<'_>, config: &TransActConfig) -> Result<Self> {
        let &TransActConfig { layers, heads, feed_forward, first_k, dropout } = config;
        check_sizes("transact", &[("layers", layers), ("feed_forward", feed_forward), ("first_k", first_k)])?;
        check_rate("transact.dropout", dropout)?;
        let width = builder.width();
        let config = TransformerConfig {
            field: "transact.heads",
            width: 2 * width,
            heads,
            feed_forward,
            activation: None,
            dropout,
        };
        let mut layer = |i: usize| Transformer::new(&mut builder.at(&format!("layer{i}")), &config);
        Ok(Self {
            layers: (1..layers).map(&mut layer).collect::<Result<_>>()?,
            last: layer(layers)?,
            out: Linear::without_bias(&mut builder.at("out"), 2 * width * first_k, width),
            first_k,
        })
    }
}

impl SequenceEncoder for TransAct {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let offsets = &input.events.offsets;
        let targets = ops::gather_rows(&mut pass.tape, &input.target, &offsets.segment_of_rows());
        let mut tokens = ops::concat(&mut pass.tape, &[&input.rows, &targets]);
        for layer in &self.layers {
            tokens = layer.forward(pass, &tokens, offsets);
        }
        let columns = self.last.forward_last(pass, &tokens, offsets, self.first_k);
        Ok(Interest::one(self.out.forward(pass, &columns, Activation::None)))
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let offsets = &input.events.offsets;
        let out = Cost::encoder(self.out.macs(input.target.rows()));
        let layers = self.layers.iter().map(|l| Cost::encoder(l.macs(offsets))).sum::<Cost>();
        Ok(layers + Cost::folded(self.last.last_macs(offsets, self.first_k), self.last.macs(offsets)) + out)
    }
}
