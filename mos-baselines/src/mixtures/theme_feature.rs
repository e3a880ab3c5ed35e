//! `theme-feature`: themes as a feature instead of a routing (control). MoS's router gives every item a theme and learns as
//! it does there; a vector of the theme is added to each behaviour and to the target, and one encoder reads the whole
//! history. What MoS gains over it is the routing, not the knowledge of themes.

use mos_core::{
    Builder, Cost, Events, Init, Input, Interest, Mat, ParamId, Params, Part, Pass, Result, RowThemes,
    SequenceEncoder, StateUpdate, StepInfo, Tables, cost,
    mos::{Codebook, MosConfig, Router, RoutingVector},
    ops,
};
use serde::{Deserialize, Serialize};

use super::{Expert, short::WithShort};

/// Configuration of [`ThemeFeature`]; the fields of the router are those of [`MosConfig`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThemeFeatureConfig {
    /// Number of themes K.
    pub codes: usize,
    /// Width of free routing vectors where the catalog has no content.
    pub routing_dim: usize,
    /// What is compared with the codebook.
    pub vector: RoutingVector,
    /// How the codebook learns.
    pub codebook: Codebook,
    /// Start the codes at clusters of the content.
    pub kmeans_start: bool,
    /// Softmax temperature of memberships.
    pub temperature: f32,
    /// Lags of the neighbours whose themes should agree.
    pub lags: Vec<usize>,
    /// Neighbours must be of one session.
    pub same_session: bool,
    /// Histories of each shard that the codebook learns from.
    pub information_rows: usize,
    /// Of each of them, the most recent behaviours that it learns from.
    pub information_length: usize,
    /// Behaviours of the short branch, which sees no themes; 0 = none.
    pub short: usize,
}

impl Default for ThemeFeatureConfig {
    fn default() -> Self {
        let mos = MosConfig::mos();
        Self {
            codes: mos.codes,
            routing_dim: mos.routing_dim,
            vector: mos.vector,
            codebook: mos.codebook,
            kmeans_start: mos.kmeans_start,
            temperature: mos.temperature,
            lags: mos.lags,
            same_session: mos.same_session,
            information_rows: mos.information_rows,
            information_length: mos.information_length,
            short: mos.short,
        }
    }
}

impl ThemeFeatureConfig {
    fn router(&self) -> MosConfig {
        MosConfig {
            codes: self.codes,
            routing_dim: self.routing_dim,
            vector: self.vector,
            codebook: self.codebook,
            kmeans_start: self.kmeans_start,
            temperature: self.temperature,
            lags: self.lags.clone(),
            same_session: self.same_session,
            information_rows: self.information_rows,
            information_length: self.information_length,
            ..MosConfig::mos()
        }
    }
}

/// One encoder that is told the themes.
#[derive(Debug)]
pub struct ThemeFeature {
    router: Router,
    /// Vector of each theme `[K + 1, d]`, the last for items without one.
    themes: ParamId,
    none: u32,
    expert: Box<dyn SequenceEncoder>,
}

/// Builds router, theme vectors (starting at N(0, 0.05^2)) and encoder.
///
/// # Errors
/// [`mos_core::Error::Config`] as for MoS, and those of the encoder.
pub fn build(
    builder: &mut Builder<'_>,
    config: &ThemeFeatureConfig,
    expert: &mut Expert<'_>,
) -> Result<WithShort> {
    let width = builder.width();
    let main = ThemeFeature {
        router: Router::new(&mut builder.at("router"), &config.router())?,
        themes: builder.param("themes", config.codes + 1, width, Init::Normal(0.05)),
        none: config.codes as u32,
        expert: expert(&mut builder.at("expert"))?,
    };
    WithShort::around(main, builder, config.short, expert)
}

impl ThemeFeature {
    fn told(&self, pass: &mut Pass<'_>, input: &Input) -> Input {
        let events = &input.events;
        let themes = cost::charge(Part::Router, || self.router.themes_of_pass(pass, events));
        let vectors = pass.param(self.themes);
        let mut told = |x: &Mat, items: &[u32]| {
            // A theme that is none is larger than every code.
            let theme = |i: &u32| u32::from(themes[*i as usize]).min(self.none);
            let themes: Vec<u32> = items.iter().map(theme).collect();
            let themes = ops::gather_rows(&mut pass.tape, &vectors, &themes);
            ops::add(&mut pass.tape, x, &themes)
        };
        Input {
            target: told(&input.target, &events.targets),
            rows: told(&input.rows, &events.items),
            events: events.clone(),
        }
    }
}

impl SequenceEncoder for ThemeFeature {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let told = self.told(pass, input);
        self.expert.forward(pass, &told)
    }

    fn vectors(&self) -> usize {
        self.expert.vectors()
    }

    fn evidence(&self) -> usize {
        self.expert.evidence()
    }

    fn themes(&self, pass: &mut Pass<'_>, events: &Events) -> Option<RowThemes> {
        let of_items = self.router.themes_of_pass(pass, events);
        let of_rows = events.items.iter().map(|i| of_items[*i as usize]).collect();
        Some(RowThemes { count: self.none as usize, of_rows })
    }

    fn shares_histories(&self) -> bool {
        self.expert.shares_histories()
    }

    fn compares_samples(&self) -> bool {
        self.router.learns()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.expert.as_ref()]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let told = self.told(pass, input);
        self.expert.cost(pass, &told)
    }

    fn after_step(&self, params: &mut Params, tables: &mut Tables, updates: &[StateUpdate], at: StepInfo) {
        self.router.after_step(params, tables, updates, at);
    }

    fn prepare_scoring(&self, params: &mut Params, tables: &Tables) {
        self.router.prepare_scoring(params, tables);
    }
}
