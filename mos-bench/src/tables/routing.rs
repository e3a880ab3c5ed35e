//! What routers do: load, agreement with what is known of items, stability inside sessions.

use super::Table;
use crate::{routing::RoutingRecord, stats::t_interval};

/// One row for each model, means over seeds.
pub fn routing(data: &str, records: &[RoutingRecord]) -> Table {
    let of = |r: &RoutingRecord| (r.encoder.clone(), r.mixture.clone(), r.max_length);
    let one = records.iter().all(|r| r.max_length == records[0].max_length);
    let row = |all: &[RoutingRecord]| {
        let mean = |value: fn(&RoutingRecord) -> Option<f64>, digits: usize| {
            let mean = all.iter().map(value).collect::<Option<Vec<f64>>>().and_then(|v| t_interval(&v));
            mean.map_or("–".into(), |m| format!("{:.digits$}", m.mean))
        };
        let length = if one { String::new() } else { format!(", L = {}", all[0].max_length) };
        vec![
            all[0].encoder.clone(),
            format!("{}{length}", all[0].mixture),
            all[0].load.len().to_string(),
            mean(|r| Some(r.entropy.exp()), 1),
            mean(|r| r.load.iter().copied().reduce(f64::max), 3),
            mean(|r| r.nmi, 3),
            mean(|r| r.purity, 3),
            mean(|r| r.planted_nmi, 3),
            mean(|r| r.planted_purity, 3),
            mean(|r| r.session_stability, 3),
            mean(|r| r.border_stability, 3),
            mean(|r| r.chance_stability, 3),
            mean(|r| Some(r.entropy), 3),
            mean(|r| Some(r.unrouted), 3),
            all.len().to_string(),
        ]
    };
    let header = [
        "encoder",
        "mixture",
        "themes",
        "in use",
        "largest",
        "NMI",
        "purity",
        "NMI planted",
        "purity planted",
        "in session",
        "at border",
        "by chance",
        "entropy",
        "no theme",
        "seeds",
    ];
    // What no model of this table can agree with is no column of it.
    let known = |of: fn(&RoutingRecord) -> Option<f64>| records.iter().any(|r| of(r).is_some());
    let absent: Vec<usize> = [(5..7, known(|r| r.purity)), (7..9, known(|r| r.planted_purity))]
        .into_iter()
        .filter(|(_, known)| !known)
        .flat_map(|(columns, _)| columns)
        .collect();
    Table {
        title: format!("Routing on {data}"),
        header: header.map(Into::into).into(),
        rows: records.chunk_by(|a, b| of(a) == of(b)).map(row).collect(),
        wide: absent.into_iter().chain([12, 13, 14]).collect(),
        notes: vec![
            "On the last history of each test user, means over seeds. In use: the exponential of the load's entropy. Largest: share of \
             the most loaded theme. NMI and purity: agreement with item categories, and with the planted themes of synthetic data."
                .into(),
            "Share of neighbouring behaviours that have one theme: in a session, at the border of two, and by chance. Routed by session, \
             the first is 1 by construction."
                .into(),
        ],
        wide_notes: vec![
            "Entropy of the load in nats. No theme: share of behaviours without one, as of items that training never met.".into(),
        ],
    }
}
