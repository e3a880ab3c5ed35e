//! An encoder that no crate of the workspace knows, made ready for the tables of `mos-bench`.
//!
//! Chapter "Adding a baseline" of the book builds this crate step by step; the anchors below mark what it shows.
//!
//! The encoder averages the history with weights that fall exponentially into the past. The columns are shared out among
//! several half-lives, all of them learned: some columns remember the last few behaviours, others the whole history.
//! An example, from no paper.

// ANCHOR: use
use mos_baselines::Registry;
use mos_core::{
    Builder, Cost, Error, Input, Interest, Mat, Offsets, ParamId, Pass, Result, SequenceEncoder, check_heads,
    layers::Linear,
    ops::{self, Activation, Function},
};
use serde::{Deserialize, Serialize};
// ANCHOR_END: use

// ANCHOR: config
/// Configuration of [`HalfLife`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalfLifeConfig {
    /// Half-lives at the start of training, in behaviours. Each has an equal share of the columns.
    pub half_lives: Vec<f32>,
}

impl Default for HalfLifeConfig {
    fn default() -> Self {
        Self { half_lives: vec![1.0, 4.0, 16.0, 64.0] }
    }
}
// ANCHOR_END: config

// ANCHOR: type
/// Averages that forget at several learned rates:
/// interest = W_o [Σ_t w_{t,h} x_t^(h)]_h, w_{t,h} = softmax_t(−r_t softplus(θ_h)), r_t the rank of behaviour t from the newest
/// and x_t^(h) its h-th block of columns.
#[derive(Debug)]
pub struct HalfLife {
    /// θ `[1, H]`
    decay: ParamId,
    out: Linear,
    heads: usize,
}
// ANCHOR_END: type

// ANCHOR: new
impl HalfLife {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] if the number of half-lives does not divide the width, or one is out of range.
    pub fn new(builder: &mut Builder<'_>, config: &HalfLifeConfig) -> Result<Self> {
        let (heads, width) = (config.half_lives.len(), builder.width());
        check_heads("half-life.half_lives", heads, width)?;
        if let Some(bad) = config.half_lives.iter().find(|h| !(0.1..=1e4).contains(*h)) {
            return Err(Error::config("half-life.half_lives", bad, "must lie between 0.1 and 10000"));
        }
        // softplus(θ) = ln 2 / half-life.
        let start = config.half_lives.iter().map(|h| (std::f32::consts::LN_2 / h).exp_m1().ln());
        Ok(Self {
            decay: builder.param_of("decay", heads, start.collect()),
            out: Linear::without_bias(&mut builder.at("out"), width, width),
            heads,
        })
    }
}
// ANCHOR_END: new

// ANCHOR: ages
/// Minus the rank from the newest, of each behaviour.
///
/// # Shapes
/// → `[N, 1]`
fn ages(offsets: &Offsets) -> Mat {
    let ages = offsets.lengths().flat_map(|n| (0..n).rev().map(|rank| -(rank as f32)));
    Mat::new(offsets.rows(), 1, ages.collect())
}
// ANCHOR_END: ages

impl SequenceEncoder for HalfLife {
    // ANCHOR: forward
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let offsets = &input.events.offsets;
        let decay = pass.param(self.decay);
        let tape = &mut pass.tape;
        let rate = ops::map(tape, &decay, Function::Softplus);
        let scores = ops::linear(tape, &ages(offsets), &rate, None, Activation::None);
        let weights = ops::segment_softmax(tape, &scores, offsets);
        let pooled = ops::segment_head_sums(tape, &weights, &input.rows, offsets);
        Ok(Interest::one(self.out.forward(pass, &pooled, Activation::None)))
    }
    // ANCHOR_END: forward

    // ANCHOR: cost
    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (n, b) = (input.rows.rows(), input.target.rows());
        Ok(Cost::encoder(n * self.heads + n * self.out.width() + self.out.macs(b)))
    }
    // ANCHOR_END: cost

    // ANCHOR: positions
    fn wants_positions(&self) -> bool {
        false
    }
    // ANCHOR_END: positions
}

// ANCHOR: register
/// Everything of `mos-baselines`, and `half-life`.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.encoder(
        "half-life",
        "averages that forget at several learned rates",
        HalfLifeConfig::default(),
        HalfLife::new,
    );
    registry
}
// ANCHOR_END: register
