//! Positions for encoders that do not know order by themselves.

use crate::{Builder, Cost, Init, Input, Interest, ParamId, Pass, Result, SequenceEncoder, ops};

/// Number of position buckets of [`Positioned`].
const POSITIONS: usize = 16;

/// Gives an encoder's rows their position: behaviour at rank r from the newest gets vector
/// P[min(15, floor(2 log2(r + 1)))]. Each encoder has its own P, so a position counts inside the (sub)sequence that
/// the encoder reads: in a theme subsequence "the last time in this theme" is position 0.
#[derive(Debug)]
pub struct Positioned {
    table: ParamId,
    inner: Box<dyn SequenceEncoder>,
}

impl Positioned {
    /// Wraps `inner`.
    pub fn new(builder: &mut Builder<'_>, inner: Box<dyn SequenceEncoder>) -> Self {
        let width = builder.width();
        Self { table: builder.param("positions", POSITIONS, width, Init::Normal(0.05)), inner }
    }

    fn placed(&self, pass: &mut Pass<'_>, input: &Input) -> Input {
        let table = pass.param(self.table);
        let rows = ops::add_positions(&mut pass.tape, &input.rows, &input.events.offsets, &table);
        Input { rows, ..input.clone() }
    }
}

impl SequenceEncoder for Positioned {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let input = self.placed(pass, input);
        self.inner.forward(pass, &input)
    }

    fn vectors(&self) -> usize {
        self.inner.vectors()
    }

    fn evidence(&self) -> usize {
        self.inner.evidence()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let input = self.placed(pass, input);
        self.inner.cost(pass, &input)
    }

    fn shares_histories(&self) -> bool {
        self.inner.shares_histories()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.inner.as_ref()]
    }
}
