//! Rows per second and peak memory of reading a generated file in the layout of Taobao UserBehavior. Where Python has
//! polars, it reads and sorts the same file before and after.
//!
//! ```text
//! cargo bench -p mos-data --bench read -- [ROWS] [grouped|mixed] [convert]
//! ```
//!
//! `grouped` has each user's rows together and in time order, as the published file; `mixed` has them in any order. With `convert`
//! the file is converted to a store, once, instead of being read into memory three times.

#![allow(clippy::unwrap_used)] // a bench may panic

use std::{
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    time::Instant,
};

use mos_data::{Store, rng, sources::Source};
use rand::{RngExt as _, seq::SliceRandom as _};
use rand_distr::{Distribution as _, Zipf};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As in the published file: 100 rows of each user, 24 of each item, 440 items of each category.
fn write(path: &Path, rows: usize, grouped: bool) {
    let mut draw = rng::stream(1, "bench/read", &[]);
    let items = rows / 24 + 1;
    let popular = Zipf::new(items as f64, 0.8).unwrap();
    let mut users: Vec<u32> = (0..rows).map(|row| (row / 100) as u32).collect();
    if !grouped {
        users.shuffle(&mut draw);
    }
    let mut out = BufWriter::new(std::fs::File::create(path).unwrap());
    for (row, user) in users.into_iter().enumerate() {
        let item = popular.sample(&mut draw) as usize;
        let time = if grouped { row % 100 * 7000 } else { draw.random_range(0..700_000u32) as usize };
        let behaviour = ["pv", "pv", "pv", "pv", "pv", "pv", "cart", "fav", "buy"][row % 9];
        let (user, item, category) = (user + 1, item * 7919 % 5_163_070, 1000 + item / 440);
        writeln!(out, "{user},{item},{category},{behaviour},{}", 1_511_540_000 + time).unwrap();
    }
    out.flush().unwrap();
}

/// Largest resident memory of this process so far, in bytes; `None` where the system does not say.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn polars(path: &Path, rows: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/read_polars.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    match Command::new(python).arg(script).arg(path).output() {
        Ok(output) if output.status.success() => print!("{}", String::from_utf8_lossy(&output.stdout)),
        _ => println!("polars       not here: {rows} rows were not compared"),
    }
}

fn read(path: &Path) {
    let started = Instant::now();
    let log = Source::new("taobao", Some(path.to_owned())).load().unwrap();
    let (seconds, rows) = (started.elapsed().as_secs_f64(), log.interactions.len() as f64);
    let memory = peak().map_or("unknown".into(), |b| {
        format!("{:.0} MB peak, {:.1} bytes per row", b as f64 / 1e6, b as f64 / rows)
    });
    println!("mos-data     {:.2} million rows per second, {memory}", rows / seconds / 1e6);
}

fn convert(path: &Path) {
    let started = Instant::now();
    let place = path.with_file_name("store");
    Source::new("taobao", Some(path.to_owned())).convert(&place).unwrap();
    let store = Store::open(&place).unwrap();
    let (seconds, rows) = (started.elapsed().as_secs_f64(), store.events() as f64);
    let memory = peak().map_or("unknown".into(), |b| format!("{:.0} MB peak", b as f64 / 1e6));
    let (rate, blocks) = (rows / seconds / 1e6, store.blocks().len());
    println!("convert      {rate:.2} million rows per second, {seconds:.1} s, {memory}, {blocks} blocks");
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let first = args.next();
    // Each reading has a process of its own, so that its peak is its own.
    match first.as_deref() {
        Some("read") => return read(Path::new(&args.next().unwrap())),
        Some("convert") => return convert(Path::new(&args.next().unwrap())),
        _ => {}
    }
    let rows = first.and_then(|n| n.parse().ok()).unwrap_or(5_000_000);
    let order = args.next().unwrap_or_else(|| "grouped".into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("UserBehavior.csv");
    write(&path, rows, order == "grouped");
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{rows} rows, {order}, {} MB, {} threads", size / 1_000_000, rayon::current_num_threads());
    let step = |step: &str| {
        let me = std::env::current_exe().unwrap();
        assert!(Command::new(me).arg(step).arg(&path).status().unwrap().success());
    };
    if args.next().as_deref() == Some("convert") {
        return step("convert");
    }
    for _ in 0..3 {
        polars(&path, rows);
        step("read");
    }
}
