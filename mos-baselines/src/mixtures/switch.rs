//! Switch (Fedus et al., JMLR 2022).
//!
//! p = softmax(W x + b); the best expert alone, y = p_1 f_1(x), so that the gate learns through its probability; balance
//! loss E Σ_e f_e P_e; an optional z-loss, mean (log Σ exp logit)² (ST-MoE; Zoph et al. 2022). An expert serves at most
//! C = ceil(n / E · `capacity`) decisions of a group. Departures: groups and their order as for GShard; no residual, so
//! what overflows is read by no expert (but by the short branch); no noise on the gate's input.

use mos_core::{
    Builder, Pass, Result, check_weight,
    layers::Linear,
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Capacity, Decisions, Level, Routing, balance, top},
};

/// Configuration of [`Switch`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SwitchConfig {
    /// Weight α of the balance loss.
    pub balance: f32,
    /// Weight of the z-loss (published, where it is used: 0.001).
    pub z_loss: f32,
    /// Capacity factor (published: 1 to 1.5); 0 = no limit.
    pub capacity: f32,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self { balance: 0.01, z_loss: 0.0, capacity: 0.0 }
    }
}

/// Top-1 gate whose probability scales the output.
#[derive(Debug)]
pub struct Switch {
    linear: Linear,
    capacity: Capacity,
    config: SwitchConfig,
}

impl Gate for Switch {
    type Config = SwitchConfig;
    const NAME: &'static str = "switch";

    fn new(builder: &mut Builder<'_>, experts: usize, _: Level, config: &SwitchConfig) -> Result<Self> {
        let capacity = Capacity { top_k: 1, experts, factor: config.capacity }.check(Self::NAME)?;
        check_weight("switch.balance", config.balance)?;
        check_weight("switch.z_loss", config.z_loss)?;
        let input = 2 * builder.width();
        Ok(Self { linear: Linear::new(builder, input, experts), capacity, config: config.clone() })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let features = decisions.features(&mut pass.tape);
        let logits = self.linear.forward(pass, &features, Activation::None);
        let weights = ops::softmax_rows(&mut pass.tape, &logits, 1.0);
        let chosen = top(weights.values(), self.capacity.experts, 1);
        if pass.is_training() {
            let loss = balance(&mut pass.tape, &weights, &chosen);
            pass.add_loss(self.config.balance, loss);
            let loss = ops::square_logsumexp(&mut pass.tape, &logits);
            pass.add_loss(self.config.z_loss, loss);
        }
        Routing { weights, chosen: decisions.limit(pass, chosen, self.capacity) }
    }

    fn macs(&self, decisions: usize) -> usize {
        self.linear.macs(decisions)
    }
}
