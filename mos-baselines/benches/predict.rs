//! How long one request takes: raw ids of one user with a history of 1,000 and 500 candidates, by TWIN and SDIM alone and inside
//! MoS, items of width 16 (the default) and 64.
//!
//! ```text
//! cargo bench -p mos-baselines --bench predict
//! ```
//!
//! Criterion has no percentiles, so p50 and p99 are those of a loop of their own, printed first. Each request has another
//! history and other candidates.

#![allow(missing_docs, clippy::unwrap_used)] // criterion's macros; a bench may panic

mod common;

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mos_baselines::{Registry, Spec};
use mos_core::{Predictor, Request};
use mos_data::{HistoryRule, RawEvent, Sessionizer, Vocabulary, rng};
use rand::RngExt as _;

const ITEMS: usize = 100_000;
const LENGTH: usize = 1000;
const CANDIDATES: usize = 500;
const REQUESTS: usize = 1000;

fn predictor(encoder: &str, mixture: &str, dim: usize) -> Predictor {
    let spec = Spec::new(encoder, mixture);
    let model = common::model(&Registry::default(), &spec, &common::bare_catalog(ITEMS), dim);
    let ids = (0..ITEMS).map(|i| (i > 0).then(|| format!("item{i}")));
    let vocabulary = Vocabulary::new(ids, vec![String::new()]).unwrap();
    let rule = HistoryRule { session: Sessionizer::HALF_HOUR, ticks_per_second: 1, max_length: LENGTH };
    Predictor::new(model, vocabulary, rule).unwrap()
}

fn request(number: usize) -> Request {
    let mut draw = rng::stream(1, "bench/request", &[number as u64]);
    let mut item = || format!("item{}", draw.random_range(1..ITEMS as u32));
    let event =
        |(t, item): (usize, String)| RawEvent { item, time: t as i64 * 600, behaviour: None, session: None };
    let items: Vec<String> = (0..LENGTH + CANDIDATES).map(|_| item()).collect();
    let (history, candidates) = items.split_at(LENGTH);
    Request {
        history: history.iter().cloned().enumerate().map(event).collect(),
        candidates: candidates.to_vec(),
        time: LENGTH as i64 * 600,
    }
}

fn predict(c: &mut Criterion) {
    let mut group = c.benchmark_group("predict");
    group.throughput(Throughput::Elements(CANDIDATES as u64)).sample_size(20);
    let timed = common::timed();
    let requests: Vec<Request> = (0..if timed { 64 } else { 1 }).map(request).collect();
    for dim in [16, 64] {
        for (encoder, mixture) in [("twin", "none"), ("sdim", "none"), ("twin", "mos"), ("sdim", "mos")] {
            let (name, subject) = (format!("{encoder}-{mixture}/{dim}"), predictor(encoder, mixture, dim));
            if timed {
                let mut times: Vec<f64> = (0..REQUESTS + 50)
                    .map(|n| {
                        let started = Instant::now();
                        black_box(subject.predict(&requests[n % requests.len()]).unwrap());
                        started.elapsed().as_secs_f64() * 1e3
                    })
                    .skip(50)
                    .collect();
                times.sort_by(f64::total_cmp);
                let at = |share: f64| times[(times.len() as f64 * share) as usize];
                println!("{name}: p50 {:.2} ms, p99 {:.2} ms of {REQUESTS} requests", at(0.5), at(0.99));
            }
            group.bench_function(&name, |b| b.iter(|| subject.predict(black_box(&requests[0])).unwrap()));
        }
    }
    group.finish();
}

criterion_group!(benches, predict);
criterion_main!(benches);
