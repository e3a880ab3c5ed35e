//! Measurements as tables.

use anyhow::Context as _;

use super::{Ceiling, Parts, Peer, SpeedRecord, Spread};
use crate::tables::Table;

/// Throughput, time by part, and what another program takes for the same, where it is given.
///
/// # Errors
/// Without records, and where a peer did none of their work.
pub fn tables(records: &[SpeedRecord], ceiling: Ceiling, peer: Option<&Peer>) -> anyhow::Result<Vec<Table>> {
    let first = records.first().context("nothing was measured")?;
    let items = if first.kind.uniform { "all equally often" } else { "by Zipf's law" };
    let lengths = if first.kind.varied { "lengths log-uniform up to that" } else { "of one length" };
    let memory = ceiling.memory.map(|[one, all]| {
        format!(
            "Memory: y += x of large arrays reads and writes {one:.0} GB/s on one thread, {all:.0} on all."
        )
    });
    let mut all = vec![
        Table {
            title: format!(
                "Speed: batch {}, {} items, {} threads, matrix products reach {:.0} GFLOP/s",
                first.batch, first.items, first.threads, ceiling.gflops
            ),
            header: header(&[
                "train ms",
                "train/s",
                "score ms",
                "score/s",
                "MACs",
                "GFLOP/s",
                "% of ceiling",
                "in training",
                "peak MiB",
            ]),
            rows: records.iter().map(|r| throughput(r, ceiling.gflops)).collect(),
            wide: Vec::new(),
            notes: vec![
                "ms: one batch, median and quartiles; train: batch made, forward, backward, update; /s: samples in a second. MACs and \
                 GFLOP/s: of scoring, counted as executed, and three times as many in training; the ceiling is a product of \
                 1024 x 1024 matrices on each thread at once."
                    .into(),
                format!(
                    "Histories {lengths}, items {items}. Each case is a process of its own, and its peak that of training and \
                     scoring. The figures are of this machine and of what else runs on it."
                ),
            ],
            wide_notes: Vec::new(),
        },
        Table {
            title: "A training step by part, one thread, milliseconds".into(),
            header: header(
                &Parts::default().columns().map(|(name, _)| name).into_iter().chain(["step", "MB", "GB/s"]).collect::<Vec<_>>(),
            ),
            rows: records.iter().map(parts).collect(),
            wide: Vec::new(),
            notes: std::iter::once(
                "Data: making the batch. Products: matrix products of the encoder; encoder: its other work, such as attention and \
                 scans; backward likewise, for all parts; tables that an encoder has of its own are gathered in it. Rest: losses, \
                 splitting into shards. MB: what operations read and write, from memory or a cache, and per second of the step."
                    .to_owned(),
            )
            .chain(memory)
            .collect(),
            wide_notes: Vec::new(),
        },
    ];
    all.extend(against_plain(records));
    all.extend(peer.map(|peer| beside(records, peer)).transpose()?);
    Ok(all)
}

fn header(rest: &[&str]) -> Vec<String> {
    ["encoder", "mixture", "length"].iter().chain(rest).map(ToString::to_string).collect()
}

fn names(r: &SpeedRecord) -> Vec<String> {
    vec![r.encoder.clone(), r.mixture.clone(), r.length.to_string()]
}

fn spread(s: Spread) -> String {
    format!("{:.1} [{:.1}, {:.1}]", s.median, s.low, s.high)
}

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

fn throughput(r: &SpeedRecord, ceiling: f64) -> Vec<String> {
    let mut row = names(r);
    row.extend([
        spread(r.train_ms),
        format!("{:.0}", r.per_second(r.train_ms)),
        spread(r.score_ms),
        format!("{:.0}", r.per_second(r.score_ms)),
        r.macs.to_string(),
        format!("{:.1}", r.gflops()),
        format!("{:.1}", 100.0 * r.gflops() / ceiling),
        format!("{:.1}", 100.0 * r.train_gflops() / ceiling),
        r.peak_bytes.map_or("–".into(), mib),
    ]);
    row
}

fn parts(r: &SpeedRecord) -> Vec<String> {
    let all = r.parts.columns().map(|(_, ms)| ms);
    let sum: f64 = all.iter().sum();
    let mut row = names(r);
    row.extend(all.map(|ms| format!("{ms:.1}")));
    let bytes = r.parts.bytes as f64;
    row.extend([format!("{sum:.1}"), format!("{:.0}", bytes / 1e6), format!("{:.1}", bytes / 1e6 / sum)]);
    row
}

/// Each mixture against its encoder by itself, where both were measured.
fn against_plain(records: &[SpeedRecord]) -> Option<Table> {
    let row = |r: &SpeedRecord| -> Option<Vec<String>> {
        let same = |o: &&SpeedRecord| o.mixture == "none" && (&o.encoder, o.length) == (&r.encoder, r.length);
        let plain = records.iter().filter(|_| r.mixture != "none").find(same)?;
        let macs = r.macs as f64 / plain.macs as f64;
        let [train, score] =
            [(r.train_ms, plain.train_ms), (r.score_ms, plain.score_ms)].map(|(a, b)| a.median / b.median);
        let mut row = names(r);
        row.extend([macs, train, score, train / macs, score / macs].map(|x| format!("{x:.2}")));
        Some(row)
    };
    let rows: Vec<_> = records.iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| Table {
        title: "Mixtures against the encoder by itself".into(),
        header: header(&["× MACs", "× train ms", "× score ms", "train: time / MACs", "score: time / MACs"]),
        rows,
        wide: Vec::new(),
        notes: vec!["time / MACs: above 1, time grows more than the counted work does.".into()],
        wide_notes: Vec::new(),
    })
}

fn beside(records: &[SpeedRecord], peer: &Peer) -> anyhow::Result<Table> {
    let setups = peer.setups();
    let mut columns = vec!["train ms".to_owned(), "score ms".into(), "peak MiB".into()];
    for setup in &setups {
        columns.extend(
            ["train ms", "× train", "score ms", "× score", "peak MiB"].map(|what| format!("{setup}: {what}")),
        );
    }
    let row = |r: &SpeedRecord| -> Option<Vec<String>> {
        let cases: Vec<_> = peer.beside(r).collect();
        if cases.is_empty() {
            return None;
        }
        let mut row = names(r);
        row.extend([r.train_ms, r.score_ms].map(|s| format!("{:.1}", s.median)));
        row.push(r.peak_bytes.map_or("–".into(), mib));
        for setup in &setups {
            let Some(case) = cases.iter().find(|c| c.setup == *setup) else {
                row.extend(["–"; 5].map(String::from));
                continue;
            };
            for (theirs, ours) in [(case.train_ms, r.train_ms), (case.score_ms, r.score_ms)] {
                row.extend([format!("{:.1}", theirs.median), format!("{:.1}", theirs.median / ours.median)]);
            }
            row.push(mib(case.peak_bytes));
        }
        Some(row)
    };
    let rows: Vec<_> = records.iter().filter_map(row).collect();
    if rows.is_empty() {
        anyhow::bail!(
            "--peer: it measured nothing that is measured here (the same encoders without a mixture, as wide, lengths, batch, items, \
             threads, with --uniform)"
        );
    }
    Ok(Table {
        title: format!("Beside {}, whose matrix products reach {:.0} GFLOP/s", peer.peer, peer.ceiling_gflops),
        header: header(&columns.iter().map(String::as_str).collect::<Vec<_>>()),
        rows,
        wide: Vec::new(),
        notes: vec![
            "×: how many times as long it takes. Its steps have their batch; ours make it. default: as it comes. tuned: the \
             allocator keeps its pages and asks for large ones, and Adam is the fused one."
                .into(),
        ],
        wide_notes: Vec::new(),
    })
}
