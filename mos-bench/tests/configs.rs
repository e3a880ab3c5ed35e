//! Every configuration of the repository can be read, builds what it names, and says what it is.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::PathBuf;

use mos_baselines::Registry;
use mos_bench::config::Experiment;

#[test]
fn every_configuration_is_whole() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let registry = Registry::default();
    let (mut names, mut files) = (std::collections::BTreeSet::new(), 0);
    for set in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(set.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let place = path.display();
            let text = std::fs::read_to_string(&path).unwrap();
            let experiment = Experiment::read(Some(&path), &[], &[]).unwrap_or_else(|e| panic!("{e:#}"));
            experiment.check(&registry).unwrap_or_else(|e| panic!("{place}: {e:#}"));
            assert!(names.insert(experiment.name.clone()), "{place}: {} is taken", experiment.name);
            let header: Vec<&str> = text.lines().take_while(|l| l.starts_with('#')).collect();
            let inside = path.strip_prefix(path.ancestors().nth(3).unwrap()).unwrap().display().to_string();
            assert!(header.iter().any(|l| l.contains(&inside)), "{place}: no command names it in its header");
            files += 1;
        }
    }
    assert!(files >= 15, "only {files} configurations found");
}
