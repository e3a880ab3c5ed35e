//! Random routing (control): experts by a seeded hash, with nothing to learn. What a gate gains over it is not the number of
//! experts. At sequence level the hash is that of the target and the history's items, at token level that of the
//! behaviour's item and its position from the end, so that a score is the same whenever it is computed.

use mos_core::{Builder, Mat, Pass, Result, engine::BufferId};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Decisions, Level, Routing, check_top_k},
};

/// Configuration of [`RandomRouting`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomRoutingConfig {
    /// Experts executed for each decision, weighted alike.
    pub top_k: usize,
}

impl Default for RandomRoutingConfig {
    fn default() -> Self {
        Self { top_k: 1 }
    }
}

/// Hash in place of a gate.
#[derive(Debug)]
pub struct RandomRouting {
    /// The seed in four numbers of 16 bits, lowest first, so that a checkpoint holds it exactly.
    seed: BufferId,
    experts: usize,
    top_k: usize,
}

impl Gate for RandomRouting {
    type Config = RandomRoutingConfig;
    const NAME: &'static str = "random-routing";

    fn new(
        builder: &mut Builder<'_>,
        experts: usize,
        _: Level,
        config: &RandomRoutingConfig,
    ) -> Result<Self> {
        check_top_k(Self::NAME, config.top_k, experts)?;
        let seed = (0..4).map(|i| f32::from((builder.seed() >> (16 * i)) as u16)).collect();
        Ok(Self { seed: builder.buffer_of("seed", 1, seed), experts, top_k: config.top_k })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let events = &decisions.input.events;
        let seed = pass.buffer(self.seed).iter().rev().fold(0, |seed, part| seed << 16 | *part as u64);
        let item = |i: &u32| u64::from(pass.index.items[*i as usize]);
        let mut keys = Vec::with_capacity(decisions.count());
        for (target, range) in events.targets.iter().zip(events.spans().ranges()) {
            let items = events.items[range.clone()].iter().map(item);
            match decisions.level {
                Level::Sequence => keys.push(items.fold(hash(seed, item(target)), hash)),
                Level::Token => {
                    let positions = (0..range.len() as u64).rev();
                    keys.extend(items.zip(positions).map(|(i, p)| hash(hash(seed, i), p)));
                }
            }
        }
        let pick = |key: &u64| {
            let mut order: Vec<usize> = (0..self.experts).collect();
            order.sort_by_key(|e| hash(*key, *e as u64));
            order.truncate(self.top_k);
            order
        };
        let (rows, experts) = (keys.len(), self.experts);
        let weights = Mat::new(rows, experts, vec![1.0 / self.top_k as f32; rows * experts]);
        Routing { weights, chosen: keys.iter().map(pick).collect() }
    }

    fn compares_samples(&self) -> bool {
        false
    }

    fn macs(&self, _decisions: usize) -> usize {
        0
    }
}

/// One step of SplitMix64 (Steele et al. 2014) on `state ^ value`.
fn hash(state: u64, value: u64) -> u64 {
    let z = (state ^ value).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
