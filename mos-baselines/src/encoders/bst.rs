//! BST (Chen et al. 2019, arXiv 1905.06874): a transformer layer over the history with the target at its end.
//!
//! Token positions are the time between behaviour and target, in buckets of equal ratio, with a learned vector each, added
//! to the token; one layer with norms behind the residuals and LeakyReLU; the mean over its outputs. Departures: the paper
//! concatenates positions and all outputs, which ties the model to one length; the mean is FuxiCTR's default (which concatenates positions too). An empty
//! history gives zeros, as everywhere, and not the target's own output.

use mos_core::{
    Builder, Cost, Init, Input, Interest, Offsets, ParamId, Pass, Result, SequenceEncoder, check_rate,
    check_sizes,
    layers::{Transformer, TransformerConfig},
    ops::{self, Function},
};
use serde::{Deserialize, Serialize};

/// Buckets of the time between a behaviour and the target ([`ops::gap_bucket`]), up to e^19 seconds.
const GAPS: usize = 64;

/// Configuration of [`Bst`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BstConfig {
    /// Transformer layers (published: 1).
    pub layers: usize,
    /// Attention heads (published: 8; 2 for d = 16).
    pub heads: usize,
    /// Width of the feed-forward layer (four times d = 16).
    pub feed_forward: usize,
    /// Dropout inside the layers.
    pub dropout: f32,
}

impl Default for BstConfig {
    fn default() -> Self {
        Self { layers: 1, heads: 2, feed_forward: 64, dropout: 0.0 }
    }
}

/// Behaviour sequence transformer.
#[derive(Debug)]
pub struct Bst {
    gaps: ParamId,
    layers: Vec<Transformer>,
}

impl Bst {
    /// Builds it.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] without a layer, or for heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &BstConfig) -> Result<Self> {
        let &BstConfig { layers, heads, feed_forward, dropout } = config;
        check_sizes("bst", &[("layers", layers), ("feed_forward", feed_forward)])?;
        check_rate("bst.dropout", dropout)?;
        let width = builder.width();
        let activation = Some(Function::LeakyRelu);
        let config =
            TransformerConfig { field: "bst.heads", width, heads, feed_forward, activation, dropout };
        let layer = |i: usize| Transformer::new(&mut builder.at(&format!("layer{i}")), &config);
        let layers = (1..=layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { gaps: builder.param("gaps", GAPS + 1, width, Init::Normal(0.05)), layers })
    }
}

/// Bucket of each token: behaviours by their distance in time, 0 for the target behind them.
fn buckets(input: &Input) -> Vec<u32> {
    let events = &input.events;
    let mut out = Vec::new();
    for (range, target) in events.offsets.ranges().zip(&events.target_times) {
        out.extend(events.times[range].iter().map(|t| 1 + ops::gap_bucket(target - t, GAPS) as u32));
        out.push(0);
    }
    out
}

fn with_target(offsets: &Offsets) -> Offsets {
    Offsets::from_lengths(offsets.lengths().map(|n| n + 1))
}

impl SequenceEncoder for Bst {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let gaps = pass.param(self.gaps);
        let tape = &mut pass.tape;
        let (tokens, offsets) = ops::append_rows(tape, &input.rows, &input.target, &input.events.offsets);
        let gaps = ops::gather_rows(tape, &gaps, &buckets(input));
        let mut tokens = ops::add(tape, &tokens, &gaps);
        for layer in &self.layers {
            tokens = layer.forward(pass, &tokens, &offsets);
        }
        let mean = ops::segment_mean(&mut pass.tape, &tokens, &offsets);
        // Without a history there is no interest, whatever the target's own token says.
        Ok(Interest::one(ops::zero_where_empty(&mut pass.tape, &mean, &input.events.offsets)))
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let offsets = with_target(&input.events.offsets);
        Ok(Cost::encoder(self.layers.iter().map(|l| l.macs(&offsets)).sum()))
    }
}
