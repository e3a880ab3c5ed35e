//! MiaSRec (Choi et al., SIGIR 2024, arXiv 2405.00986) as a click model: every behaviour is the centre of one candidate
//! intent, a sparse map selects intents, the one nearest to the target speaks.
//!
//! The original ranks all items after a session; this project's form of it for clicks keeps tokens, transformer, highway
//! and selector, and reads: v_i = h_i / |h_i|, best = the selected i with the largest v_i·r (ties: the most recent),
//! o = β v_best + (1 − β) Σ p_i v_i; interest o, further columns o ∗ r and o·r / 0.07, with r = W_r q scaled to length 1.
//! With `target = "query"` the winner is softmax over the selected of v_i·r / 0.07 + ln p_i. Departures: vectors are scaled
//! before they are weighted (the published order cancels p, and the selector learns nothing); 1.5-entmax really selects; max
//! and mean stay inside the selection; the mean token has no count; the selector's half for the mean token is left out, since a
//! constant cancels in entmax; the eps of norms is 1e-5 (published: 1e-12). Only the newest `session` behaviours are read:
//! cost grows with the square.

use mos_core::{
    Builder, Cost, Error, Init, Input, Interest, Mat, Offsets, ParamId, Pass, Result, SequenceEncoder,
    check_rate, check_sizes,
    layers::{LayerNorm, Linear, Transformer, TransformerConfig},
    ops::{self, Activation, Function},
};
use serde::{Deserialize, Serialize};

use super::session::{Target, meet};

/// Temperature of the score.
const TEMPERATURE: f32 = 0.07;

/// Configuration of [`MiaSRec`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MiaSRecConfig {
    /// Newest behaviours that are read (published: 50).
    pub session: usize,
    /// Transformer layers (published: 2).
    pub layers: usize,
    /// Attention heads (published: 2).
    pub heads: usize,
    /// Width of the feed-forward layer (published: 256 for d = 100; 64 for d = 16).
    pub feed_forward: usize,
    /// Share β of the best intent (published: 0.9).
    pub beta: f32,
    /// Where the target comes in.
    pub target: Target,
    /// Dropout (published: 0.1).
    pub dropout: f32,
}

impl Default for MiaSRecConfig {
    fn default() -> Self {
        let (session, layers, heads, feed_forward) = (50, 2, 2, 64);
        Self { session, layers, heads, feed_forward, beta: 0.9, target: Target::Late, dropout: 0.1 }
    }
}

/// Multi-intent-aware session recommender.
#[derive(Debug)]
pub struct MiaSRec {
    positions: ParamId,
    counts: ParamId,
    norm: LayerNorm,
    layers: Vec<Transformer>,
    highway: Linear,
    selector: Linear,
    target: Linear,
    config: MiaSRecConfig,
}

impl MiaSRec {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes of 0, β outside [0, 1], or heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &MiaSRecConfig) -> Result<Self> {
        let &MiaSRecConfig { session, layers, heads, feed_forward, beta, dropout, .. } = config;
        check_sizes("miasrec", &[("session", session), ("layers", layers), ("feed_forward", feed_forward)])?;
        check_rate("miasrec.dropout", dropout)?;
        if !(0.0..=1.0).contains(&beta) {
            return Err(Error::config("miasrec.beta", beta, "must lie in [0, 1]"));
        }
        let width = builder.width();
        let activation = Some(Function::Gelu);
        let of_layer =
            TransformerConfig { field: "miasrec.heads", width, heads, feed_forward, activation, dropout };
        let mut layer = |i: usize| Transformer::new(&mut builder.at(&format!("layer{i}")), &of_layer);
        Ok(Self {
            layers: (1..=layers).map(&mut layer).collect::<Result<_>>()?,
            positions: builder.param("positions", session + 1, width, Init::Normal(0.02)),
            counts: builder.param("counts", 2, width, Init::Normal(0.02)),
            norm: LayerNorm::new(&mut builder.at("norm"), width),
            highway: Linear::new(&mut builder.at("highway"), 2 * width, width),
            selector: Linear::new(&mut builder.at("selector"), width, 1),
            target: Linear::without_bias(&mut builder.at("target"), width, width),
            config: config.clone(),
        })
    }
}

/// Position of each token: 0 for the mean behind the history, else rank from the newest plus 1.
fn positions(offsets: &Offsets) -> Vec<u32> {
    offsets.lengths().flat_map(|n| (0..=n as u32).rev()).collect()
}

/// Of each behaviour 0 if its item stands once in its history, else 1.
fn repeats(input: &Input) -> Vec<u32> {
    let events = &input.events;
    let mut out = Vec::with_capacity(events.items.len());
    for range in events.offsets.ranges() {
        let items = &events.items[range];
        out.extend(items.iter().map(|i| u32::from(items.iter().filter(|j| *j == i).count() > 1)));
    }
    out
}

/// Of each segment the row with the largest score among those with a weight (ties: the most recent behaviour; the mean
/// token, the last row, comes last).
fn best(scores: &[f32], weights: &[f32], tokens: &Offsets) -> Vec<u32> {
    let of = |range: std::ops::Range<usize>| {
        let mean = range.end - 1;
        let order = range.clone().rev().skip(1).chain([mean]).filter(|r| weights[*r] > 0.0);
        order.reduce(|a, b| if scores[b] > scores[a] { b } else { a }).unwrap_or(mean) as u32
    };
    tokens.ranges().map(of).collect()
}

impl SequenceEncoder for MiaSRec {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let input = &input.last(&mut pass.tape, self.config.session);
        let offsets = &input.events.offsets;
        let r = self.target.forward(pass, &input.target, Activation::None);
        let r = ops::normalize_rows(&mut pass.tape, &r);

        let mean = ops::segment_mean(&mut pass.tape, &input.rows, offsets);
        let (x, tokens) = ops::append_rows(&mut pass.tape, &input.rows, &mean, offsets);
        let x = pass.dropout(&x, self.config.dropout);
        let (table, counts) = (pass.param(self.positions), pass.param(self.counts));
        let tape = &mut pass.tape;
        let repeats = ops::gather_rows(tape, &counts, &repeats(input));
        let nothing = Mat::zeros(offsets.segments(), r.cols());
        let (repeats, _) = ops::append_rows(tape, &repeats, &nothing, offsets);
        let places = ops::gather_rows(tape, &table, &positions(offsets));
        let y = ops::add(tape, &x, &places);
        let y = ops::add(tape, &y, &repeats);
        let y = self.norm.forward(pass, &y);
        let mut c = pass.dropout(&y, self.config.dropout);
        for layer in &self.layers {
            c = layer.forward(pass, &c, &tokens);
        }
        let both = ops::concat(&mut pass.tape, &[&x, &c]);
        let gate = self.highway.forward(pass, &both, Activation::None);
        let gate = ops::map(&mut pass.tape, &gate, Function::Sigmoid);
        // g x + (1 − g) c = c + g (x − c)
        let tape = &mut pass.tape;
        let difference = ops::subtract(tape, &x, &c);
        let step = ops::mul(tape, &gate, &difference);
        let h = ops::add(tape, &c, &step);

        let a = self.selector.forward(pass, &h, Activation::None);
        let tape = &mut pass.tape;
        let p = ops::entmax15(tape, &a, &tokens);
        let v = ops::normalize_rows(tape, &h);
        let scores = ops::segment_dots(tape, &r, &v, &tokens, 1);
        let winner = match self.config.target {
            Target::Late => {
                let rows = best(scores.values(), p.values(), &tokens);
                ops::gather_rows(tape, &v, &rows)
            }
            Target::Query => {
                let sharp = Mat::new(scores.rows(), 1, vec![1.0 / TEMPERATURE; scores.rows()]);
                let scores = ops::mul(tape, &scores, &sharp);
                // softmax(s + ln p) = p exp(s) / Σ p exp(s): rows without a weight stay out.
                let soft = ops::segment_softmax(tape, &scores, &tokens);
                let weighted = ops::mul(tape, &soft, &p);
                let weights = ops::segment_shares(tape, &weighted, &tokens);
                ops::weighted_sum(tape, &weights, &v, &tokens, false)
            }
        };
        let average = ops::weighted_sum(tape, &p, &v, &tokens, false);
        // β v_best + (1 − β) average, and nothing where there is no behaviour: the mean token is not one.
        let share = |beta: f32| {
            let values = offsets.lengths().map(|n| if n > 0 { beta } else { 0.0 }).collect();
            Mat::new(offsets.segments(), 1, values)
        };
        let winner = ops::scale_rows(tape, &winner, &share(self.config.beta));
        let average = ops::scale_rows(tape, &average, &share(1.0 - self.config.beta));
        let o = ops::add(tape, &winner, &average);
        Ok(meet(pass, o, &r, 1.0 / TEMPERATURE))
    }

    fn evidence(&self) -> usize {
        self.highway.width() + 1
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, d) = (input.target.rows(), self.highway.width());
        let kept = input.events.offsets.lengths().map(|n| n.min(self.config.session) + 1);
        let tokens = Offsets::from_lengths(kept);
        let n = tokens.rows();
        let layers: usize = self.layers.iter().map(|l| l.macs(&tokens)).sum();
        let sums = if self.config.target == Target::Query { 3 } else { 2 };
        let dense = self.highway.macs(n) + self.selector.macs(n) + self.target.macs(b);
        Ok(Cost::encoder(layers + dense + sums * n * d + b * d))
    }
}
