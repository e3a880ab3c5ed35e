//! The short branch that MoS has, for every mixture that is compared with it.

use mos_core::{Builder, Cost, Input, Interest, Pass, Result, SequenceEncoder};

use super::Expert;

/// An expert on the last behaviours.
#[derive(Debug)]
struct Short {
    expert: Box<dyn SequenceEncoder>,
    length: usize,
}

impl SequenceEncoder for Short {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let last = input.last(&mut pass.tape, self.length);
        self.expert.forward(pass, &last)
    }

    fn vectors(&self) -> usize {
        self.expert.vectors()
    }

    fn evidence(&self) -> usize {
        self.expert.evidence()
    }

    fn shares_histories(&self) -> bool {
        self.expert.shares_histories()
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.expert.as_ref()]
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        let last = input.last(&mut pass.tape, self.length);
        self.expert.cost(pass, &last)
    }
}

/// A mixture and, beside it, an expert on the last behaviours.
#[derive(Debug)]
pub struct WithShort {
    parts: Vec<Box<dyn SequenceEncoder>>,
}

impl WithShort {
    /// `main` with an expert on the last `length` behaviours; 0 = none.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn around(
        main: impl SequenceEncoder + 'static,
        builder: &mut Builder<'_>,
        length: usize,
        expert: &mut Expert<'_>,
    ) -> Result<Self> {
        let mut parts: Vec<Box<dyn SequenceEncoder>> = vec![Box::new(main)];
        if length > 0 {
            parts.push(Box::new(Short { expert: expert(&mut builder.at("short"))?, length }));
        }
        Ok(Self { parts })
    }
}

impl SequenceEncoder for WithShort {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let mut interest = Interest::default();
        for part in &self.parts {
            interest.extend(part.forward(pass, input)?);
        }
        Ok(interest)
    }

    fn vectors(&self) -> usize {
        self.parts.iter().map(|p| p.vectors()).sum()
    }

    fn evidence(&self) -> usize {
        self.parts.iter().map(|p| p.evidence()).sum()
    }

    fn shares_histories(&self) -> bool {
        self.parts.iter().all(|p| p.shares_histories())
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        self.parts.iter().map(AsRef::as_ref).collect()
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        self.parts.iter().map(|p| p.cost(pass, input)).sum()
    }
}
