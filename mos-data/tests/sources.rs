//! Published layouts, written by hand; broken files; the real samples where they are at hand.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use common::samples;
use flate2::{Compression, write::GzEncoder};
use mos_data::{
    LabelRule, Log, prepare,
    sources::{FORMATS, Source, schema::Schema},
};

const TAOBAO: &str = "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n\
    7,2268318,2520377,fav,1511600000\n7,2268318,2520377,cart,1500000000\n7,5,2520771,pv,-2134949234\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn gzip(&self, name: &str, content: &str, keep: usize) -> PathBuf {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content.as_bytes()).unwrap();
        let bytes = encoder.finish().unwrap();
        self.file(name, &bytes[..keep.min(bytes.len())])
    }
}

fn read(source: &str, path: &Path) -> mos_data::Result<Log> {
    Source::new(source, Some(path.to_owned())).load()
}

fn taobao(path: &Path) -> mos_data::Result<Log> {
    read("taobao", path)
}

fn csv(path: &Path, schema: &Path) -> Source {
    Source::new("csv", Some(path.to_owned())).with("schema", schema.to_str().unwrap())
}

/// The rows of a log, in raw ids.
fn rows(log: &Log) -> Vec<(String, String, i64, u8)> {
    let x = &log.interactions;
    (0..x.users() as u32)
        .flat_map(|u| x.range(u).map(move |i| (u, i)))
        .map(|(u, i)| {
            let item = log.item_ids[x.items()[i] as usize].clone();
            (log.user_ids[u as usize].clone(), item, x.times()[i], x.behaviours()[i])
        })
        .collect()
}

#[test]
fn taobao_plain_and_gzip_give_the_same_log() {
    let folder = Folder::new();
    let plain = taobao(&folder.file("UserBehavior.csv", TAOBAO)).unwrap();
    let packed = taobao(&folder.gzip("packed.csv.gz", TAOBAO, usize::MAX)).unwrap();
    assert_eq!(plain.sha256(), packed.sha256());
    assert_eq!(plain.sha256(), taobao(folder.0.path()).unwrap().sha256(), "a folder is searched");
    let row = |u: &str, i: &str, t, b| (u.to_owned(), i.to_owned(), t, b);
    assert_eq!(
        rows(&plain),
        [
            row("1", "2268318", 1_511_544_070, 1),
            row("1", "2333346", 1_511_561_733, 4),
            row("7", "2268318", 1_511_600_000, 3)
        ]
    );
    assert_eq!(plain.dropped.values().sum::<u64>(), 2, "strays are counted: {:?}", plain.dropped);
    assert_eq!(plain.catalog.categories, Some(vec![0, 1, 2]));
    assert_eq!(plain.behaviour_names, ["", "pv", "cart", "fav", "buy"]);
    let categories =
        Source::new("taobao", Some(folder.0.path().into())).with("items", "category").load().unwrap();
    assert_eq!(categories.item_ids, ["", "2520377", "2520771"]);
}

#[test]
fn the_three_movielens_layouts_give_the_same_log() {
    let tabs = Folder::new();
    tabs.file("u.data", "196\t242\t3\t881250949\n22\t242\t1\t878887116\n196\t7\t5\t881250000\n");
    // Film 242: Comedy and Drama; film 7: unknown only; Latin-1 title.
    let mut item = b"242|Kolya \xe9 (1996)|24-Jan-1997||u|0|0|0|0|0|1|0|0|1|0|0|0|0|0|0|0|0|0|0\n".to_vec();
    item.extend(b"7|Twelve (1995)|01-Jan-1995||u|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n");
    tabs.file("u.item", item);
    let colons = Folder::new();
    colons.file("ratings.dat", "196::242::3::881250949\r\n22::242::1::878887116\n\n196::7::5::881250000");
    colons.file("movies.dat", b"242::Kolya \xe9: a film::Comedy|Drama\n7::Twelve::\n".as_slice());
    let csv = Folder::new();
    csv.gzip(
        "ratings.csv.gz",
        "\u{feff}userId,movieId,rating,timestamp\r\n196,242,3.0,881250949\r\n22,242,1.0,878887116\r\n196,7,5.0,881250000\r\n",
        usize::MAX,
    );
    csv.file(
        "movies.csv",
        "movieId,title,genres\r\n242,\"Kolya, the \"\"film\"\"\",Comedy|Drama\r\n7,Twelve,(no genres listed)\r\n",
    );
    let logs: Vec<Log> = [&tabs, &colons, &csv].map(|f| read("movielens", f.0.path()).unwrap()).into();
    for log in &logs {
        assert_eq!(log.sha256(), logs[0].sha256());
        assert_eq!(log.catalog.categories, Some(vec![0, 1, 0]));
        assert_eq!(log.interactions.ratings(), Some([5.0, 3.0, 1.0].as_slice()), "in time order");
        assert_eq!(log.user_ids, ["196", "22"]);
    }
    assert!(read("movielens", Folder::new().0.path()).unwrap_err().to_string().contains("u.data"));
}

#[test]
fn a_schema_describes_any_table() {
    let folder = Folder::new();
    let schema = folder.file(
        "schema.toml",
        "user = 'who'\nitem = 'what'\ntime = 'when'\ntime_unit = 'milliseconds'\nseparator = ';'\n\
         category = 'kind'\nbehaviour = 'did'\nsession = 'visit'\nlabel = 'clicked'\nname = 'shop'\n",
    );
    let data = folder.file(
        "log.csv",
        "when;who;what;kind;did;visit;clicked;note\n2000;ann;\"a;1\";x;view;s1;1;\"two\nlines\"\n\
         3000;ann;b;y;buy;s2;0;\n4000;bob;b;y;view;s3;1;last\n",
    );
    let log = csv(&data, &schema).load().unwrap();
    let row = |u: &str, i: &str, t, b| (u.to_owned(), i.to_owned(), t, b);
    assert_eq!(rows(&log), [row("ann", "a;1", 2000, 1), row("bob", "b", 4000, 1)]);
    assert_eq!(log.impressions.as_ref().unwrap().len(), 3);
    assert_eq!((log.name.as_str(), log.ticks_per_second), ("shop", 1000));
    assert_eq!(log.interactions.given_sessions().unwrap().len(), 2);
    let source = csv(&data, &schema);
    assert_eq!(source.task().unwrap().label, LabelRule::Impressions {});

    let by_number =
        folder.file("numbers.toml", "user = 1\nitem = 2\ntime = 3\nheader = false\nseparator = '::'\n");
    let data = folder.file("log.dat", "u::i::5\nu::j::6\n");
    let log = csv(&data, &by_number).load().unwrap();
    assert_eq!(rows(&log), [row("u", "i", 5, 0), row("u", "j", 6, 0)]);
}

#[test]
fn broken_files_name_place_text_and_fix() {
    let folder = Folder::new();
    let long: String = (0..2000).map(|i| format!("{i},{i},{i},pv,{}\n", 1_511_544_070 + i * 7)).collect();
    let cut = folder.gzip("cut.csv.gz", &long, 3000);
    let schema = folder.file("schema.toml", "user = 'user'\nitem = 'item'\ntime = 'time'\n");
    let table = |name: &str, text: &str| csv(&folder.file(name, text), &schema).load().map(|_| ());
    let t = |name: &str, text: &str| taobao(&folder.file(name, text)).map(|_| ());
    let m = |name: &str, text: &str| read("movielens", &folder.file(name, text)).map(|_| ());
    for (found, wanted) in [
        (taobao(&cut).map(|_| ()), "cut.csv.gz:|cannot be read|fetched again"),
        (
            t("four.csv", "1,2,3,pv,1511544070\n1,2,3,pv\n"),
            "four.csv:2:0: \"1,2,3,pv\" has 4 column(s) instead of 5",
        ),
        (t("tabs.csv", "1\t2\t3\tpv\t1511544070\n"), "is the separator a tab?"),
        (t("letter.csv", "1,2,3,pv,15115440x0\n"), "letter.csv:1:5: \"15115440x0\" is not a whole number"),
        (
            t("header.csv", "user_id,item_id,category_id,behavior_type,timestamp\n"),
            "header.csv:1:1: |looks like a header",
        ),
        (t("negative.csv", "1,-2,3,pv,1511544070\n"), "negative.csv:1:2: \"-2\" is a negative id"),
        (
            t("behaviour.csv", "1,2,3,view,1511544070\n"),
            "behaviour.csv:1:4: \"view\" is no behaviour|pv, cart, fav or buy",
        ),
        (
            t("millis.csv", "1,2,3,pv,1511544070000\n"),
            "millis.csv:1:5: \"1511544070000\" is a time after 2099 (it is 2017-11-24 in milliseconds",
        ),
        (t("strays.csv", "1,2,3,pv,1500000000\n"), "no behaviour was read|1: rows outside"),
        (t("empty.csv", ""), "empty.csv: the file is empty"),
        (m("u.data", "1\t2\t3\t-5\n"), "u.data:1:4: \"-5\" is a time before 1970"),
        (m("u.data", "1\t2\tfive\t5\n"), "u.data:1:3: \"five\" is not a number"),
        (
            m("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,1511544070000\n"),
            "is a time after 2099 (column timestamp)|milliseconds",
        ),
        (
            table("quote.csv", "user,item,time\na,\"b,5\nc,d,6\n"),
            "quote.csv:2:2: |opens with a quote that never ends",
        ),
        (
            table("absent.csv", "usr,item,time\na,b,5\n"),
            "names column \"user\", which is not there|did you mean \"usr\"?",
        ),
        (
            m("ratings.csv", "1,2,3,15\n1,3,3,16\n"),
            "ratings.csv: the first line is \"1,2,3,15\"|userId,movieId",
        ),
        (
            table("twice.csv", "user,item,time,user\na,b,5,c\n"),
            "column \"user\", which is there more than once",
        ),
        (
            csv(
                &folder.file("headless.csv", "a,b,5\nc,d,6\n"),
                &folder.file("n.toml", "user = 1\nitem = 2\ntime = 3\n"),
            )
            .load()
            .map(|_| ()),
            "its time is \"5\"|header = false",
        ),
        (
            Schema::read(&folder.file(
                "r.toml",
                "user = 'u'\nitem = 'i'\ntime = 't'\nlabel = 'l'\n[rule]\nfrom = 'rating'\nat_least = 4.0\n",
            ))
            .map(|_| ()),
            "`label` column",
        ),
        (
            Schema::read(&folder.file(
                "x.toml",
                "user = 'u'\nitem = 'i'\ntime = 't'\n[rule]\nfrom = 'impressions'\nat_least = 4.0\n",
            ))
            .map(|_| ()),
            "unknown field `at_least`",
        ),
        (
            table("blank.csv", "user,item,time\n,b,5\n"),
            "blank.csv:2:1: \"\" is no id: it is empty (column user)",
        ),
        (
            Schema::read(&folder.file("s.toml", "user = 'u'\nitem = 'i'\ntime = 't'\ncategry = 'c'\n"))
                .map(|_| ()),
            "unknown field `categry`",
        ),
        (Schema::read(&folder.file("s.toml", "user = 'u'\n")).map(|_| ()), "missing field `item`"),
        (taobao(&folder.0.path().join("nowhere.csv")).map(|_| ()), "nowhere.csv: No such file"),
    ] {
        let message = found.unwrap_err().to_string();
        wanted.split('|').for_each(|part| assert!(message.contains(part), "{part:?} is not in: {message}"));
    }
}

#[test]
fn logs_that_cannot_carry_a_task_say_why() {
    let folder = Folder::new();
    let schema = folder.file("schema.toml", "user = 1\nitem = 2\ntime = 3\nlabel = 4\nheader = false\n");
    let card = |name: &str, text: &str| {
        let source = csv(&folder.file(name, text), &schema);
        prepare(source.load()?, &source.task()?).map(|d| d.card)
    };
    let many = |user: &str, label: fn(usize) -> usize| -> String {
        (0..40).map(|i| format!("{user},i{},{},{}\n", i % 7, 100 + i, label(i))).collect()
    };
    let mixed = |i: usize| (!i.is_multiple_of(3)).into();
    let one_user = card("one.csv", &many("a", mixed)).unwrap_err().to_string();
    assert!(one_user.contains("1 user(s)"), "{one_user}");
    let all_equal = card("equal.csv", &(many("a", |_| 1) + &many("b", |_| 1))).unwrap_err().to_string();
    assert!(all_equal.contains("both labels are needed"), "{all_equal}");
    let all_zero = card("zero.csv", &(many("a", |_| 0) + &many("b", |_| 0))).unwrap_err().to_string();
    assert!(all_zero.contains("all labels are 0"), "{all_zero}");
    // A user with one event is kept; it just has no history.
    let card = card("lonely.csv", &(many("a", mixed) + &many("b", mixed) + "c,i1,139,1\n")).unwrap();
    assert_eq!(card.users, 3);
}

#[test]
fn real_samples_have_their_known_counts() {
    if let Some(path) = samples("taobao-userbehavior-814u") {
        let log = taobao(&path).unwrap();
        // 84,287 rows, 35 of them strays.
        assert_eq!((log.interactions.users(), log.interactions.len()), (814, 84_252));
        assert!(log.dropped.iter().any(|(why, n)| why.contains("outside") && *n == 35), "{:?}", log.dropped);
    }
    for (set, users, items, events, genres) in [
        ("ml-latest-small", 671, 9066, 100_004, true),
        ("ml-100k", 943, 1682, 100_000, true),
        ("movietweetings-100k", 16_554, 10_506, 100_000, true),
    ] {
        let Some(path) = samples(set) else { continue };
        let log = read("movielens", &path).unwrap();
        assert_eq!(
            (log.interactions.users(), log.catalog.items - 1, log.interactions.len()),
            (users, items, events)
        );
        assert_eq!((log.name.as_str(), log.catalog.categories.is_some()), (set, genres));
    }
}

#[test]
fn every_source_is_documented() {
    let page = include_str!("../../docs/src/data.md");
    for name in FORMATS.iter().map(|f| f.name) {
        assert!(page.contains(&format!("\n| `{name}` |")), "docs/src/data.md lacks {name}");
    }
}
