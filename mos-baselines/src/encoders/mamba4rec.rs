//! Mamba4Rec (Liu et al. 2024, arXiv 2403.03900): selective state spaces over the history, read at the newest behaviour.
//!
//! Layer norm, then layers of [Mamba block, norm; MLP d → 4 d → d with GELU, residual, norm], as in the published code
//! (the residual around the block only with more than one layer). Departures: the original ranks all items; here the last
//! state meets the target in the head. No padding, so nothing has to be kept out of the state. Dense weights
//! and the convolution start Xavier-normal as everywhere here (published: N(0, 0.02)).
//!
//! Only the newest row of the last layer is read, so that behind its scan (gate, output, MLP, norms) nothing else is
//! computed: exactly the same vector at a third of the products.

use mos_core::{
    Builder, Cost, Init, Input, Interest, Mat, Offsets, ParamId, Pass, Result, SequenceEncoder, check_rate,
    check_sizes,
    layers::{LayerNorm, Linear},
    ops::{self, Activation, Function},
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// Configuration of [`Mamba4Rec`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mamba4RecConfig {
    /// Layers.
    pub layers: usize,
    /// States of each channel N (published: 32 for d = 64; 8 for d = 16).
    pub state: usize,
    /// Width of the causal convolution.
    pub convolution: usize,
    /// Channels E for each column of the input.
    pub expand: usize,
    /// Dropout at the input, behind the block and in the MLP.
    pub dropout: f32,
}

impl Default for Mamba4RecConfig {
    fn default() -> Self {
        Self { layers: 1, state: 8, convolution: 4, expand: 2, dropout: 0.2 }
    }
}

/// Selective state spaces for recommendation.
#[derive(Debug)]
pub struct Mamba4Rec {
    norm: LayerNorm,
    before: Vec<Layer>,
    /// The last layer, of which only the newest row is read.
    newest: Layer,
    dropout: f32,
}

#[derive(Debug)]
struct Layer {
    block: Block,
    first_norm: LayerNorm,
    up: Linear,
    down: Linear,
    second_norm: LayerNorm,
}

/// The Mamba block (Gu and Dao 2023).
#[derive(Debug)]
struct Block {
    input: Linear,
    kernel: ParamId,
    kernel_bias: ParamId,
    /// x → (δ of rank r, B, C).
    select: Linear,
    delta: Linear,
    a_log: ParamId,
    skip: ParamId,
    out: Linear,
    channels: usize,
    rank: usize,
    state: usize,
    convolution: usize,
}

impl Mamba4Rec {
    /// Builds it.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] for a size of 0 or a dropout outside [0, 1).
    pub fn new(builder: &mut Builder<'_>, config: &Mamba4RecConfig) -> Result<Self> {
        let &Mamba4RecConfig { layers, state, convolution, expand, dropout } = config;
        let sizes = [("layers", layers), ("state", state), ("convolution", convolution), ("expand", expand)];
        check_sizes("mamba4rec", &sizes)?;
        check_rate("mamba4rec.dropout", dropout)?;
        let width = builder.width();
        let mut layer = |i: usize| {
            let mut at = builder.at(&format!("layer{i}"));
            Layer {
                block: Block::new(&mut at, config),
                first_norm: LayerNorm::new(&mut at.at("first_norm"), width),
                up: Linear::new(&mut at.at("up"), width, 4 * width),
                down: Linear::new(&mut at.at("down"), 4 * width, width),
                second_norm: LayerNorm::new(&mut at.at("second_norm"), width),
            }
        };
        let before = (0..layers - 1).map(&mut layer).collect();
        let newest = layer(layers - 1);
        Ok(Self { norm: LayerNorm::new(&mut builder.at("norm"), width), before, newest, dropout })
    }
}

impl Block {
    fn new(builder: &mut Builder<'_>, config: &Mamba4RecConfig) -> Self {
        let (width, state) = (builder.width(), config.state);
        let (channels, rank) = (config.expand * width, width.div_ceil(16));
        // softplus(bias) starts log-uniform in [1e-3, 1e-1].
        let mut draw = builder.stream("delta.bias");
        let (low, high) = (1e-3f32.ln(), 1e-1f32.ln());
        let mut bias = || (low + (high - low) * draw.random::<f32>()).exp().exp_m1().ln();
        let bias = (0..channels).map(|_| bias()).collect();
        let rates = (0..channels).flat_map(|_| (1..=state).map(|n| (n as f32).ln())).collect();
        Self {
            input: Linear::without_bias(&mut builder.at("input"), width, 2 * channels),
            kernel: builder.param("convolution.weight", config.convolution, channels, Init::XavierNormal),
            kernel_bias: builder.param("convolution.bias", 1, channels, Init::Zeros),
            select: Linear::without_bias(&mut builder.at("select"), channels, rank + 2 * state),
            delta: Linear::with_bias_of(&mut builder.at("delta"), rank, channels, bias),
            a_log: builder.param_of("a_log", state, rates),
            skip: builder.param("skip", 1, channels, Init::Ones),
            out: Linear::without_bias(&mut builder.at("out"), channels, width),
            channels,
            rank,
            state,
            convolution: config.convolution,
        }
    }

    fn forward(&self, pass: &mut Pass<'_>, rows: &Mat, offsets: &Offsets) -> Mat {
        let both = self.input.forward(pass, rows, Activation::None);
        let (kernel, bias) = (pass.param(self.kernel), pass.param(self.kernel_bias));
        let tape = &mut pass.tape;
        let x = ops::columns(tape, &both, 0, self.channels);
        let gate = ops::columns(tape, &both, self.channels, self.channels);
        let x = ops::causal_conv(tape, &x, &kernel, &bias, offsets);
        let x = ops::map(tape, &x, Function::Silu);
        let selected = self.select.forward(pass, &x, Activation::None);
        let [low, b, c] = [(0, self.rank), (self.rank, self.state), (self.rank + self.state, self.state)]
            .map(|(from, width)| ops::columns(&mut pass.tape, &selected, from, width));
        let delta = self.delta.forward(pass, &low, Activation::None);
        let delta = ops::map(&mut pass.tape, &delta, Function::Softplus);
        let (a_log, skip) = (pass.param(self.a_log), pass.param(self.skip));
        let tape = &mut pass.tape;
        let y = ops::selective_scan(tape, (&x, &delta), &a_log, (&b, &c), &skip, offsets);
        let gate = ops::map(tape, &gate, Function::Silu);
        let y = ops::mul(tape, &y, &gate);
        self.out.forward(pass, &y, Activation::None)
    }

    /// The rows `last` of [`Self::forward`], the newest of each segment that has any.
    fn forward_last(&self, pass: &mut Pass<'_>, rows: &Mat, offsets: &Offsets, last: &[u32]) -> Mat {
        let (e, s) = (self.channels, self.state);
        let x = self.input.forward_columns(pass, rows, 0, e);
        let (kernel, bias) = (pass.param(self.kernel), pass.param(self.kernel_bias));
        let x = ops::causal_conv(&mut pass.tape, &x, &kernel, &bias, offsets);
        let x = ops::map(&mut pass.tape, &x, Function::Silu);
        let low = self.select.forward_columns(pass, &x, 0, self.rank + s);
        let b = ops::columns(&mut pass.tape, &low, self.rank, s);
        let low = ops::columns(&mut pass.tape, &low, 0, self.rank);
        let delta = self.delta.forward(pass, &low, Activation::None);
        let delta = ops::map(&mut pass.tape, &delta, Function::Softplus);
        let newest = ops::gather_rows(&mut pass.tape, &x, last);
        let c = self.select.forward_columns(pass, &newest, self.rank + s, s);
        let (a_log, skip) = (pass.param(self.a_log), pass.param(self.skip));
        let y = ops::selective_scan_last(&mut pass.tape, (&x, &delta), &a_log, (&b, &c), &skip, offsets);
        let newest = ops::gather_rows(&mut pass.tape, rows, last);
        let gate = self.input.forward_columns(pass, &newest, e, e);
        let gate = ops::map(&mut pass.tape, &gate, Function::Silu);
        let y = ops::mul(&mut pass.tape, &y, &gate);
        self.out.forward(pass, &y, Activation::None)
    }

    fn macs(&self, rows: usize) -> usize {
        let (e, n) = (self.channels, self.state);
        let linear = [&self.input, &self.select, &self.delta, &self.out].map(|l| l.macs(rows));
        linear.iter().sum::<usize>() + rows * e * (self.convolution + 3 * n + 1)
    }

    /// MACs of [`Self::forward_last`] for `read` segments that have rows: of a row d E + K E + E (r + N) + r E + 2 E N, of
    /// a read row 2 d E + E N + E (N + 1).
    fn last_macs(&self, rows: usize, read: usize) -> usize {
        let (e, n) = (self.channels, self.state);
        let per_row =
            self.input.macs(1) / 2 + e * (self.convolution + self.rank + n + 2 * n) + self.delta.macs(1);
        let per_read = self.input.macs(1) / 2 + self.out.macs(1) + e * n + e * (n + 1);
        rows * per_row + read * per_read
    }
}

impl Layer {
    /// What follows the block, row by row.
    fn rest(&self, pass: &mut Pass<'_>, seen: &Mat, dropout: f32) -> Mat {
        let seen = self.first_norm.forward(pass, seen);
        let hidden = self.up.forward(pass, &seen, Activation::None);
        let hidden = ops::map(&mut pass.tape, &hidden, Function::Gelu);
        let hidden = pass.dropout(&hidden, dropout);
        let out = self.down.forward(pass, &hidden, Activation::None);
        let out = pass.dropout(&out, dropout);
        let sum = ops::add(&mut pass.tape, &out, &seen);
        self.second_norm.forward(pass, &sum)
    }
}

impl SequenceEncoder for Mamba4Rec {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let offsets = &input.events.offsets;
        let x = pass.dropout(&input.rows, self.dropout);
        let mut x = self.norm.forward(pass, &x);
        for layer in &self.before {
            let seen = layer.block.forward(pass, &x, offsets);
            let seen = pass.dropout(&seen, self.dropout);
            let seen = ops::add(&mut pass.tape, &seen, &x);
            x = layer.rest(pass, &seen, self.dropout);
        }
        let (last, slots) = newest_rows(offsets);
        let seen = self.newest.block.forward_last(pass, &x, offsets, &last);
        let mut seen = pass.dropout(&seen, self.dropout);
        if !self.before.is_empty() {
            let x = ops::gather_rows(&mut pass.tape, &x, &last);
            seen = ops::add(&mut pass.tape, &seen, &x);
        }
        let out = self.newest.rest(pass, &seen, self.dropout);
        let out = ops::scatter_rows(&mut pass.tape, &out, &slots, offsets.segments());
        Ok(Interest::one(input.for_samples(&mut pass.tape, &out)))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (n, read) = (input.rows.rows(), newest_rows(&input.events.offsets).0.len());
        let all = |l: &Layer, rows: usize| l.block.macs(rows) + l.up.macs(rows) + l.down.macs(rows);
        let Layer { block, up, down, .. } = &self.newest;
        let before: usize = self.before.iter().map(|l| all(l, n)).sum();
        let newest = block.last_macs(n, read) + up.macs(read) + down.macs(read);
        Ok(Cost::folded(before + newest, before + all(&self.newest, n)))
    }
}

/// The newest row of each segment that has any, and the numbers of these segments.
fn newest_rows(offsets: &Offsets) -> (Vec<u32>, Vec<u32>) {
    let filled = offsets.ranges().enumerate().filter(|(_, r)| !r.is_empty());
    filled.map(|(segment, r)| (r.end as u32 - 1, segment as u32)).unzip()
}
