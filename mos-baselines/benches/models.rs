//! A training step and scoring of a batch, of every encoder by itself and of every mixture.
//!
//! ```text
//! cargo bench -p mos-baselines --bench models              # all
//! cargo bench -p mos-baselines --bench models -- small     # the daily set
//! cargo bench -p mos-baselines --bench models -- sdim      # one
//! ```

#![allow(missing_docs, clippy::unwrap_used)] // criterion's macros; a bench may panic

mod common;

use std::{cell::RefCell, time::Duration};

use common::{SMALL, Size, Subject};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mos_baselines::Registry;

/// Of a training at full width, a quarter of its batch.
const LARGE: Size = Size { samples: 64, length: 500, items: 100_000, width: 64 };

fn models(c: &mut Criterion) {
    let registry = Registry::default();
    let sizes = [("small", SMALL, 50, 400), ("large", LARGE, 500, 2000)];
    // Once through the small ones is enough for a test.
    for (name, size, warm, measured) in sizes.into_iter().take(if common::timed() { 2 } else { 1 }) {
        let mut group = c.benchmark_group(format!("models/{name}"));
        group.warm_up_time(Duration::from_millis(warm)).measurement_time(Duration::from_millis(measured));
        group.throughput(Throughput::Elements(size.samples as u64)).sample_size(10).nresamples(2000);
        for spec in common::cells(&registry) {
            // Made where a filter lets it through.
            let subject = RefCell::new(None);
            let made = || Subject::new(&registry, &spec, size);
            group.bench_function(format!("{}/train", common::name(&spec)), |b| {
                let mut subject = subject.borrow_mut();
                let subject = subject.get_or_insert_with(made);
                b.iter(|| subject.train());
            });
            group.bench_function(format!("{}/score", common::name(&spec)), |b| {
                let mut subject = subject.borrow_mut();
                let subject = subject.get_or_insert_with(made);
                subject.prepare();
                b.iter(|| subject.score());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, models);
criterion_main!(benches);
