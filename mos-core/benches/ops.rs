//! Every public operation, in scoring (`forward`) and in training (`both`: forward and backward), on one thread.
//!
//! ```text
//! cargo bench -p mos-core --bench ops              # all
//! cargo bench -p mos-core --bench ops -- small     # the daily set
//! cargo bench -p mos-core --bench ops -- attend    # one
//! ```

#![allow(missing_docs)] // criterion's macros

mod operations;

use std::{cell::LazyCell, collections::BTreeSet, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use operations::{Given, OPERATIONS, SMALL, Size};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One of four shards of a batch of 256: 16,000 behaviours.
const LARGE: Size = Size { samples: 64, length: 250, width: 64 };

/// What `mos_core::ops` has beside operations: sizes and places of single rows.
const NUMBERS: [&str; 3] = ["gap_bucket", "pairs", "position_bucket"];

/// Functions that `mos_core::ops` makes public.
fn public() -> BTreeSet<&'static str> {
    let lists = include_str!("../src/ops/mod.rs").split("\npub use ").skip(1);
    let names = lists.flat_map(|list| {
        list[..list.find(';').unwrap_or(0)].split(|c: char| !(c == '_' || c.is_alphanumeric())).skip(1)
    });
    names.filter(|name| name.starts_with(|c: char| c.is_lowercase())).collect()
}

fn all_operations_are_here() {
    let stem = |name: &'static str| name.split(':').next().unwrap_or(name);
    let here: BTreeSet<&str> = OPERATIONS.iter().map(|o| stem(o.name)).chain(NUMBERS).collect();
    let public = public();
    let differ: Vec<&&str> = here.symmetric_difference(&public).collect();
    assert!(differ.is_empty(), "in one of src/ops/mod.rs and benches/operations/mod.rs alone: {differ:?}");
}

fn operations(c: &mut Criterion) {
    all_operations_are_here();
    for (name, size, warm, measured) in [("small", SMALL, 50, 300), ("large", LARGE, 200, 1000)] {
        let mut group = c.benchmark_group(format!("ops/{name}"));
        group.warm_up_time(Duration::from_millis(warm)).measurement_time(Duration::from_millis(measured));
        group.sample_size(20).nresamples(2000);
        // Made where a filter lets it through, before time is taken.
        let given = LazyCell::new(|| Given::new(size));
        for operation in OPERATIONS {
            let inputs = LazyCell::new(|| given.inputs(operation));
            group.bench_function(format!("{}/forward", operation.name), |b| {
                let (inputs, given) = (&*inputs, &*given);
                b.iter(|| operation.forward(inputs, given));
            });
            if operation.is_taped() {
                group.bench_function(format!("{}/both", operation.name), |b| {
                    let (inputs, given) = (&*inputs, &*given);
                    b.iter(|| operation.both(inputs, given));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
