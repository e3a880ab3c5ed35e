//! The short part that long-sequence models have in LongCTR: target attention over the last behaviours.

use mos_core::{Builder, Cost, Input, Interest, Mat, Offsets, Pass, Result, layers::TargetAttention};

/// Multi-head target attention over the last behaviours, exactly as many as are named (LongCTR's slice holds one less,
/// under a mask shifted by one), or nothing for a length of 0.
#[derive(Debug)]
pub(super) struct ShortTerm {
    attention: Option<TargetAttention>,
    length: usize,
}

impl ShortTerm {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        field: &str,
        heads: usize,
        attention: usize,
        length: usize,
    ) -> Result<Self> {
        let mut make = || TargetAttention::new(&mut builder.at("short"), field, heads, attention);
        Ok(Self { attention: if length == 0 { None } else { Some(make()?) }, length })
    }

    /// The interest of an encoder whose long part is `long`.
    pub(super) fn beside(&self, pass: &mut Pass<'_>, input: &Input, long: Mat) -> Interest {
        let mut interest = Interest::one(long);
        if let Some(attention) = &self.attention {
            let last = input.last(&mut pass.tape, self.length);
            let short = attention.forward(pass, &last.target, &last.rows, last.events.spans(), None);
            interest.vectors.push(short);
        }
        interest
    }

    /// Vectors of the long part and this.
    pub(super) fn vectors(&self) -> usize {
        1 + usize::from(self.attention.is_some())
    }

    pub(super) fn cost(&self, input: &Input) -> Cost {
        let spans = input.events.spans();
        let last = Offsets::from_lengths(spans.lengths().map(|n| n.min(self.length)));
        self.attention.iter().map(|a| a.cost(&last, None)).sum()
    }
}
