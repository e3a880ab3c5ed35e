//! Published layouts of text, written by hand with their quirks; the real samples where they are at hand; hostile bytes.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::path::Path;

use common::samples;
use mos_data::{
    Cuts, FeatureValues, LabelRule, Log, Part, prepare,
    sources::{FORMATS, Source},
};
use proptest::prelude::*;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn source(name: &str, path: &Path) -> Source {
    Source::new(name, Some(path.to_owned()))
}

fn read(name: &str, files: &[(&str, &str)]) -> Log {
    source(name, folder(files).path()).load().unwrap()
}

/// The error of a set, without the folder.
fn refused(name: &str, files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let error = source(name, folder.path()).load().map(|_| ()).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

/// The rows of a log: user, item, time, behaviour.
fn rows(log: &Log) -> Vec<(&str, &str, i64, &str)> {
    let x = &log.interactions;
    let users = (0..x.users() as u32).flat_map(|u| x.range(u).map(move |i| (u, i)));
    users
        .map(|(u, i)| {
            let item = log.item_ids[x.items()[i] as usize].as_str();
            let behaviour = log.behaviour_names[usize::from(x.behaviours()[i])].as_str();
            (log.user_ids[u as usize].as_str(), item, x.times()[i], behaviour)
        })
        .collect()
}

/// Category numbers by item id.
fn categories(log: &Log) -> Vec<(&str, u32)> {
    let categories = log.catalog.categories.as_ref().unwrap();
    log.item_ids.iter().map(String::as_str).zip(categories.iter().copied()).skip(1).collect()
}

/// Values of an attribute, one list per item from the first known.
fn attribute(log: &Log, name: &str) -> Vec<Vec<u32>> {
    let feature = log.catalog.features.iter().find(|f| f.name == name).unwrap();
    match &feature.values {
        FeatureValues::One { ids, .. } => ids[1..].iter().map(|v| vec![*v]).collect(),
        FeatureValues::Many { offsets, ids, .. } => {
            offsets[1..].windows(2).map(|w| ids[w[0]..w[1]].to_vec()).collect()
        }
        FeatureValues::Dense(_) => unreachable!(),
    }
}

fn dropped(log: &Log, why: &str) -> u64 {
    log.dropped.iter().filter(|(reason, _)| reason.contains(why)).map(|(_, n)| n).sum()
}

#[test]
fn lines_of_json_are_described_by_a_schema() {
    let folder = folder(&[
        (
            "schema.toml",
            "user = 'user.id'\nitem = 'what'\ntime = 'when'\ncategory = 'kind.name'\nbehaviour = 'did'\nlabel = 'clicked'\n",
        ),
        ("numbers.toml", "user = 1\nitem = 'what'\ntime = 'when'\n"),
        (
            "log.jsonl",
            "\u{feff}{\"user\": {\"id\": 7}, \"what\": \"a\\nb\", \"when\": 5.0, \"kind\": {\"name\": \"x\"}, \"did\": \"see\", \"clicked\": true}\r\n\
             {\"user.id\": \"8\", \"what\": 12, \"when\": \"6\", \"kind\": null, \"did\": \"buy\", \"clicked\": 0}\n\n",
        ),
        (
            "bad.jsonl",
            "{\"user\": {\"id\": 7}, \"what\": 1, \"when\": 5, \"did\": 1, \"clicked\": 1}\n\
             {\"user\": {\"id\": 7}, \"what\": 1,\n\
             {\"user\": {\"id\": 7}, \"what\": 1, \"wen\": 5, \"did\": 1, \"clicked\": 1}\n\
             {\"user\": {\"id\": 7}, \"what\": 1, \"when\": \"noon\", \"did\": 1, \"clicked\": 1}\n\
             [1]\n",
        ),
    ]);
    let at = |name: &str| folder.path().join(name);
    let of =
        |data: &str, schema: &str| source("jsonl", &at(data)).with("schema", at(schema).to_str().unwrap());
    let log = of("log.jsonl", "schema.toml").load().unwrap();
    assert_eq!(rows(&log), [("7", "a\nb", 5, "see")]);
    assert_eq!((log.impressions.as_ref().unwrap().len(), log.name.as_str()), (2, "log"));
    assert_eq!(categories(&log), [("a\nb", 1), ("12", 0)]);
    assert_eq!(of("log.jsonl", "schema.toml").task().unwrap().label, LabelRule::Impressions {});

    let checked = of("bad.jsonl", "schema.toml").check(9).unwrap();
    assert_eq!(checked.log.interactions.len(), 1);
    let errors: Vec<String> = checked.errors.iter().map(ToString::to_string).collect();
    for (error, wanted) in errors.iter().zip([
        "bad.jsonl:2:30: |is no JSON: EOF|cut short?",
        "bad.jsonl:3:0: |has no field \"when\"|did you mean \"wen\"?",
        "bad.jsonl:4:0: \"noon\" is not a whole number (field when)",
        "bad.jsonl:5:0: \"[1]\" is no record",
    ]) {
        wanted.split('|').for_each(|part| assert!(error.contains(part), "{part:?} is not in: {error}"));
    }
    assert_eq!(errors.len(), 4);
    let error = of("log.jsonl", "numbers.toml").load().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("names column 1"), "{error}");
}

#[test]
fn amazon_of_2014_and_2018() {
    let reviews = "{\"reviewerID\": \"A1X\", \"asin\": \"0001\", \"reviewerName\": \"J\", \"helpful\": [2, 3], \"overall\": 5.0, \"unixReviewTime\": 1252800000, \"reviewTime\": \"09 13, 2009\"}\n\
        {\"overall\": 2.0, \"vote\": \"5\", \"verified\": true, \"reviewerID\": \"A2Y\", \"asin\": \"B002\", \"style\": {\"Format:\": \" Hardcover\"}, \"unixReviewTime\": 1252886400}\n";
    let log = read(
        "amazon",
        &[
            ("reviews_Toys_5.json", reviews),
            (
                "meta_Toys.json",
                "{'asin': '0001', 'title': \"It's\", 'categories': [['Toys', 'Games'], ['Baby', 'Dolls']], 'brand': 'Acme', 'related': {'also_bought': ['B0']}}\n\
                 {'asin': 'B002', 'categories': [['Toys', 'Games']]}\n{'asin': 'B999', 'categories': [['Other']]}\n",
            ),
        ],
    );
    assert_eq!(rows(&log), [("A1X", "0001", 1_252_800_000, ""), ("A2Y", "B002", 1_252_886_400, "")]);
    assert_eq!(log.interactions.ratings(), Some([5.0, 2.0].as_slice()));
    assert_eq!(categories(&log), [("0001", 1), ("B002", 2)], "Dolls, Games");
    assert_eq!(attribute(&log, "categories"), [vec![1, 2, 3, 4], vec![1, 2]]);
    assert_eq!(attribute(&log, "brand"), [vec![1], vec![0]]);
    assert_eq!((log.name.as_str(), log.ticks_per_second), ("amazon-Toys", 1));

    let files = [
        ("Toys_5.json", reviews),
        (
            "meta_Toys.json",
            "{\"category\": [\"Toys\", \"Puzzles\"], \"brand\": \"\", \"asin\": \"0001\"}\n{\"category\": [], \"asin\": \"B002\"}\n",
        ),
    ];
    let log = source("amazon", folder(&files).path()).with("step", 1).load().unwrap();
    assert_eq!(categories(&log), [("0001", 1), ("B002", 0)]);

    // Users first in 2014, items first in 2018.
    let users_first =
        read("amazon", &[("ratings_Toys.csv", "A1X,0001,5.0,1252800000\nA2Y,B002,2.0,1252886400\n")]);
    let items_first = read("amazon", &[("Toys.csv", "0001,A1X,5.0,1252800000\nB002,A2Y,2.0,1252886400\n")]);
    assert_eq!(users_first.sha256(), items_first.sha256());
    let unclear = [("Toys.csv", "x,y,5.0,1252800000\n")];
    let error = refused("amazon", &unclear);
    assert!(error.starts_with("Toys.csv:1:1: \"x\"") && error.contains("item_first"), "{error}");
    let log = source("amazon", folder(&unclear).path()).with("columns", "item_first").load().unwrap();
    assert_eq!(rows(&log), [("y", "x", 1_252_800_000, "")]);
    let error = refused("amazon", &[("Toys.csv", ""), ("Books.csv", "")]);
    assert!(error.contains("Books.csv and Toys.csv could both be read"), "{error}");
}

#[test]
fn amazon_of_2023() {
    let records = "{\"rating\": 4.0, \"title\": \"t\", \"images\": [], \"asin\": \"B9\", \"parent_asin\": \"B1\", \"user_id\": \"AE\", \"timestamp\": 1658185117948}\n\
        {\"rating\": 1.0, \"asin\": \"B2\", \"parent_asin\": \"B2\", \"user_id\": \"AF\", \"timestamp\": 1658185117949}\n";
    let meta = "{\"main_category\": \"All Beauty\", \"store\": \"Howard\", \"categories\": [], \"parent_asin\": \"B1\"}\n\
        {\"main_category\": null, \"categories\": [\"Hair\", \"Nets\"], \"parent_asin\": \"B2\"}\n";
    let log = read("amazon", &[("All_Beauty.jsonl", records), ("meta_All_Beauty.jsonl", meta)]);
    assert_eq!(rows(&log), [("AE", "B1", 1_658_185_117_948, ""), ("AF", "B2", 1_658_185_117_949, "")]);
    assert_eq!(log.ticks_per_second, 1000);
    assert_eq!(categories(&log), [("B1", 1), ("B2", 2)]);
    assert_eq!(attribute(&log, "brand"), [vec![1], vec![0]]);
    let parts = read(
        "amazon",
        &[
            (
                "All_Beauty.train.csv",
                "user_id,parent_asin,rating,timestamp,history\nAE,B1,4.0,1658185117948,\n",
            ),
            (
                "All_Beauty.test.csv",
                "user_id,parent_asin,rating,timestamp,history\nAF,B2,1.0,1658185117949,B1 B3\n",
            ),
            ("meta_All_Beauty.jsonl", meta),
        ],
    );
    assert_eq!((parts.sha256(), &parts.name), (log.sha256(), &log.name));
    let mixed = records.to_owned()
        + "{\"reviewerID\": \"A1\", \"asin\": \"B\", \"overall\": 1, \"unixReviewTime\": 5}\n";
    let error = refused("amazon", &[("x.jsonl", &mixed)]);
    assert!(error.starts_with("x.jsonl:3:0: \"A1\" is of another edition"), "{error}");
}

#[test]
fn steam() {
    let log = read(
        "steam",
        &[
            (
                "steam_reviews.json",
                "{u'username': u\"Chaos's\", u'hours': 0.1, u'product_id': u'725280', u'page_order': 0, u'date': u'2017-12-17', u'text': u'\\xc9\\n', u'early_access': False}\n\
                 {u'username': u'-1', u'product_id': u'10', u'date': u'2017-12-18'}\n\
                 {u'username': u' ', u'product_id': u'10', u'date': u'2017-12-18'}\n",
            ),
            (
                "steam_games.json",
                "{u'publisher': u'P', u'genres': [u'Action', u'Indie'], u'tags': [u'FPS'], u'id': u'10'}\n{u'title': u'no id'}\n",
            ),
        ],
    );
    assert_eq!(rows(&log), [("Chaos's", "725280", 1_513_468_800, ""), ("-1", "10", 1_513_555_200, "")]);
    assert_eq!(categories(&log), [("725280", 0), ("10", 1)]);
    assert_eq!(attribute(&log, "genres"), [vec![], vec![1, 2]]);
    assert_eq!(dropped(&log, "without a user"), 1);
    let error = refused("steam", &[("steam_reviews.json", "{u'username': u'a', u'product_id: 1}\n")]);
    assert!(error.starts_with("steam_reviews.json:1:") && error.contains("Python"), "{error}");
}

#[test]
fn retailrocket() {
    let log = read(
        "retailrocket",
        &[
            (
                "events.csv",
                "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n1433224214164,257597,transaction,248676,4000\n",
            ),
            (
                "item_properties_part1.csv",
                "timestamp,itemid,property,value\n1435460400000,355908,categoryid,1338\n1441508400000,206783,888,1116713 960601 n277.200\n",
            ),
            (
                "item_properties_part2.csv",
                "timestamp,itemid,property,value\n1431226800000,355908,categoryid,1114\n",
            ),
            ("category_tree.csv", "categoryid,parentid\n1114,213\n213,9\n9,\n"),
        ],
    );
    let wanted = [
        ("257597", "355908", 1_433_221_332_117, "view"),
        ("257597", "248676", 1_433_224_214_164, "transaction"),
    ];
    assert_eq!(rows(&log), wanted);
    assert_eq!(categories(&log), [("355908", 1), ("248676", 0)]);
    assert_eq!(dropped(&log, "changes of an item's category"), 1);
    assert_eq!(attribute(&log, "root_category"), [[1], [0]]);
    let error = refused(
        "retailrocket",
        &[("events.csv", "timestamp,visitorid,event,itemid,transactionid\n1433221332117,1,look,3,\n")],
    );
    assert!(error.starts_with("events.csv:2:3: \"look\" is no event (column event)"), "{error}");
    let error = refused("retailrocket", &[("events.csv", "time;visitor\n1;2\n")]);
    assert!(error.contains("there is no column timestamp; the first line is \"time;visitor\""), "{error}");
}

#[test]
fn yoochoose() {
    let log = read(
        "yoochoose",
        &[
            (
                "yoochoose-clicks.dat",
                "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n2,2014-04-07T10:54:09.868Z,7,12\n",
            ),
            ("yoochoose-buys.dat", "1,2014-04-07T10:55:00.000Z,214536500,12462,1\n"),
        ],
    );
    assert_eq!(
        rows(&log),
        [
            ("1", "214536502", 1_396_867_869_277, "click"),
            ("1", "214536500", 1_396_868_049_868, "click"),
            ("1", "214536500", 1_396_868_100_000, "buy"),
            ("2", "7", 1_396_868_049_868, "click"),
        ]
    );
    assert_eq!(categories(&log), [("214536502", 0), ("214536500", 1), ("7", 2)]);
    let log = read("yoochoose", &[("yoochoose_valid.txt", "uid,timestamp,sid\n11,1411990498.509,21\n")]);
    assert_eq!(rows(&log), [("11", "21", 1_411_990_498_509, "")]);
    let error = refused("yoochoose", &[("yoochoose-clicks.dat", "1,2014-04-07 at ten,2,0\n")]);
    assert!(error.starts_with("yoochoose-clicks.dat:1:2: \"2014-04-07 at ten\" is no time"), "{error}");
}

#[test]
fn diginetica() {
    let log = read(
        "diginetica",
        &[
            (
                "train-item-views.csv",
                "session_id;user_id;item_id;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n2;15;9;0;2016-05-10\n",
            ),
            (
                "train-purchases.csv",
                "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n2;15;1000;2016-05-10;16421;81766\n",
            ),
            ("product-categories.csv", "itemId;categoryId\n81766;3\n5;4\n"),
        ],
    );
    assert_eq!(
        rows(&log),
        [
            ("session:1", "81766", 1_462_752_526_309, "view"),
            ("15", "9", 1_462_838_400_000, "view"),
            ("15", "81766", 1_462_838_401_000, "buy"),
        ]
    );
    assert_eq!(log.interactions.given_sessions(), Some([0, 1, 1].as_slice()));
    assert_eq!(categories(&log), [("81766", 1), ("9", 0)]);
}

#[test]
fn mind() {
    let news = "N1\tnews\tworld\tA \"quoted title\t\t\t[]\t[]\nN2\tsports\tgolf\tT\tA\tU\t[]\t[]\n";
    let log = read(
        "mind",
        &[
            (
                "behaviors.tsv",
                "1\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-1 N1-0\n2\tU1\t11/14/2019 12:00:00 PM\tN1\tN2-0\n3\tU2\t11/14/2019 1:00:00 PM\t\tN2-1\n",
            ),
            ("news.tsv", news),
        ],
    );
    let first = 1_573_732_800;
    assert_eq!(
        rows(&log),
        [("U1", "N1", first - 1, ""), ("U1", "N3", 1_573_808_122, ""), ("U2", "N2", first + 3600, "")]
    );
    let shown = log.impressions.as_ref().unwrap();
    assert_eq!(shown.iter().map(|i| i.label).collect::<Vec<_>>(), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(dropped(&log, "another list of clicks"), 1);
    assert_eq!(categories(&log), [("N1", 1), ("N2", 2), ("N3", 0)]);
    assert_eq!(attribute(&log, "subcategory"), [[1], [2], [0]]);
    let folder = folder(&[("b.tsv", "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN3-1\n"), ("news.tsv", news)]);
    let log = source("mind", &folder.path().join("b.tsv")).load().unwrap();
    assert_eq!(categories(&log), [("N1", 1), ("N3", 0)], "the news beside a file of any name");
    // A set that lies packed and unpacked is there once.
    let behaviours = "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN3-1\n";
    let both = self::folder(&[("behaviors.tsv", behaviours), ("news.tsv", news)]);
    let mut zip = zip::ZipWriter::new(std::fs::File::create(both.path().join("MIND.zip")).unwrap());
    zip.start_file("train/behaviors.tsv", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut zip, behaviours.as_bytes()).unwrap();
    zip.finish().unwrap();
    let log = source("mind", both.path()).load().unwrap();
    assert_eq!(log.impressions.map(|all| all.len()), Some(1));
    let error = refused("mind", &[("behaviors.tsv", "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN3 N1\n")]);
    assert!(error.contains("\"N3\", which is no shown item") && error.contains("test part"), "{error}");
}

#[test]
fn check_ins() {
    let log = read(
        "gowalla",
        &[(
            "Gowalla_totalCheckins.txt",
            "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847\n0\t2010-10-18T22:17:43Z\t30.26\t-97.74\t420315\n",
        )],
    );
    assert_eq!(rows(&log), [("0", "420315", 1_287_440_263, ""), ("0", "22847", 1_287_532_527, "")]);
    let log = read(
        "gowalla",
        &[(
            "Brightkite_totalCheckins.txt",
            "0\t2010-10-17T01:48:53Z\t39.7\t-104.9\t88c46bf20db295831bd2d1718ad7e6f5\n1\t2010-10-17T01:48:53Z\t0.0\t0.0\t00000000000000000000000000000000\n",
        )],
    );
    assert_eq!((log.interactions.len(), log.name.as_str()), (1, "brightkite"));
    assert_eq!(dropped(&log, "without a location"), 1);

    let folder = tempfile::tempdir().unwrap();
    let row = |user: &str, name: &[u8]| {
        let mut row = format!("{user}\t4b1\t4bf58dd8d48988d1e0931735\t").into_bytes();
        row.extend(name);
        row.extend(b"\t40.7\t-74.0\t-240\tTue Apr 03 18:00:09 +0000 2012\r\n");
        row
    };
    std::fs::write(folder.path().join("dataset_TSMC2014_NYC.txt"), row("470", b"Caf\xe9")).unwrap();
    std::fs::write(folder.path().join("dataset_TSMC2014_TKY.txt"), row("1", b"Bar")).unwrap();
    let nyc = source("foursquare", folder.path()).load().unwrap();
    assert_eq!(rows(&nyc), [("470", "4b1", 1_333_476_009, "")]);
    assert_eq!((categories(&nyc), nyc.name.as_str()), (vec![("4b1", 1)], "foursquare-nyc"));
    let tky = source("foursquare", folder.path()).with("city", "tky").load().unwrap();
    assert_eq!((tky.user_ids, tky.name.as_str()), (vec!["1".to_owned()], "foursquare-tky"));
}

#[test]
fn lastfm() {
    let files = [
        (
            "userid-timestamp-artid-artname-traid-traname.tsv",
            "user_000001\t2009-05-04T23:08:57Z\tf1b1\tDeep \"Dish\tt9\tFuck Me\nuser_000001\t2009-05-04T13:54:10Z\t\t坂本龍一\t\tComposition 0919\n",
        ),
        (
            "userid-profile.tsv",
            "#id\tgender\tage\tcountry\tregistered\nuser_000001\tm\t\tJapan\tAug 13, 2006\nuser_000002\tf\t30\tPeru\t\n",
        ),
    ];
    let log = read("lastfm", &files);
    assert_eq!(
        rows(&log),
        [
            ("user_000001", "坂本龍一: Composition 0919", 1_241_445_250, ""),
            ("user_000001", "t9", 1_241_478_537, "")
        ]
    );
    assert_eq!(categories(&log), [("t9", 1), ("坂本龍一: Composition 0919", 2)]);
    assert_eq!(log.contexts.of_users, [1, 0, 1], "gender, age unknown, country");
    let log = source("lastfm", folder(&files).path()).with("items", "artist").load().unwrap();
    assert_eq!(log.item_ids, ["", "f1b1", "坂本龍一"]);
}

#[test]
fn recbole() {
    let item = "item_id:token\tmovie_title:token_seq\tyear:float\tclass:token_seq\temb:float_seq\n5\tToy Story\t1995\tComedy Drama\t0.5 1\n6\tX\t\t\t\n99\tnever\t1\tA\t1 2\n";
    let files = [
        (
            "ml.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t5\t3\t881250949\n2\t6\t4.5\t881250950.7\n",
        ),
        ("ml.item", item),
        ("ml.user", "user_id:token\tage:token\tgender:token\theight:float\n1\t24\tM\t1.8\n2\t\tF\t\n"),
    ];
    let log = read("recbole", &files);
    assert_eq!(rows(&log), [("1", "5", 881_250_949, ""), ("2", "6", 881_250_950, "")]);
    assert_eq!(log.interactions.ratings(), Some([3.0, 4.5].as_slice()));
    assert_eq!(categories(&log), [("5", 1), ("6", 0)]);
    assert_eq!(attribute(&log, "class"), [vec![1, 2], vec![]]);
    assert_eq!(log.catalog.content.as_ref().unwrap().values, [0.0, 0.0, 0.5, 1.0, 0.0, 0.0]);
    assert_eq!(log.contexts.of_users, [1, 1, 0, 2]);
    assert_eq!(log.name, "ml");

    let part = |rows: &str| {
        format!("user_id:token\titem_id:token\tlabel:float\tpage:token\ttimestamp:float\n{rows}")
    };
    let (train, valid, test) = (
        part("1\ta\t1\tp\t5\n1\tb\t0\tq\t6\n2\ta\t1\tp\t5\n"),
        part("1\tb\t1\tq\t7\n1\ta\t0.0\tp\t8\n"),
        part("2\ta\t1.0\tp\t9\n2\tb\t0\tp\t9\n"),
    );
    let folder = folder(&[("ad.train.inter", &train), ("ad.valid.inter", &valid), ("ad.test.inter", &test)]);
    let log = source("recbole", folder.path()).load().unwrap();
    let parts: Vec<Part> = log.published.as_ref().unwrap().iter().map(|p| p.part).collect();
    assert_eq!(parts, [vec![Part::Train; 3], vec![Part::Valid; 2], vec![Part::Test; 2]].concat());
    assert_eq!(log.contexts.of_impressions, [1, 2, 1, 2, 1, 1, 1]);
    let mut task = source("recbole", folder.path()).task().unwrap();
    (task.label, task.cuts) = (LabelRule::Impressions {}, Cuts::Published {});
    assert_eq!(prepare(log, &task).unwrap().users.splits.test.len(), 2);

    for (header, wanted) in [
        ("user_id,item_id,timestamp", "\"user_id,item_id,timestamp\" in the first line has no type"),
        (
            "uid:token\titem_id:token\ttimestamp:float",
            "there is no field \"user_id\" (the fields are uid, item_id",
        ),
        ("user_id:token\titem_id:tokn", "\"item_id:tokn\" in the first line has no type"),
    ] {
        let error = refused("recbole", &[("x.inter", &format!("{header}\n1\t2\t3\n"))]);
        assert!(error.starts_with("x.inter: ") && error.contains(wanted), "{error}");
    }
}

#[test]
fn rechorus() {
    let files = [
        ("train.csv", "user_id\titem_id\ttime\n2177\t3\t965779200\n2177\t4\t965779200\n"),
        ("dev.csv", "user_id\titem_id\ttime\tneg_items\n2177\t5\t965865600\t[7, 8]\n"),
        (
            "item_meta.csv",
            "item_id\ti_category\ti_price_f\tr_complement\n3\t0\t1.5\t[6285, 194]\n5\t21\t2\t[]\n7\t1\t1\t[]\n",
        ),
    ];
    let log = read("rechorus", &files);
    assert_eq!(
        rows(&log),
        [("2177", "3", 965_779_200, ""), ("2177", "4", 965_779_200, ""), ("2177", "5", 965_865_600, "")]
    );
    assert_eq!(categories(&log), [("3", 1), ("4", 0), ("5", 2)]);
    assert_eq!(dropped(&log, "negatives"), 1);
    let log = read(
        "rechorus",
        &[
            ("train.csv", "user_id\titem_id\ttime\tlabel\tc_day\n1\t3\t5\t1\tmon\n1\t4\t6\t0\ttue\n"),
            ("test.csv", "user_id\titem_id\ttime\tlabel\tc_day\n1\t4\t7\t1\ttue\n"),
            ("user_meta.csv", "user_id\tu_gender\n1\tF\n"),
        ],
    );
    assert_eq!((log.interactions.len(), log.contexts.of_impressions.as_slice()), (2, [1, 2, 2].as_slice()));
    assert_eq!((log.published.unwrap()[2].part, log.contexts.of_users), (Part::Test, vec![1]));
    let error = refused("rechorus", &[("train.csv", "user_id,item_id,time\n1,2,3\n")]);
    assert!(
        error.contains("there is no column user_id") && error.contains("is the separator a comma?"),
        "{error}"
    );
}

#[test]
fn movielens_users_are_context() {
    let log = read(
        "movielens",
        &[
            ("u.data", "1\t242\t3\t881250949\n2\t242\t1\t878887116\n"),
            ("u.user", "2|53|F|other|94043\n1|24|M|writer|85711\n3|1|F|none|0\n"),
        ],
    );
    let names: Vec<_> = log.catalog.contexts.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["gender", "age", "occupation"]);
    assert_eq!(log.contexts.of_users, [2, 2, 2, 1, 1, 1]);
    let log = read(
        "movielens",
        &[("ratings.dat", "1::242::3::881250949\n"), ("users.dat", "1::F::1::10::48067\n")],
    );
    assert_eq!(log.contexts.of_users, [1, 1, 1]);
    let log = read("movielens", &[("ratings.dat", "1::242::3::881250949\n"), ("users.dat", "1::18405182\n")]);
    assert!(log.catalog.contexts.is_empty(), "MovieTweetings has ids of another site only");
}

#[test]
fn real_samples_have_their_known_counts() {
    let counts = |name: &str, set: &str| {
        let source = source(name, &samples(set)?);
        let log = source.load().unwrap();
        assert!(!prepare(log.clone(), &source.task().unwrap()).unwrap().users.splits.test.is_empty());
        let x = &log.interactions;
        Some((log.name.clone(), x.users(), log.catalog.items - 1, x.len(), log))
    };
    if let Some((name, users, items, events, log)) = counts("recbole", "ml-100k-recbole") {
        assert_eq!((name.as_str(), users, items, events), ("ml-100k", 943, 1682, 100_000));
        assert_eq!(log.catalog.contexts.len(), 4);
        if let Some((.., movielens)) = counts("movielens", "ml-100k") {
            assert_eq!(rows(&log), rows(&movielens), "the same set in another layout");
            assert_eq!(movielens.contexts.of_users.iter().filter(|v| **v == 0).count(), 0);
        }
    }
    if let Some((name, users, items, events, log)) = counts("rechorus", "amazon-grocery-rechorus") {
        assert_eq!((name.as_str(), users, items), ("amazon-grocery-rechorus", 14_681, 8687));
        assert_eq!((events, log.catalog.category_count - 1), (121_892, 56));
    }
    if let Some((_, users, items, events, log)) = counts("yoochoose", "yoochoose-valid-279s") {
        assert_eq!((users, items, events, log.ticks_per_second), (279, 1686, 7954, 1000));
    }
}

/// The name of the main file of each source of text that needs no schema.
const MAIN: [(&str, &str); 16] = [
    ("amazon", "Toys.csv"),
    ("amazon", "Toys.json"),
    ("steam", "steam_reviews.json"),
    ("retailrocket", "events.csv"),
    ("yoochoose", "yoochoose-clicks.dat"),
    ("yoochoose", "yoochoose_valid.txt"),
    ("diginetica", "train-item-views.csv"),
    ("mind", "behaviors.tsv"),
    ("gowalla", "Gowalla_totalCheckins.txt"),
    ("foursquare", "dataset_TSMC2014_NYC.txt"),
    ("lastfm", "userid-timestamp-artid-artname-traid-traname.tsv"),
    ("recbole", "x.inter"),
    ("rechorus", "train.csv"),
    ("movielens", "u.data"),
    ("movielens", "ratings.dat"),
    ("taobao", "UserBehavior.csv"),
];

/// Sets whose main file is whole, and the side files that are read after it.
const SIDES: [(&str, &str, &str, &[&str]); 8] = [
    ("amazon", "Toys.csv", "A1,B,5,1252800000\n", &["meta_Toys.json"]),
    (
        "steam",
        "steam_reviews.json",
        "{'username': 'a', 'product_id': '1', 'date': '2017-12-17'}\n",
        &["steam_games.json"],
    ),
    (
        "retailrocket",
        "events.csv",
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,1,view,1,\n",
        &["item_properties_part1.csv", "category_tree.csv"],
    ),
    ("mind", "behaviors.tsv", "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN1-1\n", &["news.tsv"]),
    (
        "lastfm",
        "userid-timestamp-artid-artname-traid-traname.tsv",
        "1\t2009-05-04T23:08:57Z\ta\tA\t1\tT\n",
        &["userid-profile.tsv"],
    ),
    ("recbole", "x.inter", "user_id:token\titem_id:token\ttimestamp:float\n1\t1\t5\n", &["x.item", "x.user"]),
    ("rechorus", "train.csv", "user_id\titem_id\ttime\n1\t1\t5\n", &["item_meta.csv", "user_meta.csv"]),
    ("movielens", "u.data", "1\t1\t5\t881250949\n", &["u.item", "u.user"]),
];

/// Text that often gets far with one of the sources.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        "1",
        "25",
        "A1",
        "N1-0 N2-1",
        "1511544070",
        "1511544070123",
        "881250949.5",
        "-1",
        "NaN",
        "1e999",
        "0",
        "\u{e9}",
        "2010-10-19T23:55:27Z",
        "2016-05-09",
        "-9999-12-31",
        "11/15/2019 8:55:22 AM",
        "Tue Apr 03 18:00:09 +0000 2012",
        "view",
        "transaction",
        "user_id:token",
        "item_id:token",
        "label:float",
        "timestamp:float",
        "user_id",
        "item_id",
        "time",
        "label",
        "timestamp",
        "visitorid",
        "event",
        "itemid",
        "uid",
        "sid",
        "sessionId",
        "userId",
        "itemId",
        "timeframe",
        "eventdate",
        "{u'username': u'a', u'product_id': u'1', u'date': u'2017-12-17'}",
        "{\"reviewerID\": \"A1\", \"asin\": \"B\", \"overall\": 1, \"unixReviewTime\": 5}",
        "{",
        "}",
        "[[",
        "'",
        "\\u00",
        ":",
        "u'",
        "\"",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(words).prop_map(|s| s.as_bytes().to_vec()),
        8 => prop::sample::select(vec![",", "\t", ";", "::", "|", "\n", "\n", "\r\n"]).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in hostile(), most in 0usize..3) {
        let folder = tempfile::tempdir().unwrap();
        for (name, file) in MAIN {
            let path = folder.path().join(file);
            std::fs::write(&path, &bytes).unwrap();
            match source(name, &path).check(most) {
                Ok(all) => prop_assert!(!all.log.interactions.is_empty() && all.errors.len() <= most),
                Err(error) => prop_assert!(error.to_string().contains('('), "no hint: {}", error),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_side_file_is_read_or_refused(bytes in hostile()) {
        let folder = tempfile::tempdir().unwrap();
        for (name, file, content, sides) in SIDES {
            let path = folder.path().join(file);
            std::fs::write(&path, content).unwrap();
            for side in sides {
                let side = folder.path().join(side);
                std::fs::write(&side, &bytes).unwrap();
                if let Err(error) = source(name, &path).load() {
                    prop_assert!(error.to_string().contains('('), "no hint: {}", error);
                }
                std::fs::remove_file(side).unwrap();
            }
        }
    }
}

#[test]
fn the_list_of_main_files_knows_known_sources() {
    for (name, _) in MAIN {
        assert!(FORMATS.iter().any(|f| f.name == name), "{name}");
    }
}
