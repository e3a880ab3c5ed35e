//! What the decisions of a gate must satisfy, on random gates, histories and targets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use mos_core::{
    Builder, Cost, Init, Input, Interest, ItemIndex, Mat, Offsets, Params, Pass, Result, SequenceEncoder,
    StateUpdate, Tables, Tape, TrainConfig, ops,
};
use mos_data::{Batch, rng};
use proptest::prelude::*;

use super::{
    deepseek::{DeepSeek, DeepSeekConfig},
    dense::{Dense, DenseConfig},
    dselect_k::{DSelectK, DSelectKConfig},
    expert_choice::{ExpertChoice, ExpertChoiceConfig},
    gated::{self, Gate, GatedConfig},
    gshard::{GShard, GShardConfig},
    noisy_top_k::{NoisyTopK, NoisyTopKConfig},
    random_routing::{RandomRouting, RandomRoutingConfig},
    routing::{Decisions, Level, Routing, balance, top, variation},
    switch::{Switch, SwitchConfig},
};
use crate::{Registry, Spec, conformance};

const DIM: usize = 8;

/// Behaviours are told apart by their times: their rows in the batch.
fn batch(lengths: &[usize], seed: u64) -> Batch {
    let mut batch = conformance::batch(lengths, seed);
    batch.times = (0..batch.items.len() as i64).collect();
    batch
}

fn random(rows: usize, cols: usize, seed: u64, name: &str) -> Mat {
    Mat::new(rows, cols, Init::Normal(1.0).values(rows, cols, &mut rng::stream(seed, name, &[])))
}

/// A gate with random weights.
struct Subject<G> {
    gate: G,
    level: Level,
    params: Params,
    tables: Tables,
}

impl<G: Gate> Subject<G> {
    fn new(experts: usize, level: Level, config: G::Config, seed: u64) -> Self {
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let catalog = conformance::catalog();
        let mut builder = Builder::new(&mut params, &mut tables, &catalog, DIM, seed);
        let gate = G::new(&mut builder, experts, level, &config).unwrap();
        for id in params.ids().collect::<Vec<_>>() {
            let (rows, cols) = (params.get(id).rows(), params.get(id).cols());
            let values = Init::Normal(0.3).values(rows, cols, &mut rng::stream(seed, params.name(id), &[]));
            params.set(id, values);
        }
        Self { gate, level, params, tables }
    }

    fn with<T>(&self, batch: &Batch, step: bool, run: impl FnOnce(&mut Pass<'_>, &Decisions<'_>) -> T) -> T {
        let (index, events) = ItemIndex::of(batch).unwrap();
        let tape = if step { Tape::training() } else { Tape::scoring() };
        let mut pass = Pass::new(tape, &self.params, &self.tables, &index, rng::stream(1, "tests", &[]));
        if step {
            pass = pass.of_step(&batch.labels);
        }
        let target = random(batch.len(), DIM, 5, "target");
        let rows = random(batch.items.len(), DIM, 6, "rows");
        let input = Input { target, rows, events: Arc::new(events) };
        run(&mut pass, &Decisions { input: &input, level: self.level })
    }

    fn route(&self, batch: &Batch, step: bool) -> (Routing, Offsets) {
        self.with(batch, step, |pass, d| (self.gate.route(pass, d), d.groups()))
    }

    /// x W of each decision, W the first parameter of the gate.
    fn products(&self, batch: &Batch) -> Mat {
        let weight = self.params.get(self.params.ids().next().unwrap()).clone();
        self.with(batch, false, |pass, d| {
            let features = d.features(&mut pass.tape);
            ops::linear(&mut pass.tape, &features, &weight, None, ops::Activation::None)
        })
    }
}

/// Weights of the chosen experts of each decision.
fn chosen_weights(routing: &Routing) -> Vec<Vec<f32>> {
    let experts = routing.weights.cols();
    let of =
        |(r, c): (usize, &Vec<usize>)| c.iter().map(|e| routing.weights.values()[r * experts + e]).collect();
    routing.chosen.iter().enumerate().map(of).collect()
}

/// Decisions of each expert in each group `[groups][E]`.
fn loads(routing: &Routing, groups: &Offsets) -> Vec<Vec<usize>> {
    let load = |group: std::ops::Range<usize>| {
        let mut load = vec![0; routing.weights.cols()];
        routing.chosen[group].iter().flatten().for_each(|e| load[*e] += 1);
        load
    };
    groups.ranges().map(load).collect()
}

/// Writes down which behaviours it is given.
#[derive(Debug)]
struct Spy {
    number: usize,
    seen: Seen,
}

/// Expert, sample → behaviours.
type Seen = Arc<Mutex<BTreeMap<(usize, u32), Vec<i64>>>>;

impl SequenceEncoder for Spy {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let events = &input.events;
        for (sample, range) in events.samples.iter().zip(events.offsets.ranges()) {
            let before =
                self.seen.lock().unwrap().insert((self.number, *sample), events.times[range].to_vec());
            assert!(before.is_none(), "a sample is read twice by one expert");
        }
        Ok(Interest::one(ops::segment_mean(&mut pass.tape, &input.rows, &events.offsets)))
    }

    fn cost(&self, _: &mut Pass<'_>, _: &Input) -> Result<Cost> {
        Ok(Cost::default())
    }
}

/// What each expert of a mixture reads.
fn subsequences<G: Gate>(
    gate: G::Config,
    experts: usize,
    batch: &Batch,
    seed: u64,
) -> BTreeMap<(usize, u32), Vec<i64>> {
    let seen = Seen::default();
    let (mut params, mut tables) = (Params::default(), Tables::default());
    let catalog = conformance::catalog();
    let mut builder = Builder::new(&mut params, &mut tables, &catalog, DIM, seed);
    let config = GatedConfig { experts, short: 0, level: Level::Token, gate };
    let mut number = 0..;
    let mut expert = |_: &mut Builder<'_>| -> Result<Box<dyn SequenceEncoder>> {
        Ok(Box::new(Spy { number: number.next().unwrap(), seen: seen.clone() }))
    };
    let mixture = gated::build::<G>(&mut builder, &config, &mut expert).unwrap();
    let (index, events) = ItemIndex::of(batch).unwrap();
    let mut pass = Pass::new(Tape::scoring(), &params, &tables, &index, rng::stream(1, "tests", &[]));
    let (target, rows) = (random(batch.len(), DIM, 5, "target"), random(batch.items.len(), DIM, 6, "rows"));
    mixture.forward(&mut pass, &Input { target, rows, events: Arc::new(events) }).unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..20, 1..6)
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(vec![Level::Sequence, Level::Token])
}

/// No more than `k` experts, and weights that sum to one.
fn is_convex(routing: &Routing, k: usize) {
    for (weights, chosen) in chosen_weights(routing).iter().zip(&routing.chosen) {
        assert!(!chosen.is_empty() && chosen.len() <= k, "{chosen:?}");
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{weights:?}");
        assert!(weights.iter().all(|w| *w >= 0.0), "{weights:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn weights_sum_to_one(lengths in lengths(), level in level(), seed in 0u64..1000, k in 1usize..=4) {
        let batch = batch(&lengths, seed);
        let config = GShardConfig { top_k: k, ..GShardConfig::default() };
        is_convex(&Subject::<GShard>::new(4, level, config, seed).route(&batch, false).0, k);
        for step in [false, true] {
            let config = NoisyTopKConfig { top_k: k, ..NoisyTopKConfig::default() };
            is_convex(&Subject::<NoisyTopK>::new(4, level, config, seed).route(&batch, step).0, k);
        }
        let config = DeepSeekConfig { top_k: k, ..DeepSeekConfig::default() };
        is_convex(&Subject::<DeepSeek>::new(4, level, config, seed).route(&batch, false).0, k);
        let config = RandomRoutingConfig { top_k: k };
        is_convex(&Subject::<RandomRouting>::new(4, level, config, seed).route(&batch, false).0, k);
        is_convex(&Subject::<Dense>::new(4, level, DenseConfig {}, seed).route(&batch, false).0, 4);
        let config = DSelectKConfig { selectors: k, ..DSelectKConfig::default() };
        is_convex(&Subject::<DSelectK>::new(8, level, config, seed).route(&batch, false).0, 8);
    }

    #[test]
    fn switch_scales_the_best_expert_by_its_probability(lengths in lengths(), level in level(), seed in 0u64..1000) {
        let (subject, batch) = (Subject::<Switch>::new(4, level, SwitchConfig::default(), seed), batch(&lengths, seed));
        let routing = subject.route(&batch, false).0;
        for (row, chosen) in routing.weights.values().chunks(4).zip(&routing.chosen) {
            prop_assert_eq!(chosen.len(), 1);
            prop_assert!(row.iter().all(|p| *p <= row[chosen[0]]) && (row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn capacity_is_never_exceeded_and_always_used(
        lengths in lengths(), seed in 0u64..1000, k in 1usize..=3, factor in 0.2f32..2.0,
    ) {
        let batch = batch(&lengths, seed);
        let config = |capacity| GShardConfig { top_k: k, capacity, ..GShardConfig::default() };
        let wanted = Subject::<GShard>::new(4, Level::Token, config(0.0), seed).route(&batch, false).0;
        let (found, groups) = Subject::<GShard>::new(4, Level::Token, config(factor), seed).route(&batch, false);
        for (load, range) in loads(&found, &groups).iter().zip(groups.ranges()) {
            let most = ((k * range.len()) as f32 / 4.0 * factor).ceil() as usize;
            prop_assert!(load.iter().all(|n| *n <= most), "{load:?} of {most}");
            for r in range {
                // Only a full expert refuses, and nothing is chosen that was not wanted.
                prop_assert!(wanted.chosen[r].iter().all(|e| found.chosen[r].contains(e) || load[*e] == most));
                prop_assert!(found.chosen[r].iter().all(|e| wanted.chosen[r].contains(e)));
            }
        }
        // What is kept keeps its weight.
        prop_assert_eq!(found.weights.values(), wanted.weights.values());
    }

    #[test]
    fn a_behaviour_is_read_by_the_experts_it_chose_in_order(lengths in lengths(), seed in 0u64..1000, k in 1usize..=3) {
        let batch = batch(&lengths, seed);
        let config = GShardConfig { top_k: k, ..GShardConfig::default() };
        let seen = subsequences::<GShard>(config, 4, &batch, seed);
        let mut count = vec![0; batch.items.len()];
        for ((_, sample), times) in &seen {
            prop_assert!(!times.is_empty() && times.is_sorted_by(|a, b| a < b), "{times:?}");
            let (from, to) = (batch.offsets[*sample as usize], batch.offsets[*sample as usize + 1]);
            prop_assert!(times.iter().all(|t| (from as i64..to as i64).contains(t)), "another sample's");
            times.iter().for_each(|t| count[*t as usize] += 1);
        }
        prop_assert!(count.iter().all(|n| *n == k), "{count:?}");
    }

    #[test]
    fn one_expert_each_makes_a_permutation_of_the_history(lengths in lengths(), seed in 0u64..1000) {
        let batch = batch(&lengths, seed);
        let seen = subsequences::<Switch>(SwitchConfig::default(), 4, &batch, seed);
        let mut all: Vec<i64> = seen.into_values().flatten().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..batch.items.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn expert_choice_is_balanced_perfectly(lengths in lengths(), seed in 0u64..1000, factor in 0.1f32..=4.0) {
        let batch = batch(&lengths, seed);
        let config = ExpertChoiceConfig { capacity: factor };
        let (routing, groups) = Subject::<ExpertChoice>::new(4, Level::Token, config, seed).route(&batch, false);
        for (load, range) in loads(&routing, &groups).iter().zip(groups.ranges()) {
            let each = (range.len() as f32 / 4.0 * factor).ceil() as usize;
            prop_assert!(load.iter().all(|n| *n == each), "{load:?} of {each}");
            for e in 0..4 {
                // No behaviour that was left has a larger score than one that was taken.
                let score = |r: &usize| routing.weights.values()[r * 4 + e];
                let taken = |r: &usize| routing.chosen[*r].contains(&e);
                let least = range.clone().filter(taken).map(|r| score(&r)).fold(1.0, f32::min);
                prop_assert!(range.clone().filter(|r| !taken(r)).all(|r| score(&r) <= least));
            }
        }
    }

    #[test]
    fn noisy_top_k_without_noise_is_plain_top_k(lengths in lengths(), seed in 0u64..1000, k in 1usize..=4) {
        let batch = batch(&lengths, seed);
        let config = NoisyTopKConfig { top_k: k, ..NoisyTopKConfig::default() };
        let subject = Subject::<NoisyTopK>::new(4, Level::Token, config, seed);
        let (routing, logits) = (subject.route(&batch, false).0, subject.products(&batch));
        prop_assert_eq!(&routing.chosen, &top(logits.values(), 4, k));
        for ((row, weights), chosen) in logits.values().chunks(4).zip(chosen_weights(&routing)).zip(&routing.chosen) {
            let mass: f32 = chosen.iter().map(|e| row[*e].exp()).sum();
            for (e, weight) in chosen.iter().zip(weights) {
                prop_assert!((weight - row[*e].exp() / mass).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_bias_of_deepseek_changes_the_choice_and_not_the_weights(lengths in lengths(), seed in 0u64..1000) {
        let batch = batch(&lengths, seed);
        let mut subject = Subject::<DeepSeek>::new(4, Level::Token, DeepSeekConfig::default(), seed);
        let affinity: Vec<f32> = subject.products(&batch).values().iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        prop_assert_eq!(subject.route(&batch, false).0.chosen, top(&affinity, 4, 2));
        let bias = subject.params.buffer_ids().next().unwrap();
        subject.params.set_buffer(bias, vec![0.0, 0.0, 0.0, 2.0]);
        let routing = subject.route(&batch, false).0;
        for ((s, weights), chosen) in affinity.chunks(4).zip(chosen_weights(&routing)).zip(&routing.chosen) {
            prop_assert_eq!(chosen[0], 3);
            let mass: f32 = chosen.iter().map(|e| s[*e]).sum();
            for (e, weight) in chosen.iter().zip(weights) {
                prop_assert!((weight - s[*e] / mass).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn random_routing_of_a_sample_is_its_own(seed in 0u64..1000, level in level()) {
        let subject = Subject::<RandomRouting>::new(4, level, RandomRoutingConfig::default(), seed);
        let batch = batch(&[5, 9, 0, 3], seed);
        let whole = subject.route(&batch, false).0.chosen;
        let parts: Vec<_> = batch.split(4).iter().flat_map(|one| subject.route(one, true).0.chosen).collect();
        prop_assert_eq!(whole, parts);
    }
}

/// 16 decisions over 4 experts: `first` of them want expert 0, the others one of the rest in turn.
fn skewed(first: usize) -> (Mat, Vec<Vec<usize>>) {
    let wants: Vec<usize> = (0..16).map(|r| if r < first { 0 } else { 1 + r % 3 }).collect();
    let gates = wants.iter().flat_map(|w| (0..4).map(|e| if e == *w { 0.7 } else { 0.1 })).collect();
    (Mat::new(16, 4, gates), wants.iter().map(|w| vec![*w]).collect())
}

#[test]
fn balance_losses_are_least_at_balance_and_grow_with_imbalance() {
    let mut tape = Tape::scoring();
    let mut before = [0.0, -1.0];
    for first in [4, 7, 10, 13, 16] {
        let (gates, chosen) = skewed(first);
        let now = [balance(&mut tape, &gates, &chosen), variation(&mut tape, &gates)].map(|m| m.values()[0]);
        let balanced = [(now[0] - 1.0).abs() < 1e-5, now[1].abs() < 1e-5];
        assert_eq!(balanced, [first == 4; 2], "{first}: {now:?}");
        assert!(now[0] > before[0] && now[1] > before[1], "{first}: {before:?} {now:?}");
        before = now;
    }
    // All to one expert, with certainty: E.
    let gates = Mat::new(16, 4, [1.0, 0.0, 0.0, 0.0].repeat(16));
    assert!((balance(&mut tape, &gates, &vec![vec![0]; 16]).values()[0] - 4.0).abs() < 1e-5);
    assert!((variation(&mut tape, &gates).values()[0] - 3.0).abs() < 1e-5);
}

#[test]
fn the_balance_loss_of_deepseek_is_that_of_each_history() {
    let config = || DeepSeekConfig { top_k: 1, ..DeepSeekConfig::default() };
    let subject = Subject::<DeepSeek>::new(4, Level::Token, config(), 1);
    let loss = |lengths: &[usize], affinity: Mat| {
        subject
            .with(&batch(lengths, 1), false, |pass, d| subject.gate.balance(pass, d, &affinity).values()[0])
    };
    let mut before = 0.0;
    for first in [4, 7, 10, 13, 16] {
        let now = loss(&[16], skewed(first).0);
        assert!(now > before && ((now - 1.0).abs() < 1e-5) == (first == 4), "{first}: {now}");
        before = now;
    }
    // Two histories, each all for one expert: balanced together, but not in itself.
    let halves = [[0.7, 0.1, 0.1, 0.1].repeat(3), [0.1, 0.1, 0.1, 0.7].repeat(3)].concat();
    assert!((loss(&[3, 0, 3], Mat::new(6, 4, halves)) - 2.8).abs() < 1e-5);
    assert_eq!(loss(&[0], Mat::zeros(0, 4)), 0.0);
}

#[test]
fn the_bias_of_deepseek_moves_towards_balance() {
    let mut subject = Subject::<DeepSeek>::new(4, Level::Sequence, DeepSeekConfig::default(), 1);
    let buffer = subject.params.buffer_ids().next().unwrap();
    // Two shards; the mean load is 3.
    let updates =
        [[3.0, 0.0, 1.0, 2.0], [2.0, 1.0, 2.0, 1.0]].map(|v| StateUpdate { buffer, values: v.to_vec() });
    subject.gate.after_step(&mut subject.params, &updates);
    assert_eq!(subject.params.buffer(buffer).as_slice(), &[-0.001, 0.001, 0.0, 0.0]);
}

#[test]
fn noise_and_limits_between_samples_are_those_of_training_steps() {
    let batch = batch(&[3; 40], 1);
    let noisy = Subject::<NoisyTopK>::new(4, Level::Sequence, NoisyTopKConfig::default(), 1);
    let (step, again, score) =
        (noisy.route(&batch, true).0, noisy.route(&batch, true).0, noisy.route(&batch, false).0);
    assert_eq!(step.chosen, again.chosen, "noise of the same stream");
    assert_ne!(step.chosen, score.chosen);

    let config = SwitchConfig { capacity: 1.0, ..SwitchConfig::default() };
    let switch = Subject::<Switch>::new(4, Level::Sequence, config, 1);
    let most = |step| {
        let (routing, groups) = switch.route(&batch, step);
        loads(&routing, &groups)[0].iter().copied().max()
    };
    assert_eq!(most(true), Some(10));
    assert!(most(false) > Some(10));
}

/// Renames experts `e` to `to[e]`, columns of the gate included; returns the scores before and after.
fn permuted(mixture: &str, to: &[usize], seed: u64) -> (Vec<f32>, Vec<f32>) {
    let spec = Spec::new("twin", mixture);
    let mut model = conformance::model(&Registry::default(), &spec, seed).unwrap();
    let batch = conformance::batch(&[7, 0, 1, 12, 25, 3], seed);
    let params = model.params_mut();
    // A gate that starts at zero ties, and ties go to the first.
    let zero: Vec<_> = params.ids().filter(|id| params.get(*id).values().iter().all(|x| *x == 0.0)).collect();
    for (i, id) in zero.into_iter().enumerate() {
        let moved = (0..params.get(id).values().len()).map(|j| ((7 * i + 3 * j) % 11) as f32 / 20.0 - 0.25);
        let moved = moved.collect();
        params.set(id, moved);
    }
    model.prepare_scoring();
    let before = model.score(&batch).unwrap();
    let params = model.params_mut();
    let old: BTreeMap<String, Mat> =
        params.ids().map(|id| (params.name(id).to_owned(), params.get(id).clone())).collect();
    let ids: Vec<_> = params.ids().collect();
    for id in ids {
        let (name, value) = (params.name(id).to_owned(), params.get(id).clone());
        if let Some(gate) = name.strip_prefix("encoder.gate.") {
            let mut moved = value.to_vec();
            for (from, row) in value.values().chunks(value.cols()).zip(moved.chunks_mut(value.cols())) {
                match gate {
                    // Bit 0 of the number of every expert flips.
                    "bits.weight" => row.iter_mut().step_by(2).for_each(|z| *z = -*z),
                    "mixing.weight" => {}
                    _ => (0..4).for_each(|e| row[to[e]] = from[e]),
                }
            }
            params.set(id, moved);
        }
        for e in 0..4 {
            if name.starts_with(&format!("encoder.expert{}.", to[e])) {
                let from = name.replace(&format!("expert{}.", to[e]), &format!("expert{e}."));
                params.set(id, old[&from].to_vec());
            }
        }
    }
    model.prepare_scoring();
    (before, model.score(&batch).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn experts_have_no_order(to in Just(vec![0, 1, 2, 3]).prop_shuffle(), seed in 0u64..1000) {
        let mixtures = [
            "gshard",
            "gshard-bare",
            "gshard-token",
            "switch",
            "switch-token",
            "expert-choice",
            "dense",
            "deepseek",
            "noisy-top-k",
        ];
        let flipped = [1, 0, 3, 2];
        let cases = mixtures.map(|m| (m, &to[..])).into_iter().chain([("dselect-k", &flipped[..])]);
        for (mixture, to) in cases {
            let (before, after) = permuted(mixture, to, seed);
            for (a, b) in before.iter().zip(&after) {
                prop_assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{mixture}: {before:?} {after:?}");
            }
        }
    }

    /// One decision moved from an expert to one that has at least as many.
    #[test]
    fn balance_losses_grow_with_imbalance(mut load in prop::collection::vec(0usize..9, 4), to in 0usize..4, from in 0usize..4) {
        prop_assume!(load[from] > 0 && from != to && load[to] >= load[from]);
        let losses = |load: &[usize]| {
            let chosen: Vec<Vec<usize>> = (0..4).flat_map(|e| vec![vec![e]; load[e]]).collect();
            let gate = |c: &Vec<usize>| (0..4).map(move |e| if e == c[0] { 0.7 } else { 0.1 }).collect::<Vec<f32>>();
            let gates = Mat::new(chosen.len(), 4, chosen.iter().flat_map(gate).collect());
            let mut tape = Tape::scoring();
            [balance(&mut tape, &gates, &chosen), variation(&mut tape, &gates)].map(|m| m.values()[0])
        };
        let before = losses(&load);
        prop_assert!(before[0] > 1.0 - 1e-5 && before[1] > -1e-5, "least at balance: {before:?}");
        load[from] -= 1;
        load[to] += 1;
        let after = losses(&load);
        prop_assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
    }
}

#[test]
fn an_expert_of_weight_zero_is_not_executed() {
    let mut model = conformance::model(&Registry::default(), &Spec::new("twin", "dselect-k"), 3).unwrap();
    let batch = conformance::batch(&[7, 1, 12, 25, 3], 2);
    let soft = model.score_counted(&batch).unwrap().1;
    let params = model.params_mut();
    let bits = params.ids().find(|id| params.name(*id).ends_with("bits.weight")).unwrap();
    let hard = params.get(bits).values().iter().map(|z| z * 1e4).collect();
    params.set(bits, hard);
    model.prepare_scoring();
    let hard = model.score_counted(&batch).unwrap().1;
    assert_eq!(hard, model.stated_cost(&batch).unwrap().executed());
    assert!(hard.encoder < soft.encoder, "{soft:?} {hard:?}");
}

#[test]
fn every_loss_is_part_of_the_training_loss() {
    let registry = Registry::default();
    let batch = conformance::batch(&[9, 2, 14, 0, 5, 8, 1, 6], 1);
    // What one unit of weight adds at the start, where it is known: two selectors of entropy ln 4, four equal logits.
    let entropy = 2.0 * 4f32.ln();
    for (mixture, field, from, to) in [
        ("gshard", "balance", 0.5, 4.0),
        ("gshard-token", "balance", 0.5, 4.0),
        ("switch", "balance", 0.5, 4.0),
        ("switch", "z_loss", 0.5, 10.0),
        ("noisy-top-k", "importance", 1e-3, 3.0),
        ("noisy-top-k", "load", 1e-3, 3.0),
        ("dselect-k", "entropy", entropy - 0.01, entropy + 0.01),
        ("deepseek", "balance", 0.5, 4.0),
        ("theme-loss", "weight", -3.0, -1e-3),
    ] {
        let loss = |weight: f32| {
            let mixture_options = serde_json::json!({ field: weight });
            let spec = Spec { mixture_options, ..Spec::new("mean", mixture) };
            let mut model = conformance::model(&registry, &spec, 3).unwrap();
            model.train_step(&batch, &TrainConfig { shards: 2, ..TrainConfig::default() }, 2, 2).unwrap().loss
        };
        let added = loss(1.0) - loss(0.0);
        assert!((from..=to).contains(&added), "{mixture}.{field} adds {added}");
    }
}

#[test]
fn training_moves_the_bias_of_deepseek_by_its_rate() {
    let mut model = conformance::model(&Registry::default(), &Spec::new("mean", "deepseek"), 3).unwrap();
    let batch = conformance::batch(&[9, 2, 14, 0, 5, 8, 1], 1);
    model.train_step(&batch, &TrainConfig::default(), 2, 2).unwrap();
    let params = model.params();
    let bias = params.buffer_ids().find(|b| params.buffer_name(*b).0.ends_with("gate.bias")).unwrap();
    // Seven samples with two experts each cannot be equal over four.
    assert!(params.buffer(bias).iter().all(|b| b.abs() == 0.001), "{:?}", params.buffer(bias));
}
