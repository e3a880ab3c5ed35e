//! The theme router: the theme of each item, and how it is learned. What follows from it is in `plan.rs`.

use std::ops::Range;

use mos_data::rng;
use rand::RngExt as _;

use super::{
    Codebook, MosConfig, RoutingUnit, RoutingVector, Run, Sharing, Themes,
    codebook::{kmeans, nearest, normalise},
};
use crate::{
    Builder, Error, Events, Init, Mat, Offsets, ParamId, Params, Pass, Result, StateUpdate, StepInfo,
    TableId, TableInit, Tables, engine::BufferId, ops,
};

/// The theme of an item that has none: unknown, or without a routing vector. Not a theme, and not "empty".
pub const NO_THEME: u16 = u16::MAX;

#[derive(Clone, Debug)]
pub(super) enum Vectors {
    Given,
    Map { content: TableId, weight: ParamId, plus: Option<TableId> },
    Rows { table: TableId, detached: bool },
}

/// Assigns themes. See [`MosConfig`] for its choices.
#[derive(Clone, Debug)]
pub struct Router {
    pub(super) config: MosConfig,
    pub(super) vectors: Vectors,
    pub(super) dim: usize,
    /// Whether the codes start at clusters of the content.
    started: bool,
    pub(super) codes: ParamId,
    /// Theme of each catalog item `[V]`.
    pub(super) themes: BufferId,
    /// Mapped routing vector of each catalog item `[V, dim]`, filled only where scoring compares vectors.
    pub(super) lookup: BufferId,
    /// Moving average of how many vectors choose each code `[K]`.
    usage: BufferId,
}

impl Router {
    /// Builds codebook, vectors and tables.
    ///
    /// # Errors
    /// [`Error::Config`] when the catalog lacks what the configuration needs.
    pub fn new(builder: &mut Builder<'_>, config: &MosConfig) -> Result<Self> {
        config.check()?;
        let catalog = builder.catalog().clone();
        let (items, seed, k) = (catalog.items, builder.seed(), config.codes);
        let missing = |what: &str| Error::config("mos.themes", what, "the data does not have them");
        let given: Option<Vec<u16>> = match config.themes {
            Themes::Learned => None,
            Themes::Random => {
                let mut rng = rng::stream(seed, "themes/random", &[]);
                let mut themes: Vec<u16> = (0..items).map(|_| rng.random_range(0..k as u32) as u16).collect();
                // The unknown item has no theme here either.
                themes.iter_mut().take(1).for_each(|t| *t = NO_THEME);
                Some(themes)
            }
            Themes::Oracle => Some(catalog.themes.clone().ok_or_else(|| missing("oracle"))?),
            Themes::Category => {
                let of = catalog.categories.as_ref().ok_or_else(|| missing("category"))?;
                let most = of.iter().max().map_or(0, |c| *c as usize);
                if most > usize::from(NO_THEME) {
                    return Err(Error::config(
                        "mos.themes",
                        "category",
                        format!("{most} categories are too many"),
                    ));
                }
                Some(of.iter().map(|c| if *c == 0 { NO_THEME } else { (c - 1) as u16 }).collect())
            }
        };
        let most =
            given.iter().flatten().filter(|z| **z != NO_THEME).max().map_or(0, |z| usize::from(*z) + 1);
        if most > k && (config.run == Run::All || config.sharing == Sharing::PerTheme) {
            return Err(Error::config(
                "mos.codes",
                k,
                format!("the data gives {most} themes, and each is to be run"),
            ));
        }
        let content = catalog.content.as_ref();
        let kind = match config.vector {
            RoutingVector::Auto if content.is_some() => RoutingVector::ContentMap,
            RoutingVector::Auto => RoutingVector::Free,
            other => other,
        };
        let (vectors, dim) = match kind {
            _ if given.is_some() => (Vectors::Given, 1),
            RoutingVector::ContentMap | RoutingVector::ContentMapPlusFree | RoutingVector::Content => {
                let dim = content
                    .ok_or_else(|| Error::config("mos.vector", format!("{kind:?}"), "no content vectors"))?
                    .dim;
                let table = builder.item_table("content", dim, TableInit::FrozenContent)?;
                if kind == RoutingVector::Content {
                    (Vectors::Rows { table, detached: true }, dim)
                } else {
                    let weight = builder.param("map", dim, dim, Init::Identity);
                    let with_rows = kind == RoutingVector::ContentMapPlusFree;
                    let plus = with_rows
                        .then(|| builder.item_table("vectors", dim, TableInit::Normal(0.0)))
                        .transpose()?;
                    (Vectors::Map { content: table, weight, plus }, dim)
                }
            }
            RoutingVector::Free | RoutingVector::FreeRandom | RoutingVector::Auto => {
                let dim = content.map_or(config.routing_dim, |c| c.dim);
                let from_content = content.is_some() && kind == RoutingVector::Free;
                let init = if from_content { TableInit::Content } else { TableInit::Normal(0.1) };
                (Vectors::Rows { table: builder.item_table("vectors", dim, init)?, detached: false }, dim)
            }
            RoutingVector::Tied | RoutingVector::Detached => {
                let detached = kind == RoutingVector::Detached;
                (Vectors::Rows { table: Tables::ITEMS, detached }, builder.width())
            }
        };
        // Given themes have no codes.
        let k = if given.is_some() { 0 } else { k };
        let codes = builder.param("codes", k, dim, Init::Normal(1.0));
        let clustered = content.filter(|c| c.dim == dim && k > 0);
        if config.codebook == Codebook::Fixed && k > 0 && clustered.is_none() {
            let message = "needs content vectors as wide as the routing vectors, to start at";
            return Err(Error::config("mos.codebook", "fixed", message));
        }
        let content_start = config.kmeans_start || config.codebook == Codebook::Fixed;
        let started = clustered.filter(|_| content_start);
        if let Some(content) = started {
            let mut rng = rng::stream(seed, "codebook/kmeans", &[]);
            builder.params.set(codes, kmeans(&content.values[dim..], dim, k, &mut rng));
        }
        let themes = given.unwrap_or_else(|| vec![NO_THEME; items]).into_iter().map(f32::from).collect();
        Ok(Self {
            config: config.clone(),
            vectors,
            dim,
            started: started.is_some(),
            codes,
            themes: builder.buffer_of("themes", 1, themes),
            lookup: builder.derived("lookup", dim),
            usage: builder.buffer_of("usage", 1, vec![0.0; k]),
        })
    }

    /// Whether scoring has to compare vectors, beyond looking up an item's theme.
    pub(super) fn compares(&self) -> bool {
        !matches!(self.vectors, Vectors::Given)
            && (self.config.run != Run::Target(1) || self.config.unit != RoutingUnit::Behaviour)
    }

    /// Whether the codebook learns, from the neighbours in all histories of a shard.
    pub fn learns(&self) -> bool {
        !matches!(self.vectors, Vectors::Given) && self.config.codebook != Codebook::Fixed
    }

    /// Number of themes: of the codebook, or of those that the data gives.
    pub fn theme_count(&self, params: &Params) -> usize {
        match self.config.themes {
            Themes::Learned | Themes::Random => self.config.codes,
            Themes::Oracle | Themes::Category => {
                let known = self.item_themes(params).into_iter().filter(|t| *t != NO_THEME);
                known.max().map_or(0, |most| usize::from(most) + 1)
            }
        }
    }

    /// Theme of each item as it is now `[V]` (valid after [`crate::SequenceEncoder::prepare_scoring`]).
    pub fn item_themes(&self, params: &Params) -> Vec<u16> {
        params.buffer(self.themes).iter().map(|t| *t as u16).collect()
    }

    fn vectors_of_items(&self, params: &Params, tables: &Tables) -> Vec<f32> {
        match &self.vectors {
            Vectors::Given => Vec::new(),
            Vectors::Rows { table, .. } => tables.values(*table).to_vec(),
            Vectors::Map { content, weight, plus } => {
                let weight = params.get(*weight).to_vec();
                let mut out = match plus {
                    Some(rows) => tables.values(*rows).to_vec(),
                    None => vec![0.0; tables.values(*content).len()],
                };
                for (row, c) in out.chunks_mut(self.dim).zip(tables.values(*content).chunks(self.dim)) {
                    for (w, c) in weight.chunks(self.dim).zip(c) {
                        row.iter_mut().zip(w).for_each(|(r, w)| *r += c * w);
                    }
                }
                out
            }
        }
    }

    /// Of the routing vectors of all items those that training has reached; all known items where that is none (rows that only
    /// the codebook trains, before it has begun) and where vectors are made of content.
    fn learned_rows(&self, tables: &Tables, vectors: &[f32]) -> Vec<f32> {
        let mut rows = Vec::new();
        if let Vectors::Rows { table, .. } = &self.vectors
            && tables.is_trained(*table)
        {
            let touched = |row: usize| tables.is_touched(*table, row);
            let all = vectors.chunks(self.dim).enumerate();
            rows = all.filter(|(row, _)| touched(*row)).flat_map(|(_, v)| v).copied().collect();
        }
        if rows.is_empty() { vectors[self.dim.min(vectors.len())..].to_vec() } else { rows }
    }

    pub(super) fn assign(&self, vectors: &[f32], codes: &[f32]) -> Vec<u16> {
        let of = nearest(vectors, codes, self.dim);
        let known = vectors.chunks(self.dim).map(|v| v.iter().any(|x| *x != 0.0));
        of.iter().zip(known).map(|(z, known)| if known { *z as u16 } else { NO_THEME }).collect()
    }

    /// As [`crate::SequenceEncoder::prepare_scoring`].
    pub fn prepare_scoring(&self, params: &mut Params, tables: &Tables) {
        if matches!(self.vectors, Vectors::Given) {
            return;
        }
        let vectors = self.vectors_of_items(params, tables);
        let themes = self.assign(&vectors, params.get(self.codes).values());
        params.set_buffer(self.themes, themes.into_iter().map(f32::from).collect());
        if self.compares() && matches!(self.vectors, Vectors::Map { .. }) {
            params.set_buffer(self.lookup, vectors);
        }
    }

    /// Routing vectors of the items of a scoring pass `[U, dim]`.
    pub(super) fn looked_up(&self, pass: &Pass<'_>) -> Vec<f32> {
        if let Vectors::Rows { table, .. } = &self.vectors {
            return pass.tables.gather(*table, &pass.index.items).to_vec();
        }
        let all = pass.params.buffer(self.lookup);
        let row = |i: &u32| &all[*i as usize * self.dim..(*i as usize + 1) * self.dim];
        pass.index.items.iter().flat_map(row).copied().collect()
    }

    /// The routing vectors of the items of a training pass `[U, dim]`; adds losses, records codebook statistics.
    pub fn learn(&self, pass: &mut Pass<'_>, events: &Events) -> Mat {
        let vectors = match &self.vectors {
            // Given themes have no codes to learn.
            Vectors::Given => return Mat::zeros(pass.index.items.len(), 1),
            Vectors::Rows { table, detached } => {
                let rows = pass.item_rows(*table);
                if *detached { rows.detached() } else { rows }
            }
            Vectors::Map { content, weight, plus } => {
                let (rows, weight) = (pass.item_rows(*content), pass.param(*weight));
                let mapped = ops::linear(&mut pass.tape, &rows, &weight, None, ops::Activation::None);
                match plus {
                    Some(rows) => {
                        let rows = pass.item_rows(*rows);
                        ops::add(&mut pass.tape, &mapped, &rows)
                    }
                    None => mapped,
                }
            }
        };
        let seen = self.seen(events);
        match self.config.codebook {
            Codebook::Fixed => {}
            Codebook::MutualInformation { weight } => {
                // The items of the behaviours that are looked at, in the order of the pass, and the place of each.
                let mut places = vec![u32::MAX; pass.index.items.len()];
                let behaviours = || seen.iter().cloned().flatten().map(|r| events.items[r] as usize);
                behaviours().for_each(|item| places[item] = 0);
                let items: Vec<u32> = (0..places.len() as u32).filter(|i| places[*i as usize] == 0).collect();
                items.iter().zip(0..).for_each(|(item, place)| places[*item as usize] = place);
                let (codes, k) = (pass.param(self.codes), self.config.codes);
                let vectors = ops::gather_rows(&mut pass.tape, &vectors, &items);
                let p = ops::memberships(&mut pass.tape, &vectors, &codes, self.config.temperature);
                let pairs = self.neighbours(events, &seen, &places);
                if !pairs.is_empty() {
                    let loss = ops::mutual_information(&mut pass.tape, &p, &pairs);
                    pass.add_loss(weight, loss);
                }
                let rows: usize = seen.iter().map(ExactSizeIterator::len).sum();
                if self.config.balance > 0.0 && rows > 0 {
                    let mut share = vec![0.0; items.len()];
                    behaviours().for_each(|item| share[places[item] as usize] += 1.0 / rows as f32);
                    let (share, all) = (Mat::new(share.len(), 1, share), Offsets::from_lengths([p.rows()]));
                    let use_of = ops::weighted_sum(&mut pass.tape, &share, &p, &all, false);
                    let loss = ops::mean_square(&mut pass.tape, &use_of);
                    pass.add_loss(self.config.balance * k as f32, loss);
                }
                if self.config.orthogonality > 0.0 && k > 1 {
                    let unit = ops::normalize_rows(&mut pass.tape, &codes);
                    let cosines = ops::matmul_nt(&mut pass.tape, &unit, &unit);
                    // K of the squares are those of codes with themselves; constant, they move nothing.
                    let loss = ops::mean_square(&mut pass.tape, &cosines);
                    pass.add_loss(self.config.orthogonality / (k - 1) as f32, loss);
                }
            }
            Codebook::MovingAverage { .. } if !self.has_begun(pass.params) => {}
            Codebook::MovingAverage { commitment } => {
                let codes = pass.params.get(self.codes).to_vec();
                let items = seen.iter().cloned().flatten().map(|r| events.items[r]);
                let rows: Vec<u32> = items.filter(|i| pass.index.items[*i as usize] != 0).collect();
                let seen = ops::gather_rows(&mut pass.tape, &vectors, &rows);
                let mut values = seen.to_vec();
                let assigned = nearest(&values, &codes, self.dim);
                let loss = ops::cosine_commitment(&mut pass.tape, &seen, &codes, &assigned);
                pass.add_loss(commitment, loss);
                normalise(&mut values, self.dim);
                let mut statistics = vec![0.0; self.config.codes * (1 + self.dim)];
                let (counts, sums) = statistics.split_at_mut(self.config.codes);
                for (z, v) in assigned.iter().zip(values.chunks(self.dim)) {
                    counts[*z as usize] += 1.0;
                    let sum = &mut sums[*z as usize * self.dim..][..self.dim];
                    sum.iter_mut().zip(v).for_each(|(s, v)| *s += v);
                }
                pass.record_update(self.usage, statistics);
            }
        }
        vectors
    }

    /// Whether a codebook of moving averages has codes to move: usage is zero until then.
    fn has_begun(&self, params: &Params) -> bool {
        params.buffer(self.usage).iter().any(|n| *n > 0.0)
    }

    /// The behaviours that the codebook learns from.
    fn seen(&self, events: &Events) -> Vec<Range<usize>> {
        let newest = |r: Range<usize>| r.end - r.len().min(self.config.information_length)..r.end;
        events.offsets.ranges().take(self.config.information_rows).map(newest).collect()
    }

    /// Pairs of neighbouring behaviours among those `seen`, as places of their items.
    fn neighbours(&self, events: &Events, seen: &[Range<usize>], places: &[u32]) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        let place = |t: usize| places[events.items[t] as usize];
        for range in seen {
            for t in range.clone() {
                for lag in self.config.lags.iter().filter(|lag| t + **lag < range.end) {
                    if !self.config.same_session || events.sessions[t] == events.sessions[t + lag] {
                        pairs.push((place(t), place(t + lag)));
                    }
                }
            }
        }
        pairs
    }

    /// As [`crate::SequenceEncoder::after_step`].
    pub fn after_step(&self, params: &mut Params, tables: &Tables, updates: &[StateUpdate], at: StepInfo) {
        if !matches!(self.config.codebook, Codebook::MovingAverage { .. })
            || matches!(self.vectors, Vectors::Given)
        {
            return;
        }
        let (k, dim) = (self.config.codes, self.dim);
        if !self.has_begun(params) {
            let begins = self.started || at.step >= (at.steps_per_epoch / 3).max(1);
            if begins {
                if !self.started {
                    let vectors = self.vectors_of_items(params, tables);
                    let mut rng = rng::stream(at.seed, "codebook/kmeans", &[at.step]);
                    let learned = self.learned_rows(tables, &vectors);
                    params.set(self.codes, kmeans(&learned, dim, k, &mut rng));
                }
                params.set_buffer(self.usage, vec![1.0; k]);
            }
            return;
        }
        let mut total = vec![0.0; k * (1 + dim)];
        for update in updates.iter().filter(|u| u.buffer == self.usage) {
            total.iter_mut().zip(&update.values).for_each(|(t, v)| *t += v);
        }
        let (counts, sums) = total.split_at(k);
        let mut usage = params.buffer(self.usage).to_vec();
        let mut codes = params.get(self.codes).to_vec();
        for c in 0..k {
            usage[c] = 0.99 * usage[c] + 0.01 * counts[c];
            if counts[c] > 0.0 {
                let rate = (0.01 * counts[c] / usage[c]).min(0.2);
                for (code, sum) in codes[c * dim..(c + 1) * dim].iter_mut().zip(&sums[c * dim..(c + 1) * dim])
                {
                    *code += rate * (sum / counts[c] - *code);
                }
            }
        }
        let mean = usage.iter().sum::<f32>() / k as f32;
        let dead: Vec<usize> = (0..k).filter(|c| usage[*c] < 0.1 * mean).collect();
        if !dead.is_empty() {
            let learned = self.learned_rows(tables, &self.vectors_of_items(params, tables));
            let mut rng = rng::stream(at.seed, "codebook/revive", &[at.step]);
            for c in dead.into_iter().filter(|_| !learned.is_empty()) {
                let item = rng.random_range(0..(learned.len() / dim) as u32) as usize;
                let mut row = learned[item * dim..(item + 1) * dim].to_vec();
                normalise(&mut row, dim);
                codes[c * dim..(c + 1) * dim].copy_from_slice(&row);
                usage[c] = mean;
            }
        }
        params.set(self.codes, codes);
        params.set_buffer(self.usage, usage);
    }
}
