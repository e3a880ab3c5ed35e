//! Accuracy and cost against the length of the history.

use mos_core::Cost;

use super::{Table, interval, name, paired};
use crate::{
    results::{Cell, Results, RunRecord},
    stats::{Paired, paired_t},
};

/// Rows by encoder, mixture and length, each compared with the same model at the largest length.
pub fn length(results: &Results) -> Table {
    let learned = || results.cells.iter().filter(|c| c.params.dense > 0);
    let longest = |cell: &Cell| {
        let same = learned().filter(|c| (&c.encoder, &c.mixture) == (&cell.encoder, &cell.mixture));
        same.max_by_key(|c| c.max_length).filter(|c| c.max_length > cell.max_length)
    };
    let to_longest = |cell: &Cell| -> Option<Paired> {
        let values = |c: &Cell| c.runs.iter().map(|r| r.auc).collect::<Option<Vec<f64>>>();
        paired_t(&values(cell)?, &values(longest(cell)?)?)
    };
    let full = |cell: &Cell, of: fn(&RunRecord) -> Option<u64>| {
        let all = cell.runs.iter().map(of).collect::<Option<Vec<u64>>>().filter(|all| !all.is_empty());
        all.map_or("–".into(), |all| (all.iter().sum::<u64>() / all.len() as u64).to_string())
    };
    let row = |cell: &Cell| {
        vec![
            name(cell),
            cell.mixture.clone(),
            cell.max_length.to_string(),
            interval(cell.auc),
            interval(cell.gauc),
            paired(cell.delta_auc),
            paired(to_longest(cell)),
            cell.macs_per_sample.total.to_string(),
            full(cell, |r| r.macs_full.map(Cost::total)),
            full(cell, |r| r.macs_full.map(Cost::published)),
            cell.ms_per_1000.map_or("–".into(), |s| format!("{:.1}", s.train)),
            cell.ms_per_1000.map_or("–".into(), |s| format!("{:.1}", s.score)),
        ]
    };
    let header = [
        "encoder",
        "mixture",
        "length",
        "AUC",
        "gAUC",
        "ΔAUC to plain",
        "ΔAUC to longest",
        "MACs",
        "MACs at L",
        "at L, published",
        "train ms/1000",
        "score ms/1000",
    ];
    Table {
        title: format!("Length of the history on {}", results.data.name),
        header: header.map(Into::into).into(),
        rows: learned().map(row).collect(),
        wide: vec![4, 9, 10, 11],
        notes: vec![
            "Length: behaviours that a history keeps. Plain: the encoder by itself at the same length. To longest: the same model \
             at its largest length; paired over seeds, p not corrected."
                .into(),
            "MACs: mean over the test samples at their own length; at L: of test samples that have all L behaviours.".into(),
        ],
        wide_notes: Vec::new(),
    }
}
