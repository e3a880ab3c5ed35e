//! A log larger than memory: a generated store, opened, prepared and read for one epoch, with the peak memory of each step.
//!
//! ```text
//! cargo bench -p mos-data --bench stream -- [INTERACTIONS] [EVENTS OF A USER] [FOLDER]
//! ```
//!
//! Without FOLDER the store is deleted in the end; a store that FOLDER holds already is taken as it is.

#![allow(clippy::unwrap_used)] // a bench may panic

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use mos_data::{
    Epoch, Store,
    sources::{Source, synthetic::SyntheticConfig},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Samples of a batch, and behaviours that a history keeps.
const BATCH: usize = 512;
const LENGTH: usize = 128;

/// Largest resident memory of this process so far, in bytes; `None` where the system does not say.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn say(what: &str, seconds: f64, count: f64, of: &str) {
    let memory = peak().map_or("unknown".into(), |b| format!("{:.0} MB", b as f64 / 1e6));
    let rate = count / seconds / 1e6;
    println!("{what:<8} {seconds:>8.2} s   {rate:>7.3} million {of} per second   peak memory {memory}");
}

fn write(place: &Path, interactions: usize, events: usize) {
    let started = Instant::now();
    let users = interactions / events;
    SyntheticConfig { users, events, ..SyntheticConfig::default() }.write(place).unwrap();
    say("write", started.elapsed().as_secs_f64(), (users * events) as f64, "interactions");
}

fn read(place: &Path) {
    let started = Instant::now();
    let store = Store::open(place).unwrap();
    let (events, blocks) = (store.events() as f64, store.blocks().len());
    println!("open     {:>8.2} ms  {blocks} blocks", started.elapsed().as_secs_f64() * 1e3);
    let started = Instant::now();
    let source = Source::new("store", Some(place.to_owned())).with("stream", true);
    let (data, test) = source.feed(store.task()).unwrap();
    say("prepare", started.elapsed().as_secs_f64(), events, "interactions");
    let started = Instant::now();
    let epoch = Epoch { number: 0, seed: 1, batch: BATCH, max_length: LENGTH, from: 0 };
    let (mut samples, mut batches, mut rows) = (0, 0u32, 0);
    for batch in data.users.epoch(epoch) {
        let batch = batch.unwrap();
        (samples, batches, rows) = (samples + batch.len(), batches + 1, rows + batch.items.len());
    }
    let seconds = started.elapsed().as_secs_f64();
    say("epoch", seconds, samples as f64, "samples");
    let each = seconds * 1e3 / f64::from(batches);
    println!("         {batches} batches of {BATCH}, {rows} behaviours; a batch in {each:.2} ms");
    let (started, mut samples) = (Instant::now(), 0);
    let count = |batch: mos_data::Batch, _: &[mos_data::Sample]| {
        samples += batch.len();
        Ok::<(), mos_data::Error>(())
    };
    data.users.each_batch(&test, BATCH, LENGTH, count).unwrap();
    say("test", started.elapsed().as_secs_f64(), samples as f64, "samples");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |at: usize, otherwise| args.get(at).and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    // Each step has a process of its own, so that its peak is its own.
    match args.first().map(String::as_str) {
        Some("write") => return write(Path::new(&args[1]), number(2, 0), number(3, 0)),
        Some("read") => return read(Path::new(&args[1])),
        _ => {}
    }
    let (interactions, events) = (number(0, 10_000_000usize), number(1, 1000usize));
    let folder = tempfile::tempdir().unwrap();
    let place = args.get(2).map_or_else(|| folder.path().join("store"), PathBuf::from);
    let step = |args: &[&str]| {
        let me = std::env::current_exe().unwrap();
        assert!(Command::new(me).args(args).status().unwrap().success());
    };
    let name = place.to_str().unwrap();
    println!("{interactions} interactions, {events} of each user, {} threads", rayon::current_num_threads());
    if !place.exists() {
        step(&["write", name, &interactions.to_string(), &events.to_string()]);
    }
    let size = std::fs::metadata(place.join("events.parquet")).unwrap().len();
    println!("events   {:>8.1} MB on disk", size as f64 / 1e6);
    step(&["read", name]);
}
