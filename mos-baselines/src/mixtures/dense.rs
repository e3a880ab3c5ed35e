//! Dense mixture: MMoE (Ma et al., KDD 2018) with one task. Every expert is executed, weighted by softmax(W x + b): the
//! control at full cost.

use mos_core::{
    Builder, Pass, Result,
    layers::Linear,
    ops::{self, Activation},
};
use serde::{Deserialize, Serialize};

use super::{
    gated::Gate,
    routing::{Decisions, Level, Routing},
};

/// [`Dense`] has no options of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DenseConfig {}

/// Softmax gate over all experts.
#[derive(Debug)]
pub struct Dense {
    linear: Linear,
    experts: usize,
}

impl Gate for Dense {
    type Config = DenseConfig;
    const NAME: &'static str = "dense";

    fn new(builder: &mut Builder<'_>, experts: usize, _: Level, _: &DenseConfig) -> Result<Self> {
        let input = 2 * builder.width();
        Ok(Self { linear: Linear::new(builder, input, experts), experts })
    }

    fn route(&self, pass: &mut Pass<'_>, decisions: &Decisions<'_>) -> Routing {
        let features = decisions.features(&mut pass.tape);
        let logits = self.linear.forward(pass, &features, Activation::None);
        let weights = ops::softmax_rows(&mut pass.tape, &logits, 1.0);
        Routing { weights, chosen: vec![(0..self.experts).collect(); decisions.count()] }
    }

    fn compares_samples(&self) -> bool {
        false
    }

    fn macs(&self, decisions: usize) -> usize {
        self.linear.macs(decisions)
    }
}
