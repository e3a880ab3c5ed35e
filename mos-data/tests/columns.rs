//! Parquet files and the sets that are published in them, written here in the published layout; broken files; the real
//! samples where they are at hand.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

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
use common::samples;
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
        .map(|(u, i)| (&*log.user_ids[u as usize], &*log.item_ids[x.items()[i] as usize], x.times()[i]))
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
    let source =
        |path: &Path| Source::new("parquet", Some(path.to_owned())).with("schema", schema.to_str().unwrap());
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
        (
            with("who", texts(&[Some("ann"), None, Some("bob")])),
            "who.parquet:2:2: \"\" is no id: it is empty (column who)",
        ),
        (
            with("when", ints(&[1, 2, 1_700_000_000_000_000])),
            "when.parquet:3:4: |is a time after 2099 (column when)",
        ),
        (with("clicked", ints(&[1, 0, 5])), "clicked.parquet:3:6: \"5\" is no label (column clicked)|0 or 1"),
        (
            with("what", Arc::new(arrow_array::Decimal128Array::from(vec![1, 2, 3]))),
            "what.parquet: column \"what\" has the type Decimal128(38, 10), which is not read",
        ),
        (
            folder.parquet("renamed.parquet", renamed),
            "column \"when\", which is not there|did you mean \"wen\"?",
        ),
        (
            folder.file("cut.parquet", &whole[..whole.len() - 9]),
            "cut.parquet: |is it a parquet file, and whole?",
        ),
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
            (
                "image_emb_dim64",
                vectors(&[&[0.0, 0.0], &[1.0, 0.5], &[2.0, 0.5], &[3.0, 0.5], &[4.0, 0.5], &[5.0, 0.5]]),
            ),
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
    for (source, label, name) in [
        ("kuaivideo", "is_click", "kuaivideo-x2"),
        ("microvideo", "is_click", "microvideo-x2"),
        ("ebnerd-small", "click", "ebnerd-small"),
    ] {
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
            let FeatureValues::Many { offsets, .. } = feature(name) else {
                panic!("any number of values each")
            };
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
        let ends =
            [&data.users.splits.train, &data.users.splits.valid, &data.users.splits.test].map(|part| {
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
    assert_eq!(all.unwrap().errors.len(), 1, "the rest is read");
    let (message, _) =
        damage(&|folder| std::fs::remove_file(folder.path().join("set/test.parquet")).unwrap());
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

#[test]
fn ebnerd_is_read_from_parquet_and_from_lines_of_json() {
    let times = |values: &[&[i64]]| -> ArrayRef {
        let mut out = ListBuilder::new(TimestampMicrosecondBuilder::new());
        values.iter().for_each(|list| out.append_value(list.iter().map(|v| Some(v * 1_000_000))));
        Arc::new(out.finish())
    };
    let topics = || -> ArrayRef {
        let mut out = ListBuilder::new(StringBuilder::new());
        out.append_value([Some("Sport"), Some("Politik")]);
        out.append_value([None::<&str>; 0]);
        Arc::new(out.finish())
    };
    let folder = Folder::new();
    // 1675322424 is 2023-02-02 07:20:24.
    let from = 1_675_322_424;
    for (part, offset) in [("train", 0), ("validation", 1)] {
        folder.parquet(
            &format!("ebnerd/{part}/history.parquet"),
            vec![
                ("user_id", ints(&[5, 6])),
                ("impression_time_fixed", times(&[&[from + offset, from + 9], &[from + 3]])),
                ("article_id_fixed", lists(&[&[70, 71], &[70]])),
            ],
        );
    }
    folder.parquet(
        "ebnerd/train/behaviors.parquet",
        vec![
            ("impression_time", Arc::new(TimestampMicrosecondArray::from(vec![1_675_400_000_000_000; 2]))),
            ("read_time", Arc::new(Float32Array::from(vec![17.0, 2.0]))),
            ("article_ids_inview", lists(&[&[70, 72, 71], &[71]])),
            ("article_ids_clicked", lists(&[&[72], &[]])),
            ("user_id", ints(&[5, 6])),
            ("postcode", maybe(&[None, Some(3)])),
            ("is_subscriber", Arc::new(BooleanArray::from(vec![true, false]))),
        ],
    );
    folder.parquet(
        "ebnerd/articles.parquet",
        vec![("article_id", ints(&[70, 99])), ("category", ints(&[118, 140])), ("topics", topics())],
    );
    folder.parquet(
        "image_embeddings.parquet",
        vec![("article_id", ints(&[71, 99])), ("image_embedding", vectors(&[&[0.5, 1.0], &[2.0, 3.0]]))],
    );
    let log = read("ebnerd", folder.path()).unwrap();
    assert_eq!(
        rows(&log),
        [("5", "70", from), ("5", "70", from + 1), ("5", "71", from + 9), ("6", "70", from + 3)],
        "what two folders have counts once"
    );
    let impressions = log.impressions.as_ref().unwrap();
    let labels: Vec<_> = impressions.iter().map(|i| (&*log.item_ids[i.item as usize], i.label)).collect();
    assert_eq!(labels, [("70", 0.0), ("72", 1.0), ("71", 0.0)]);
    // Two behaviours stand in the histories of both folders, one page has no list of clicks.
    assert_eq!(log.dropped.values().collect::<Vec<_>>(), [&2, &1], "{:?}", log.dropped);
    assert_eq!(log.catalog.contexts.len(), 6);
    assert_eq!(log.contexts.of_impressions[..6], [0, 0, 0, 0, 0, 1], "only the subscription is known");
    assert_eq!(log.catalog.categories.as_ref().unwrap()[1], 1);
    assert_eq!(log.catalog.content.as_ref().unwrap().values[4..6], [0.5, 1.0]);

    let json = Folder::new();
    json.file(
        "history.jsonl",
        "{\"user_id\": 5, \"impression_time_fixed\": [\"2023-02-02T07:20:24\", \"2023-02-02T07:20:25\", \
         \"2023-02-02T07:20:33\"], \"article_id_fixed\": [70, 70, 71]}\n\
         {\"user_id\": 6, \"impression_time_fixed\": [\"2023-02-02T07:20:27\"], \"article_id_fixed\": [70]}\n",
    );
    json.file(
        "behaviors.jsonl",
        "{\"user_id\": 5, \"impression_time\": \"2023-02-03 04:53:20\", \"article_ids_inview\": [70, 72, 71], \
         \"article_ids_clicked\": [72]}\n",
    );
    let same = read("ebnerd", json.path()).unwrap();
    assert_eq!((rows(&same), &same.impressions), (rows(&log), &log.impressions));

    json.file(
        "history.jsonl",
        "{\"user_id\": 5, \"impression_time_fixed\": [\"soon\"], \"article_id_fixed\": [7]}\n",
    );
    let message = read("ebnerd", json.path()).unwrap_err().to_string();
    assert!(
        message.contains("history.jsonl:1:") && message.contains("holds \"soon\", which is no time"),
        "{message}"
    );
}

#[test]
fn taobao_advertisements_are_shown_by_category() {
    let folder = Folder::new();
    folder.file(
        "raw_sample.csv",
        "user,time_stamp,adgroup_id,pid,nonclk,clk\n1,1494137644,10,430548_1007,1,0\n\
         2,1494137650,11,430539_1007,0,1\n2,1494137660,12,430539_1007,1,0\n",
    );
    folder.file(
        "ad_feature.csv",
        "adgroup_id,cate_id,campaign_id,customer,brand,price\n10,6406,83237,1,95471,170.0\n\
         11,6407,83237,1,NULL,199.0\n",
    );
    // The last name of the published header ends in a blank.
    folder.file(
        "user_profile.csv",
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,\
         new_user_class_level \n1,0,5,2,5,,3,0,3\n9,0,5,2,5,,3,0,3\n",
    );
    folder.file(
        "behavior_log.csv",
        "user,time_stamp,btag,cate,brand\n1,1493741625,pv,6406,91286\n2,1493741626,buy,6407,9\n8,1493741627,pv,1,2\n",
    );
    let log = read("taobao-ad", folder.path()).unwrap();
    assert_eq!(rows(&log), [("1", "6406", 1_493_741_625), ("2", "6407", 1_493_741_626)]);
    assert_eq!(log.interactions.behaviours(), [1, 4]);
    let shown: Vec<_> = log
        .impressions
        .as_ref()
        .unwrap()
        .iter()
        .map(|i| (&*log.item_ids[i.item as usize], i.label))
        .collect();
    assert_eq!(shown, [("6406", 0.0), ("6407", 1.0), ("", 0.0)]);
    assert_eq!(log.dropped.values().collect::<Vec<_>>(), [&1, &1], "{:?}", log.dropped);
    assert_eq!(log.contexts.of_users[..8], [1, 1, 1, 1, 0, 1, 1, 1], "an empty level is unknown");
    assert_eq!(log.contexts.of_users[8..], [0; 8], "no profile");
    // adgroup_id, campaign_id, customer, brand, pid.
    assert_eq!(log.contexts.of_impressions, [1, 1, 1, 1, 1, 2, 1, 1, 0, 2, 3, 0, 0, 0, 2]);
    folder.file("ad_feature.csv", "adgroup_id,category\n10,1\n");
    let message = read("taobao-ad", folder.path()).unwrap_err().to_string();
    assert!(message.contains("there is no column cate_id"), "{message}");
}

#[test]
fn kuairand_and_kuairec_are_read_as_published() {
    let folder = Folder::new();
    let header = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,\
        long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n";
    let row = |user, video, time: u64, click, long, tab| {
        format!("{user},{video},20220408,1600,{time},{click},0,0,0,0,0,{long},175045,87433,0,0,0,0,{tab}\n")
    };
    let late = row(3, 10, 1_650_580_000_860, 0, 1, 4);
    folder.file("data/log_standard_4_22_to_5_08_pure.csv", format!("{header}{late}"));
    let first = row(3, 11, 1_649_408_076_860, 1, 0, 1) + &row(4, 12, 1_649_408_076_861, 0, 0, 1);
    folder.file("data/log_standard_4_08_to_4_21_pure.csv", format!("{header}{first}"));
    folder.file(
        "data/log_random_4_22_to_5_08_pure.csv",
        format!("{header}{}", row(3, 12, 1_650_580_000_900, 1, 0, 0)),
    );
    folder.file(
        "data/user_features_pure.csv",
        "user_id,user_active_degree,follow_user_num,follow_user_num_range,onehot_feat0\n3,full_active,5,\"(0,10]\",\n",
    );
    folder.file(
        "data/video_features_basic_pure.csv",
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,\
         server_height,music_id,music_type,tag\n10,7,NORMAL,2022-04-10,LongImport,0.0,87433.0,720.0,1280.0,91,9.0,\"39,2\"\n\
         11,7,AD,2022-04-10,Web,0.0,,720.0,1280.0,91,9.0,\n",
    );
    let log = read("kuairand", folder.path()).unwrap();
    assert_eq!(rows(&log), [("3", "11", 1_649_408_076_860)]);
    assert_eq!((log.impressions.as_ref().unwrap().len(), log.ticks_per_second), (3, 1000));
    let fields: Vec<_> = log.catalog.contexts.iter().map(|f| &*f.name).collect();
    assert_eq!(fields, ["user_active_degree", "follow_user_num_range", "onehot_feat0", "tab"]);
    assert_eq!(log.contexts.of_users, [1, 1, 0, 0, 0, 0]);
    let tags = log.catalog.features.iter().find(|f| f.name == "tag").unwrap();
    let FeatureValues::Many { ids, .. } = &tags.values else { panic!("any number of tags") };
    assert_eq!(ids.len(), 2);
    let source = Source::new("kuairand", Some(folder.path().to_owned()));
    let long = source.clone().with("label", "long_view").load().unwrap();
    assert_eq!(rows(&long), [("3", "10", 1_650_580_000_860)]);
    assert_eq!(source.clone().with("random", true).load().unwrap().interactions.len(), 2);
    let message = source.with("label", "is_clik").load().unwrap_err().to_string();
    assert!(message.contains("no column is_clik") && message.contains("\"is_click\""), "{message}");

    let folder = Folder::new();
    let header = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n";
    let row = "14,148,4381,6067,2020-07-05 05:27:48.378,20200705,1593898068.378,0.7221";
    folder.file(
        "KuaiRec 2.0/data/big_matrix.csv",
        format!("{header}{row}\n14,149,9,3,,20200705,1593898070,3.0\n"),
    );
    folder.file("KuaiRec 2.0/data/small_matrix.csv", format!("{header}{row}\n14,183,9,3,,,,3.0\n"));
    folder.file("KuaiRec 2.0/data/item_categories.csv", "video_id,feat\n148,\"[8, 3]\"\n149,[9]\n7,[1]\n");
    let log = read("kuairec", folder.path()).unwrap();
    assert_eq!(rows(&log), [("14", "148", 1_593_898_068_378), ("14", "149", 1_593_898_070_000)]);
    assert_eq!(log.interactions.ratings(), Some([0.7221, 3.0].as_slice()));
    assert_eq!(log.catalog.categories, Some(vec![0, 1, 2]));
    let small =
        Source::new("kuairec", Some(folder.path().to_owned())).with("matrix", "small").load().unwrap();
    assert_eq!((small.interactions.len(), small.dropped.values().sum::<u64>()), (1, 1));
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

#[test]
fn the_real_sample_of_ebnerd_has_its_known_counts() {
    let Some(path) = samples("ebnerd-testsample") else { return };
    let log = read("ebnerd", &path).unwrap();
    let shown = log.impressions.as_ref().unwrap();
    // 8,303 behaviours, one of them twice.
    assert_eq!((log.interactions.users(), log.interactions.len()), (44, 8302));
    assert_eq!(log.dropped.values().sum::<u64>(), 1, "{:?}", log.dropped);
    assert_eq!((shown.len(), shown.iter().filter(|i| i.label > 0.5).count()), (10_848, 1_047));
    // The same rows without the columns of persons.
    let folder = Folder::new();
    for name in ["history.jsonl.gz", "behaviors.jsonl.gz"] {
        std::fs::copy(path.join(name), folder.path().join(name)).unwrap();
    }
    let json = read("ebnerd", folder.path()).unwrap();
    assert_eq!((json.interactions, &json.impressions), (log.interactions, &log.impressions));
}
