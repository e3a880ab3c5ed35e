//! What scoring costs, part by part, at a length of choice.
//!
//! A conditional model's cost depends on what is routed where, so histories have to come from somewhere: from the synthetic
//! generator, whose items have content, categories and planted themes, so that every mixture can be built. Weights are
//! fresh.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, ensure};
use mos_baselines::Registry;
use mos_core::{Cost, CtrModel, Input, Interest, Pass, Result, SequenceEncoder};
use mos_data::{Batch, Dataset, History, Sample, prepare, sources::synthetic::SyntheticConfig};
use serde::Serialize;

use crate::{
    config::{Experiment, Row},
    tables::Table,
    train::per_sample,
};

/// Histories that a cost is the mean of.
const HISTORIES: usize = 16;
/// Rows that a model may have to copy, one history for each candidate.
const MOST_ROWS: usize = 20_000_000;
/// Candidates lie in the second half of generated histories, of at most 100,000 behaviours.
const LONGEST: usize = 44_991;

/// The cost of scoring the candidates of one request, by part.
#[derive(Clone, Debug, Serialize)]
pub struct Breakdown {
    /// Encoder.
    pub encoder: String,
    /// Mixture.
    pub mixture: String,
    /// Behaviours of the history.
    pub length: usize,
    /// Candidates that are scored after it.
    pub candidates: usize,
    /// Whether the history is read once for all of them.
    pub shared: bool,
    /// Width of item vectors.
    pub dim: usize,
    /// Mean cost of a request.
    pub total: Cost,
    /// Largest number of MACs that a request took.
    pub most: u64,
    /// The experts: each encoder that was built by name.
    pub experts: Vec<Expert>,
}

/// An encoder inside a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expert {
    /// Its place in the model.
    pub name: String,
    /// How often it is called for a request.
    pub calls: f64,
    /// Behaviours that it reads in all calls, mean over requests.
    pub reads: f64,
    /// Its mean cost for a request.
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

    fn shares_histories(&self) -> bool {
        self.inner.shares_histories()
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
        data.users.splits.train.iter().filter(|s| s.end as usize >= length).copied().collect();
    samples.dedup_by_key(|s| s.user);
    Ok((data, samples))
}

/// The cost of `encoder` in `mixture` as `experiment` has them, for `candidates` after histories of `length`.
///
/// # Errors
/// Names and options that do not exist, lengths that are not generated, and a model that executes something else than it
/// states.
pub fn breakdown(
    experiment: &Experiment,
    encoder: &str,
    mixture: &str,
    (length, candidates): (usize, usize),
    registry: &Registry,
) -> anyhow::Result<Breakdown> {
    ensure!((1..=LONGEST).contains(&length), "--length {length}: must lie between 1 and {LONGEST}");
    ensure!(
        candidates > 0 && candidates.saturating_mul(length) <= MOST_ROWS,
        "--candidates {candidates}: must be at least 1, and with --length {length} at most {}",
        MOST_ROWS / length
    );
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
        let Batch { items, behaviours, sessions, times, .. } =
            data.users.batch(std::slice::from_ref(sample), length);
        let history = History { items, behaviours, sessions, times };
        // The user's own candidate, and others from all over the catalog.
        let known = data.catalog.items - 1;
        let target = |n: usize| ((sample.item as usize - 1 + 37 * n) % known) as u32 + 1;
        let targets: Vec<u32> = (0..candidates).map(target).collect();
        let stated = model.stated_cost_of_candidates(&history, &targets, sample.time)?;
        let (_, executed) = model.score_candidates(&history, &targets, sample.time)?;
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
        candidates,
        shared: model.encoder().shares_histories(),
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

    /// As a tree.
    pub fn table(&self) -> Table {
        let mut rows = Vec::new();
        let mut row = |part: String, reads: Option<f64>, cost: Cost| {
            let mut cells = vec![part, reads.map_or(String::new(), |r| format!("{r:.1}"))];
            let (macs, published) = (cost.total(), cost.published());
            cells.extend([macs, 2 * macs, published, 2 * published].map(|n| n.to_string()));
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
        let header = ["part", "reads", "MACs", "FLOPs", "MACs, published", "FLOPs, published"];
        let several = self.candidates > 1;
        let mut notes = vec![
            format!(
                "Scoring of {} after {} behaviours, width {}: mean over {HISTORIES} synthetic histories with fresh weights, at most \
                 {} MACs. 1 MAC = 2 FLOPs; training takes about three times as much as scoring.",
                if several { format!("{} candidates", self.candidates) } else { "one candidate".into() },
                self.length,
                self.dim,
                self.most
            ),
            "Reads: behaviours that an expert is given. Published: encoders in the form of their papers, before exact algebra saves \
             work. Softmax, norms, element-wise operations, pooling sums, comparisons and look-ups are not counted."
                .into(),
            format!(
                "Embedding rows: {}, {} bytes.",
                self.length + self.candidates,
                4 * self.dim * (self.length + self.candidates)
            ),
        ];
        if several {
            let shared = if self.shared { "once for all candidates" } else { "anew for each candidate" };
            let each = self.total.total() / self.candidates as u64;
            notes.insert(1, format!("The history is read {shared}: {each} MACs for each."));
        }
        Table {
            title: format!("Cost of {} x {}", self.encoder, self.mixture),
            header: header.map(Into::into).into(),
            rows,
            wide: Vec::new(),
            notes,
            wide_notes: Vec::new(),
        }
    }
}
