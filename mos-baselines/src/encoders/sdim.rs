//! SDIM (Cao et al., CIKM 2022, arXiv 2205.10249): attention approximated by hash collisions.
//!
//! For each of m SimHash functions of τ bits the behaviours that share the target's code are summed and scaled to length
//! 1; the interest is the mean over hashes, through W_o. The hash matrix is drawn once and saved with the weights
//! (LongCTR redraws it at every call, so its scores are not repeatable). Departure: W_o is this project's.

use mos_core::{
    Builder, Cost, Error, Init, Input, Interest, ParamId, Pass, Result, SequenceEncoder, engine::BufferId,
    ops, ops::Activation,
};
use serde::{Deserialize, Serialize};

use super::short_term::ShortTerm;

/// Configuration of [`Sdim`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SdimConfig {
    /// Hash functions m (published: 48).
    pub hashes: usize,
    /// Bits of a code τ (published: 3).
    pub bits: usize,
    /// Behaviours of a short part of its own, by target attention (LongCTR: 50). None by default: mixtures bring one.
    pub short: usize,
    /// Heads of the short part's attention (2 for d = 16).
    pub heads: usize,
    /// Width of the short part's attention; 0 = that of the items.
    pub attention: usize,
}

impl Default for SdimConfig {
    fn default() -> Self {
        Self { hashes: 12, bits: 3, short: 0, heads: 2, attention: 0 }
    }
}

/// Sampling-based deep interest modelling.
#[derive(Debug)]
pub struct Sdim {
    projections: BufferId,
    out: ParamId,
    short: ShortTerm,
    width: usize,
    config: SdimConfig,
}

impl Sdim {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] for no hash or codes beyond 64 bits.
    pub fn new(builder: &mut Builder<'_>, config: &SdimConfig) -> Result<Self> {
        if config.hashes == 0 || !(1..=64).contains(&config.bits) {
            let value = format!("{} hashes x {} bits", config.hashes, config.bits);
            return Err(Error::config("sdim", value, "at least one hash, 1 to 64 bits"));
        }
        let width = builder.width();
        Ok(Self {
            projections: builder.buffer("projections", width, config.hashes * config.bits, Init::Normal(1.0)),
            out: builder.param("out", width, width, Init::XavierNormal),
            short: ShortTerm::new(builder, "sdim.heads", config.heads, config.attention, config.short)?,
            width,
            config: config.clone(),
        })
    }
}

impl SequenceEncoder for Sdim {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (projections, out) = (pass.buffer(self.projections), pass.param(self.out));
        let SdimConfig { hashes, bits, .. } = self.config;
        let spans = &input.events.spans();
        let pooled =
            ops::hash_pool(&mut pass.tape, &input.target, &input.rows, spans, &projections, hashes, bits);
        let long = ops::linear(&mut pass.tape, &pooled, &out, None, Activation::None);
        Ok(self.short.beside(pass, input, long))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn vectors(&self) -> usize {
        self.short.vectors()
    }

    fn cost(&self, _pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (b, n, d) = (input.target.rows(), input.rows.rows(), self.width);
        let long = Cost::encoder((n + b) * d * self.config.hashes * self.config.bits + b * d * d);
        Ok(long + self.short.cost(input))
    }
}
