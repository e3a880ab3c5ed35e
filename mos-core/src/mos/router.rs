//! The theme router: which behaviours form which subsequence.

use mos_data::rng;
use rand::RngExt as _;

use super::{
    Assignment, Codebook, MosConfig, RoutingUnit, RoutingVector, Run, Themes,
    codebook::{kmeans, nearest, normalise},
};
use crate::{
    Builder, Error, Events, Init, Mat, Offsets, ParamId, Params, Pass, Result, StateUpdate, StepInfo,
    TableId, TableInit, Tables, cost, engine::BufferId, ops,
};

/// The theme of an item that has none: unknown, or without a routing vector. Not a theme, and not "empty".
pub const NO_THEME: u16 = u16::MAX;

#[derive(Clone, Debug)]
enum Vectors {
    Given,
    Map { content: TableId, weight: ParamId, plus: Option<TableId> },
    Rows { table: TableId, detached: bool },
}

/// Assigns themes. See [`MosConfig`] for its choices.
#[derive(Clone, Debug)]
pub struct Router {
    config: MosConfig,
    vectors: Vectors,
    dim: usize,
    codes: ParamId,
    /// Theme of each catalog item `[V]`.
    themes: BufferId,
    /// Routing vector of each catalog item `[V, dim]`, filled only where scoring compares vectors.
    lookup: BufferId,
    /// Moving average of how many vectors choose each code `[K]`.
    usage: BufferId,
}

/// Subsequences: segment `s` belongs to sample `samples[s]` and theme `themes[s]`; segments are in sample order.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) rows: Vec<u32>,
    pub(super) offsets: Offsets,
    pub(super) samples: Vec<u32>,
    pub(super) themes: Vec<u16>,
    /// Membership of each row; soft assignment only.
    pub(super) membership: Option<Vec<f32>>,
    /// Weight of each segment in its sample's vector.
    pub(super) gates: Vec<f32>,
    /// Evidence of each sample: 0.25 ln(1 + behaviours in the target's themes), or the value for "unknown".
    pub(super) evidence: Vec<f32>,
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
                Some((0..items).map(|_| rng.random_range(0..k as u32) as u16).collect())
            }
            Themes::Oracle => Some(catalog.themes.clone().ok_or_else(|| missing("oracle"))?),
            // Categories beyond 65,534 share theme ids, which merges subsequences: only same-id rows are ever compared.
            Themes::Category => {
                let of = catalog.categories.as_ref().ok_or_else(|| missing("category"))?;
                Some(
                    of.iter()
                        .map(|c| if *c == 0 { NO_THEME } else { ((c - 1) % u32::from(u16::MAX)) as u16 })
                        .collect(),
                )
            }
        };
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
        let codes = builder.param("codes", k, dim, Init::Normal(1.0));
        if let (Vectors::Map { .. } | Vectors::Rows { .. }, Some(content)) = (&vectors, content)
            && (config.kmeans_start || config.codebook == Codebook::Fixed)
            && content.dim == dim
        {
            let mut rng = rng::stream(seed, "codebook/kmeans", &[]);
            let start = kmeans(&content.values, dim, k, &mut rng);
            builder.params.set(codes, start);
        }
        let themes = given.unwrap_or_else(|| vec![NO_THEME; items]).into_iter().map(f32::from).collect();
        Ok(Self {
            config: config.clone(),
            vectors,
            dim,
            codes,
            themes: builder.buffer_of("themes", 1, themes),
            lookup: builder.buffer_of("lookup", dim, Vec::new()),
            usage: builder.buffer_of("usage", 1, vec![0.0; k]),
        })
    }

    /// Whether scoring has to compare vectors, beyond looking up an item's theme.
    fn compares(&self) -> bool {
        !matches!(self.vectors, Vectors::Given)
            && (self.config.run != Run::Target(1) || self.config.unit != RoutingUnit::Behaviour)
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

    fn assign(&self, vectors: &[f32], codes: &[f32]) -> Vec<u16> {
        let of = nearest(vectors, codes, self.dim);
        let known = vectors.chunks(self.dim).map(|v| v.iter().any(|x| *x != 0.0));
        of.iter().zip(known).map(|(z, known)| if known { *z as u16 } else { NO_THEME }).collect()
    }

    pub(super) fn prepare_scoring(&self, params: &mut Params, tables: &Tables) {
        if matches!(self.vectors, Vectors::Given) {
            return;
        }
        let vectors = self.vectors_of_items(params, tables);
        let themes = self.assign(&vectors, params.get(self.codes).values());
        params.set_buffer(self.themes, themes.into_iter().map(f32::from).collect());
        if self.compares() {
            params.set_buffer(self.lookup, vectors);
        }
    }

    /// Routes the histories; in training also adds the router's losses.
    pub(super) fn plan(&self, pass: &mut Pass<'_>, events: &Events) -> Plan {
        let codes = pass.params.get(self.codes).to_vec();
        let training = pass.is_training();
        let mut vectors = Vec::new();
        let item_themes: Vec<u16> = if training && !matches!(self.vectors, Vectors::Given) {
            let mat = self.learn(pass, events);
            vectors = mat.to_vec();
            self.assign(&vectors, &codes)
        } else {
            let all = pass.params.buffer(self.themes);
            if self.compares() {
                let lookup = pass.params.buffer(self.lookup);
                let row = |i: &u32| &lookup[*i as usize * self.dim..(*i as usize + 1) * self.dim];
                vectors = pass.index.items.iter().flat_map(row).copied().collect();
            }
            pass.index.items.iter().map(|i| all[*i as usize] as u16).collect()
        };
        let row_themes = match self.config.unit {
            RoutingUnit::Behaviour => events.items.iter().map(|i| item_themes[*i as usize]).collect(),
            unit => self.assign_units(&vectors, &codes, events, unit),
        };
        let mut targets: Vec<u16> = events.targets.iter().map(|t| item_themes[*t as usize]).collect();
        if training && self.config.theme_dropout > 0.0 {
            for target in &mut targets {
                if pass.rng.random::<f32>() < self.config.theme_dropout {
                    *target = NO_THEME;
                }
            }
        }
        match self.config.run {
            Run::Target(n) => self.plan_target(events, &row_themes, &targets, n, &vectors, &codes),
            Run::All => self.plan_all(events, &row_themes, &targets, &vectors, &codes),
        }
    }

    fn assign_units(&self, vectors: &[f32], codes: &[f32], events: &Events, unit: RoutingUnit) -> Vec<u16> {
        let mut means = Vec::new();
        let mut sizes = Vec::new();
        for range in events.offsets.ranges() {
            for piece in units(&events.sessions, range, unit) {
                let mut mean = vec![0.0; self.dim];
                for item in &events.items[piece.clone()] {
                    let mut unit =
                        vectors[*item as usize * self.dim..(*item as usize + 1) * self.dim].to_vec();
                    normalise(&mut unit, self.dim);
                    mean.iter_mut().zip(unit).for_each(|(m, v)| *m += v);
                }
                means.extend(mean);
                sizes.push(piece.len());
            }
        }
        cost::count(sizes.len() * self.config.codes * self.dim);
        let themes = self.assign(&means, codes);
        themes.iter().zip(sizes).flat_map(|(z, n)| std::iter::repeat_n(*z, n)).collect()
    }

    /// Softmax over codes of cosine / temperature, row by row; a zero vector gets no membership at all.
    fn memberships(&self, vectors: &[f32], codes: &[f32], items: &[u32]) -> Vec<f32> {
        let mut unit_codes = codes.to_vec();
        normalise(&mut unit_codes, self.dim);
        let mut out = Vec::with_capacity(items.len() * self.config.codes);
        for item in items {
            let mut v = vectors[*item as usize * self.dim..(*item as usize + 1) * self.dim].to_vec();
            normalise(&mut v, self.dim);
            let known = v.iter().any(|x| *x != 0.0);
            let cosine = |c: &[f32]| v.iter().zip(c).map(|(a, b)| a * b).sum::<f32>();
            let e: Vec<f32> = unit_codes
                .chunks(self.dim)
                .map(|c| ((cosine(c) - 1.0) / self.config.temperature).exp())
                .collect();
            let sum: f32 = e.iter().sum();
            out.extend(e.iter().map(|x| if known { x / sum } else { 0.0 }));
        }
        out
    }

    fn plan_target(
        &self,
        events: &Events,
        row_themes: &[u16],
        targets: &[u16],
        n: usize,
        vectors: &[f32],
        codes: &[f32],
    ) -> Plan {
        let b = targets.len();
        let wanted: Vec<Vec<u16>> = if n == 1 {
            targets.iter().map(|t| vec![*t]).collect()
        } else {
            cost::count(b * self.config.codes * self.dim);
            let p = self.memberships(vectors, codes, &events.targets);
            let top = |p: &[f32]| {
                let mut order: Vec<u16> = (0..p.len() as u16).collect();
                order.sort_by(|a, b| p[*b as usize].total_cmp(&p[*a as usize]));
                order[..n].to_vec()
            };
            p.chunks(self.config.codes)
                .zip(targets)
                .map(|(p, t)| if *t == NO_THEME { vec![NO_THEME] } else { top(p) })
                .collect()
        };
        let (mut rows, mut lengths, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
        for (range, wanted) in events.offsets.ranges().zip(&wanted) {
            let known = wanted[0] != NO_THEME;
            let from = rows.len();
            rows.extend(range.filter(|r| known && wanted.contains(&row_themes[*r])).map(|r| r as u32));
            let extra = (rows.len() - from).saturating_sub(self.config.theme_length);
            rows.drain(from..from + extra);
            let length = rows.len() - from;
            lengths.push(length);
            evidence.push(if known {
                0.25 * (1.0 + length as f32).ln()
            } else {
                self.config.unknown_evidence
            });
        }
        Plan {
            rows,
            offsets: Offsets::from_lengths(lengths),
            samples: (0..b as u32).collect(),
            themes: targets.to_vec(),
            membership: None,
            gates: vec![1.0; b],
            evidence,
        }
    }

    fn plan_all(
        &self,
        events: &Events,
        row_themes: &[u16],
        targets: &[u16],
        vectors: &[f32],
        codes: &[f32],
    ) -> Plan {
        let k = self.config.codes;
        let gates_of = if vectors.is_empty() {
            targets.iter().flat_map(|t| (0..k).map(|c| f32::from(c == *t as usize))).collect()
        } else {
            cost::count(targets.len() * k * self.dim);
            self.memberships(vectors, codes, &events.targets)
        };
        let soft = self.config.assignment == Assignment::Soft && !vectors.is_empty();
        let row_membership = if soft {
            cost::count(events.items.len() * k * self.dim);
            self.memberships(vectors, codes, &events.items)
        } else {
            Vec::new()
        };
        let mut plan = Plan {
            rows: Vec::new(),
            offsets: Offsets::from_lengths([]),
            samples: Vec::new(),
            themes: Vec::new(),
            membership: soft.then(Vec::new),
            gates: Vec::new(),
            evidence: Vec::new(),
        };
        let mut lengths = Vec::new();
        for (b, range) in events.offsets.ranges().enumerate() {
            let (first, mut mass, mut own) = (plan.gates.len(), 0.0, 0);
            for theme in 0..k {
                let of_theme = |r: &usize| soft || row_themes[*r] as usize == theme;
                let count = range.clone().filter(of_theme).count();
                if count == 0 {
                    continue;
                }
                let skip = count.saturating_sub(self.config.theme_length);
                for r in range.clone().filter(of_theme).skip(skip) {
                    plan.rows.push(r as u32);
                    if let Some(m) = &mut plan.membership {
                        m.push(row_membership[r * k + theme]);
                    }
                }
                if targets[b] as usize == theme {
                    own = count - skip;
                }
                lengths.push(count - skip);
                plan.samples.push(b as u32);
                plan.themes.push(theme as u16);
                plan.gates.push(gates_of[b * k + theme]);
                mass += gates_of[b * k + theme];
            }
            // The gate is a softmax over the themes that this history has.
            if mass > 0.0 {
                plan.gates[first..].iter_mut().for_each(|g| *g /= mass);
            }
            let known = targets[b] != NO_THEME;
            plan.evidence.push(if known {
                0.25 * (1.0 + own as f32).ln()
            } else {
                self.config.unknown_evidence
            });
        }
        plan.offsets = Offsets::from_lengths(lengths);
        plan
    }

    /// MACs of routing at scoring time, as a formula.
    pub(super) fn macs(&self, events: &Events) -> usize {
        if matches!(self.vectors, Vectors::Given) {
            return 0;
        }
        let pieces = match self.config.unit {
            RoutingUnit::Behaviour => 0,
            unit => events.offsets.ranges().map(|r| units(&events.sessions, r, unit).len()).sum(),
        };
        let (gates, soft) = match self.config.run {
            Run::Target(1) => (0, 0),
            Run::All if self.config.assignment == Assignment::Soft => {
                (events.targets.len(), events.items.len())
            }
            Run::All | Run::Target(_) => (events.targets.len(), 0),
        };
        (pieces + gates + soft) * self.config.codes * self.dim
    }

    /// The routing vectors of this shard's items `[U, dim]`; adds losses, records codebook statistics.
    fn learn(&self, pass: &mut Pass<'_>, events: &Events) -> Mat {
        let vectors = match &self.vectors {
            Vectors::Given => Mat::zeros(pass.index.items.len(), 1),
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
        let looked = self.config.information_rows.min(events.offsets.segments());
        match self.config.codebook {
            Codebook::Fixed => {}
            Codebook::MutualInformation { weight } => {
                let pairs = self.neighbours(events, looked);
                let codes = pass.param(self.codes);
                let codes = ops::normalize_rows(&mut pass.tape, &codes);
                let unit = ops::normalize_rows(&mut pass.tape, &vectors);
                let cosine = ops::matmul_nt(&mut pass.tape, &unit, &codes);
                let p = ops::softmax_rows(&mut pass.tape, &cosine, self.config.temperature);
                if !pairs.is_empty() {
                    let loss = ops::mutual_information(&mut pass.tape, &p, &pairs);
                    pass.add_loss(weight, loss);
                }
            }
            Codebook::MovingAverage { commitment } => {
                let codes = pass.params.get(self.codes).to_vec();
                let rows: Vec<u32> =
                    (0..looked).flat_map(|b| events.offsets.range(b)).map(|r| events.items[r]).collect();
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

    /// Pairs of neighbouring behaviours of the first `looked` histories, equal pairs counted together.
    fn neighbours(&self, events: &Events, looked: usize) -> Vec<(u32, u32, f32)> {
        let mut pairs = Vec::new();
        for range in (0..looked).map(|b| events.offsets.range(b)) {
            for t in range.clone() {
                for lag in self.config.lags.iter().filter(|lag| t + **lag < range.end) {
                    if !self.config.same_session || events.sessions[t] == events.sessions[t + lag] {
                        pairs.push((events.items[t], events.items[t + lag], 1.0));
                    }
                }
            }
        }
        pairs
    }

    pub(super) fn after_step(
        &self,
        params: &mut Params,
        tables: &Tables,
        updates: &[StateUpdate],
        at: StepInfo,
    ) {
        if !matches!(self.config.codebook, Codebook::MovingAverage { .. })
            || matches!(self.vectors, Vectors::Given)
        {
            return;
        }
        let (k, dim) = (self.config.codes, self.dim);
        if at.step == (at.steps_per_epoch / 3).max(1) {
            let vectors = self.vectors_of_items(params, tables);
            let mut rng = rng::stream(at.seed, "codebook/kmeans", &[at.step]);
            let start = kmeans(&vectors, dim, k, &mut rng);
            params.set(self.codes, start);
            params.set_buffer(self.usage, vec![1.0; k]);
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
        if !dead.is_empty() && at.step > at.steps_per_epoch / 3 {
            let vectors = self.vectors_of_items(params, tables);
            let items = vectors.len() / dim;
            let mut rng = rng::stream(at.seed, "codebook/revive", &[at.step]);
            for c in dead {
                let item = rng.random_range(0..items as u32) as usize;
                let mut row = vectors[item * dim..(item + 1) * dim].to_vec();
                normalise(&mut row, dim);
                codes[c * dim..(c + 1) * dim].copy_from_slice(&row);
                usage[c] = mean;
            }
        }
        params.set(self.codes, codes);
        params.set_buffer(self.usage, usage);
    }
}

/// The pieces of `range` that are assigned as a whole.
fn units(sessions: &[u32], range: std::ops::Range<usize>, unit: RoutingUnit) -> Vec<std::ops::Range<usize>> {
    let mut pieces = Vec::new();
    let mut from = range.start;
    for t in range.clone() {
        let ends = t + 1 == range.end
            || match unit {
                RoutingUnit::Behaviour => true,
                RoutingUnit::Session => sessions[t] != sessions[t + 1],
                RoutingUnit::Window(n) => (range.end - t - 1).is_multiple_of(n),
            };
        if ends {
            pieces.push(from..t + 1);
            from = t + 1;
        }
    }
    pieces
}
