//! Parquet files and the sets that are published in them, written here in the published layout; broken files; the real
//! samples where they are at hand.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
    builder::{Float32Builder, Int32Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder},
};
use mos_data::{FeatureValues, LabelRule, Log, Part, prepare, sources::Source};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use proptest::prelude::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        self.file(name, packed(columns, Compression::SNAPPY))
    }
}

fn packed(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Vec<u8> {
    // All columns may be null, as data frames write them.
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn maybe(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn lists(values: &[&[i32]]) -> ArrayRef {
    let mut out = ListBuilder::new(Int32Builder::new());
    values.iter().for_each(|list| out.append_value(list.iter().map(|v| Some(*v))));
    Arc::new(out.finish())
}

fn vectors(values: &[&[f32]]) -> ArrayRef {
    let mut out = ListBuilder::new(Float32Builder::new());
    values.iter().for_each(|list| out.append_value(list.iter().map(|v| Some(*v))));
    Arc::new(out.finish())
}

fn read(source: &str, path: &Path) -> mos_data::Result<Log> {
    Source::new(source, Some(path.to_owned())).load()
}

/// The rows of a log, in raw ids.
fn rows(log: &Log) -> Vec<(&str, &str, i64)> {
    let x = &log.interactions;
    (0..x.users() as u32)
        .flat_map(|u| x.range(u).map(move |i| (u, i)))
        .map(|(u, i)| {
            (&*log.user_ids[u as usize], &*log.item_ids[x.items()[i] as usize], x.times()[i])
        })
        .collect()
}

/// Impressions with their parts and lengths of history, in raw ids.
fn shown(log: &Log) -> Vec<(&str, &str, f32, Part, u32)> {
    let published = log.published.as_ref().unwrap();
    let shown = log.impressions.as_ref().unwrap().iter().zip(published);
    shown
        .map(|(i, p)| {
            let (user, item) = (&*log.user_ids[i.user as usize], &*log.item_ids[i.item as usize]);
            (user, item, i.label, p.part, p.history.unwrap())
        })
        .collect()
}

fn shop() -> Vec<(&'static str, ArrayRef)> {
    let seconds = |s: i64| s * 1_000_000;
    vec![
        ("note", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5])) as ArrayRef),
        ("who", texts(&[Some("ann"), Some("ann"), Some("bob")])),
        ("what", ints(&[7, 8, 8])),
        ("when", Arc::new(TimestampMicrosecondArray::from(vec![seconds(2), seconds(3), seconds(4)]))),
        ("kind", maybe(&[Some(1), None, Some(2)])),
        ("clicked", Arc::new(BooleanArray::from(vec![true, false, true]))),
    ]
}

const SHOP: &str = "user = 'who'\nitem = 'what'\ntime = 'when'\ntime_unit = 'milliseconds'\ncategory = 'kind'\n\
    label = 'clicked'\nname = 'shop'\n";

#[test]
fn a_schema_describes_any_parquet_file() {
    let folder = Folder::new();
    let schema = folder.file("schema.toml", SHOP);
    let source = |path: &Path| {
        Source::new("parquet", Some(path.to_owned())).with("schema", schema.to_str().unwrap())
    };
    let plain = folder.parquet("log.parquet", shop());
    let log = source(&plain).load().unwrap();
    assert_eq!(rows(&log), [("ann", "7", 2000), ("bob", "8", 4000)]);
    assert_eq!(log.impressions.as_ref().unwrap().len(), 3);
    // The empty kind of item 8 came first; a kind that comes later counts.
    assert_eq!(log.catalog.categories, Some(vec![0, 1, 2]));
    assert_eq!(source(&plain).task().unwrap().label, LabelRule::Impressions {});

    let zstd = Compression::ZSTD(ZstdLevel::default());
    for (name, compression) in [
        ("none", Compression::UNCOMPRESSED),
        ("zstd", zstd),
        ("gzip", Compression::GZIP(parquet::basic::GzipLevel::default())),
        ("lz4", Compression::LZ4_RAW),
    ] {
        let path = folder.file(name, packed(shop(), compression));
        assert_eq!(source(&path).load().unwrap().sha256(), log.sha256(), "{name}");
    }
    // An archive as it was downloaded.
    let mut zip = zip::ZipWriter::new(std::fs::File::create(folder.path().join("shop.zip")).unwrap());
    zip.start_file("data/log.parquet", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&packed(shop(), zstd)).unwrap();
    zip.finish().unwrap();
    assert_eq!(source(&folder.path().join("shop.zip")).load().unwrap().sha256(), log.sha256());
}

#[test]
fn broken_parquet_files_name_place_text_and_fix() {
    let folder = Folder::new();
    let schema = folder.file("schema.toml", SHOP);
    let load = |path: &Path| {
        Source::new("parquet", Some(path.to_owned())).with("schema", schema.to_str().unwrap()).load()
    };
    let with = |name: &str, column: ArrayRef| -> PathBuf {
        let columns = shop().into_iter().map(|(n, c)| (n, if n == name { column.clone() } else { c }));
        folder.parquet(&format!("{name}.parquet"), columns.collect())
    };
    let renamed = shop().into_iter().map(|(n, c)| (if n == "when" { "wen" } else { n }, c)).collect();
    let whole = packed(shop(), Compression::SNAPPY);
    for (path, wanted) in [
        (with("who", texts(&[Some("ann"), None, Some("bob")])), "who.parquet:2:2: \"\" is no id: it is empty (column who)"),
        (with("when", ints(&[1, 2, 1_700_000_000_000_000])), "when.parquet:3:4: |is a time after 2099 (column when)"),
        (with("clicked", ints(&[1, 0, 5])), "clicked.parquet:3:6: \"5\" is no label (column clicked)|0 or 1"),
        (
            with("what", Arc::new(arrow_array::Decimal128Array::from(vec![1, 2, 3]))),
            "what.parquet: column \"what\" has the type Decimal128(38, 10), which is not read",
        ),
        (folder.parquet("renamed.parquet", renamed), "column \"when\", which is not there|did you mean \"wen\"?"),
        (folder.file("cut.parquet", &whole[..whole.len() - 9]), "cut.parquet: |is it a parquet file, and whole?"),
        (folder.file("text.parquet", "who,what,when\n"), "text.parquet: |is it a parquet file"),
        (folder.path().join("nowhere.parquet"), "nowhere.parquet: No such file"),
    ] {
        let message = load(&path).unwrap_err().to_string();
        wanted.split('|').for_each(|part| assert!(message.contains(part), "{part:?} is not in: {message}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_damaged_parquet_file_is_no_panic(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let folder = Folder::new();
        let schema = folder.file("schema.toml", SHOP);
        let mut bytes = packed(shop(), Compression::UNCOMPRESSED);
        for (index, value) in at {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let path = folder.file("log.parquet", bytes);
        let _ = Source::new("parquet", Some(path)).with("schema", schema.to_str().unwrap()).load();
    }
}

/// A set in the LongCTR form with two users and five items; every part has both labels.
fn longctr(folder: &Folder, label: &str, context: bool) {
    // Item 0 is padding.
    folder.parquet(
        "set/item_info.parquet",
        vec![
            ("item_index", ints(&[0, 1, 2, 3, 4, 5])),
            ("item_id", ints(&[0, 1, 2, 3, 3, 0])),
            ("cate_id", ints(&[0, 7, 7, 9, 9, 0])),
            ("subcategory", lists(&[&[0, 0], &[4, 5], &[5, 0], &[0, 0], &[6, 4], &[0, 0]])),
            ("image_emb_dim64", vectors(&[&[0.0, 0.0], &[1.0, 0.5], &[2.0, 0.5], &[3.0, 0.5], &[4.0, 0.5], &[5.0, 0.5]])),
        ],
    );
    folder.parquet("set/user_info.parquet", vec![("full_item_seq", lists(&[&[1, 2, 3, 1], &[4, 5]]))]);
    for (part, seq_len) in [("train", [1, 2, 0]), ("valid", [3, 3, 1]), ("test", [4, 4, 2])] {
        let mut columns = vec![
            ("user_index", ints(&[0, 0, 1])),
            ("item_index", ints(&[2, 5, 4])),
            ("seq_len", ints(&seq_len)),
            (label, Arc::new(Float32Array::from(vec![1.0, 0.0, 1.0])) as ArrayRef),
        ];
        if context {
            columns.push(("device_type", ints(&[2, 0, 1])));
            columns.push(("topics", lists(&[&[8, 9], &[0, 0], &[9, 0]])));
        }
        folder.parquet(&format!("set/{part}.parquet"), columns);
    }
}

#[test]
fn the_longctr_form_keeps_lists_parts_and_lengths() {
    for (source, label, name) in
        [("kuaivideo", "is_click", "kuaivideo-x2"), ("microvideo", "is_click", "microvideo-x2"), ("ebnerd-small", "click", "ebnerd-small")]
    {
        let folder = Folder::new();
        longctr(&folder, label, source == "ebnerd-small");
        let log = read(source, folder.path()).unwrap();
        assert_eq!(log.name, name);
        let user = |u, items: &[&'static str]| -> Vec<(&str, &str, i64)> {
            items.iter().zip(0..).map(|(i, place)| (u, *i, place)).collect()
        };
        assert_eq!(rows(&log), [user("0", &["1", "2", "3", "1"]), user("1", &["4", "5"])].concat());
        let parts = [(Part::Train, [1, 2, 0]), (Part::Valid, [3, 3, 1]), (Part::Test, [4, 4, 2])];
        let wanted = parts.map(|(part, [a, b, c])| {
            [("0", "2", 1.0, part, a), ("0", "5", 0.0, part, b), ("1", "4", 1.0, part, c)]
        });
        assert_eq!(shown(&log), wanted.concat());
        let number = |raw: &str| log.item_ids.iter().position(|i| i == raw).unwrap();
        let content = log.catalog.content.as_ref().unwrap();
        assert_eq!(content.values[number("4") * 2..][..2], [4.0, 0.5]);
        assert_eq!(content.values[..2], [0.0, 0.0]);
        let categories = log.catalog.categories.as_ref().unwrap();
        assert_eq!(categories[number("1")], categories[number("2")]);
        assert_eq!(categories[number("5")], 0, "0 is padding");
        let feature = |name: &str| &log.catalog.features.iter().find(|f| f.name == name).unwrap().values;
        let FeatureValues::One { ids, count } = feature("item_id") else { panic!("one value each") };
        assert_eq!((ids[number("3")], *count, ids[number("5")]), (ids[number("4")], 4, 0));
        let many = |name: &str, item: &str| {
            let FeatureValues::Many { offsets, .. } = feature(name) else { panic!("any number of values each") };
            offsets[number(item) + 1] - offsets[number(item)]
        };
        assert_eq!(["1", "2", "3"].map(|i| many("subcategory", i)), [2, 1, 0]);
        if source == "ebnerd-small" {
            assert_eq!(["2", "5", "4"].map(|i| many("topics", i)), [2, 0, 1]);
            assert_eq!(log.catalog.contexts[0].name, "device_type");
            assert_eq!(log.contexts.of_impressions, [1, 0, 2, 1, 0, 2, 1, 0, 2]);
        }
        let task = Source::new(source, None).task().unwrap();
        let data = prepare(log, &task).unwrap();
        let ends = [&data.splits.train, &data.splits.valid, &data.splits.test].map(|part| {
            let mut ends: Vec<u32> = part.iter().map(|s| s.end).collect();
            ends.sort_unstable();
            ends
        });
        assert_eq!(ends, [vec![0, 1, 2], vec![1, 3, 3], vec![2, 4, 4]]);
    }
}

#[test]
fn a_longctr_set_that_does_not_fit_together_says_where() {
    let damage = |change: &dyn Fn(&Folder)| {
        let folder = Folder::new();
        longctr(&folder, "is_click", false);
        change(&folder);
        let path = folder.path().to_owned();
        let all = Source::new("kuaivideo", Some(path.clone())).check(50);
        (read("kuaivideo", &path).unwrap_err().to_string(), all)
    };
    let train = |user: i64, length: i64, label: i64| {
        vec![
            ("user_index", ints(&[0, user])),
            ("item_index", ints(&[1, 2])),
            ("seq_len", ints(&[1, length])),
            ("is_click", ints(&[1, label])),
        ]
    };
    for (columns, wanted) in [
        (train(5, 1, 0), "train.parquet:2:1: \"5\" has no row in user_info (column user_index)"),
        (train(1, 3, 0), "train.parquet:2:3: \"3\" is no length of a history: its user has 2 items"),
        (train(1, -1, 0), "train.parquet:2:3: \"-1\" is no length of a history"),
        (train(1, 1, 3), "train.parquet:2:4: \"3\" is no label"),
        (train(1, 1, 0)[1..].to_vec(), "train.parquet: has no column \"user_index\""),
    ] {
        let (message, _) = damage(&|folder| {
            folder.parquet("set/train.parquet", columns.clone());
        });
        assert!(message.contains(wanted), "{wanted:?} is not in: {message}");
    }
    let (_, all) = damage(&|folder| {
        folder.parquet("set/train.parquet", train(5, 1, 0));
    });
    assert_eq!(all.unwrap().1.len(), 1, "the rest is read");
    let (message, _) = damage(&|folder| std::fs::remove_file(folder.path().join("set/test.parquet")).unwrap());
    assert!(message.contains("test.parquet is not here"), "{message}");
}

#[test]
fn histories_in_rows_are_joined() {
    let folder = Folder::new();
    folder.file(
        "train.csv",
        "is_click,user_id,item_id,cate_id,clicked_items,clicked_categories,hour\n\
         1,ann,a,x,,,1\n0,ann,b,y,a,x,2\n1,ann,c,x,a,x,\n1,bob,a,x,q^r,y^y,1\n",
    );
    folder.file(
        "test.csv",
        "is_click,user_id,item_id,cate_id,clicked_items,clicked_categories,hour\n\
         0,ann,d,,a^c,x^x,3\n1,bob,c,x,r^a,y^x,2\n",
    );
    folder.file("item_image_emb_dim64.h5", "not read");
    let log = read("microvideo", folder.path()).unwrap();
    assert_eq!(
        rows(&log),
        [("ann", "a", 0), ("ann", "c", 1), ("bob", "q", 0), ("bob", "r", 1), ("bob", "a", 2)]
    );
    let part = Part::Train;
    assert_eq!(
        shown(&log),
        [
            ("ann", "a", 1.0, part, 0),
            ("ann", "b", 0.0, part, 1),
            ("ann", "c", 1.0, part, 1),
            ("bob", "a", 1.0, part, 2),
            ("ann", "d", 0.0, Part::Test, 2),
            ("bob", "c", 1.0, Part::Test, 3),
        ]
    );
    assert_eq!(log.name, "microvideo-x1");
    assert_eq!(log.catalog.contexts.iter().map(|f| (&*f.name, f.count)).collect::<Vec<_>>(), [("hour", 4)]);
    assert_eq!(log.contexts.of_impressions, [1, 2, 0, 1, 3, 2]);
    assert_eq!(log.dropped.values().collect::<Vec<_>>(), [&1, &1], "{:?}", log.dropped);

    folder.file("train.csv", "is_click,member,item_id,pos_items\n1,ann,a,\n");
    let message = read("kuaivideo", folder.path()).unwrap_err().to_string();
    assert!(message.contains("train.csv: has no column of the user"), "{message}");
    let source = Source::new("fuxictr", Some(folder.path().to_owned())).with("user", "membr");
    let message = source.load().unwrap_err().to_string();
    assert!(message.contains("has no column \"membr\" (did you mean \"member\"?"), "{message}");
}

/// The folder of real samples, or a message that it is missing.
fn samples(set: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(set);
    if !path.exists() {
        eprintln!("skipped: the sample {set} is not at hand");
        return None;
    }
    Some(path)
}

#[test]
fn real_samples_of_the_fuxictr_form() {
    let Some(path) = samples("fuxictr-tiny") else { return };
    let log = read("fuxictr", &path.join("tiny_csv")).unwrap();
    assert_eq!(log.impressions.as_ref().unwrap().len(), 300);
    // Without a history there is nothing to be read.
    let message = read("fuxictr", &path.join("tiny_parquet")).unwrap_err().to_string();
    assert!(message.contains("has no column of the history"), "{message}");
}
