//! What scoring costs, part by part, at a length of choice.
//!
//! A conditional model's cost depends on what is routed where, so histories have to come from somewhere: from the synthetic
//! generator, whose items have content, categories and planted themes, so that every mixture can be built. Weights are
//! fresh.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, ensure};
use mos_baselines::Registry;
use mos_core::{Cost, CtrModel, Events, Input, Interest, Pass, Result, RowThemes, SequenceEncoder};
use mos_data::{Dataset, Sample, prepare, sources::synthetic::SyntheticConfig};
use serde::Serialize;

use crate::{
    config::{Experiment, Row},
    tables::Table,
    train::per_sample,
};

/// Histories that a cost is the mean of.
const HISTORIES: usize = 16;
/// Candidates lie in the second half of generated histories, so that these are at most this long.
const LONGEST: usize = 45_000;

/// The cost of scoring one sample, by part.
#[derive(Clone, Debug, Serialize)]
pub struct Breakdown {
    /// Encoder.
    pub encoder: String,
    /// Mixture.
    pub mixture: String,
    /// Behaviours of the history.
    pub length: usize,
    /// Width of item vectors.
    pub dim: usize,
    /// Mean cost of a sample.
    pub total: Cost,
    /// Largest number of MACs that a sample took.
    pub most: u64,
    /// The experts: each encoder that was built by name.
    pub experts: Vec<Expert>,
}

/// An encoder inside a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expert {
    /// Its place in the model.
    pub name: String,
    /// How often it is called for a sample.
    pub calls: f64,
    /// Behaviours that it reads in all calls, mean over samples.
    pub reads: f64,
    /// Its mean cost for a sample.
    pub cost: Cost,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    calls: usize,
    rows: usize,
    cost: Cost,
}

/// An encoder whose stated costs are written down.
#[derive(Debug)]
struct Watched {
    inner: Box<dyn SequenceEncoder>,
    at: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl SequenceEncoder for Watched {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        self.inner.forward(pass, input)
    }

    fn vectors(&self) -> usize {
        self.inner.vectors()
    }

    fn evidence(&self) -> usize {
        self.inner.evidence()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let cost = self.inner.cost(pass, input)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = &mut seen[self.at];
        // A call for no segment at all is none.
        mine.calls += usize::from(input.events.offsets.segments() > 0);
        mine.rows += input.rows.rows();
        mine.cost = mine.cost + cost;
        Ok(cost)
    }

    fn themes(&self, pass: &mut Pass<'_>, events: &Events) -> Option<RowThemes> {
        self.inner.themes(pass, events)
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.inner.as_ref()]
    }
}

/// Generated histories of exactly `length` behaviours, one of each user.
fn histories(length: usize) -> anyhow::Result<(Dataset, Vec<Sample>)> {
    let events = (length.div_ceil(9) * 20 + 20).max(40);
    let config = SyntheticConfig { users: HISTORIES, events, ..SyntheticConfig::default() };
    let mut log = config.generate()?;
    // A category for each sub-topic of 20 items; 0 is the unknown item's.
    let categories: Vec<u32> = (0..log.catalog.items as u32).map(|i| i.div_ceil(20)).collect();
    log.catalog.category_count = categories.last().map_or(0, |last| *last as usize + 1);
    log.catalog.categories = Some(categories);
    let data = prepare(log, &config.task())?;
    let mut samples: Vec<Sample> =
        data.splits.train.iter().filter(|s| s.end as usize >= length).copied().collect();
    samples.dedup_by_key(|s| s.user);
    Ok((data, samples))
}

/// The cost of `encoder` in `mixture` as `experiment` has them, for histories of `length`.
///
/// # Errors
/// Names and options that do not exist, lengths that are not generated, and a model that executes something else than it
/// states.
pub fn breakdown(
    experiment: &Experiment,
    encoder: &str,
    mixture: &str,
    length: usize,
    registry: &Registry,
) -> anyhow::Result<Breakdown> {
    ensure!((1..=LONGEST).contains(&length), "--length {length}: must lie between 1 and {LONGEST}");
    let one = experiment.only(encoder, mixture, length);
    one.check(registry)?;
    let mut rows = one.rows()?;
    let Some(Row { spec, experiment: own, .. }) = rows.pop() else {
        bail!("no row of {encoder} x {mixture}")
    };
    let (data, samples) = histories(length)?;
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut watch = |path: &str, inner: Box<dyn SequenceEncoder>| -> Box<dyn SequenceEncoder> {
        let mut all = lock();
        let name = path.strip_prefix("encoder.").unwrap_or(encoder).to_owned();
        all.push(Seen { name, ..Seen::default() });
        Box::new(Watched { inner, at: all.len() - 1, seen: seen.clone() })
    };
    let model = CtrModel::new(&own.model, &data.catalog, 0, |b| registry.build_around(b, &spec, &mut watch))?;
    let (mut total, mut most) = (Cost::default(), 0);
    for sample in &samples {
        let batch = data.batch(std::slice::from_ref(sample), length);
        let (stated, (_, executed)) = (model.stated_cost(&batch)?, model.score_counted(&batch)?);
        ensure!(
            stated.executed() == executed,
            "{encoder} x {mixture} executes {executed:?} but states {stated:?}"
        );
        most = most.max(stated.total());
        total = total + stated;
    }
    let n = samples.len();
    let of = |s: &Seen| Expert {
        name: s.name.clone(),
        calls: s.calls as f64 / n as f64,
        reads: s.rows as f64 / n as f64,
        cost: per_sample(s.cost, n),
    };
    let experts = lock().iter().map(of).collect();
    Ok(Breakdown {
        encoder: encoder.into(),
        mixture: mixture.into(),
        length,
        dim: own.model.dim,
        total: per_sample(total, n),
        most,
        experts,
    })
}

impl Breakdown {
    /// What the encoder part takes beyond its experts: weighing and adding what they say.
    fn combining(&self) -> Cost {
        let inside: Cost = self.experts.iter().map(|e| e.cost).sum();
        Cost {
            encoder: self.total.encoder.saturating_sub(inside.encoder),
            saved: self.total.saved - inside.saved,
            ..Cost::default()
        }
    }

    /// Routing of the mixture, without what experts route inside themselves.
    fn routing(&self) -> Cost {
        let inside: u64 = self.experts.iter().map(|e| e.cost.router).sum();
        Cost { router: self.total.router.saturating_sub(inside), ..Cost::default() }
    }

    /// As a tree, for one candidate and for as many as are asked for.
    pub fn table(&self, candidates: u64) -> Table {
        let mut rows = Vec::new();
        let mut row = |part: String, reads: Option<f64>, cost: Cost| {
            let mut cells = vec![part, reads.map_or(String::new(), |r| format!("{r:.1}"))];
            let (macs, published) = (cost.total(), cost.published());
            cells.extend([macs, 2 * macs, published, 2 * published].map(|n| n.to_string()));
            if candidates > 1 {
                cells.push((candidates * macs).to_string());
            }
            rows.push(cells);
        };
        let encoder = Cost { head: 0, router: self.total.router - self.routing().router, ..self.total };
        row("model".into(), Some(self.length as f64), self.total);
        row("├─ encoder".into(), None, encoder);
        let combining = self.combining();
        let combined = combining.total() > 0;
        for (i, expert) in self.experts.iter().enumerate() {
            let last = i + 1 == self.experts.len() && !combined;
            let times =
                if expert.calls > 1.0 { format!(", {:.1} calls", expert.calls) } else { String::new() };
            let name = if expert.name == self.encoder { "expert" } else { &expert.name };
            let branch = if last { "└─" } else { "├─" };
            row(format!("│  {branch} {name}{times}"), Some(expert.reads), expert.cost);
        }
        if combined {
            row("│  └─ combining".into(), None, combining);
        }
        row("├─ router".into(), None, self.routing());
        row("└─ head".into(), None, Cost::head(self.total.head as usize));
        let mut header: Vec<String> =
            ["part", "reads", "MACs", "FLOPs", "MACs, published", "FLOPs, published"].map(Into::into).into();
        if candidates > 1 {
            header.push(format!("MACs, {candidates} candidates"));
        }
        let mut notes = vec![
            format!(
                "Scoring of one candidate after {} behaviours, width {}: mean over {HISTORIES} synthetic histories with fresh \
                 weights, at most {} MACs. 1 MAC = 2 FLOPs; training takes about three times as much.",
                self.length, self.dim, self.most
            ),
            "Reads: behaviours that an expert is given. Published: encoders in the form of their papers, before exact algebra saves \
             work. Softmax, norms, element-wise operations, pooling sums, comparisons and look-ups are not counted."
                .into(),
            format!(
                "Read from the embedding table: {} rows, {} bytes.",
                self.length + 1,
                4 * self.dim * (self.length + 1)
            ),
        ];
        if candidates > 1 {
            notes.push(
                "Each candidate is a sample of its own: nothing of the history is shared between them."
                    .into(),
            );
        }
        Table {
            title: format!("Cost of {} x {}", self.encoder, self.mixture),
            header,
            rows,
            wide: Vec::new(),
            notes,
            wide_notes: Vec::new(),
        }
    }
}
