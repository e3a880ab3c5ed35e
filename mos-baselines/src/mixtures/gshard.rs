//! GShard (Lepikhin et al., ICLR 2021) at sequence level: experts are whole sequence encoders, a gate on the target and
//! the mean of the history picks `top_k` of them for each sample.
//!
//! gate = softmax(W [q; mean h] + b), the chosen weights renormalised; balance loss E Σ_e f_e P_e with f_e the share of
//! samples whose first choice is e and P_e the mean gate. Departures: no capacity and no random second expert, so that a
//! score never depends on the batch; the balance loss has the scale of Switch (E Σ f P; GShard's own is 1/E of the sum), and
//! is taken over each shard of a batch. Only chosen experts are executed.

use mos_core::{
    Builder, Cost, Error, Input, Interest, Mat, Part, Pass, Result, SequenceEncoder, cost, layers::Linear,
    ops, ops::Activation,
};
use serde::{Deserialize, Serialize};

use super::{Expert, scales::Short};

/// Configuration of [`GShard`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GShardConfig {
    /// Number of experts E.
    pub experts: usize,
    /// Experts executed for each sample (published: 2).
    pub top_k: usize,
    /// Weight of the balance loss.
    pub balance: f32,
    /// Behaviours of the short branch that MoS has too; 0 = none.
    pub short: usize,
}

impl Default for GShardConfig {
    fn default() -> Self {
        Self { experts: 4, top_k: 4, balance: 0.01, short: 20 }
    }
}

/// Sequence-level sparse mixture.
#[derive(Debug)]
pub struct GShard {
    gate: Linear,
    experts: Vec<Box<dyn SequenceEncoder>>,
    short: Option<Short>,
    width: usize,
    config: GShardConfig,
}

impl GShard {
    /// Builds gate and experts.
    ///
    /// # Errors
    /// [`Error::Config`] if `top_k` does not lie between 1 and `experts`, and those of the encoder.
    pub fn new(builder: &mut Builder<'_>, config: &GShardConfig, expert: &mut Expert<'_>) -> Result<Self> {
        if config.top_k == 0 || config.top_k > config.experts {
            return Err(Error::config("gshard.top_k", config.top_k, "must lie between 1 and `experts`"));
        }
        let width = builder.width();
        let gate = Linear::new(&mut builder.at("gate"), 2 * width, config.experts);
        let experts = (0..config.experts)
            .map(|e| expert(&mut builder.at(&format!("expert{e}"))))
            .collect::<Result<_>>()?;
        let short = if config.short > 0 { Some(Short::new(builder, config.short, expert)?) } else { None };
        Ok(Self { gate, experts, short, width, config: config.clone() })
    }

    /// Chosen experts of each sample, best first (ties: the lowest).
    fn choose(&self, gates: &[f32]) -> Vec<Vec<usize>> {
        let best = |row: &[f32]| {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            order.truncate(self.config.top_k);
            order
        };
        gates.chunks(self.config.experts).map(best).collect()
    }
}

impl SequenceEncoder for GShard {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (samples, count) = (input.target.rows(), self.config.experts);
        let gates = cost::charge(Part::Router, || {
            let mean = ops::segment_mean(&mut pass.tape, &input.rows, &input.events.offsets);
            let features = ops::concat(&mut pass.tape, &[&input.target, &mean]);
            let logits = self.gate.forward(pass, &features, Activation::None);
            ops::softmax_rows(&mut pass.tape, &logits, 1.0)
        });
        let chosen = self.choose(gates.values());
        // E Σ_e f_e P_e as a product with a constant column: rows of the gates times f_e E / B.
        let mut first = vec![0.0; count];
        chosen.iter().for_each(|c| first[c[0]] += count as f32 / (samples * samples).max(1) as f32);
        if pass.is_training() && self.config.balance > 0.0 {
            let load =
                ops::linear(&mut pass.tape, &gates, &Mat::new(count, 1, first), None, Activation::None);
            let ones = Mat::new(1, samples, vec![1.0; samples]);
            let loss = ops::linear(&mut pass.tape, &ones, &load, None, Activation::None);
            pass.add_loss(self.config.balance, loss);
        }
        let weights = if self.config.top_k == count {
            gates
        } else {
            let mask = chosen.iter().flat_map(|c| (0..count).map(|e| f32::from(c.contains(&e)))).collect();
            let kept = ops::mul(&mut pass.tape, &gates, &Mat::new(samples, count, mask));
            ops::renormalize_rows(&mut pass.tape, &kept)
        };
        let mut parts = Vec::with_capacity(count);
        for (e, expert) in self.experts.iter().enumerate() {
            let mine: Vec<u32> = (0..samples as u32).filter(|s| chosen[*s as usize].contains(&e)).collect();
            if mine.len() == samples {
                parts.push(expert.forward(pass, input)?);
                continue;
            }
            let (rows, offsets) = input.events.rows_of(&mine);
            let part = input.select(&mut pass.tape, &rows, offsets, &mine);
            let interest = expert.forward(pass, &part)?;
            parts.push(interest.map(|m| ops::scatter_rows(&mut pass.tape, &m, &mine, samples)));
        }
        let mut interest = Interest::join(&parts, |column| ops::mix(&mut pass.tape, &weights, column));
        if let Some(short) = &self.short {
            interest.extend(short.forward(pass, input)?);
        }
        Ok(interest)
    }

    fn vectors(&self) -> usize {
        self.experts[0].vectors() + self.short.as_ref().map_or(0, SequenceEncoder::vectors)
    }

    fn evidence(&self) -> usize {
        self.experts[0].evidence() + self.short.as_ref().map_or(0, SequenceEncoder::evidence)
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        let short = self.short.iter().map(|s| s as &dyn SequenceEncoder);
        self.experts.iter().map(AsRef::as_ref).chain(short).collect()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let samples = input.target.rows();
        // Experts are alike and costs add up over samples, so each sample costs `top_k` times one expert, whichever.
        let one = self.experts[0].cost(pass, input)?;
        let columns = self.width * self.experts[0].vectors() + self.experts[0].evidence();
        let mut total = (0..self.config.top_k).map(|_| one).sum::<Cost>()
            + Cost::router(self.gate.macs(samples))
            + Cost::encoder(samples * self.config.experts * columns);
        if let Some(short) = &self.short {
            total = total + short.cost(pass, input)?;
        }
        Ok(total)
    }
}
