//! What the session models share in their form as click models.

use mos_core::{Interest, Mat, Pass, ops};
use serde::{Deserialize, Serialize};

/// Where the target meets the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At the end alone: the history's side does not depend on it.
    Late,
    /// Inside the attention too.
    Query,
}

/// A vector o and a target r that meets it at the end: o, with the further columns o ∗ r and factor o·r.
pub(super) fn meet(pass: &mut Pass<'_>, o: Mat, r: &Mat, factor: f32) -> Interest {
    let product = ops::mul(&mut pass.tape, &o, r);
    let dot = ops::row_dots(&mut pass.tape, &o, r, factor);
    Interest { vectors: vec![o], evidence: vec![product, dot] }
}
