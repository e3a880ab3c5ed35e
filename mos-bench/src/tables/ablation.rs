//! What each choice is worth: variants beside the mixture that they vary, by what they change.

use serde_json::Value;

use super::{DID_NOT_LEARN, MARK, Table, interval, paired, provenance};
use crate::{
    results::{Cell, Metric, Results},
    settings::plain,
    stats::{Paired, correct},
};

/// Options that a variant changes, and what to.
fn change(options: &Value) -> (String, String) {
    let fields = options.as_object().into_iter().flatten();
    let (names, values): (Vec<_>, Vec<_>) = fields.map(|(name, v)| (name.clone(), plain(v))).unzip();
    (names.join(" + "), values.join(", "))
}

/// The rows of an ablation: for each encoder and each mixture that has variants, that mixture, its variants in groups by
/// the options they change, and after all the other mixtures. Of these the rows that are to be `shown`; the correction is over
/// all of them.
pub fn ablation(results: &Results, shown: &dyn Fn(&Cell) -> bool) -> Table {
    let mut rows: Vec<(&Cell, String, String, Option<&Cell>)> = Vec::new();
    let of = |c: &Cell| c.variant.as_ref().map(|v| v.of.clone());
    let mut bases: Vec<String> = Vec::new();
    results.cells.iter().filter_map(of).for_each(|b| {
        if !bases.contains(&b) {
            bases.push(b);
        }
    });
    let mut encoders: Vec<&str> = results.cells.iter().map(|c| c.encoder.as_str()).collect();
    encoders.dedup();
    for encoder in encoders {
        let mine = || results.cells.iter().filter(|c| c.encoder == encoder);
        for base in &bases {
            let plain = mine().filter(|c| c.variant.is_none() && c.mixture == *base);
            rows.extend(plain.map(|c| (c, base.clone(), "as it stands".into(), None)));
            let varied: Vec<(&Cell, String, String)> = mine()
                .filter(|c| of(c).as_ref() == Some(base))
                .filter_map(|c| {
                    let (what, to) = change(&c.variant.as_ref()?.options);
                    Some((c, what, to))
                })
                .collect();
            let mut groups: Vec<&String> = Vec::new();
            varied.iter().for_each(|(_, what, _)| {
                if !groups.contains(&what) {
                    groups.push(what);
                }
            });
            for group in groups {
                let inside = varied.iter().filter(|(_, what, _)| what == group);
                rows.extend(
                    inside.map(|(c, what, to)| (*c, what.clone(), to.clone(), results.beside(c, base))),
                );
            }
        }
        let others = mine().filter(|c| c.variant.is_none() && !bases.contains(&c.mixture));
        // What an only base is compared with is compared with it in turn.
        let base = |c: &Cell| bases.first().filter(|_| bases.len() == 1).and_then(|b| results.beside(c, b));
        rows.extend(others.map(|c| (c, "other mixtures".into(), c.mixture.clone(), base(c))));
    }
    let differences = |metric: Metric| -> Vec<Option<Paired>> {
        let mut all: Vec<Option<Paired>> =
            rows.iter().map(|(cell, .., base)| cell.against((*base)?, metric)).collect();
        correct(&mut all);
        all
    };
    let (by_auc, by_gauc) = (differences(|r| r.auc), differences(|r| r.gauc));
    let one = results.cells.iter().all(|c| c.max_length == results.cells[0].max_length);
    let length = |c: &Cell| if one { String::new() } else { format!(", L = {}", c.max_length) };
    let collapsed = rows.iter().any(|(c, ..)| shown(c) && c.collapsed());
    let row = |(i, (cell, what, to, _)): (usize, &(&Cell, String, String, Option<&Cell>))| {
        let mark = if cell.collapsed() { MARK } else { "" };
        vec![
            what.clone(),
            format!("{to}{}{mark}", length(cell)),
            cell.encoder.clone(),
            interval(cell.auc),
            paired(by_auc[i]),
            interval(cell.gauc),
            paired(by_gauc[i]),
            cell.macs_per_sample.total.to_string(),
            cell.params.dense.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().enumerate().filter(|(_, (c, ..))| shown(c)).map(row).collect();
    let data = &results.data;
    let mut notes = vec![
        format!(
            "Test part of {}: {} samples, {} seeds. Each row changes the named options of {} and nothing else; ΔAUC to it, \
             paired over seeds; * p < 0.05 after Holm over the column.",
            data.name,
            data.test_samples,
            results.seeds.len(),
            if bases.is_empty() { "no mixture".into() } else { bases.join(" or ") },
        ),
        provenance(results),
    ];
    if collapsed {
        notes.push(DID_NOT_LEARN.into());
    }
    let header = ["changed", "to", "encoder", "AUC", "ΔAUC", "gAUC", "ΔgAUC", "MACs", "dense params"];
    Table {
        title: format!("Ablation on {}", data.name),
        header: header.map(Into::into).into(),
        rows,
        wide: vec![6, 8],
        notes,
        wide_notes: Vec::new(),
    }
}
