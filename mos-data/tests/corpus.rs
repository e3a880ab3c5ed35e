//! The seeds of the fuzz targets, through what the targets do with them (`fuzz/`), on every compiler.

#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "../../fuzz/src/entry.rs"]
mod entry;

use std::{path::PathBuf, sync::Arc};

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    builder::{Int32Builder, ListBuilder},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

fn seeds(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

/// Each seed, and each cut in half.
#[test]
fn every_seed_runs_through_its_target() {
    for (target, run) in [
        ("text", entry::text as fn(&[u8])),
        ("packed", entry::packed),
        ("columns", entry::columns),
        ("store", entry::store),
    ] {
        let mut seen = 0;
        for seed in std::fs::read_dir(seeds(target)).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            run(&bytes);
            run(&bytes[..bytes.len() / 2]);
            seen += 1;
        }
        assert!(seen >= 4, "{target}: only {seen} seeds");
    }
}

/// A seed that is refused where it should be read tests little.
#[test]
fn seeds_of_text_are_read_unless_they_say_otherwise() {
    let mut sources = std::collections::BTreeSet::new();
    for seed in std::fs::read_dir(seeds("text")).unwrap() {
        let path = seed.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let source = entry::source_of(&text).unwrap();
        let read = source.load();
        assert!(read.is_ok(), "{}: {}", path.display(), read.unwrap_err());
        sources.insert(source.source);
    }
    let columns = ["synthetic", "parquet", "store", "kuaivideo", "microvideo", "ebnerd-small"];
    let missing: Vec<&str> = mos_data::sources::FORMATS
        .iter()
        .map(|f| f.name)
        .filter(|name| !columns.contains(name) && !sources.contains(*name))
        .collect();
    assert!(missing.is_empty(), "fuzz/seeds/text lacks {missing:?}");
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn lists(values: &[&[i32]]) -> ArrayRef {
    let mut out = ListBuilder::new(Int32Builder::new());
    values.iter().for_each(|list| out.append_value(list.iter().map(|v| Some(*v))));
    Arc::new(out.finish())
}

fn packed(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Vec<u8> {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// Writes the seeds that are not text; run when the layouts change: `cargo test -p mos-data --test corpus -- --ignored`.
#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds_that_are_not_text() {
    let times = ints(&[1_511_544_070, 1_511_544_071, 1_511_544_072, 1_511_544_073]);
    let labels: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true, true]));
    let kinds: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(2), Some(2)]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("é"), Some("")]));
    let numbers: ArrayRef = Arc::new(Float32Array::from(vec![0.5, 1.0, 1.5, f32::NAN]));
    let log = || {
        vec![
            ("user_id", ints(&[1, 1, 2, 2])),
            ("item_id", ints(&[7, 8, 8, 9])),
            ("time", times.clone()),
            ("label", labels.clone()),
            ("category", kinds.clone()),
            ("note", texts.clone()),
            ("number", numbers.clone()),
        ]
    };
    let history = || {
        vec![
            ("user_index", ints(&[0, 1, 1, 0])),
            ("item_index", ints(&[1, 2, 1, 3])),
            ("seq_len", ints(&[1, 0, 1, 2])),
            ("is_click", ints(&[1, 0, 1, 0])),
            ("item_seq", lists(&[&[1, 2], &[3], &[], &[2]])),
            ("user_id", ints(&[1, 1, 2, 2])),
            ("impression_time_fixed", lists(&[&[5, 6], &[7], &[], &[8]])),
            ("article_id_fixed", lists(&[&[1, 2], &[3], &[], &[2]])),
            ("impression_time", ints(&[1, 2, 3, 4])),
            ("article_ids_inview", lists(&[&[1, 2], &[3], &[1], &[2]])),
            ("article_ids_clicked", lists(&[&[1], &[3], &[], &[2]])),
        ]
    };
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for (name, bytes) in [
        ("log-plain", packed(log(), Compression::UNCOMPRESSED)),
        ("log-snappy", packed(log(), Compression::SNAPPY)),
        ("log-zstd", packed(log(), zstd)),
        ("log-lz4", packed(log(), Compression::LZ4_RAW)),
        ("lists-plain", packed(history(), Compression::UNCOMPRESSED)),
        ("lists-gzip", packed(history(), Compression::GZIP(parquet::basic::GzipLevel::default()))),
    ] {
        std::fs::write(seeds("columns").join(name), bytes).unwrap();
    }
    // One file of a store each, behind the byte that says which.
    for (which, (name, bytes)) in (0u8..).zip(entry::whole()) {
        std::fs::write(seeds("store").join(name), [&[which], bytes.as_slice()].concat()).unwrap();
    }
}
