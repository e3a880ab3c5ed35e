//! `data check`: each way in which a log is commonly wrong, as a user meets it.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::path::Path;

use common::bench;

const SCHEMA: &str = "user = 'user'\nitem = 'item'\ntime = 'time'\n";
const NUMBERS: &str = "user = 1\nitem = 2\ntime = 3\nheader = false\n";
/// 2017-11-24.
const START: i64 = 1_511_544_070;

/// Rows that carry a task: user, item, time.
fn rows(separator: &str, time: impl Fn(i64) -> i64) -> String {
    let row = |i: i64| [format!("u{}", i % 9), format!("i{}", i * 7 % 61), time(i).to_string()];
    (0..200).map(|i| row(i).join(separator) + "\n").collect()
}

fn seconds(i: i64) -> i64 {
    START + i * 60
}

/// Writes the files, checks the first as this source; exit code, standard output and standard error.
fn check(source: &str, files: &[(&str, &str)], more: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |(name, text): &(&str, &str)| std::fs::write(folder.path().join(Path::new(name)), text).unwrap();
    files.iter().for_each(write);
    let mut command = bench(folder.path());
    let out = command.args(["data", "check", source, files[0].0]).args(more).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

fn csv(log: &str, schema: &str) -> (i32, String, String) {
    check("csv", &[("log.csv", log), ("schema.toml", schema)], &["--schema", "schema.toml"])
}

fn contains(text: &str, wanted: &str) {
    wanted.split('|').for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
}

/// Such a file is refused, with these words in the error.
fn refused((code, _, error): (i32, String, String), wanted: &str) {
    assert_eq!(code, 2, "{error}");
    contains(&error, wanted);
}

/// Such a file is read, with these words in the notes, which are as many.
fn noted((code, out, error): (i32, String, String), notes: usize, wanted: &str) {
    assert_eq!(code, 0, "{error}");
    contains(&out, wanted);
    assert_eq!(out.lines().filter(|l| l.starts_with("note ")).count(), notes, "{out}");
    contains(&out, "users     9 ");
}

#[test]
fn a_log_without_fault_has_a_card_and_no_notes() {
    noted(csv(&("user,item,time\n".to_owned() + &rows(",", seconds)), SCHEMA), 0, "items 61");
    noted(csv(&rows(",", seconds), NUMBERS), 0, "events 200");
}

#[test]
fn a_wrong_separator_is_named() {
    let header = |s: &str| ["user", "item", "time"].join(s) + "\n" + &rows(s, seconds);
    refused(
        csv(&header(";"), SCHEMA),
        "log.csv: |\"user\"|is the separator a semicolon? It would give 3 columns",
    );
    refused(csv(&header("\t"), SCHEMA), "is the separator a tab?");
    refused(csv(&rows("::", seconds), NUMBERS), "names column 2, the file has 1|is the separator ::?");
    refused(
        csv(&(rows(",", seconds) + "u1;i1;1511544070\n"), NUMBERS),
        "log.csv:201:0: \"u1;i1;1511544070\" has 1 column(s) instead of 3|is the separator a semicolon?",
    );
    let taobao = "1;2;3;pv;1511544070\n";
    refused(check("taobao", &[("x.csv", taobao)], &[]), "x.csv:1:0: |is the separator a semicolon?");
    let events = "timestamp;visitorid;event;itemid;transactionid\n1433221332117;2;view;3;\n";
    refused(check("retailrocket", &[("events.csv", events)], &[]), "no column timestamp|a semicolon?");
    let atoms = "user_id:token,item_id:token,timestamp:float\n1,2,3\n";
    refused(check("recbole", &[("x.inter", atoms)], &[]), "is the separator a comma? It would give 3");
    let ratings = "userId;movieId;rating;timestamp\n1;2;3;4\n";
    refused(check("movielens", &[("ratings.csv", ratings)], &[]), "ratings.csv:1:0: |a semicolon?");
}

#[test]
fn a_header_where_none_belongs_and_a_missing_one_are_named() {
    let header = "looks like a header, which this layout does not have";
    refused(
        csv(&("user,item,time\n".to_owned() + &rows(",", seconds)), NUMBERS),
        &format!("log.csv:1:3: \"time\" is not a whole number|{header}"),
    );
    let named = "user,item,time,label\n".to_owned() + &rows(",", seconds).replace('\n', ",1\n");
    let labels = NUMBERS.to_owned() + "label = 4\n";
    refused(csv(&named, &labels), header);
    let taobao = "user_id,item_id,category_id,behavior_type,timestamp\n1,2,3,pv,1511544070\n";
    refused(check("taobao", &[("x.csv", taobao)], &[]), &format!("x.csv:1:1: \"user_id\"|{header}"));
    let places = "user\tcheck-in time\tlatitude\tlongitude\tlocation id\n";
    refused(check("gowalla", &[("x.txt", places)], &[]), header);

    let missing = "the line that names the columns is missing";
    refused(
        csv(&rows(",", seconds), SCHEMA),
        &format!("names column \"user\", which is not there|{missing}"),
    );
    refused(check("retailrocket", &[("events.csv", "1433221332117,2,view,3,\n")], &[]), missing);
    refused(check("movielens", &[("ratings.csv", "1,2,3.0,4\n")], &[]), missing);
    refused(check("rechorus", &[("train.csv", "1\t2\t1511544070\n")], &[]), missing);
    refused(check("recbole", &[("x.inter", "1\t2\t1511544070\n")], &[]), missing);

    let joined = format!("user,item,time\n{0}user,item,time\n{0}", rows(",", seconds));
    refused(csv(&joined, SCHEMA), "log.csv:202:3: \"time\"|names the columns once more: were files joined?");
}

#[test]
fn another_unit_of_time_is_named() {
    let wrong = |factor: i64, divisor: i64, unit: &str| {
        let text = "user,item,time\n".to_owned() + &rows(",", |i| seconds(i) * factor / divisor);
        csv(&text, &format!("{SCHEMA}time_unit = '{unit}'\n"))
    };
    let day = "it is 2017-11-24 in";
    refused(wrong(1000, 1, "seconds"), &format!("log.csv:2:3: |after 2099|{day} milliseconds"));
    refused(wrong(1_000_000, 1, "seconds"), &format!("{day} microseconds"));
    refused(wrong(1_000_000, 1, "milliseconds"), &format!("{day} microseconds"));
    let early = "unit of time: 200 time(s) fall into 1970, read as ";
    noted(
        wrong(1, 1, "milliseconds"),
        1,
        &format!("{early}milliseconds, first log.csv:2 |2017-11-24 in seconds"),
    );
    noted(wrong(1, 1, "microseconds"), 1, &format!("{early}microseconds|2017-11-24 in seconds"));
    noted(wrong(1000, 1, "microseconds"), 1, &format!("{early}microseconds|2017-11-24 in milliseconds"));
    // A time that is missing is often written as 0.
    let zero = "user,item,time\n".to_owned() + &rows(",", |i| if i == 4 { 0 } else { seconds(i) });
    noted(csv(&zero, SCHEMA), 1, "unit of time: 1 time(s) |log.csv:6 (\"0\"|stand for a missing one");
    let taobao: String = (0..9).map(|i| format!("{i},2,3,pv,{}\n", seconds(i) * 1000)).collect();
    refused(check("taobao", &[("x.csv", &taobao)], &[]), &format!("x.csv:1:5: |{day} milliseconds"));
}

#[test]
fn labels_outside_0_and_1_are_named_where_they_stand() {
    let labelled = |wrong: &str| -> String {
        let label = |i: usize| if i == 7 { wrong.to_owned() } else { (i % 2).to_string() };
        rows(",", seconds).lines().enumerate().map(|(i, row)| format!("{row},{}\n", label(i))).collect()
    };
    let schema = NUMBERS.to_owned() + "label = 4\n";
    noted(csv(&labelled("1"), &schema), 0, "50.0 % positive");
    for wrong in ["2", "-1", "0.5", "yes"] {
        refused(
            csv(&labelled(wrong), &schema),
            &format!("log.csv:8:4: \"{wrong}\" is no label|labels are 0 or 1"),
        );
    }
}

#[test]
fn unsorted_input_and_duplicate_rows_are_counted_with_their_first_place() {
    // One user's rows are those of the same rest; rows 50 and 59 change places.
    let swapped = rows(",", |i| {
        seconds(if i == 50 {
            59
        } else if i == 59 {
            50
        } else {
            i
        })
    });
    noted(csv(&swapped, NUMBERS), 1, "unsorted input: 1 row(s) are earlier|first log.csv:60 ");
    let mut lines: Vec<String> = rows(",", seconds).lines().map(|l| format!("{l}\n")).collect();
    let (tenth, last) = (lines[9].clone(), lines[199].clone());
    lines.insert(10, tenth);
    lines.push(last);
    let repeated = lines.concat();
    noted(csv(&repeated, NUMBERS), 1, "duplicate rows: 2 row(s)|first log.csv:11 (it repeats line 10");
    // Shown items: a row that was clicked is one row.
    let shown: String = repeated.lines().enumerate().map(|(i, l)| format!("{l},{}\n", i / 3 % 2)).collect();
    let schema = NUMBERS.to_owned() + "label = 4\n";
    noted(csv(&shown, &schema), 1, "duplicate rows: |first log.csv:11 (it repeats line 10");
    // A file that is parsed in blocks otherwise, and one of records.
    let taobao: String = (0..200)
        .map(|i| format!("{},{},3,pv,{}\n", i % 9 + 1, i * 7 % 61 + 1, seconds(if i == 150 { 0 } else { i })))
        .collect();
    let taobao = taobao.clone() + taobao.lines().next().unwrap() + "\n";
    let found = check("taobao", &[("x.csv", &taobao)], &[]);
    noted(
        found,
        2,
        "unsorted input: 2 |first x.csv:151 |duplicate rows: 1 |first x.csv:201 (it repeats line 1;",
    );
    let records: String = (0..200)
        .map(|i| format!("{{\"user\": {}, \"item\": {}, \"time\": {}}}\n", i % 9, i * 7 % 61, seconds(i)))
        .collect();
    let records = records.clone() + records.lines().next().unwrap() + "\n";
    let found = check(
        "jsonl",
        &[("log.jsonl", &records), ("schema.toml", SCHEMA)],
        &["--schema", "schema.toml", "--all"],
    );
    noted(found, 2, "duplicate rows: 1 |first log.jsonl:201 (it repeats line 1;");
}

#[test]
fn notes_stand_beside_errors_too() {
    let log = rows(",", seconds) + &rows(",", seconds) + "u1,,5\n";
    let (code, out, error) =
        check("csv", &[("log.csv", &log), ("schema.toml", NUMBERS)], &["--schema", "schema.toml", "--all"]);
    assert_eq!(code, 2);
    contains(&error, "log.csv:401:2: \"\" is no id|error: 1 rows cannot be read");
    contains(&out, "duplicate rows: 200 ");
}

/// A card is a manifest for the next one who has the files.
#[test]
fn a_log_is_held_against_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let card = |more: &[&str]| {
        let mut command = bench(folder.path());
        command.args(["data", "card", "synthetic", "--option", "generator.users=40"]).args(more).assert()
    };
    let json = card(&["--json"]).success().get_output().stdout.clone();
    let mut manifest: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(manifest["sha256"].as_str().unwrap().len(), 64);
    let write = |manifest: &serde_json::Value| {
        std::fs::write(folder.path().join("card.json"), manifest.to_string()).unwrap();
    };
    let with = ["--manifest", "card.json"];
    write(&manifest);
    card(&with).success();
    // Some of it is enough.
    write(&serde_json::json!({ "users": 40, "parts": manifest["parts"] }));
    card(&with).success();
    manifest["users"] = 41.into();
    manifest["parts"]["3 test"][0] = 7.into();
    write(&manifest);
    let said = String::from_utf8(card(&with).code(2).get_output().stderr.clone()).unwrap();
    assert!(said.contains("users: card.json says 41, the log has 40"), "{said}");
    assert!(said.contains("parts.3 test[0]: card.json says 7"), "{said}");
    write(&serde_json::json!({ "uesrs": 40 }));
    let said = String::from_utf8(card(&with).code(2).get_output().stderr.clone()).unwrap();
    assert!(said.contains("did you mean users"), "{said}");
}
