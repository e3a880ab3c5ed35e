//! Subsequences: which behaviours of which sample an expert reads, by the themes that the router assigns.

use std::{collections::HashMap, sync::Arc};

use rand::RngExt as _;

use super::{Assignment, NO_THEME, Router, RoutingUnit, Run, codebook::normalise, router::Vectors};
use crate::{Events, Offsets, Pass, cost, ops};

/// Subsequences: segment `s` belongs to sample `samples[s]` and theme `themes[s]`; segments are in sample order.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) rows: Vec<u32>,
    /// Borders of the subsequences; each stands there once, whoever reads it.
    pub(super) offsets: Offsets,
    /// Subsequence of each segment, as in [`Events::histories`].
    pub(super) histories: Option<Arc<[u32]>>,
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
    /// Routes the histories; in training also adds the router's losses.
    pub(super) fn plan(&self, pass: &mut Pass<'_>, events: &Events) -> Plan {
        let (item_themes, vectors) = self.assign_items(pass, events);
        let codes = pass.params.get(self.codes).clone();
        let codes = codes.values();
        let row_themes = self.assign_rows(&item_themes, &vectors, codes, events);
        let mut targets: Vec<u16> = events.targets.iter().map(|t| item_themes[*t as usize]).collect();
        if pass.is_step() && self.config.theme_dropout > 0.0 {
            for target in &mut targets {
                if pass.rng.random::<f32>() < self.config.theme_dropout {
                    *target = NO_THEME;
                }
            }
        }
        match self.config.run {
            Run::Target(n) => self.plan_target(events, &row_themes, &targets, n, &vectors, codes),
            Run::All => self.plan_all(events, &row_themes, &targets, &vectors, codes),
        }
    }

    /// The theme of each distinct item of this pass `[U]`, [`NO_THEME`] where it has none. In training by the routing vectors
    /// as they are now, and the router's losses are added; when scoring by what was prepared.
    pub fn themes_of_pass(&self, pass: &mut Pass<'_>, events: &Events) -> Vec<u16> {
        self.assign_items(pass, events).0
    }

    /// The theme of each behaviour `[N]`, by the routing unit.
    pub(super) fn themes_of_rows(&self, pass: &mut Pass<'_>, events: &Events) -> Vec<u16> {
        let (item_themes, vectors) = self.assign_items(pass, events);
        let codes = pass.params.get(self.codes).clone();
        self.assign_rows(&item_themes, &vectors, codes.values(), events)
    }

    fn assign_rows(&self, item_themes: &[u16], vectors: &[f32], codes: &[f32], events: &Events) -> Vec<u16> {
        match self.config.unit {
            RoutingUnit::Behaviour => events.items.iter().map(|i| item_themes[*i as usize]).collect(),
            unit => self.assign_units(vectors, codes, events, unit),
        }
    }

    /// The theme of each distinct item, and where they are needed beyond that the routing vectors `[U, dim]`.
    fn assign_items(&self, pass: &mut Pass<'_>, events: &Events) -> (Vec<u16>, Vec<f32>) {
        if pass.is_training() && !matches!(self.vectors, Vectors::Given) {
            let vectors = self.learn(pass, events).to_vec();
            return (self.assign(&vectors, pass.params.get(self.codes).values()), vectors);
        }
        let all = pass.params.buffer(self.themes);
        let themes = pass.index.items.iter().map(|i| all[*i as usize] as u16).collect();
        (themes, if self.compares() { self.looked_up(pass) } else { Vec::new() })
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
            let from = out.len();
            out.extend(unit_codes.chunks(self.dim).map(|c| ops::dot(&v, c) / self.config.temperature));
            if v.iter().any(|x| *x != 0.0) {
                ops::softmax(&mut out[from..]);
            } else {
                out[from..].fill(0.0);
            }
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
                order.truncate(n);
                order.sort_unstable();
                order
            };
            p.chunks(self.config.codes)
                .zip(targets)
                .map(|(p, t)| if *t == NO_THEME { vec![NO_THEME] } else { top(p) })
                .collect()
        };
        let (mut rows, mut lengths, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
        // The subsequence of each history and choice of themes.
        let (mut made, mut histories) = (HashMap::new(), Vec::with_capacity(b));
        for (b, (range, wanted)) in events.spans().ranges().zip(&wanted).enumerate() {
            let known = wanted[0] != NO_THEME;
            let place = *made.entry((events.history(b), wanted)).or_insert_with(|| {
                let from = rows.len();
                rows.extend(range.filter(|r| known && wanted.contains(&row_themes[*r])).map(|r| r as u32));
                let extra = (rows.len() - from).saturating_sub(self.config.theme_length);
                rows.drain(from..from + extra);
                lengths.push(rows.len() - from);
                lengths.len() - 1
            });
            histories.push(place as u32);
            evidence.push(if known {
                0.25 * (1.0 + lengths[place] as f32).ln()
            } else {
                self.config.unknown_evidence
            });
        }
        Plan {
            rows,
            histories: shared(histories, lengths.len()),
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
            histories: None,
            samples: Vec::new(),
            themes: Vec::new(),
            membership: soft.then(Vec::new),
            gates: Vec::new(),
            evidence: Vec::new(),
        };
        let mut lengths = Vec::new();
        // Themes of each history, with the subsequence and how much is in it.
        let mut parts: Vec<Vec<(usize, u32, f32)>> = Vec::with_capacity(events.offsets.segments());
        for range in events.offsets.ranges() {
            let mut mine = Vec::new();
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
                let within = match &plan.membership {
                    Some(m) => m[m.len() - (count - skip)..].iter().sum(),
                    None => (count - skip) as f32,
                };
                mine.push((theme, lengths.len() as u32, within));
                lengths.push(count - skip);
            }
            parts.push(mine);
        }
        let mut histories = Vec::new();
        for (b, target) in targets.iter().enumerate() {
            let (first, mut mass, mut own) = (plan.gates.len(), 0.0, 0.0);
            let known = *target != NO_THEME;
            for (theme, subsequence, within) in &parts[events.history(b) as usize] {
                if *target as usize == *theme {
                    own = *within;
                }
                histories.push(*subsequence);
                plan.samples.push(b as u32);
                plan.themes.push(*theme as u16);
                let gate = if known { gates_of[b * k + theme] } else { 0.0 };
                plan.gates.push(gate);
                mass += gate;
            }
            // The gate is a softmax over the themes that this history has.
            if mass > 0.0 {
                plan.gates[first..].iter_mut().for_each(|g| *g /= mass);
            }
            plan.evidence.push(if known { 0.25 * (1.0 + own).ln() } else { self.config.unknown_evidence });
        }
        plan.histories = shared(histories, lengths.len());
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
}

/// The subsequence of each segment, of `count`; `None` if each has its own, in order.
fn shared(of: Vec<u32>, count: usize) -> Option<Arc<[u32]>> {
    let own = of.len() == count && of.iter().enumerate().all(|(s, of)| s as u32 == *of);
    if own { None } else { Some(of.into()) }
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
