//! HSTU (Zhai et al., ICML 2024, arXiv 2402.17152): blocks of pointwise attention without softmax, read at the newest
//! behaviour.
//!
//! A block: [U, V, Q, K] = split(SiLU(LN(X) W_1)), per head A = SiLU(Q Kᵀ + bias) / n over earlier behaviours and itself,
//! Y = W_2 dropout(U ∗ LN(A V)) + X; the norms have no weights. The bias is one value for the distance in ranks plus one for
//! the bucket of the time from a behaviour to what follows the reader, shared by heads, a table of each per block. n is the
//! fixed `max_length`, so that a score does not depend on padding. Departures: the ranking form interleaves actions; here
//! the last state meets the target in the head; W_2 starts Xavier-normal instead of uniform. The time that follows the newest behaviour is that of the prediction.

use mos_core::{
    Builder, Cost, Init, Input, Interest, Mat, ParamId, Pass, Result, SequenceEncoder, check_heads,
    check_rate, check_sizes,
    ops::{self, Activation, Bias, Function, Weighting},
};
use serde::{Deserialize, Serialize};

/// What the norms add to a variance, as published. It counts: at first A V is so small that the variance is less than this,
/// and a larger eps would weaken the attention in proportion.
const EPS: f32 = 1e-6;

/// Buckets of time.
const GAPS: usize = 129;

/// Configuration of [`Hstu`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HstuConfig {
    /// Blocks.
    pub blocks: usize,
    /// Heads, each of width d / heads for queries, keys and values.
    pub heads: usize,
    /// Divisor n of the attention, and entries of the distance table.
    pub max_length: usize,
    /// Dropout before W_2.
    pub dropout: f32,
}

impl Default for HstuConfig {
    fn default() -> Self {
        Self { blocks: 2, heads: 2, max_length: 128, dropout: 0.2 }
    }
}

/// Hierarchical sequential transduction unit.
#[derive(Debug)]
pub struct Hstu {
    blocks: Vec<Block>,
    width: usize,
    config: HstuConfig,
}

#[derive(Debug)]
struct Block {
    input: ParamId,
    out: ParamId,
    distance: ParamId,
    gap: ParamId,
}

impl Hstu {
    /// Builds it.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] for sizes of 0 or heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &HstuConfig) -> Result<Self> {
        let width = builder.width();
        check_heads("hstu.heads", config.heads, width)?;
        check_sizes("hstu", &[("blocks", config.blocks), ("max_length", config.max_length)])?;
        check_rate("hstu.dropout", config.dropout)?;
        let block = |i: usize| {
            let mut at = builder.at(&format!("block{i}"));
            Block {
                input: at.param("input", width, 4 * width, Init::Normal(0.02)),
                out: at.param("out", width, width, Init::XavierNormal),
                distance: at.param("distance", 1, config.max_length, Init::Normal(0.02)),
                gap: at.param("gap", 1, GAPS, Init::Normal(0.02)),
            }
        };
        Ok(Self { blocks: (1..=config.blocks).map(block).collect(), width, config: config.clone() })
    }

    fn norm(&self, pass: &mut Pass<'_>, x: &Mat) -> Mat {
        let (gain, bias) = (Mat::new(1, self.width, vec![1.0; self.width]), Mat::zeros(1, self.width));
        ops::layer_norm(&mut pass.tape, x, &gain, &bias, EPS)
    }
}

/// Time of what follows each behaviour: the next one, or the prediction.
fn following(input: &Input) -> Vec<i64> {
    let events = &input.events;
    let mut out = Vec::with_capacity(events.times.len());
    for (range, prediction) in events.offsets.ranges().zip(events.history_times()) {
        if !range.is_empty() {
            out.extend_from_slice(&events.times[range.start + 1..range.end]);
            out.push(prediction);
        }
    }
    out
}

impl SequenceEncoder for Hstu {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (d, heads, offsets) = (self.width, self.config.heads, &input.events.offsets);
        let next = following(input);
        let weighting = Weighting::Silu { scale: 1.0 / self.config.max_length as f32 };
        let mut x = input.rows.clone();
        for block in &self.blocks {
            let [input_weight, out, distance, gap] =
                [block.input, block.out, block.distance, block.gap].map(|p| pass.param(p));
            let normal = self.norm(pass, &x);
            let tape = &mut pass.tape;
            let all = ops::linear(tape, &normal, &input_weight, None, Activation::None);
            let all = ops::map(tape, &all, Function::Silu);
            let [u, v, q, k] = [0, 1, 2, 3].map(|i| ops::columns(tape, &all, i * d, d));
            let bias = Bias { distance: &distance, gap: &gap, times: &input.events.times, next: &next };
            let seen = ops::self_attend(tape, (&q, &k, &v), Some(bias), offsets, heads, weighting, true);
            let seen = self.norm(pass, &seen);
            let tape = &mut pass.tape;
            let gated = ops::mul(tape, &u, &seen);
            let gated = pass.dropout(&gated, self.config.dropout);
            let tape = &mut pass.tape;
            let y = ops::linear(tape, &gated, &out, None, Activation::None);
            x = ops::add(tape, &y, &x);
        }
        let last = ops::last_rows(&mut pass.tape, &x, offsets);
        Ok(Interest::one(input.for_samples(&mut pass.tape, &last)))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (n, d) = (input.rows.rows(), self.width);
        let pairs: usize = input.events.offsets.lengths().map(|n| ops::pairs(n, true)).sum();
        Ok(Cost::encoder(self.blocks.len() * (5 * n * d * d + 2 * pairs * d)))
    }
}
