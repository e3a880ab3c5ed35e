//! The documentation hangs together: pages are in the summary, links lead somewhere.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn pages() -> Vec<PathBuf> {
    let book = std::fs::read_dir(root().join("docs/src")).unwrap().map(|f| f.unwrap().path());
    let of_root = std::fs::read_dir(root()).unwrap().map(|f| f.unwrap().path());
    book.chain(of_root).filter(|p| p.extension().is_some_and(|e| e == "md")).collect()
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
