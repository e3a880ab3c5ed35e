//! The mixture: global, short-term and theme experts around any encoder.

use std::sync::Arc;

use super::{Fusion, GlobalExpert, MosConfig, Router, Run, Sharing, plan::Plan};
use crate::{
    Builder, Cost, Events, Input, Interest, Mat, Offsets, Params, Part, Pass, Result, RowThemes,
    SequenceEncoder, StateUpdate, StepInfo, Tables, cost,
    layers::Linear,
    ops::{self, Activation},
};

/// Makes one expert.
pub type ExpertFactory<'f> = dyn FnMut(&mut Builder<'_>) -> Result<Box<dyn SequenceEncoder>> + 'f;

/// Mixture of Sequence around any encoder.
#[derive(Debug)]
pub struct Mos {
    config: MosConfig,
    /// None without a theme expert.
    router: Option<Router>,
    /// The encoders; experts are indices into it, so that sharing is visible in one place.
    encoders: Vec<Box<dyn SequenceEncoder>>,
    global: Option<usize>,
    short: Option<usize>,
    /// One index per theme.
    themes: Vec<usize>,
    gate: Option<Linear>,
    width: usize,
}

impl Mos {
    /// Builds router and experts.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a configuration that does not fit itself or the data.
    pub fn new(
        builder: &mut Builder<'_>,
        config: &MosConfig,
        expert: &mut ExpertFactory<'_>,
    ) -> Result<Self> {
        config.check()?;
        let router =
            config.theme_expert.then(|| Router::new(&mut builder.at("router"), config)).transpose()?;
        let mut encoders: Vec<Box<dyn SequenceEncoder>> = Vec::new();
        let mut make = |builder: &mut Builder<'_>, name: &str| -> Result<usize> {
            if config.sharing != Sharing::Shared || encoders.is_empty() {
                let name = if config.sharing == Sharing::Shared { "expert" } else { name };
                encoders.push(expert(&mut builder.at(name))?);
            }
            Ok(encoders.len() - 1)
        };
        let global = match config.global {
            GlobalExpert::Off => None,
            _ => Some(make(builder, "global")?),
        };
        let short = if config.short > 0 { Some(make(builder, "short")?) } else { None };
        let themes = match (config.theme_expert, config.sharing) {
            (false, _) => Vec::new(),
            (true, Sharing::PerTheme) => {
                (0..config.codes).map(|k| make(builder, &format!("theme{k}"))).collect::<Result<_>>()?
            }
            (true, _) => vec![make(builder, "theme")?; config.codes],
        };
        let mut mixture = Self {
            config: config.clone(),
            router,
            encoders,
            global,
            short,
            themes,
            gate: None,
            width: builder.width(),
        };
        let width = builder.width();
        mixture.gate = match config.fusion {
            Fusion::Concat => None,
            Fusion::GatedSum => Some(Linear::new(&mut builder.at("gate"), width, mixture.expert_vectors())),
            Fusion::Attention => Some(Linear::without_bias(&mut builder.at("gate"), width, width)),
        };
        Ok(mixture)
    }

    /// The router, for routing tables and figures; `None` without a theme expert.
    pub fn router(&self) -> Option<&Router> {
        self.router.as_ref()
    }

    fn experts(&self) -> impl Iterator<Item = usize> {
        self.global.into_iter().chain(self.short).chain(self.themes.first().copied())
    }

    fn expert_vectors(&self) -> usize {
        self.experts().map(|e| self.encoders[e].vectors()).sum()
    }

    /// What the global expert reads.
    fn global_input(&self, pass: &mut Pass<'_>, input: &Input) -> Input {
        let GlobalExpert::Pooled(size) = self.config.global else { return input.clone() };
        let (rows, _) = ops::pool_blocks(&mut pass.tape, &input.rows, &input.events.offsets, size);
        Input { rows, events: Arc::new(pooled_events(&input.events, size)), target: input.target.clone() }
    }

    fn theme_interest(&self, pass: &mut Pass<'_>, input: &Input, plan: &Plan) -> Result<Interest> {
        let themed = theme_input(pass, input, plan);
        let mut interest = self.run_themes(pass, &themed, plan)?;
        if self.config.run == Run::All {
            let samples = input.target.rows();
            let mut lengths = vec![0; samples];
            plan.samples.iter().for_each(|s| lengths[*s as usize] += 1);
            let segments = Offsets::from_lengths(lengths);
            let gates = Mat::new(plan.gates.len(), 1, plan.gates.clone());
            interest = interest.map(|m| ops::weighted_sum(&mut pass.tape, &gates, &m, &segments, false));
        }
        interest.evidence.push(Mat::new(plan.evidence.len(), 1, plan.evidence.clone()));
        Ok(interest)
    }

    fn run_themes(&self, pass: &mut Pass<'_>, themed: &Input, plan: &Plan) -> Result<Interest> {
        if self.config.sharing != Sharing::PerTheme {
            return self.encoders[self.themes[0]].forward(pass, themed);
        }
        let segments = plan.samples.len();
        let mut sum: Option<Interest> = None;
        for (theme, encoder) in self.themes.iter().enumerate() {
            let chosen = segments_of(plan, theme);
            if chosen.is_empty() && (sum.is_some() || theme + 1 < self.themes.len()) {
                continue;
            }
            let part = themed.part(&mut pass.tape, &chosen);
            let interest = self.encoders[*encoder].forward(pass, &part)?;
            let placed = interest.map(|m| ops::scatter_rows(&mut pass.tape, &m, &chosen, segments));
            sum = Some(match sum {
                None => placed,
                Some(so_far) => Interest::join(&[so_far, placed], |m| ops::add(&mut pass.tape, m[0], m[1])),
            });
        }
        Ok(sum.unwrap_or_default())
    }
}

/// What the theme experts read.
fn theme_input(pass: &mut Pass<'_>, input: &Input, plan: &Plan) -> Input {
    let Plan { rows, offsets, samples, histories, .. } = plan;
    let mut themed = input.select_shared(&mut pass.tape, rows, offsets.clone(), samples, histories.clone());
    if let Some(membership) = &plan.membership {
        let column = Mat::new(membership.len(), 1, membership.clone());
        themed.rows = ops::scale_rows(&mut pass.tape, &themed.rows, &column);
    }
    themed
}

/// Segments whose theme is `theme`; segments without a theme are empty and belong to none.
fn segments_of(plan: &Plan, theme: usize) -> Vec<u32> {
    (0..plan.samples.len() as u32).filter(|s| plan.themes[*s as usize] as usize == theme).collect()
}

/// Rows that stand for the pooled blocks in the integers: the newest of each block.
fn pooled_events(events: &Events, size: usize) -> Events {
    let blocks = |r: std::ops::Range<usize>| r.len().div_ceil(size);
    let offsets = Offsets::from_lengths(events.offsets.ranges().map(blocks));
    let newest =
        |r: std::ops::Range<usize>| (0..blocks(r.clone())).rev().map(move |b| (r.end - 1 - b * size) as u32);
    let rows: Vec<u32> = events.offsets.ranges().flat_map(newest).collect();
    let samples: Vec<u32> = (0..events.targets.len() as u32).collect();
    events.select(&rows, offsets, &samples, events.histories.clone())
}

impl SequenceEncoder for Mos {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let mut out = Interest::default();
        if let Some(global) = self.global {
            let input = self.global_input(pass, input);
            out.extend(self.encoders[global].forward(pass, &input)?);
        }
        if let Some(short) = self.short {
            let last = input.last(&mut pass.tape, self.config.short);
            out.extend(self.encoders[short].forward(pass, &last)?);
        }
        if let Some(router) = &self.router {
            let plan = cost::charge(Part::Router, || router.plan(pass, &input.events));
            out.extend(self.theme_interest(pass, input, &plan)?);
        }
        if let Some(gate) = &self.gate {
            let gates = cost::charge(Part::Router, || {
                let mut logits = gate.forward(pass, &input.target, Activation::None);
                let mut temperature = 1.0;
                if self.config.fusion == Fusion::Attention {
                    let dots = out.vectors.iter().map(|v| ops::row_dots(&mut pass.tape, &logits, v, 1.0));
                    let dots: Vec<Mat> = dots.collect();
                    logits = ops::concat(&mut pass.tape, &dots.iter().collect::<Vec<_>>());
                    temperature = (self.width as f32).sqrt();
                }
                ops::softmax_rows(&mut pass.tape, &logits, temperature)
            });
            let vectors: Vec<&Mat> = out.vectors.iter().collect();
            out.vectors = vec![ops::mix(&mut pass.tape, &gates, &vectors)];
        }
        Ok(out)
    }

    fn vectors(&self) -> usize {
        if self.gate.is_some() { 1 } else { self.expert_vectors() }
    }

    fn evidence(&self) -> usize {
        let own = usize::from(!self.themes.is_empty());
        own + self.experts().map(|e| self.encoders[e].evidence()).sum::<usize>()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let events = &input.events;
        let samples = events.targets.len();
        let mut total = Cost::default();
        if let Some(global) = self.global {
            let input = self.global_input(pass, input);
            total = total + self.encoders[global].cost(pass, &input)?;
        }
        if let Some(short) = self.short {
            let last = input.last(&mut pass.tape, self.config.short);
            total = total + self.encoders[short].cost(pass, &last)?;
        }
        if let Some(router) = &self.router {
            let plan = router.plan(pass, events);
            let themed = theme_input(pass, input, &plan);
            total = total + Cost::router(router.macs(events));
            if self.config.sharing == Sharing::PerTheme {
                for (theme, encoder) in self.themes.iter().enumerate() {
                    let chosen = segments_of(&plan, theme);
                    let part = themed.part(&mut pass.tape, &chosen);
                    total = total + self.encoders[*encoder].cost(pass, &part)?;
                }
            } else {
                total = total + self.encoders[self.themes[0]].cost(pass, &themed)?;
            }
            if self.config.run == Run::All {
                let theme = &self.encoders[self.themes[0]];
                let columns = self.width * theme.vectors() + theme.evidence();
                total = total + Cost::encoder(plan.gates.len() * columns);
            }
        }
        if let Some(gate) = &self.gate {
            let products = samples * self.expert_vectors() * self.width;
            let attention = if self.config.fusion == Fusion::Attention { products } else { 0 };
            total = total + Cost::router(gate.macs(samples) + attention) + Cost::encoder(products);
        }
        Ok(total)
    }

    fn themes(&self, pass: &mut Pass<'_>, events: &Events) -> Option<RowThemes> {
        let router = self.router.as_ref()?;
        let count = router.theme_count(pass.params);
        Some(RowThemes { count, of_rows: router.themes_of_rows(pass, events) })
    }

    fn shares_histories(&self) -> bool {
        self.encoders.iter().all(|e| e.shares_histories())
    }

    fn compares_samples(&self) -> bool {
        self.router.as_ref().is_some_and(Router::learns)
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        self.encoders.iter().map(AsRef::as_ref).collect()
    }

    fn after_step(&self, params: &mut Params, tables: &mut Tables, updates: &[StateUpdate], at: StepInfo) {
        self.router.iter().for_each(|r| r.after_step(params, tables, updates, at));
    }

    fn prepare_scoring(&self, params: &mut Params, tables: &Tables) {
        self.router.iter().for_each(|r| r.prepare_scoring(params, tables));
    }
}
