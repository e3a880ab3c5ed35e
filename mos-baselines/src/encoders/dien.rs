//! DIEN (Zhou et al., AAAI 2019): a GRU extracts interests, a second one whose update gate the target scales evolves them.
//!
//! g_t from a GRU over the history; a_t = softmax_t(g_tᵀ W q); AUGRU: the update gate is a_t u_t; interest = its last state.
//! `auxiliary` weighs the published loss on g_t: cross-entropy of g_t · h_(t+1) against a behaviour drawn from the batch
//! (published: 1; LongCTR: 0, the default here, which follows it). Departures: no bias inside the recurrent product;
//! the reset gate acts behind it, as in cuDNN.

use mos_core::{
    Builder, Cost, Init, Input, Interest, Mat, ParamId, Pass, Result, SequenceEncoder, check_weight,
    layers::Linear,
    ops::{self, Activation},
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// Configuration of [`Dien`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DienConfig {
    /// Weight of the next-behaviour loss.
    pub auxiliary: f32,
}

/// Deep interest evolution network.
#[derive(Debug)]
pub struct Dien {
    extract: Gru,
    attention: ParamId,
    evolve: Gru,
    width: usize,
    auxiliary: f32,
}

#[derive(Debug)]
struct Gru {
    gates: Linear,
    recurrent: ParamId,
}

impl Gru {
    fn new(builder: &mut Builder<'_>) -> Self {
        let width = builder.width();
        Self {
            gates: Linear::new(&mut builder.at("gates"), width, 3 * width),
            recurrent: builder.param("recurrent", width, 3 * width, Init::XavierNormal),
        }
    }

    fn forward(&self, pass: &mut Pass<'_>, rows: &Mat, attention: Option<&Mat>, input: &Input) -> Mat {
        let gates = self.gates.forward(pass, rows, Activation::None);
        let recurrent = pass.param(self.recurrent);
        ops::gru(&mut pass.tape, &gates, &recurrent, attention, &input.events.offsets)
    }
}

impl Dien {
    /// Builds it.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] for a negative weight.
    pub fn new(builder: &mut Builder<'_>, config: &DienConfig) -> Result<Self> {
        let auxiliary = config.auxiliary;
        check_weight("dien.auxiliary", auxiliary)?;
        let width = builder.width();
        Ok(Self {
            extract: Gru::new(&mut builder.at("extract")),
            // W transposed: it maps the target.
            attention: builder.param("attention", width, width, Init::XavierNormal),
            evolve: Gru::new(&mut builder.at("evolve")),
            width,
            auxiliary,
        })
    }

    /// Each state should know the next behaviour from one drawn from the shard (sometimes, by chance, from its own history).
    fn next_behaviour(&self, pass: &mut Pass<'_>, input: &Input, states: &Mat) {
        let offsets = &input.events.offsets;
        let now: Vec<u32> =
            offsets.ranges().flat_map(|r| r.start..r.end.max(r.start + 1) - 1).map(|r| r as u32).collect();
        if now.is_empty() {
            return;
        }
        let next: Vec<u32> = now.iter().map(|r| r + 1).collect();
        let other: Vec<u32> = now.iter().map(|_| pass.rng.random_range(0..offsets.rows() as u32)).collect();
        let tape = &mut pass.tape;
        let states = ops::gather_rows(tape, states, &now);
        let losses = [(next, 1.0), (other, 0.0)].map(|(rows, label)| {
            let behaviours = ops::gather_rows(tape, &input.rows, &rows);
            let logits = ops::row_dots(tape, &states, &behaviours, 1.0);
            ops::bce_with_logits(tape, &logits, &vec![label; now.len()])
        });
        let loss = ops::sum_scalars(tape, &[(&losses[0], 0.5), (&losses[1], 0.5)]);
        pass.add_loss(self.auxiliary, loss);
    }
}

impl SequenceEncoder for Dien {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let offsets = &input.events.offsets;
        let states = self.extract.forward(pass, &input.rows, None, input);
        if pass.is_training() && self.auxiliary > 0.0 {
            self.next_behaviour(pass, input, &states);
        }
        let attention = pass.param(self.attention);
        let tape = &mut pass.tape;
        let query = ops::linear(tape, &input.target, &attention, None, Activation::None);
        let scores = ops::segment_dots(tape, &query, &states, offsets, 1);
        let weights = ops::segment_softmax(tape, &scores, offsets);
        let evolved = self.evolve.forward(pass, &states, Some(&weights), input);
        Ok(Interest::one(ops::last_rows(&mut pass.tape, &evolved, offsets)))
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn compares_samples(&self) -> bool {
        // Wrong next behaviours come from other histories of the shard.
        self.auxiliary > 0.0
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, n, d) = (input.target.rows(), input.rows.rows(), self.width);
        Ok(Cost::encoder(2 * (self.extract.gates.macs(n) + 3 * n * d * d) + b * d * d + n * d))
    }
}
