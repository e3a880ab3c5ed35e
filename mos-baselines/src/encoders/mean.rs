//! Mean pooling: the history as its average, the control that is hard to beat.

use mos_core::{Builder, Cost, Input, Interest, Pass, Result, SequenceEncoder, ops};

/// interest = mean_t h_t
#[derive(Clone, Copy, Debug)]
pub struct Mean;

impl Mean {
    /// Builds it; it has no options.
    ///
    /// # Errors
    /// None.
    pub fn new(_builder: &mut Builder<'_>, _options: &()) -> Result<Self> {
        Ok(Self)
    }
}

impl SequenceEncoder for Mean {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let mean = ops::segment_mean(&mut pass.tape, &input.rows, &input.events.offsets);
        Ok(Interest::one(input.for_samples(&mut pass.tape, &mean)))
    }

    fn shares_histories(&self) -> bool {
        true
    }

    fn cost(&self, _pass: &mut Pass<'_>, _input: &Input) -> Result<Cost> {
        Ok(Cost::default())
    }
}
