//! What tests of several files need.

use crate::{Cost, Input, Interest, Pass, Result, SequenceEncoder, ops};

/// Mean pooling, which costs nothing.
#[derive(Debug)]
pub(crate) struct Mean;

impl SequenceEncoder for Mean {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        Ok(Interest::one(ops::segment_mean(&mut pass.tape, &input.rows, &input.events.offsets)))
    }

    fn cost(&self, _: &mut Pass<'_>, _: &Input) -> Result<Cost> {
        Ok(Cost::default())
    }
}
