//! What a process runs on.

use std::collections::BTreeMap;

use crate::folder::COMMIT;

/// What the figures may depend on beyond data, configuration and commit: bits are the same for any number of threads, but
/// matrix products use what the processor offers.
pub fn environment() -> BTreeMap<String, String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let all = [
        ("mos", env!("CARGO_PKG_VERSION").to_owned()),
        ("threads", rayon::current_num_threads().to_string()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
        ("cpu", cpu.unwrap_or_else(|| "unknown".into())),
    ];
    all.map(|(k, v)| (k.to_owned(), v)).into()
}

/// The same with the program and how it was called: the content of `env.json`.
pub fn process() -> BTreeMap<String, String> {
    let mut all = environment();
    let called: Vec<String> = std::env::args().skip(1).collect();
    all.insert("commit".into(), COMMIT.to_owned());
    all.insert("rustc".into(), env!("MOS_RUSTC").to_owned());
    all.insert("arguments".into(), called.join(" "));
    let now = jiff::Timestamp::now().strftime("%FT%TZ");
    all.insert("started".into(), now.to_string());
    all
}
