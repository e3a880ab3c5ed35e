//! DSelect-k (Hazimeh et al., NeurIPS 2021), the form with a gate for each sample.
//!
//! k selectors, each with log2(E) logits z = W_z x that pass the smooth step (γ = 1) and give expert e the product over the
//! bits of its number; the weight of an expert is Σ_i softmax(W_w x)_i selector_i(e). An expert whose weight is exactly
//! zero is not executed: its gradients are zero too. Regulariser λ Σ_i entropy of selector i. Departures: the entropy is
//! the mean over decisions (published: their sum, so that λ depends on the batch size); W_z and W_w have no bias and start
//! normal with the published spread; E must be a power of two, so that no selector can point at nobody.

use mos_core::{
    Builder, Error, Init, Offsets, Pass, Result, check_sizes, check_weight,
    layers::Linear,
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Decisions, Level, Routing},
};

/// Configuration of [`DSelectK`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct DSelectKConfig {
    /// Selectors k: the most experts that a decision can end with.
    pub selectors: usize,
    /// Weight λ of the entropy.
    pub entropy: f32,
}

impl Default for DSelectKConfig {
    fn default() -> Self {
        Self { selectors: 2, entropy: 1e-6 }
    }
}

/// Differentiable selection of k experts.
#[derive(Debug)]
pub struct DSelectK {
    bits: Linear,
    mixing: Linear,
    experts: usize,
    config: DSelectKConfig,
}

impl Gate for DSelectK {
    type Config = DSelectKConfig;
    const NAME: &'static str = "dselect-k";

    fn new(builder: &mut Builder<'_>, experts: usize, _: Level, config: &DSelectKConfig) -> Result<Self> {
        if experts < 2 || !experts.is_power_of_two() {
            return Err(Error::config("dselect-k.experts", experts, "must be a power of two, at least 2"));
        }
        check_weight("dselect-k.entropy", config.entropy)?;
        check_sizes(Self::NAME, &[("selectors", config.selectors)])?;
        let (input, k, bits) = (2 * builder.width(), config.selectors, experts.ilog2() as usize);
        // Published: uniform in ±γ/100 and ±0.05.
        let spread = |most: f32| Init::Normal(most / 3f32.sqrt());
        Ok(Self {
            bits: Linear::starting_at(&mut builder.at("bits"), input, k * bits, spread(0.01)),
            mixing: Linear::starting_at(&mut builder.at("mixing"), input, k, spread(0.05)),
            experts,
            config: config.clone(),
        })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let (rows, k) = (decisions.count(), self.config.selectors);
        let features = decisions.features(&mut pass.tape);
        let bits = self.bits.forward(pass, &features, Activation::None);
        let mixing = self.mixing.forward(pass, &features, Activation::None);
        let tape = &mut pass.tape;
        let bits = ops::reshape(tape, &bits, rows * k, bits.cols() / k);
        let selectors = ops::smooth_selectors(tape, &bits);
        let mixing = ops::reshape(tape, &mixing, rows * k, 1);
        let of_decision = Offsets::from_lengths(vec![k; rows]);
        let weights = ops::weighted_sum(tape, &mixing, &selectors, &of_decision, true);
        if tape.is_training() {
            let loss = ops::entropy(tape, &selectors);
            pass.add_loss(self.config.entropy * k as f32, loss);
        }
        let open = |row: &[f32]| (0..self.experts).filter(|e| row[*e] != 0.0).collect();
        Routing { chosen: weights.values().chunks(self.experts).map(open).collect(), weights }
    }

    fn macs(&self, decisions: usize) -> usize {
        let sums = decisions * self.config.selectors * self.experts;
        self.bits.macs(decisions) + self.mixing.macs(decisions) + sums
    }
}
