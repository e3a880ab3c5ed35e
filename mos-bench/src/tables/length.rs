//! Accuracy and cost against the length of the history.

use mos_core::Cost;

use super::{DID_NOT_LEARN, Table, interval, name, paired, provenance};
use crate::{
    results::{Cell, Results, RunRecord},
    stats::{Paired, correct},
};

/// Rows by encoder, mixture and length, each compared with the same model at the largest length. Of these the rows that are to
/// be `shown`; the correction is over all of them.
pub fn length(results: &Results, shown: &dyn Fn(&Cell) -> bool) -> Table {
    let learned = || results.cells.iter().filter(|c| c.params.dense > 0);
    let longest = |cell: &Cell| {
        let same = learned().filter(|c| (&c.encoder, &c.mixture) == (&cell.encoder, &cell.mixture));
        same.max_by_key(|c| c.max_length).filter(|c| c.max_length > cell.max_length)
    };
    let mut to_longest: Vec<Option<Paired>> =
        learned().map(|cell| cell.against(longest(cell)?, |r| r.auc)).collect();
    correct(&mut to_longest);
    let full = |cell: &Cell, of: fn(&RunRecord) -> Option<u64>| {
        let all = cell.runs.iter().map(of).collect::<Option<Vec<u64>>>().filter(|all| !all.is_empty());
        all.map_or("–".into(), |all| (all.iter().sum::<u64>() / all.len() as u64).to_string())
    };
    let row = |(cell, to_longest): (&Cell, Option<Paired>)| {
        vec![
            name(cell),
            cell.mixture.clone(),
            cell.max_length.to_string(),
            interval(cell.auc),
            interval(cell.gauc),
            paired(cell.delta_auc),
            paired(to_longest),
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
    let mut notes = vec![
            "Length: behaviours that a history keeps. Plain: the encoder by itself at the same length. To longest: the same model \
             at its largest length. ±: half of the 95 % interval over seeds; * p < 0.05 after Holm over the column."
                .into(),
            "MACs: mean over the test samples at their own length; at L: of test samples that have all L behaviours.".into(),
        provenance(results),
    ];
    if learned().any(|c| shown(c) && c.collapsed()) {
        notes.push(DID_NOT_LEARN.into());
    }
    Table {
        title: format!("Length of the history on {}", results.data.name),
        header: header.map(Into::into).into(),
        rows: learned().zip(to_longest).filter(|(cell, _)| shown(cell)).map(row).collect(),
        wide: vec![4, 9, 10, 11],
        notes,
        wide_notes: Vec::new(),
    }
}
