//! DeepSeekMoE with the gate of DeepSeek-V3 (arXiv 2401.06066, 2412.19437).
//!
//! Shared experts always run; of the routed ones, with affinities s_e = sigmoid(x · w_e), the `top_k` by s_e + b_e,
//! weighted by s_e / Σ of the chosen s, without b. After each step b_e rises by `rate` where expert e had less than the
//! mean load, and falls where it had more; it gets no gradient. Balance loss of each group, weighted `balance`:
//! Σ_e f_e P_e, f_e = E / (k n) times how often e is among the k largest s, P_e the mean of s_e / Σ s. Output: shared +
//! routed. Departures: experts are whole encoders and are not cut into smaller ones; a group is one history, or at sequence
//! level a shard; at token level the shared experts read the whole history.

use mos_core::{
    Builder, Error, Init, Mat, Params, Pass, Result, StateUpdate, check_weight,
    engine::BufferId,
    layers::Linear,
    ops::{self, Activation, Function},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Decisions, Level, Routing, check_top_k, renormalize, top, total},
};

/// Configuration of [`DeepSeek`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct DeepSeekConfig {
    /// Experts that always run.
    pub shared: usize,
    /// Routed experts executed for each decision.
    pub top_k: usize,
    /// Step of the bias.
    pub rate: f32,
    /// Weight of the balance loss.
    pub balance: f32,
}

impl Default for DeepSeekConfig {
    fn default() -> Self {
        Self { shared: 1, top_k: 2, rate: 0.001, balance: 1e-4 }
    }
}

/// Sigmoid gate balanced by a bias on the choice.
#[derive(Debug)]
pub struct DeepSeek {
    linear: Linear,
    bias: BufferId,
    experts: usize,
    config: DeepSeekConfig,
}

impl Gate for DeepSeek {
    type Config = DeepSeekConfig;
    const NAME: &'static str = "deepseek";

    fn new(builder: &mut Builder<'_>, experts: usize, _: Level, config: &DeepSeekConfig) -> Result<Self> {
        check_top_k(Self::NAME, config.top_k, experts)?;
        check_weight("deepseek.balance", config.balance)?;
        if !(config.rate >= 0.0 && config.rate.is_finite()) {
            return Err(Error::config("deepseek.rate", config.rate, "must be 0 or more"));
        }
        let input = 2 * builder.width();
        let linear = Linear::without_bias(builder, input, experts);
        let bias = builder.buffer("bias", experts, 1, Init::Zeros);
        Ok(Self { linear, bias, experts, config: config.clone() })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let (experts, k) = (self.experts, self.config.top_k);
        let features = decisions.features(&mut pass.tape);
        let logits = self.linear.forward(pass, &features, Activation::None);
        let affinity = ops::map(&mut pass.tape, &logits, Function::Sigmoid);
        let bias = pass.buffer(self.bias);
        let biased: Vec<f32> =
            affinity.values().iter().zip(bias.iter().cycle()).map(|(s, b)| s + b).collect();
        let chosen = top(&biased, experts, k);
        if pass.is_training() {
            let mut load = vec![0.0; experts];
            chosen.iter().flatten().for_each(|e| load[*e] += 1.0);
            pass.record_update(self.bias, load);
            let loss = self.balance(pass, decisions, &affinity);
            pass.add_loss(self.config.balance, loss);
        }
        Routing { weights: renormalize(&mut pass.tape, &affinity, &chosen), chosen }
    }

    fn macs(&self, decisions: usize) -> usize {
        self.linear.macs(decisions)
    }

    fn shared(config: &DeepSeekConfig) -> usize {
        config.shared
    }

    fn after_step(&self, params: &mut Params, updates: &[StateUpdate]) {
        let mut load = vec![0.0; self.experts];
        for update in updates.iter().filter(|u| u.buffer == self.bias) {
            load.iter_mut().zip(&update.values).for_each(|(l, n)| *l += n);
        }
        let mean = load.iter().sum::<f32>() / self.experts as f32;
        let moved = |(b, load): (&f32, f32)| match load {
            _ if load < mean => b + self.config.rate,
            _ if load > mean => b - self.config.rate,
            _ => *b,
        };
        let bias = params.buffer(self.bias).iter().zip(load).map(moved).collect();
        params.set_buffer(self.bias, bias);
    }
}

impl DeepSeek {
    /// Mean over groups of Σ_e f_e P_e.
    pub(super) fn balance(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>, affinity: &Mat) -> Mat {
        let (experts, k) = (self.experts, self.config.top_k);
        let chosen = top(affinity.values(), experts, k);
        let groups: Vec<_> = decisions.groups().ranges().filter(|g| !g.is_empty()).collect();
        let mut by = vec![0.0; decisions.count() * experts];
        for group in &groups {
            let mut share = vec![0.0; experts];
            // f_e and the mean of P_e, over the mean of groups.
            let each = experts as f32 / (k * group.len() * group.len() * groups.len()) as f32;
            chosen[group.clone()].iter().flatten().for_each(|e| share[*e] += each);
            group.clone().for_each(|r| by[r * experts..][..experts].copy_from_slice(&share));
        }
        let shares = ops::renormalize_rows(&mut pass.tape, affinity);
        let by = Mat::new(decisions.count(), experts, by);
        let weighted = ops::mul(&mut pass.tape, &shares, &by);
        total(&mut pass.tape, &weighted, vec![1.0; experts])
    }
}
