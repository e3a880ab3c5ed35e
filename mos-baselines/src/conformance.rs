//! What every registered plug-in must satisfy, alone and inside every mixture.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mos_core::{CtrModel, HeadConfig, ModelConfig, ParamId, Result, TrainConfig, checkpoint, mos::NO_THEME};
use mos_data::{Batch, Catalog, Content, History, rng};
use rand::RngExt as _;

use crate::{Registry, Spec};

/// Items of the kit's catalog, the unknown one included.
const ITEMS: usize = 31;

/// A small catalog with everything that a plug-in may ask for.
pub fn catalog() -> Arc<Catalog> {
    catalog_of(ITEMS)
}

/// The same with a number of items of choice, the unknown one included.
pub fn catalog_of(items: usize) -> Arc<Catalog> {
    let mut draw = rng::stream(3, "conformance", &[]);
    let mut values: Vec<f32> = (0..items * 8).map(|_| draw.random::<f32>() - 0.5).collect();
    values[..8].fill(0.0);
    let group = |i: usize, n: usize| if i == 0 { 0 } else { i % n + 1 };
    Arc::new(Catalog {
        items,
        categories: Some((0..items).map(|i| group(i, 4) as u32).collect()),
        category_count: 5,
        content: Some(Content { dim: 8, values }),
        themes: Some((0..items).map(|i| if i == 0 { u16::MAX } else { (i % 8) as u16 }).collect()),
        behaviours: 3,
        ..Catalog::default()
    })
}

/// A small MLP, the kit's ordinary head.
pub fn head() -> HeadConfig {
    HeadConfig::Mlp { hidden: vec![6] }
}

/// A model of width 8 around `spec`, without dropout.
///
/// # Errors
/// Those of [`Registry::build`].
pub fn model(registry: &Registry, spec: &Spec, seed: u64) -> Result<CtrModel> {
    model_with(registry, spec, &head(), seed)
}

/// The same with a head of choice.
///
/// # Errors
/// Those of [`Registry::build`] and of the head.
pub fn model_with(registry: &Registry, spec: &Spec, head: &HeadConfig, seed: u64) -> Result<CtrModel> {
    let config = ModelConfig { dim: 8, head: head.clone(), dropout: 0.0, ..ModelConfig::default() };
    CtrModel::new(&config, &catalog(), seed, |builder| registry.build(builder, spec))
}

/// Samples with histories of these lengths, drawn from `seed`.
pub fn batch(lengths: &[usize], seed: u64) -> Batch {
    let mut draw = rng::stream(seed, "conformance/batch", &[]);
    let mut out = Batch { offsets: vec![0], ..Batch::default() };
    for (user, n) in lengths.iter().enumerate() {
        out.users.push(user as u32);
        out.targets.push(if user == 3 { 0 } else { draw.random_range(1..ITEMS as u32) });
        out.labels.push((user % 2) as f32);
        out.target_times.push(100_000);
        for t in 0..*n {
            // The unknown item comes up too.
            out.items.push(draw.random_range(0..ITEMS as u32));
            out.behaviours.push(draw.random_range(0..3u32) as u8);
            out.sessions.push(t as u32 / 3);
            out.times.push(100_000 - 700 * (n - t) as i64);
        }
        out.offsets.push(out.items.len());
    }
    out
}

/// Runs all checks.
///
/// # Errors
/// What failed, in words.
pub fn check(registry: &Registry, spec: &Spec) -> std::result::Result<(), String> {
    check_with(registry, spec, &head())
}

/// Runs all checks with a head of choice.
///
/// # Errors
/// What failed, in words.
pub fn check_with(registry: &Registry, spec: &Spec, head: &HeadConfig) -> std::result::Result<(), String> {
    let model = |seed: u64| model_with(registry, spec, head, seed);
    let name = format!("{} x {}", spec.encoder, spec.mixture);
    let say = |what: &str| format!("{name}: {what}");
    let wrap = |e: mos_core::Error| format!("{name}: {e}");
    let lengths = [7, 0, 1, 12, 25, 3];
    let all = batch(&lengths, 1);
    let mut subject = model(11).map_err(wrap)?;

    let scores = subject.score(&all).map_err(wrap)?;
    if scores.iter().any(|s| !s.is_finite()) {
        return Err(say("an empty, short or ordinary history gives a score that is not finite"));
    }
    if scores != model(11).and_then(|m| m.score(&all)).map_err(wrap)? {
        return Err(say("the same seed gives another score"));
    }
    for (i, one) in all.split(lengths.len()).iter().enumerate() {
        if subject.score(one).map_err(wrap)? != scores[i..=i] {
            return Err(say(&format!("the score of sample {i} depends on the rest of the batch")));
        }
    }
    if let Some(all_themes) = subject.themes(&all).map_err(wrap)? {
        let fits = |t: &u16| *t == NO_THEME || usize::from(*t) < all_themes.count;
        if all_themes.of_rows.len() != all.items.len() || !all_themes.of_rows.iter().all(fits) {
            return Err(say("does not give each behaviour one of its themes or none"));
        }
        for (i, one) in all.split(lengths.len()).iter().enumerate() {
            let alone = subject.themes(one).map_err(wrap)?.map(|t| t.of_rows);
            if alone.as_deref() != Some(&all_themes.of_rows[all.offsets[i]..all.offsets[i + 1]]) {
                return Err(say(&format!("the themes of sample {i} depend on the rest of the batch")));
            }
        }
    }
    let (executed, stated) =
        (subject.score_counted(&all).map_err(wrap)?.1, subject.stated_cost(&all).map_err(wrap)?);
    if executed != stated.executed() {
        return Err(say(&format!("executes {executed:?} but states {stated:?}")));
    }
    shared_histories(&subject).map_err(|e| say(&e))?;
    gradients(model(11), &all).map_err(|e| say(&e))?;
    if !subject.compares_samples() {
        shards(&subject, &all).map_err(|e| say(&e))?;
    }

    let config = TrainConfig::default();
    let path = std::env::temp_dir().join(format!("mos-{}-{}.safetensors", std::process::id(), unique()));
    let train = |threads: usize, interrupted: bool| -> std::result::Result<Vec<f32>, String> {
        let pool = rayon_pool(threads)?;
        pool.install(|| {
            let mut m = model(11)?;
            for step in 0..6 {
                if step == 3 && interrupted {
                    m.prepare_scoring();
                    checkpoint::training::save(&m, None, &path, nothing())?;
                    m = model(11)?;
                    checkpoint::training::load(&mut m, &path)?;
                }
                m.train_step(&batch(&[9, 2, 14, 0, 5, 8, 1, 6], step), &config, 6, 3)?;
            }
            m.prepare_scoring();
            m.score(&all)
        })
        .map_err(wrap)
    };
    let one = train(1, false)?;
    if one != train(3, false)? {
        return Err(say("training depends on the number of threads"));
    }
    let resumed = train(1, true);
    let _ = std::fs::remove_file(&path);
    if one != resumed? {
        return Err(say(
            "a training that goes on from a checkpoint ends elsewhere: state outside parameters and buffers?",
        ));
    }
    if one == scores {
        return Err(say("training changes nothing"));
    }
    for step in 0..3 {
        subject.train_step(&batch(&[9, 2, 14, 5], step), &config, 3, 3).map_err(wrap)?;
    }
    subject.prepare_scoring();
    let wanted = subject.score(&all).map_err(wrap)?;
    let round = checkpoint::save(&subject, &path, nothing()).and_then(|()| {
        let mut other = model(99)?;
        checkpoint::load(&mut other, &path)?;
        other.score(&all)
    });
    let _ = std::fs::remove_file(&path);
    if round.map_err(wrap)? != wanted {
        return Err(say("a checkpoint does not bring the scores back"));
    }
    Ok(())
}

/// One user's candidates are scored as if each came with a copy of the history, to the bit, and cost what is stated.
fn shared_histories(model: &CtrModel) -> std::result::Result<(), String> {
    for length in [0, 1, 23] {
        let one = batch(&[length], 7);
        let history = History {
            items: one.items.clone(),
            behaviours: one.behaviours.clone(),
            sessions: one.sessions.clone(),
            times: one.times.clone(),
        };
        let mut targets: Vec<u32> = (0..12).chain([5, 0, 5]).collect();
        if length == 1 {
            // More than one pass for encoders that copy the history.
            targets = targets.repeat(5);
        }
        let (time, copies) = (one.target_times[0], targets.len());
        let (shared, executed) =
            model.score_candidates(&history, &targets, time).map_err(|e| e.to_string())?;
        let copied = Batch {
            users: vec![0; copies],
            targets: targets.clone(),
            labels: vec![0.0; copies],
            contexts: Vec::new(),
            target_times: vec![time; copies],
            offsets: (0..=copies).map(|b| b * length).collect(),
            items: one.items.repeat(copies),
            behaviours: one.behaviours.repeat(copies),
            sessions: one.sessions.repeat(copies),
            times: one.times.repeat(copies),
            truncated: 0,
        };
        if model.score(&copied).map_err(|e| e.to_string())? != shared {
            return Err(format!(
                "candidates that share a history of {length} have other scores than with copies of it"
            ));
        }
        let stated = model.stated_cost_of_candidates(&history, &targets, time).map_err(|e| e.to_string())?;
        if executed != stated.executed() {
            return Err(format!("candidates that share a history cost {executed:?} but state {stated:?}"));
        }
    }
    Ok(())
}

/// What training learns from a batch is the mean of what it learns from its parts, unless something is drawn.
fn shards(model: &CtrModel, batch: &Batch) -> std::result::Result<(), String> {
    let of = |batch: &Batch, draw| model.training_gradients(batch, draw).map_err(|e| e.to_string());
    let whole = of(batch, 0)?;
    if whole != of(batch, 1)? {
        return Ok(());
    }
    let mut sums: Vec<Vec<f32>> = whole.iter().map(|(_, grad)| vec![0.0; grad.len()]).collect();
    for part in batch.split(3) {
        let share = part.len() as f32 / batch.len() as f32;
        for (sum, (_, grad)) in sums.iter_mut().zip(of(&part, 0)?) {
            sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += share * g);
        }
    }
    for ((name, whole), parts) in whole.iter().zip(&sums) {
        let most = whole.iter().fold(1e-3f32, |most, g| most.max(g.abs()));
        if whole.iter().zip(parts).any(|(a, b)| (a - b).abs() > 1e-4 * most) {
            return Err(format!(
                "the gradient of {name} depends on how a batch is cut: see `compares_samples`"
            ));
        }
    }
    Ok(())
}

fn nothing() -> HashMap<String, String> {
    HashMap::new()
}

/// A number that no other check of this process has.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn rayon_pool(threads: usize) -> std::result::Result<rayon::ThreadPool, String> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())
}

/// Compares the gradient of the click loss with central differences on a spread of parameters. A kink (ReLU) or jump
/// (a hash that flips) inside the step shows as slopes that depend on the step; such places have no derivative to
/// compare and are passed over, but most places must be comparable.
fn gradients(model: Result<CtrModel>, batch: &Batch) -> std::result::Result<(), String> {
    let mut probe = model.map_err(|e| e.to_string())?;
    // Gates and biases that start at zero tie exactly, where a choice has no derivative.
    let mut draw = rng::stream(5, "conformance/off-zero", &[]);
    let params = probe.params_mut();
    let zero = |id: &ParamId| params.get(*id).values().iter().all(|x| *x == 0.0);
    for id in params.ids().filter(zero).collect::<Vec<_>>() {
        let moved = params.get(id).values().iter().map(|_| 0.1 * (draw.random::<f32>() - 0.5)).collect();
        params.set(id, moved);
    }
    probe.prepare_scoring();
    let grads = probe.gradients(batch).map_err(|e| e.to_string())?;
    let (mut compared, mut places) = (0, 0);
    // The router of MoS learns from its own losses, and its choices have no derivative.
    for (name, grad) in grads.iter().filter(|(name, _)| !name.contains("encoder.router.")) {
        for j in (0..grad.len()).step_by((grad.len() / 5).max(1)) {
            let mut at = |step: f32| probe.loss_moved(batch, name, j, step).map_err(|e| e.to_string());
            let (here, up, down) = (at(0.0)?, at(1e-3)?, at(-1e-3)?);
            let (right, left) = ((up - here) / 1e-3, (here - down) / 1e-3);
            let (wide, narrow) = ((up - down) / 2e-3, (at(5e-4)? - at(-5e-4)?) / 1e-3);
            // Richardson's extrapolation: norms of short rows bend within a step.
            let slope = (4.0 * narrow - wide) / 3.0;
            let near = |a: f32, b: f32, share: f32| (a - b).abs() <= share * (0.2 + b.abs());
            places += 1;
            if near(wide, narrow, 5e-3) && near(right, left, 5e-3) {
                compared += 1;
                if !near(grad[j], slope, 1e-2) {
                    return Err(format!(
                        "gradient of {name}[{j}] is {} but the loss moves by {slope}",
                        grad[j]
                    ));
                }
            }
        }
    }
    if compared * 4 < places * 3 {
        return Err(format!("only {compared} of {places} gradients could be compared"));
    }
    Ok(())
}
