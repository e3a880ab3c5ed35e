//! SIM (Pi et al., CIKM 2020): a search unit picks behaviours for the target, an attention reads them.
//!
//! *Soft* search: r_t = (W_a q)·(W_b h_t), the `top_k` largest; no gradient passes the choice. W_a and W_b learn from a click
//! loss of their own: Σ_t r_t h_t and the target go through a small MLP, in training only. *Hard* search: the latest
//! `top_k` behaviours of the target's category; an unknown category finds nothing. Both are read by multi-head target
//! attention (LongCTR's form). W_b is folded to the target's side. Departures: no time-gap embeddings; LongCTR's mask lets
//! padding outrank behaviours with negative scores, which cannot happen here.

use std::sync::Arc;

use mos_core::{
    Builder, Cost, Error, Events, Init, Input, Interest, ItemIndex, Offsets, ParamId, Pass, Result,
    SequenceEncoder, check_sizes, check_weight,
    layers::{Mlp, TargetAttention},
    ops::{self, Activation},
};
use mos_data::Catalog;
use serde::{Deserialize, Serialize};

use super::short_term::ShortTerm;

/// How SIM looks for behaviours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// By a learned inner product.
    Soft,
    /// By the target's category.
    Hard,
}

/// Configuration of [`Sim`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// How behaviours are found.
    pub search: Search,
    /// How many are read (published: 50 to 100).
    pub top_k: usize,
    /// Heads of the attention (2 for d = 16).
    pub heads: usize,
    /// Width of the attention; 0 = that of the items.
    pub attention: usize,
    /// Weight of the soft search's own click loss (published: 1).
    pub search_loss: f32,
    /// Behaviours of a short part of its own (LongCTR: 50). None by default: mixtures bring one.
    pub short: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self { search: Search::Soft, top_k: 50, heads: 2, attention: 0, search_loss: 1.0, short: 0 }
    }
}

impl SimConfig {
    /// With hard search.
    pub fn hard() -> Self {
        Self { search: Search::Hard, ..Self::default() }
    }
}

/// Search-based interest model.
#[derive(Debug)]
pub struct Sim {
    searcher: Searcher,
    attention: TargetAttention,
    short: ShortTerm,
    top_k: usize,
}

#[derive(Debug)]
enum Searcher {
    Soft { query: ParamId, key: ParamId, clicks: Mlp, loss: f32, width: usize },
    Hard(Arc<Catalog>),
}

impl Sim {
    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] for hard search without categories, a search for nothing, or heads that do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &SimConfig) -> Result<Self> {
        let &SimConfig { search, top_k, heads, attention, search_loss, short } = config;
        check_sizes("sim", &[("top_k", top_k)])?;
        check_weight("sim.search_loss", search_loss)?;
        let width = builder.width();
        let searcher = match search {
            Search::Soft => Searcher::Soft {
                query: builder.param("search.query", width, width, Init::XavierNormal),
                key: builder.param("search.key", width, width, Init::XavierNormal),
                clicks: Mlp::new(&mut builder.at("search.clicks"), 2 * width, &[2 * width], 1),
                loss: search_loss,
                width,
            },
            Search::Hard if builder.catalog().categories.is_none() => {
                return Err(Error::config("sim.search", "hard", "the data has no categories"));
            }
            Search::Hard => Searcher::Hard(builder.catalog().clone()),
        };
        Ok(Self {
            searcher,
            attention: TargetAttention::new(builder, "sim.heads", heads, attention)?,
            short: ShortTerm::new(builder, "sim.heads", heads, attention, short)?,
            top_k,
        })
    }

    /// The behaviours to be read, with their borders.
    fn find(&self, pass: &mut Pass<'_>, input: &Input) -> (Vec<u32>, Offsets) {
        let events = &input.events;
        match &self.searcher {
            Searcher::Hard(catalog) => same_category(catalog, pass.index, events, self.top_k),
            Searcher::Soft { query, key, clicks, loss, .. } => {
                let (query, key) = (pass.param(*query), pass.param(*key));
                let tape = &mut pass.tape;
                let query = ops::linear(tape, &input.target, &query, None, Activation::None);
                let query = ops::matmul_nt(tape, &query, &key);
                let scores = ops::segment_dots(tape, &query, &input.rows, events.spans(), 1);
                if tape.is_training() && *loss > 0.0 {
                    let pooled = ops::weighted_sum(tape, &scores, &input.rows, events.spans(), false);
                    let seen = ops::concat(tape, &[&input.target, &pooled]);
                    let logits = clicks.forward(pass, &seen);
                    pass.add_click_loss(*loss, &logits, events);
                }
                ops::best_rows(scores.values(), events.spans(), self.top_k)
            }
        }
    }
}

/// The latest `k` behaviours of each target's category.
fn same_category(catalog: &Catalog, index: &ItemIndex, events: &Events, k: usize) -> (Vec<u32>, Offsets) {
    let categories = catalog.categories.as_deref().unwrap_or_default();
    let category = |item: u32| categories[index.items[item as usize] as usize];
    let (mut rows, mut lengths) = (Vec::new(), Vec::new());
    for (range, target) in events.spans().ranges().zip(&events.targets) {
        let (wanted, from) = (category(*target), rows.len());
        rows.extend(range.rev().filter(|r| wanted != 0 && category(events.items[*r]) == wanted).take(k));
        rows[from..].reverse();
        lengths.push(rows.len() - from);
    }
    (rows.into_iter().map(|r| r as u32).collect(), Offsets::from_lengths(lengths))
}

impl SequenceEncoder for Sim {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let (rows, offsets) = self.find(pass, input);
        let found = ops::gather_rows(&mut pass.tape, &input.rows, &rows);
        let long = self.attention.forward(pass, &input.target, &found, &offsets, None);
        Ok(self.short.beside(pass, input, long))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn vectors(&self) -> usize {
        self.short.vectors()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let (_, offsets) = self.find(pass, input);
        let search = match &self.searcher {
            Searcher::Hard(_) => Cost::default(),
            Searcher::Soft { width: d, .. } => {
                let (b, n) = (input.target.rows(), input.rows.rows());
                let read = d * input.events.spans().lengths().sum::<usize>();
                Cost::folded(2 * b * d * d + read, (b + n) * d * d + read)
            }
        };
        Ok(search + self.attention.cost(&offsets, None) + self.short.cost(input))
    }
}
