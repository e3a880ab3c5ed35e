//! Mamba4Rec (Liu et al. 2024, arXiv 2403.03900): selective state spaces over the history, read at the newest behaviour.
//!
//! Layer norm, then layers of [Mamba block, norm; MLP d → 4 d → d with GELU, residual, norm], as in the published code
//! (the residual around the block only with more than one layer). Departures: the original ranks all items; here the last
//! state meets the target in the head. No padding, so nothing has to be kept out of the state. Dense weights
//! and the convolution start Xavier-normal as everywhere here (published: N(0, 0.02)).

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
    layers: Vec<Layer>,
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
        let layers = (0..layers).map(&mut layer).collect();
        Ok(Self { norm: LayerNorm::new(&mut builder.at("norm"), width), layers, dropout })
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

    fn macs(&self, rows: usize) -> usize {
        let (e, n) = (self.channels, self.state);
        let linear = [&self.input, &self.select, &self.delta, &self.out].map(|l| l.macs(rows));
        linear.iter().sum::<usize>() + rows * e * (self.convolution + 3 * n + 1)
    }
}

impl SequenceEncoder for Mamba4Rec {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let offsets = &input.events.offsets;
        let x = pass.dropout(&input.rows, self.dropout);
        let mut x = self.norm.forward(pass, &x);
        for layer in &self.layers {
            let seen = layer.block.forward(pass, &x, offsets);
            let mut seen = pass.dropout(&seen, self.dropout);
            if self.layers.len() > 1 {
                seen = ops::add(&mut pass.tape, &seen, &x);
            }
            let seen = layer.first_norm.forward(pass, &seen);
            let hidden = layer.up.forward(pass, &seen, Activation::None);
            let hidden = ops::map(&mut pass.tape, &hidden, Function::Gelu);
            let hidden = pass.dropout(&hidden, self.dropout);
            let out = layer.down.forward(pass, &hidden, Activation::None);
            let out = pass.dropout(&out, self.dropout);
            let sum = ops::add(&mut pass.tape, &out, &seen);
            x = layer.second_norm.forward(pass, &sum);
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
        let n = input.rows.rows();
        let macs = |l: &Layer| l.block.macs(n) + l.up.macs(n) + l.down.macs(n);
        Ok(Cost::encoder(self.layers.iter().map(macs).sum()))
    }
}
