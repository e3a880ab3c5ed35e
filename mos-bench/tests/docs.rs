//! The documentation hangs together: pages are in the summary, links, quoted code and named tests exist.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn pages() -> Vec<PathBuf> {
    let book = std::fs::read_dir(root().join("docs/src")).unwrap().map(|f| f.unwrap().path());
    let of_root = std::fs::read_dir(root()).unwrap().map(|f| f.unwrap().path());
    let examples = std::fs::read_dir(root().join("examples")).unwrap();
    let of_examples = examples.map(|f| f.unwrap().path().join("README.md")).filter(|p| p.exists());
    book.chain(of_root).chain(of_examples).filter(|p| p.extension().is_some_and(|e| e == "md")).collect()
}

#[test]
fn every_link_leads_to_a_file() {
    let mut links = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap();
            assert!(page.with_file_name(file).exists(), "{}: {target} leads nowhere", page.display());
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links found");
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = std::fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();
    for page in pages().iter().filter(|p| p.parent().unwrap().ends_with("src")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("({name})")),
            "{name} is not in the summary"
        );
    }
}

/// The book takes code from files that are compiled and tested; a piece that is not there would silently be empty.
#[test]
fn every_quoted_piece_of_code_exists() {
    let mut pieces = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for quoted in text.split("{{#include ").skip(1).filter_map(|rest| rest.split("}}").next()) {
            let (file, anchor) = quoted.split_once(':').unwrap_or((quoted, ""));
            let place = format!("{}: {quoted}", page.display());
            let source = std::fs::read_to_string(page.with_file_name(file));
            let source = source.unwrap_or_else(|e| panic!("{place}: {e}"));
            if !anchor.is_empty() {
                let marked = |mark: &str| {
                    source.lines().position(|l| l.trim_end().ends_with(&format!(" {mark}: {anchor}")))
                };
                let (from, to) = (marked("ANCHOR"), marked("ANCHOR_END"));
                assert!(from.zip(to).is_some_and(|(from, to)| from + 1 < to), "{place} is empty");
            }
            pieces += 1;
        }
    }
    assert!(pieces > 10, "only {pieces} pieces found");
}

#[test]
fn every_named_test_exists() {
    let mut commands = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for command in text.split("cargo test -p ").skip(1) {
            let words: Vec<&str> =
                command.split(['\n', '`']).next().unwrap_or_default().split_whitespace().collect();
            let package = ["", "examples"].map(|place| root().join(place).join(words[0]));
            let package = package.iter().find(|p| p.join("Cargo.toml").exists());
            let place = format!("{}: cargo test -p {}", page.display(), words.join(" "));
            let package = package.unwrap_or_else(|| panic!("{place}: no such package"));
            for test in words.windows(2).filter(|w| w[0] == "--test") {
                let file = package.join("tests").join(test[1]).with_extension("rs");
                assert!(file.exists(), "{place}: no such test");
            }
            commands += 1;
        }
    }
    assert!(commands >= 4, "only {commands} commands found");
}
