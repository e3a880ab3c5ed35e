//! ETA (Chen et al. 2021, arXiv 2108.04468; as LongCTR runs it): behaviours are found by the Hamming distance of SimHash
//! codes and read by multi-head target attention.
//!
//! Code bit = 1[x · r > 0] with r from one random matrix that is drawn once and saved with the weights. (LongCTR draws a
//! fresh one at every call, evaluation included, so that its scores are not repeatable.) Ties go to the most recent. No
//! gradient passes the choice; the full one reaches the chosen behaviours.

use mos_core::{
    Builder, Cost, Error, Init, Input, Interest, Offsets, Pass, Result, SequenceEncoder, Spans, check_sizes,
    engine::BufferId, layers::TargetAttention, ops,
};
use serde::{Deserialize, Serialize};

use super::short_term::ShortTerm;

/// Configuration of [`Eta`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtaConfig {
    /// Bits of a code (published: 32).
    pub bits: usize,
    /// Behaviours that are read (published: 50).
    pub top_k: usize,
    /// Heads of the attention (2 for d = 16).
    pub heads: usize,
    /// Width of the attention; 0 = that of the items.
    pub attention: usize,
    /// Behaviours of a short part of its own (LongCTR: 50). None by default: mixtures bring one.
    pub short: usize,
}

impl Default for EtaConfig {
    fn default() -> Self {
        Self { bits: 32, top_k: 50, heads: 2, attention: 0, short: 0 }
    }
}

/// End-to-end target attention.
#[derive(Debug)]
pub struct Eta {
    projections: BufferId,
    attention: TargetAttention,
    short: ShortTerm,
    width: usize,
    bits: usize,
    top_k: usize,
}

impl Eta {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] for codes beyond 64 bits, a search for nothing, or heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &EtaConfig) -> Result<Self> {
        let &EtaConfig { bits, top_k, heads, attention, short } = config;
        check_sizes("eta", &[("top_k", top_k)])?;
        if !(1..=64).contains(&bits) {
            return Err(Error::config("eta.bits", bits, "must lie between 1 and 64"));
        }
        let width = builder.width();
        Ok(Self {
            projections: builder.buffer("projections", width, bits, Init::Normal(1.0)),
            attention: TargetAttention::new(builder, "eta.heads", heads, attention)?,
            short: ShortTerm::new(builder, "eta.heads", heads, attention, short)?,
            width,
            bits,
            top_k,
        })
    }

    fn kept(&self, spans: &Spans) -> Offsets {
        Offsets::from_lengths(spans.lengths().map(|n| n.min(self.top_k)))
    }
}

impl SequenceEncoder for Eta {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let projections = pass.buffer(self.projections);
        let words = |m: &mos_core::Mat| ops::hash_words(m.values(), self.width, &projections, self.bits);
        let (wanted, words) = (words(&input.target), words(&input.rows));
        let (rows, offsets) = ops::nearest_words(&wanted, &words, input.events.spans(), self.top_k);
        let found = ops::gather_rows(&mut pass.tape, &input.rows, &rows);
        let long = self.attention.forward(pass, &input.target, &found, &offsets, None);
        Ok(self.short.beside(pass, input, long))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn vectors(&self) -> usize {
        self.short.vectors()
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, n) = (input.target.rows(), input.rows.rows());
        let found = self.attention.cost(&self.kept(&input.events.spans()), None);
        Ok(Cost::encoder((b + n) * self.width * self.bits) + found + self.short.cost(input))
    }
}
