//! No file makes a reader panic, and no log that was read makes the preparation panic.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use mos_data::{Cuts, LabelRule, Log, Sessionizer, TaskConfig, prepare, sources::Source};
use proptest::prelude::*;

/// Bytes that look like a table often enough to get far.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[0-9]{1,4}".prop_map(String::into_bytes),
        2 => Just(b"1511544070".to_vec()),
        1 => "[-+]?[0-9]{18,22}(\\.[0-9]+)?".prop_map(String::into_bytes),
        1 => prop::sample::select(vec!["pv", "buy", "NaN", "inf", "-1", "1e999", "", " ", "\u{feff}", "u,i,t"])
            .prop_map(|s| s.as_bytes().to_vec()),
        8 => prop::sample::select(vec![",", ",", ",", ";", "::", "\t", "|", "\n", "\n", "\r\n", "\""])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

fn try_to_prepare(log: Log) {
    let sessions = [
        Sessionizer::Gap { seconds: i64::MAX },
        Sessionizer::Day { utc_offset_hours: 24 },
        Sessionizer::Fixed { events: 2 },
        Sessionizer::Given {},
    ];
    let labels = [
        LabelRule::Impressions {},
        LabelRule::Rating { at_least: 3.0 },
        LabelRule::Negatives { per_positive: 2, exponent: 0.5, novel: false },
        LabelRule::Negatives { per_positive: 1, exponent: 0.0, novel: true },
    ];
    for (session, label) in sessions.into_iter().flat_map(|s| labels.map(|l| (s, l))) {
        let cuts = Cuts::Quantile { valid: 0.5, test: 0.8 };
        let task = TaskConfig { label, session, cuts, min_history: 0, max_train: Some(9), seed: 1 };
        if let Ok(data) = prepare(log.clone(), &task) {
            let batch = data.users.batch(&data.users.splits.test, 3);
            assert_eq!(batch.offsets.len(), batch.len() + 1);
            assert!(data.card.to_string().contains("users"));
        }
    }
}

type Numbers = (i64, i64, i64, i64);

/// A number of a row: ordinary, or one that is hard to take.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![30 => 0i64..8, 1 => Just(-3), 1 => Just(i64::MAX), 1 => Just(4_102_444_799), 1 => Just(i64::MIN)]
}

/// A small file that unpacks to a row without an end, and one whose quote never ends.
#[test]
fn a_row_is_not_read_into_memory_whatever_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let endless = |name: &str, start: &[u8], piece: &[u8]| {
        let path = folder.path().join(name);
        let mut packed = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
        packed.write_all(start).unwrap();
        let megabyte: Vec<u8> = piece.iter().copied().cycle().take(1 << 20).collect();
        (0..66).for_each(|_| packed.write_all(&megabyte).unwrap());
        packed.finish().unwrap();
        assert!(path.metadata().unwrap().len() < 1 << 20);
        path
    };
    let schema = folder.path().join("schema.toml");
    std::fs::write(&schema, "user = 'user'\nitem = 'item'\ntime = 'time'\n").unwrap();
    let schema = schema.to_str().unwrap();
    let csv = endless("log.csv.gz", b"user,item,time\nann,book,\"", b"a,b\n");
    let jsonl = endless("log.jsonl.gz", b"{\"user\": \"", b"a");
    for source in [
        Source::new("taobao", Some(endless("UserBehavior.csv.gz", b"1,2,3,pv,", b"1"))),
        Source::new("movielens", Some(endless("ratings.dat.gz", b"1::2::", b"3"))),
        Source::new("csv", Some(csv)).with("schema", schema),
        Source::new("jsonl", Some(jsonl)).with("schema", schema),
    ] {
        let error = source.load().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("a row is longer than 64 MiB"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rows_that_are_nearly_right(rows in prop::collection::vec((0i64..4, number(), number(), number()), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let text = |row: &dyn Fn(&Numbers) -> String| rows.iter().map(row).collect::<String>();
        let taobao_rows = text(&|(u, i, c, t)| format!("{u},{i},{c},pv,{}\n", t.saturating_add(1_511_600_000)));
        let rating_rows = text(&|(u, i, r, t)| format!("{u}\t{i}\t{r}\t{t}\n"));
        let shop_rows = text(&|(u, i, l, t)| format!("{u},{i},{t},{}\n", l % 2));
        let schema = write("schema.toml", "user = 1\nitem = 2\ntime = 3\nlabel = 4\nheader = false\n".into());
        let logs = [
            Source::new("taobao", Some(write("UserBehavior.csv", taobao_rows))).with("items", "category").load(),
            Source::new("movielens", Some(write("u.data", rating_rows))).load(),
            Source::new("csv", Some(write("shop.csv", shop_rows))).with("schema", schema.to_str().unwrap()).load(),
        ];
        for log in logs {
            match log {
                Ok(log) => try_to_prepare(log),
                Err(error) => prop_assert!(error.to_string().contains('('), "no hint: {}", error),
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in bytes(), header: bool, quotes: bool, separator in 0usize..3) {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            path
        };
        let separator = [",", "::", ";"][separator];
        let schema = folder.path().join("schema.toml");
        let more = if header { "" } else { "label = 4\n" };
        let text = format!("user = 1\nitem = 2\ntime = 3\n{more}header = {header}\nquotes = {quotes}\nseparator = '{separator}'\n");
        std::fs::write(&schema, text).unwrap();
        let mut logs = vec![
            Source::new("taobao", Some(file("UserBehavior.csv"))).load(),
            Source::new("csv", Some(file("any.csv"))).with("schema", schema.to_str().unwrap()).load(),
        ];
        logs.extend(["u.data", "ratings.dat", "ratings.csv"].map(|name| Source::new("movielens", Some(file(name))).load()));
        for log in logs {
            match log {
                Ok(log) => try_to_prepare(log),
                Err(error) => prop_assert!(error.to_string().contains('('), "no hint: {}", error),
            }
        }
    }
}
