//! The body of every gated mixture: experts, a gate that decides who of them reads what, and how their outputs are put
//! together. A gate is a file of its own.

use mos_core::{
    Builder, Cost, Input, Interest, Mat, Offsets, Params, Part, Pass, Result, SequenceEncoder, StateUpdate,
    StepInfo, Tables, check_sizes, cost, ops,
};
use serde::{Deserialize, Serialize};

use super::{
    Expert,
    routing::{Decisions, Level, Routing},
    short::WithShort,
};

/// Decides which experts read what.
pub trait Gate: Sized + Send + Sync + std::fmt::Debug + 'static {
    /// The gate's own options.
    type Config;

    /// Name in messages.
    const NAME: &'static str;

    /// Builds a gate over this many experts (at least one).
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] for options that fit neither each other nor the level.
    fn new(builder: &mut Builder<'_>, experts: usize, level: Level, config: &Self::Config) -> Result<Self>;

    /// Decides; in training also adds the gate's losses. The decision of one sample must not depend on others when scoring.
    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing;

    /// MACs of so many decisions.
    fn macs(&self, decisions: usize) -> usize;

    /// Experts beside those of the gate that read every whole history.
    fn shared(_config: &Self::Config) -> usize {
        0
    }

    /// As [`SequenceEncoder::compares_samples`]: whether the gate has a loss or a limit over all decisions of a shard.
    fn compares_samples(&self) -> bool {
        true
    }

    /// As [`SequenceEncoder::after_step`].
    fn after_step(&self, _params: &mut Params, _updates: &[StateUpdate]) {}
}

/// Configuration of [`Gated`]: what all gated mixtures have, and beside it the options of the gate.
// Fields that neither has are refused; a test holds serde to that, for its manual promises it in one struct alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatedConfig<C> {
    /// Number of experts E among which the gate chooses.
    pub experts: usize,
    /// Behaviours of the short branch that MoS has too; 0 = none.
    pub short: usize,
    /// What is routed as a whole.
    pub level: Level,
    /// Options of the gate.
    #[serde(flatten)]
    pub gate: C,
}

impl<C: Default> Default for GatedConfig<C> {
    fn default() -> Self {
        Self { experts: 4, short: 20, level: Level::Sequence, gate: C::default() }
    }
}

/// Sparse mixture around any encoder. Only chosen experts are executed.
#[derive(Debug)]
pub struct Gated<G> {
    gate: G,
    experts: Vec<Box<dyn SequenceEncoder>>,
    shared: Vec<Box<dyn SequenceEncoder>>,
    level: Level,
    width: usize,
}

/// Builds gate, experts and short branch.
///
/// # Errors
/// [`mos_core::Error::Config`] without experts, and those of gate and encoder.
pub fn build<G: Gate>(
    builder: &mut Builder<'_>,
    config: &GatedConfig<G::Config>,
    expert: &mut Expert<'_>,
) -> Result<WithShort> {
    let &GatedConfig { experts, short, level, ref gate } = config;
    check_sizes(G::NAME, &[("experts", experts)])?;
    let width = builder.width();
    let shared = G::shared(gate);
    let gate = G::new(&mut builder.at("gate"), experts, level, gate)?;
    let mut some = |name: &str, count: usize| -> Result<Vec<_>> {
        (0..count).map(|e| expert(&mut builder.at(&format!("{name}{e}")))).collect()
    };
    let (experts, shared) = (some("expert", experts)?, some("shared", shared)?);
    WithShort::around(Gated { gate, experts, shared, level, width }, builder, short, expert)
}

impl<G: Gate> Gated<G> {
    fn route(&self, pass: &mut Pass<'_>, input: &Input) -> Routing {
        let decisions = Decisions { input, level: self.level };
        cost::charge(Part::Router, || self.gate.route(pass, &decisions))
    }

    /// What expert `e` reads, and of which samples it is.
    fn read(&self, pass: &mut Pass<'_>, input: &Input, routing: &Routing, e: usize) -> (Input, Vec<u32>) {
        let (mine, count) = (routing.of_expert(e), input.target.rows());
        let tape = &mut pass.tape;
        if self.level == Level::Sequence {
            if mine.len() == count {
                return (input.clone(), mine);
            }
            return (input.part(tape, &mine), mine);
        }
        let (mut samples, mut lengths) = (Vec::new(), Vec::new());
        for (b, range) in input.events.offsets.ranges().enumerate() {
            let of_sample = |end: usize| mine.partition_point(|r| (*r as usize) < end);
            let length = of_sample(range.end) - of_sample(range.start);
            if length > 0 {
                samples.push(b as u32);
                lengths.push(length);
            }
        }
        let mut part = input.select(tape, &mine, Offsets::from_lengths(lengths), &samples);
        let weights = ops::columns(tape, &routing.weights, e, 1);
        let weights = ops::gather_rows(tape, &weights, &mine);
        part.rows = ops::scale_rows(tape, &part.rows, &weights);
        (part, samples)
    }
}

impl<G: Gate> SequenceEncoder for Gated<G> {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let samples = input.target.rows();
        let routing = self.route(pass, input);
        let mut parts = Vec::with_capacity(self.experts.len());
        for (e, expert) in self.experts.iter().enumerate() {
            let (part, mine) = self.read(pass, input, &routing, e);
            let interest = expert.forward(pass, &part)?;
            parts.push(if mine.len() == samples {
                interest
            } else {
                interest.map(|m| ops::scatter_rows(&mut pass.tape, &m, &mine, samples))
            });
        }
        if self.level == Level::Sequence {
            parts = vec![Interest::join(&parts, |m| ops::mix(&mut pass.tape, &routing.weights, m))];
        }
        for expert in &self.shared {
            parts.push(expert.forward(pass, input)?);
        }
        Ok(Interest::join(&parts, |m| {
            let rest = m[1..].iter();
            rest.fold(m[0].clone(), |sum: Mat, m| ops::add(&mut pass.tape, &sum, m))
        }))
    }

    fn vectors(&self) -> usize {
        self.experts[0].vectors()
    }

    fn evidence(&self) -> usize {
        self.experts[0].evidence()
    }

    fn shares_histories(&self) -> bool {
        // A behaviour's experts may depend on the target.
        self.level == Level::Sequence && self.children().iter().all(|e| e.shares_histories())
    }

    fn compares_samples(&self) -> bool {
        self.gate.compares_samples()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        self.experts.iter().chain(&self.shared).map(AsRef::as_ref).collect()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let routing = self.route(pass, input);
        let mut total = Cost::router(self.gate.macs(routing.chosen.len()));
        for (e, expert) in self.experts.iter().enumerate() {
            let (part, _) = self.read(pass, input, &routing, e);
            total = total + expert.cost(pass, &part)?;
        }
        for expert in &self.shared {
            total = total + expert.cost(pass, input)?;
        }
        if self.level == Level::Sequence {
            let columns = self.width * self.vectors() + self.evidence();
            total = total + Cost::encoder(input.target.rows() * self.experts.len() * columns);
        }
        Ok(total)
    }

    fn after_step(&self, params: &mut Params, _: &mut Tables, updates: &[StateUpdate], _: StepInfo) {
        self.gate.after_step(params, updates);
    }
}
