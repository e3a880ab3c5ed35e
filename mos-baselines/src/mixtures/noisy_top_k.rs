//! Noisy top-k gating (Shazeer et al., ICLR 2017).
//!
//! H = x W_g + N(0, 1) softplus(x W_n), the k largest kept, softmax over them; W_g and W_n start at zero. Losses:
//! w CV²(importance), importance_e = Σ_x G_e(x), and w CV²(load), load_e = Σ_x P(e stays among the k best when its noise is
//! drawn again). Noise in training alone. Departure: both losses are taken over each shard of a batch.

use mos_core::{
    Builder, Init, Mat, Pass, Result, check_weight,
    layers::Linear,
    ops::{self, Activation, Function},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Decisions, Level, Routing, check_top_k, renormalize, top, variation},
};

/// Configuration of [`NoisyTopK`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct NoisyTopKConfig {
    /// Experts executed for each decision.
    pub top_k: usize,
    /// Weight of the importance loss (published: 0.01 to 0.1).
    pub importance: f32,
    /// Weight of the load loss.
    pub load: f32,
}

impl Default for NoisyTopKConfig {
    fn default() -> Self {
        Self { top_k: 2, importance: 0.01, load: 0.01 }
    }
}

/// Top-k gate with learned noise.
#[derive(Debug)]
pub struct NoisyTopK {
    clean: Linear,
    noise: Linear,
    experts: usize,
    config: NoisyTopKConfig,
}

impl Gate for NoisyTopK {
    type Config = NoisyTopKConfig;
    const NAME: &'static str = "noisy-top-k";

    fn new(builder: &mut Builder<'_>, experts: usize, _: Level, config: &NoisyTopKConfig) -> Result<Self> {
        check_top_k(Self::NAME, config.top_k, experts)?;
        check_weight("noisy-top-k.importance", config.importance)?;
        check_weight("noisy-top-k.load", config.load)?;
        let input = 2 * builder.width();
        let mut zeros = |name: &str| Linear::starting_at(&mut builder.at(name), input, experts, Init::Zeros);
        Ok(Self { clean: zeros("clean"), noise: zeros("noise"), experts, config: config.clone() })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let (rows, k) = (decisions.count(), self.config.top_k);
        let features = decisions.features(&mut pass.tape);
        let clean = self.clean.forward(pass, &features, Activation::None);
        if !pass.is_step() || rows == 0 {
            let gates = ops::softmax_rows(&mut pass.tape, &clean, 1.0);
            let chosen = top(clean.values(), self.experts, k);
            return Routing { weights: renormalize(&mut pass.tape, &gates, &chosen), chosen };
        }
        let spread = self.noise.forward(pass, &features, Activation::None);
        let draws = Init::Normal(1.0).values(rows, self.experts, &mut pass.rng);
        let tape = &mut pass.tape;
        let spread = ops::map(tape, &spread, Function::Softplus);
        let noise = ops::mul(tape, &spread, &Mat::new(rows, self.experts, draws));
        let noisy = ops::add(tape, &clean, &noise);
        let chosen = top(noisy.values(), self.experts, k);
        let gates = ops::softmax_rows(tape, &noisy, 1.0);
        let weights = renormalize(tape, &gates, &chosen);
        let importance = variation(tape, &weights);
        let load = ops::top_k_probability(tape, &clean, &noisy, &spread, k);
        let load = variation(tape, &load);
        pass.add_loss(self.config.importance, importance);
        pass.add_loss(self.config.load, load);
        Routing { weights, chosen }
    }

    /// Scoring needs no noise.
    fn macs(&self, decisions: usize) -> usize {
        self.clean.macs(decisions)
    }
}
