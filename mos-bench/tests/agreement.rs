//! Agreement of labellings against scikit-learn (`golden/agreement.py`), and what holds for all of them.

#![allow(clippy::unwrap_used)] // helpers of tests

use mos_bench::agreement::{Contingency, entropy};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    themes: Vec<usize>,
    categories: Vec<usize>,
    nmi: f64,
    purity: f64,
}

fn table(a: &[usize], b: &[usize]) -> Contingency {
    let most = |x: &[usize]| x.iter().max().map_or(0, |m| m + 1);
    Contingency::new(most(a), most(b), a.iter().copied().zip(b.iter().copied()))
}

#[test]
fn agreement_is_that_of_scikit_learn() {
    let golden: Golden = serde_json::from_str(include_str!("golden/agreement.json")).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for case in golden.cases {
        let found = table(&case.themes, &case.categories);
        assert!((found.nmi().unwrap() - case.nmi).abs() < 1e-12, "{:?}, not {}", found.nmi(), case.nmi);
        assert!((found.purity().unwrap() - case.purity).abs() < 1e-12);
    }
}

#[test]
fn what_tells_nothing_apart_has_no_agreement() {
    assert_eq!((table(&[], &[]).nmi(), table(&[], &[]).purity()), (None, None));
    assert_eq!((table(&[0, 0], &[0, 0]).nmi(), table(&[0, 0], &[0, 0]).purity()), (None, Some(1.0)));
    assert_eq!(table(&[0, 0], &[0, 1]).nmi(), Some(0.0));
    assert!((entropy(&[3, 3, 0, 3, 3]) - 4f64.ln()).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agreement_knows_no_names_and_keeps_its_bounds(
        pairs in prop::collection::vec((0usize..6, 0usize..9), 1..80),
        turn in 1usize..6,
    ) {
        let (a, b): (Vec<usize>, Vec<usize>) = pairs.into_iter().unzip();
        let found = table(&a, &b);
        let renamed: Vec<usize> = a.iter().map(|x| (x * 5 + turn) % 6).collect();
        let other = table(&renamed, &b);
        let near = |x: Option<f64>, y: Option<f64>| match (x, y) {
            (Some(x), Some(y)) => (x - y).abs() < 1e-12,
            _ => x == y,
        };
        prop_assert!(near(found.nmi(), other.nmi()) && near(found.purity(), other.purity()));
        prop_assert!(near(found.nmi(), table(&b, &a).nmi()), "mutual information has no direction");
        prop_assert!(found.nmi().is_none_or(|x| (0.0..=1.0).contains(&x)));
        let purity = found.purity().unwrap();
        let commonest = *found.of_columns().iter().max().unwrap() as f64 / found.total() as f64;
        prop_assert!((commonest - 1e-12..=1.0).contains(&purity), "a split is never less pure than the whole");
        let same = table(&a, &a);
        prop_assert!(same.purity() == Some(1.0) && same.nmi().is_none_or(|x| (x - 1.0).abs() < 1e-9));
        prop_assert!(entropy(&found.of_rows()) <= (a.len() as f64).ln() + 1e-12);
    }
}
