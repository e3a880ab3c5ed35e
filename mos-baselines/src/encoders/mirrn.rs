//! MIRRN (arXiv 2411.15005): three hash searches of different granularity, each refined by a Fourier layer, weighed by
//! target attention.
//!
//! Queries are the target, the mean of the newest `local` behaviours and the mean of all; each finds its `top_k` by the
//! Hamming distance of SimHash codes (ties: the most recent), kept in time order. A subsequence X gets positions counted
//! from the newest, 0.02 P; Z = LN(irfft(W · rfft(X)) + X) along time with W one complex number per channel (what the
//! published code computes; the paper's blocks are not offered); its mean is one of three keys and values of multi-head
//! target attention. No FFT is needed: W's real part scales X, its imaginary part scales T X with the fixed Hilbert matrix
//! T. Departures: one hash matrix, drawn once and saved (the published code draws it at every call); empty slots stay out of
//! layer, norm and mean; positions beyond the table share its last row; the norm's eps is 1e-5 (published: 1e-12).

use mos_core::{
    Builder, Cost, Error, Init, Input, Interest, Mat, Offsets, ParamId, Pass, Result, SequenceEncoder,
    check_rate, check_sizes,
    engine::BufferId,
    layers::{LayerNorm, TargetAttention},
    ops,
};
use serde::{Deserialize, Serialize};

use super::short_term::ShortTerm;

/// Configuration of [`Mirrn`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MirrnConfig {
    /// Bits of a code (published: 32).
    pub bits: usize,
    /// Behaviours of each subsequence (LongCTR: 50).
    pub top_k: usize,
    /// Newest behaviours of the local query (published: 16).
    pub local: usize,
    /// Rows of the position table (published: 301).
    pub positions: usize,
    /// Heads of the attention over the three results (LongCTR: 1).
    pub heads: usize,
    /// Width of the attention; 0 = that of the items.
    pub attention: usize,
    /// Dropout behind the Fourier product (published: 0.1).
    pub dropout: f32,
    /// Behaviours of a short part of its own (LongCTR: 50). None by default: mixtures bring one.
    pub short: usize,
}

impl Default for MirrnConfig {
    fn default() -> Self {
        Self {
            bits: 32,
            top_k: 50,
            local: 16,
            positions: 301,
            heads: 1,
            attention: 0,
            dropout: 0.1,
            short: 0,
        }
    }
}

/// Multi-granularity interest retrieval and refinement network.
#[derive(Debug)]
pub struct Mirrn {
    projections: BufferId,
    positions: ParamId,
    branches: [Branch; 3],
    attention: TargetAttention,
    short: ShortTerm,
    width: usize,
    config: MirrnConfig,
}

#[derive(Debug)]
struct Branch {
    real: ParamId,
    imaginary: ParamId,
    norm: LayerNorm,
}

impl Mirrn {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes of 0, codes beyond 64 bits, or heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &MirrnConfig) -> Result<Self> {
        let &MirrnConfig { bits, top_k, local, positions, heads, attention, short, .. } = config;
        check_sizes("mirrn", &[("top_k", top_k), ("local", local), ("positions", positions)])?;
        check_rate("mirrn.dropout", config.dropout)?;
        if !(1..=64).contains(&bits) {
            return Err(Error::config("mirrn.bits", bits, "must lie between 1 and 64"));
        }
        let width = builder.width();
        let mut branch = |name: &str| {
            let mut at = builder.at(name);
            Branch {
                real: at.param("real", 1, width, Init::Normal(0.02)),
                imaginary: at.param("imaginary", 1, width, Init::Normal(0.02)),
                norm: LayerNorm::new(&mut at.at("norm"), width),
            }
        };
        let branches = ["target", "local", "global"].map(&mut branch);
        Ok(Self {
            projections: builder.buffer("projections", width, bits, Init::Normal(1.0)),
            positions: builder.param("positions", positions, width, Init::Normal(1.0)),
            branches,
            attention: TargetAttention::new(builder, "mirrn.heads", heads, attention)?,
            short: ShortTerm::new(builder, "mirrn.heads", heads, attention, short)?,
            width,
            config: config.clone(),
        })
    }

    /// Each found row's vector with its position, counted from the newest of the whole history.
    fn placed(&self, pass: &mut Pass<'_>, input: &Input, rows: &[u32], found: &Offsets) -> Mat {
        let newest = input.events.offsets.ranges().map(|r| r.end);
        let ends = found.lengths().zip(newest).flat_map(|(n, end)| std::iter::repeat_n(end, n));
        let ranks: Vec<u32> = rows
            .iter()
            .zip(ends)
            .map(|(r, end)| (end as u32 - r).min(self.config.positions as u32) - 1)
            .collect();
        let table = pass.param(self.positions);
        let tape = &mut pass.tape;
        let positions = ops::gather_rows(tape, &table, &ranks);
        let small = Mat::new(ranks.len(), 1, vec![0.02; ranks.len()]);
        let positions = ops::scale_rows(tape, &positions, &small);
        let vectors = ops::gather_rows(tape, &input.rows, rows);
        ops::add(tape, &vectors, &positions)
    }
}

impl Branch {
    fn refine(&self, pass: &mut Pass<'_>, x: &Mat, offsets: &Offsets, dropout: f32) -> Mat {
        let (real, imaginary) = (pass.param(self.real), pass.param(self.imaginary));
        let tape = &mut pass.tape;
        let still = ops::scale_columns(tape, x, &real);
        let mixed = ops::hilbert(tape, x, offsets);
        let mixed = ops::scale_columns(tape, &mixed, &imaginary);
        let product = ops::add(tape, &still, &mixed);
        let product = pass.dropout(&product, dropout);
        let sum = ops::add(&mut pass.tape, &product, x);
        let z = self.norm.forward(pass, &sum);
        ops::segment_mean(&mut pass.tape, &z, offsets)
    }
}

impl SequenceEncoder for Mirrn {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let projections = pass.buffer(self.projections);
        let words = |m: &Mat| ops::hash_words(m.values(), self.width, &projections, self.config.bits);
        let offsets = &input.events.offsets;
        // The choice has no gradient: queries are values, not part of the tape.
        let mut untaped = mos_core::Tape::scoring();
        let (local_rows, local) = input.events.last_rows(self.config.local);
        let last = ops::gather_rows(&mut untaped, &input.rows, &local_rows);
        let queries = [
            input.target.clone(),
            ops::segment_mean(&mut untaped, &last, &local),
            ops::segment_mean(&mut untaped, &input.rows, offsets),
        ];
        let history = words(&input.rows);
        let mut results = Vec::with_capacity(3);
        for (branch, query) in self.branches.iter().zip(&queries) {
            let (rows, found) = ops::nearest_words(&words(query), &history, offsets, self.config.top_k);
            let x = self.placed(pass, input, &rows, &found);
            results.push(branch.refine(pass, &x, &found, self.config.dropout));
        }
        let b = input.target.rows();
        let side_by_side = ops::concat(&mut pass.tape, &results.iter().collect::<Vec<_>>());
        let results = ops::reshape(&mut pass.tape, &side_by_side, 3 * b, self.width);
        let threes = Offsets::from_lengths(vec![3; b]);
        let long = self.attention.forward(pass, &input.target, &results, &threes, None);
        Ok(self.short.beside(pass, input, long))
    }

    fn vectors(&self) -> usize {
        self.short.vectors()
    }

    fn wants_positions(&self) -> bool {
        false
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, n, d) = (input.target.rows(), input.rows.rows(), self.width);
        let found = input.events.offsets.lengths().map(|n| n.min(self.config.top_k));
        let refined: usize = found.map(|k| 3 * (k * k * d + 2 * k * d)).sum();
        let attention = self.attention.cost(&Offsets::from_lengths(vec![3; b]), None);
        let hashes = (n + 3 * b) * d * self.config.bits;
        Ok(Cost::encoder(hashes + refined) + attention + self.short.cost(input))
    }
}
