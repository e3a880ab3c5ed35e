//! Atten-Mixer (Zhang et al., WSDM 2023, arXiv 2206.12781) as a click model: queries made of the last 1, 2, .. K behaviours
//! attend over the history, and a p-norm joins their attention maps.
//!
//! The original ranks all items after a session; this project's form of it for clicks keeps steps 1 to 6 and lets the
//! session vector s meet r = W_r q at the end: interest s, further columns s ∗ r and 16 s·r. With `target = "query"` r is
//! one more level. Departures from the published code: heads are split properly (there keys and values of different rows
//! meet), queries are scaled to length 1 by themselves, padding takes part in nothing, and by default the mixed maps are
//! renormalised instead of sent through a second softmax, which on long histories would be mean pooling; the norm's
//! eps is 1e-5 (published: 1e-8).

use mos_core::{
    Builder, Cost, Error, Input, Interest, Mat, Pass, Result, SequenceEncoder, check_heads, check_rate,
    check_sizes,
    layers::{LayerNorm, Linear},
    ops::{self, Activation, Function},
};
use serde::{Deserialize, Serialize};

use super::session::{Target, meet};

/// How mixed attention maps become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// P / Σ P.
    Renorm,
    /// softmax(2 P), as published.
    Softmax,
}

/// Configuration of [`AttenMixer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttenMixerConfig {
    /// Levels K (published: 7).
    pub levels: usize,
    /// Heads (published: 8 of width 32; 2 for d = 16).
    pub heads: usize,
    /// Exponent p of the norm over levels (published: 4).
    pub power: f32,
    /// How maps become weights.
    pub mix: Mix,
    /// Where the target comes in.
    pub target: Target,
    /// Dropout on behaviours and on weights (published: 0.1).
    pub dropout: f32,
}

impl Default for AttenMixerConfig {
    fn default() -> Self {
        Self { levels: 7, heads: 2, power: 4.0, mix: Mix::Renorm, target: Target::Late, dropout: 0.1 }
    }
}

/// Multi-level attention mixture.
#[derive(Debug)]
pub struct AttenMixer {
    levels: Vec<Linear>,
    query: Linear,
    key: Linear,
    value: Linear,
    norm: LayerNorm,
    session: Linear,
    target: Linear,
    width: usize,
    config: AttenMixerConfig,
}

impl AttenMixer {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] without a level, for a power below 1, or heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &AttenMixerConfig) -> Result<Self> {
        let width = builder.width();
        check_heads("attenmixer.heads", config.heads, width)?;
        check_sizes("attenmixer", &[("levels", config.levels)])?;
        check_rate("attenmixer.dropout", config.dropout)?;
        if !(config.power >= 1.0 && config.power.is_finite()) {
            return Err(Error::config("attenmixer.power", config.power, "must be at least 1"));
        }
        let level = |i: usize| Linear::new(&mut builder.at(&format!("level{i}")), i * width, width);
        Ok(Self {
            levels: (1..=config.levels).map(level).collect(),
            query: Linear::new(&mut builder.at("query"), width, width),
            key: Linear::new(&mut builder.at("key"), width, width),
            value: Linear::new(&mut builder.at("value"), width, width),
            norm: LayerNorm::new(&mut builder.at("norm"), width),
            session: Linear::new(&mut builder.at("session"), 2 * width, width),
            target: Linear::without_bias(&mut builder.at("target"), width, width),
            width,
            config: config.clone(),
        })
    }

    /// The last K rows of each history, newest first, side by side; zeros before its start.
    fn newest(&self, pass: &mut Pass<'_>, rows: &Mat, input: &Input) -> Mat {
        let (k, b) = (self.config.levels, input.target.rows());
        let (mut from, mut slots) = (Vec::new(), Vec::new());
        for (s, range) in input.events.offsets.ranges().enumerate() {
            for rank in 0..range.len().min(k) {
                from.push((range.end - 1 - rank) as u32);
                slots.push((s * k + rank) as u32);
            }
        }
        let newest = ops::gather_rows(&mut pass.tape, rows, &from);
        let placed = ops::scatter_rows(&mut pass.tape, &newest, &slots, b * k);
        ops::reshape(&mut pass.tape, &placed, b, k * self.width)
    }
}

impl SequenceEncoder for AttenMixer {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (d, heads, offsets) = (self.width, self.config.heads, &input.events.offsets);
        let r = self.target.forward(pass, &input.target, Activation::None);
        let r = ops::normalize_rows(&mut pass.tape, &r);
        let x = ops::normalize_rows(&mut pass.tape, &input.rows);
        let x = pass.dropout(&x, self.config.dropout);
        let x = ops::normalize_rows(&mut pass.tape, &x);
        let newest = self.newest(pass, &x, input);
        let mut levels = Vec::with_capacity(self.levels.len() + 1);
        for (i, level) in self.levels.iter().enumerate() {
            let seen = ops::columns(&mut pass.tape, &newest, 0, (i + 1) * d);
            let u = level.forward(pass, &seen, Activation::None);
            levels.push(ops::normalize_rows(&mut pass.tape, &u));
        }
        if self.config.target == Target::Query {
            levels.push(r.clone());
        }
        let keys = self.key.forward(pass, &x, Activation::None);
        let values = self.value.forward(pass, &x, Activation::None);
        let mut maps = Vec::with_capacity(levels.len());
        for u in &levels {
            let query = self.query.forward(pass, u, Activation::None);
            let tape = &mut pass.tape;
            let scores = ops::segment_dots(tape, &query, &keys, offsets, heads);
            let bounded = ops::map(tape, &scores, Function::Sigmoid);
            let doubled = ops::add(tape, &bounded, &bounded);
            maps.push(ops::segment_softmax(tape, &doubled, offsets));
        }
        let tape = &mut pass.tape;
        let mixed = ops::power_norm(tape, &maps.iter().collect::<Vec<_>>(), self.config.power);
        let weights = match self.config.mix {
            Mix::Renorm => ops::segment_shares(tape, &mixed, offsets),
            Mix::Softmax => {
                let doubled = ops::add(tape, &mixed, &mixed);
                ops::segment_softmax(tape, &doubled, offsets)
            }
        };
        let weights = pass.dropout(&weights, self.config.dropout);
        let z = ops::segment_head_sums(&mut pass.tape, &weights, &values, offsets);
        let z = self.norm.forward(pass, &z);
        let last = ops::columns(&mut pass.tape, &newest, 0, d);
        let both = ops::concat(&mut pass.tape, &[&z, &last]);
        let s = self.session.forward(pass, &both, Activation::None);
        let s = ops::normalize_rows(&mut pass.tape, &s);
        // Biases alone would give a vector.
        let s = ops::zero_where_empty(&mut pass.tape, &s, offsets);
        Ok(meet(pass, s, &r, 16.0))
    }

    fn evidence(&self) -> usize {
        self.width + 1
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, n, d) = (input.target.rows(), input.rows.rows(), self.width);
        let levels = self.levels.len() + usize::from(self.config.target == Target::Query);
        let queries = b * d * d * self.levels.iter().enumerate().map(|(i, _)| i + 1).sum::<usize>();
        let dense = self.query.macs(levels * b) + self.key.macs(n) + self.value.macs(n);
        let ends = self.session.macs(b) + self.target.macs(b) + b * d;
        Ok(Cost::encoder(queries + dense + (levels + 1) * n * d + ends))
    }
}
