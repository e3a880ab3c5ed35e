//! GShard (Lepikhin et al., ICLR 2021).
//!
//! gate = softmax(W x + b), the `top_k` largest renormalised; balance loss E Σ_e f_e P_e with f_e the share of decisions
//! whose first choice is e and P_e the mean gate. An expert serves at most C = ceil(top_k n / E · `capacity`) decisions of
//! a group; what overflows skips that expert, and its weight is lost. Departures: no random second expert, so that scores
//! are determined; the balance loss has the scale of Switch (GShard's own is 1/E of the sum) and is taken over each shard of
//! a batch; a group is one history, served from the most recent behaviour (GShard: from the first position), or at sequence
//! level the shard, in training alone.

use mos_core::{
    Builder, Pass, Result, check_weight,
    layers::Linear,
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Capacity, Decisions, Level, Routing, balance, renormalize, top},
};

/// Configuration of [`GShard`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GShardConfig {
    /// Experts executed for each decision (published: 2).
    pub top_k: usize,
    /// Weight of the balance loss.
    pub balance: f32,
    /// Capacity factor; 0 = no limit.
    pub capacity: f32,
}

impl Default for GShardConfig {
    fn default() -> Self {
        Self { top_k: 4, balance: 0.01, capacity: 0.0 }
    }
}

/// Top-k gate with capacity.
#[derive(Debug)]
pub struct GShard {
    linear: Linear,
    capacity: Capacity,
    balance: f32,
}

impl Gate for GShard {
    type Config = GShardConfig;
    const NAME: &'static str = "gshard";

    fn new(builder: &mut Builder<'_>, experts: usize, _: Level, config: &GShardConfig) -> Result<Self> {
        let &GShardConfig { top_k, balance, capacity: factor } = config;
        let capacity = Capacity { top_k, experts, factor }.check(Self::NAME)?;
        check_weight("gshard.balance", balance)?;
        let input = 2 * builder.width();
        Ok(Self { linear: Linear::new(builder, input, experts), capacity, balance })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let features = decisions.features(&mut pass.tape);
        let logits = self.linear.forward(pass, &features, Activation::None);
        let gates = ops::softmax_rows(&mut pass.tape, &logits, 1.0);
        let chosen = top(gates.values(), self.capacity.experts, self.capacity.top_k);
        if pass.is_training() && self.balance > 0.0 {
            let loss = balance(&mut pass.tape, &gates, &chosen);
            pass.add_loss(self.balance, loss);
        }
        // All of a softmax sum to one as they are.
        let all = self.capacity.top_k == self.capacity.experts;
        let weights = if all { gates } else { renormalize(&mut pass.tape, &gates, &chosen) };
        Routing { weights, chosen: decisions.limit(pass, chosen, self.capacity) }
    }

    fn macs(&self, decisions: usize) -> usize {
        self.linear.macs(decisions)
    }
}
