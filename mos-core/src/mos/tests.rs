//! What a routing must satisfy, on random catalogs, codebooks and histories.

use std::{collections::BTreeMap, sync::Arc};

use mos_data::{Batch, Catalog, Content, rng};
use proptest::prelude::*;

use super::{Assignment, MosConfig, NO_THEME, Router, RoutingUnit, RoutingVector, Run, plan::Plan};
use crate::{Builder, Events, Init, ItemIndex, Params, Pass, Tables, Tape};

const ITEMS: usize = 24;
const DIM: usize = 4;

struct Subject {
    router: Router,
    params: Params,
    tables: Tables,
}

impl Subject {
    fn new(config: &MosConfig, seed: u64) -> Self {
        let mut draw = rng::stream(seed, "tests/catalog", &[]);
        let mut values = Init::Normal(1.0).values(ITEMS, DIM, &mut draw);
        values[..DIM].fill(0.0);
        let content = Some(Content { dim: DIM, values });
        let catalog = Arc::new(Catalog { items: ITEMS, content, behaviours: 1, ..Catalog::default() });
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let mut builder = Builder::new(&mut params, &mut tables, &catalog, DIM, seed);
        let router = Router::new(&mut builder, config).unwrap();
        router.prepare_scoring(&mut params, &tables);
        Self { router, params, tables }
    }

    fn plan(&self, batch: &Batch) -> (Events, Plan) {
        self.plan_in(Tape::scoring(), batch)
    }

    fn plan_in(&self, tape: Tape, batch: &Batch) -> (Events, Plan) {
        let (index, events) = ItemIndex::of(batch).unwrap();
        let rng = rng::stream(0, "tests", &[]);
        let mut pass = Pass::new(tape, &self.params, &self.tables, &index, rng);
        if pass.is_training() {
            pass = pass.of_step(&batch.labels);
        }
        let plan = self.router.plan(&mut pass, &events);
        (events, plan)
    }

    fn themes(&self) -> Vec<u16> {
        self.router.item_themes(&self.params)
    }

    /// Reorders the codes: code `k` moves to place `to[k]`.
    fn permute(&mut self, to: &[usize]) {
        let id = self.params.ids().find(|id| self.params.name(*id).ends_with("codes")).unwrap();
        let codes = self.params.get(id).to_vec();
        let mut moved = codes.clone();
        for (k, to) in to.iter().enumerate() {
            moved[to * DIM..(to + 1) * DIM].copy_from_slice(&codes[k * DIM..(k + 1) * DIM]);
        }
        self.params.set(id, moved);
        self.router.prepare_scoring(&mut self.params, &self.tables);
    }
}

/// Histories of these lengths, sessions of random size; item 0 is the unknown one.
fn batch(lengths: &[usize], seed: u64) -> Batch {
    let mut draw = rng::stream(seed, "tests/batch", &[]);
    let mut out = Batch { offsets: vec![0], ..Batch::default() };
    for (user, n) in lengths.iter().enumerate() {
        out.users.push(user as u32);
        out.targets.push(draw.random_range(0..ITEMS as u32));
        out.labels.push(0.0);
        out.target_times.push(1_000);
        let mut session = 0;
        for _ in 0..*n {
            out.items.push(draw.random_range(0..ITEMS as u32));
            out.behaviours.push(0);
            session += u32::from(draw.random::<f32>() < 0.3);
            out.sessions.push(session);
            out.times.push(0);
        }
        out.offsets.push(out.items.len());
    }
    out
}

fn all_themes(unit: RoutingUnit) -> MosConfig {
    MosConfig { run: Run::All, unit, codes: 5, theme_length: usize::MAX, ..MosConfig::mos() }
}

/// Segments of each sample: (theme, rows in order).
fn segments(plan: &Plan) -> BTreeMap<u32, Vec<(u16, Vec<u32>)>> {
    let mut out: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (s, range) in plan.offsets.ranges().enumerate() {
        out.entry(plan.samples[s]).or_default().push((plan.themes[s], plan.rows[range].to_vec()));
    }
    out
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..30, 1..5)
}

/// What is said of behaviours is what they are routed by, whatever the unit.
#[test]
fn the_themes_of_rows_are_those_of_the_plan() {
    for unit in [RoutingUnit::Behaviour, RoutingUnit::Session, RoutingUnit::Window(4)] {
        let (subject, batch) = (Subject::new(&all_themes(unit), 3), batch(&[11, 0, 25], 3));
        let (events, plan) = subject.plan(&batch);
        let (index, _) = ItemIndex::of(&batch).unwrap();
        let mut pass = Pass::new(
            Tape::scoring(),
            &subject.params,
            &subject.tables,
            &index,
            rng::stream(0, "tests", &[]),
        );
        let of_rows = subject.router.themes_of_rows(&mut pass, &events);
        assert_eq!(of_rows.len(), batch.items.len());
        let mut planned = 0;
        for (segment, range) in plan.offsets.ranges().enumerate() {
            planned += range.len();
            assert!(
                plan.rows[range].iter().all(|r| of_rows[*r as usize] == plan.themes[segment]),
                "{unit:?}"
            );
        }
        assert_eq!(planned, of_rows.iter().filter(|t| **t != NO_THEME).count(), "{unit:?}");
    }
}

#[test]
fn theme_dropout_hides_themes_in_training_alone() {
    let subject = Subject::new(&MosConfig { codes: 4, theme_dropout: 0.5, ..MosConfig::mos() }, 1);
    let mut batch = batch(&[6; 400], 1);
    batch.targets.iter_mut().for_each(|t| *t = (*t).max(1));
    let hidden = |plan: &Plan| {
        let unknown = (0..400).filter(|b| plan.evidence[*b] == -0.5);
        let empty = |b: &usize| plan.themes[*b] == NO_THEME && plan.offsets.range(*b).is_empty();
        (unknown.clone().count(), unknown.clone().all(|b| empty(&b)))
    };
    assert_eq!(hidden(&subject.plan(&batch).1), (0, true));
    let (count, empty) = hidden(&subject.plan_in(Tape::training(), &batch).1);
    assert!((160..240).contains(&count) && empty, "{count} of 400 hidden");

    let subject = Subject::new(&MosConfig { theme_dropout: 0.5, ..all_themes(RoutingUnit::Behaviour) }, 1);
    let plan = subject.plan_in(Tape::training(), &batch).1;
    for (s, gate) in plan.gates.iter().enumerate() {
        let hidden = plan.evidence[plan.samples[s] as usize] == -0.5;
        assert!(!hidden || *gate == 0.0, "a hidden theme still gates");
    }
}

/// Balance and orthogonality against their definitions; the rest of their way is operations that have tests of their own.
#[test]
fn further_losses_are_those_of_their_definitions() {
    let config = MosConfig { codes: 3, balance: 2.0, orthogonality: 0.5, ..MosConfig::mos() };
    let subject = Subject::new(&config, 7);
    let batch = batch(&[9, 4, 17], 7);
    let (index, events) = ItemIndex::of(&batch).unwrap();
    let mut pass =
        Pass::new(Tape::training(), &subject.params, &subject.tables, &index, rng::stream(0, "tests", &[]))
            .of_step(&batch.labels);
    let vectors = subject.router.learn(&mut pass, &events);
    let found: Vec<f32> = pass.losses.iter().map(|(weight, loss)| weight * loss.values()[0]).collect();
    let rows = |values: &[f32]| -> Vec<Vec<f32>> { values.chunks(DIM).map(<[f32]>::to_vec).collect() };
    let id = subject.params.ids().find(|id| subject.params.name(*id).ends_with("codes")).unwrap();
    let codes = rows(subject.params.get(id).values());
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()).max(1e-6)
    };
    let vectors = rows(vectors.values());
    let mut mean = [0.0f32; 3];
    for item in &events.items {
        let e: Vec<f32> = codes.iter().map(|c| (cosine(&vectors[*item as usize], c) / 0.2).exp()).collect();
        let sum: f32 = e.iter().sum();
        mean.iter_mut().zip(e).for_each(|(m, e)| *m += e / sum / events.items.len() as f32);
    }
    let balance = 2.0 * 3.0 * mean.iter().map(|m| m * m).sum::<f32>();
    let pairs = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| cosine(&codes[a], &codes[b]).powi(2));
    // The mean over ordered pairs of different codes, and what codes have with themselves.
    let orthogonality = 0.5 * (2.0 * pairs.iter().sum::<f32>() / 6.0 + 1.0 / 2.0);
    assert_eq!(found.len(), 3);
    assert!((found[1] - balance).abs() < 1e-4, "{found:?}, not {balance}");
    assert!((found[2] - orthogonality).abs() < 1e-4, "{found:?}, not {orthogonality}");
    for config in [MosConfig { balance: 0.1, ..MosConfig::vq() }, MosConfig { balance: -1.0, ..config }] {
        assert!(config.check().is_err());
    }
}

/// The codebook learns from the newest behaviours of the first histories as if there were no others.
#[test]
fn the_codebook_learns_from_the_newest_behaviours() {
    let config = MosConfig { information_rows: 2, information_length: 6, balance: 0.5, ..MosConfig::mos() };
    let (subject, long) = (Subject::new(&config, 7), batch(&[19, 4, 11], 7));
    let losses = |batch: &Batch| {
        let (index, events) = ItemIndex::of(batch).unwrap();
        let rng = rng::stream(0, "tests", &[]);
        let mut pass = Pass::new(Tape::training(), &subject.params, &subject.tables, &index, rng);
        subject.router.learn(&mut pass, &events);
        pass.losses.iter().map(|(_, loss)| loss.values()[0]).collect::<Vec<f32>>()
    };
    let mut short = long.clone();
    for column in [&mut short.items, &mut short.sessions] {
        *column = [&column[13..19], &column[19..23]].concat();
    }
    short.behaviours = vec![0; 10];
    short.times = vec![0; 10];
    short.offsets = vec![0, 6, 10, 10];
    let (found, wanted) = (losses(&long), losses(&short));
    assert_eq!(found.len(), 2);
    assert_eq!(found, wanted);
    for (lags, length, fits) in [(vec![3, 5], 3, false), (vec![3, 5], 4, true), (vec![1], 1, false)] {
        assert_eq!(MosConfig { lags, information_length: length, ..config.clone() }.check().is_ok(), fits);
    }
    assert!(MosConfig { information_length: 1, ..MosConfig::vq() }.check().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_hard_routing_is_a_stable_partition(lengths in lengths(), seed in 0u64..1000) {
        let (subject, batch) = (Subject::new(&all_themes(RoutingUnit::Behaviour), seed), batch(&lengths, seed));
        let (themes, (events, plan)) = (subject.themes(), subject.plan(&batch));
        let found = segments(&plan);
        for (b, range) in events.offsets.ranges().enumerate() {
            let parts = found.get(&(b as u32)).cloned().unwrap_or_default();
            let mut rows: Vec<u32> = parts.iter().flat_map(|(_, rows)| rows.clone()).collect();
            for (theme, rows) in &parts {
                prop_assert!(!rows.is_empty() && rows.windows(2).all(|w| w[0] < w[1]), "order is kept");
                prop_assert!(rows.iter().all(|r| themes[batch.items[*r as usize] as usize] == *theme));
            }
            rows.sort_unstable();
            let known: Vec<u32> = range.filter(|r| batch.items[*r] != 0).map(|r| r as u32).collect();
            prop_assert_eq!(rows, known, "every known behaviour is in exactly one subsequence");
        }
    }

    #[test]
    fn gates_sum_to_one(lengths in lengths(), seed in 0u64..1000, soft: bool) {
        let assignment = if soft { Assignment::Soft } else { Assignment::Hard };
        let config = MosConfig { assignment, ..all_themes(RoutingUnit::Behaviour) };
        let (subject, batch) = (Subject::new(&config, seed), batch(&lengths, seed));
        let plan = subject.plan(&batch).1;
        for (b, parts) in segments(&plan) {
            let mine = (0..plan.samples.len()).filter(|s| plan.samples[*s] == b);
            let sum: f32 = mine.clone().map(|s| plan.gates[s]).sum();
            let wanted = if batch.targets[b as usize] == 0 { 0.0 } else { 1.0 };
            prop_assert!((sum - wanted).abs() < 1e-5, "{} segments, gates {}", parts.len(), sum);
        }
        if let Some(membership) = &plan.membership {
            let mut of_row = BTreeMap::<u32, f32>::new();
            plan.rows.iter().zip(membership).for_each(|(r, m)| *of_row.entry(*r).or_default() += m);
            for (row, sum) in of_row {
                let wanted = if batch.items[row as usize] == 0 { 0.0 } else { 1.0 };
                prop_assert!((sum - wanted).abs() < 1e-5, "memberships of row {row} sum to {sum}");
            }
        }
    }

    #[test]
    fn the_target_gets_the_last_behaviours_of_its_theme(lengths in lengths(), seed in 0u64..1000, most in 1usize..6) {
        let config = MosConfig { codes: 4, theme_length: most, ..MosConfig::mos() };
        let (subject, batch) = (Subject::new(&config, seed), batch(&lengths, seed));
        let (themes, (events, plan)) = (subject.themes(), subject.plan(&batch));
        prop_assert_eq!(plan.offsets.segments(), batch.len());
        for (b, range) in events.offsets.ranges().enumerate() {
            let theme = themes[batch.targets[b] as usize];
            let of_theme = |r: &usize| theme != NO_THEME && themes[batch.items[*r] as usize] == theme;
            let mut wanted: Vec<u32> = range.filter(of_theme).map(|r| r as u32).collect();
            wanted.drain(..wanted.len().saturating_sub(most));
            prop_assert_eq!(&plan.rows[plan.offsets.range(b)], &wanted[..]);
            let evidence = if theme == NO_THEME { -0.5 } else { 0.25 * (1.0 + wanted.len() as f32).ln() };
            prop_assert_eq!(plan.evidence[b], evidence, "unknown is not the same as empty");
        }
    }

    #[test]
    fn behaviours_of_other_themes_leave_a_subsequence_alone(n in 0usize..20, seed in 0u64..1000, more in prop::collection::vec(1u32..24, 0..9)) {
        let subject = Subject::new(&MosConfig { codes: 4, ..MosConfig::mos() }, seed);
        let (themes, mut batch) = (subject.themes(), batch(&[n], seed));
        batch.targets[0] = batch.targets[0].max(1);
        let before = subject.plan(&batch).1;
        for item in more.into_iter().filter(|i| themes[*i as usize] != themes[batch.targets[0] as usize]) {
            batch.items.push(item);
            batch.behaviours.push(0);
            batch.sessions.push(99);
        }
        batch.offsets[1] = batch.items.len();
        let after = subject.plan(&batch).1;
        prop_assert_eq!((before.rows, before.evidence), (after.rows, after.evidence));
    }

    #[test]
    fn sessions_and_windows_are_never_cut(lengths in lengths(), seed in 0u64..1000, window in 1usize..6, tied: bool) {
        for unit in [RoutingUnit::Session, RoutingUnit::Window(window)] {
            let vector = if tied { RoutingVector::Content } else { RoutingVector::ContentMap };
            let (subject, batch) = (Subject::new(&MosConfig { vector, ..all_themes(unit) }, seed), batch(&lengths, seed));
            let (events, plan) = subject.plan(&batch);
            let mut theme_of = BTreeMap::new();
            for (s, range) in plan.offsets.ranges().enumerate() {
                theme_of.extend(plan.rows[range].iter().map(|r| (*r as usize, plan.themes[s])));
            }
            for range in events.offsets.ranges() {
                for r in range.clone().skip(1) {
                    let together = match unit {
                        RoutingUnit::Session => batch.sessions[r] == batch.sessions[r - 1],
                        _ => !(range.end - r).is_multiple_of(window),
                    };
                    prop_assert!(!together || theme_of.get(&r) == theme_of.get(&(r - 1)));
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_codes_does_not_matter(lengths in lengths(), seed in 0u64..1000) {
        let (mut subject, batch) = (Subject::new(&all_themes(RoutingUnit::Behaviour), seed), batch(&lengths, seed));
        let to = [3, 0, 4, 1, 2];
        let before = subject.plan(&batch).1;
        subject.permute(&to);
        let after = subject.plan(&batch).1;
        let renamed = |plan: &Plan, to: &dyn Fn(u16) -> u16| {
            let mut out: Vec<_> = (0..plan.samples.len())
                .map(|s| (plan.samples[s], to(plan.themes[s]), plan.rows[plan.offsets.range(s)].to_vec()))
                .collect();
            out.sort();
            out
        };
        prop_assert_eq!(renamed(&before, &|t| to[t as usize] as u16), renamed(&after, &|t| t));
        prop_assert_eq!(before.evidence, after.evidence);
    }
}
