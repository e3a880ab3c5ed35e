//! `theme-loss`: the loss of MoS's router without its routing (control). Routing vectors are the item embeddings, so the
//! mutual information between themes of neighbouring behaviours shapes the embeddings; a global and a short expert then
//! read the history as in `scales`. What MoS gains over it is not the loss.

use mos_core::{
    Builder, Cost, Input, Interest, Pass, Result, SequenceEncoder,
    mos::{Codebook, MosConfig, Router, RoutingVector},
};
use serde::{Deserialize, Serialize};

use super::{
    Expert,
    scales::{self, ScalesConfig},
    short::WithShort,
};

/// Configuration of [`ThemeLoss`]; the fields of the router are those of [`MosConfig`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThemeLossConfig {
    /// Number of themes K.
    pub codes: usize,
    /// Weight of the loss.
    pub weight: f32,
    /// Softmax temperature of memberships.
    pub temperature: f32,
    /// Lags of the neighbours whose themes should agree.
    pub lags: Vec<usize>,
    /// Neighbours must be of one session.
    pub same_session: bool,
    /// Histories of each shard that the loss looks at.
    pub information_rows: usize,
    /// Of each of them, the most recent behaviours that it looks at.
    pub information_length: usize,
    /// Behaviours that the short expert reads.
    pub short: usize,
}

impl Default for ThemeLossConfig {
    fn default() -> Self {
        let mos = MosConfig::mos();
        Self {
            codes: mos.codes,
            weight: 0.1,
            temperature: mos.temperature,
            lags: mos.lags,
            same_session: mos.same_session,
            information_rows: mos.information_rows,
            information_length: mos.information_length,
            short: mos.short,
        }
    }
}

/// Two experts and a loss on the embeddings they read.
#[derive(Debug)]
pub struct ThemeLoss {
    router: Router,
    experts: WithShort,
}

impl ThemeLoss {
    /// Builds codes and experts.
    ///
    /// # Errors
    /// [`mos_core::Error::Config`] as for MoS and `scales`, and those of the encoder.
    pub fn new(builder: &mut Builder<'_>, config: &ThemeLossConfig, expert: &mut Expert<'_>) -> Result<Self> {
        let router = MosConfig {
            vector: RoutingVector::Tied,
            codebook: Codebook::MutualInformation { weight: config.weight },
            codes: config.codes,
            temperature: config.temperature,
            lags: config.lags.clone(),
            same_session: config.same_session,
            information_rows: config.information_rows,
            information_length: config.information_length,
            ..MosConfig::mos()
        };
        let router = Router::new(&mut builder.at("router"), &router)?;
        Ok(Self { router, experts: scales::build(builder, &ScalesConfig { short: config.short }, expert)? })
    }
}

impl SequenceEncoder for ThemeLoss {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        if pass.is_training() {
            self.router.learn(pass, &input.events);
        }
        self.experts.forward(pass, input)
    }

    fn vectors(&self) -> usize {
        self.experts.vectors()
    }

    fn evidence(&self) -> usize {
        self.experts.evidence()
    }

    fn shares_histories(&self) -> bool {
        self.experts.shares_histories()
    }

    fn compares_samples(&self) -> bool {
        self.router.learns()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![&self.experts]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        self.experts.cost(pass, input)
    }
}
