//! Expert Choice (Zhou et al., NeurIPS 2022), inside one user's history.
//!
//! S = softmax over experts of W x for each behaviour; each expert takes the c = ceil(n f / E) behaviours of a history with
//! its largest scores (ties: the most recent), weighted by them. No auxiliary loss: the load is equal by construction, and
//! a behaviour can have several experts or none. Departures: the choice is among the behaviours of one history instead of a
//! batch, so that a score does not depend on other samples. It looks at all behaviours of the history, later ones
//! included; for a prediction after the last of them that is no leak.

use mos_core::{
    Builder, Error, Pass, Result,
    layers::Linear,
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Capacity, Decisions, Level, Routing},
};

/// Configuration of [`ExpertChoice`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpertChoiceConfig {
    /// Mean number f of experts of a behaviour (published: 1 to 2).
    pub capacity: f32,
}

impl Default for ExpertChoiceConfig {
    fn default() -> Self {
        Self { capacity: 2.0 }
    }
}

/// Experts that choose their behaviours.
#[derive(Debug)]
pub struct ExpertChoice {
    linear: Linear,
    capacity: Capacity,
}

impl Gate for ExpertChoice {
    type Config = ExpertChoiceConfig;
    const NAME: &'static str = "expert-choice";

    fn new(
        builder: &mut Builder<'_>,
        experts: usize,
        level: Level,
        config: &ExpertChoiceConfig,
    ) -> Result<Self> {
        if level == Level::Sequence {
            let message = "experts choose among behaviours: must be \"token\"";
            return Err(Error::config("expert-choice.level", "sequence", message));
        }
        let most = experts as f32;
        if !(config.capacity > 0.0 && config.capacity <= most) {
            return Err(Error::config(
                "expert-choice.capacity",
                config.capacity,
                "must lie in (0, `experts`]",
            ));
        }
        let input = 2 * builder.width();
        let capacity = Capacity { top_k: 1, experts, factor: config.capacity };
        Ok(Self { linear: Linear::without_bias(builder, input, experts), capacity })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let experts = self.capacity.experts;
        let features = decisions.features(&mut pass.tape);
        let logits = self.linear.forward(pass, &features, Activation::None);
        let weights = ops::softmax_rows(&mut pass.tape, &logits, 1.0);
        let mut chosen = vec![Vec::new(); decisions.count()];
        for group in decisions.groups().ranges() {
            for e in 0..experts {
                let score = |r: &usize| weights.values()[r * experts + e];
                // From the most recent: a stable sort keeps it first among equals.
                let mut order: Vec<usize> = group.clone().rev().collect();
                order.sort_by(|a, b| score(b).total_cmp(&score(a)));
                order.iter().take(self.capacity.of(group.len())).for_each(|r| chosen[*r].push(e));
            }
        }
        Routing { weights, chosen }
    }

    fn macs(&self, decisions: usize) -> usize {
        self.linear.macs(decisions)
    }
}
