//! Layers: parameters with a forward and a cost.

use crate::{
    Builder, Cost, Events, Init, Input, Interest, Mat, ParamId, Pass, Result, SequenceEncoder,
    ops::{self, Activation},
};

/// y = x W + b, W Xavier-normal, b zero.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: ParamId,
    bias: Option<ParamId>,
    shape: (usize, usize),
}

impl Linear {
    /// With a bias.
    pub fn new(builder: &mut Builder<'_>, input: usize, output: usize) -> Self {
        let mut layer = Self::without_bias(builder, input, output);
        layer.bias = Some(builder.param("bias", 1, output, Init::Zeros));
        layer
    }

    /// Without a bias: zero stays zero.
    pub fn without_bias(builder: &mut Builder<'_>, input: usize, output: usize) -> Self {
        let weight = builder.param("weight", input, output, Init::XavierNormal);
        Self { weight, bias: None, shape: (input, output) }
    }

    /// # Shapes
    /// `x: [R, input]` → `[R, output]`
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Mat, activation: Activation) -> Mat {
        let (weight, bias) = (pass.param(self.weight), self.bias.map(|b| pass.param(b)));
        ops::linear(&mut pass.tape, x, &weight, bias.as_ref(), activation)
    }

    /// MACs for `rows` rows.
    pub fn macs(&self, rows: usize) -> usize {
        rows * self.shape.0 * self.shape.1
    }
}

/// Linear layers with ReLU between them and dropout after the first ReLU.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    /// After the last layer.
    last: Activation,
    dropout: f32,
}

impl Mlp {
    /// `input → hidden… → output`, no activation at the end, no dropout.
    pub fn new(builder: &mut Builder<'_>, input: usize, hidden: &[usize], output: usize) -> Self {
        let widths: Vec<usize> = hidden.iter().copied().chain([output]).collect();
        Self { last: Activation::None, ..Self::hidden(builder, input, &widths) }
    }

    /// `input → hidden…`, ReLU after the last layer too, no dropout.
    pub fn hidden(builder: &mut Builder<'_>, input: usize, hidden: &[usize]) -> Self {
        let widths: Vec<usize> = std::iter::once(input).chain(hidden.iter().copied()).collect();
        let layers = widths
            .windows(2)
            .enumerate()
            .map(|(i, w)| Linear::new(&mut builder.at(&i.to_string()), w[0], w[1]));
        Self { layers: layers.collect(), last: Activation::Relu, dropout: 0.0 }
    }

    /// The same with dropout `rate` after the first ReLU.
    #[must_use]
    pub fn with_dropout(self, rate: f32) -> Self {
        Self { dropout: rate, ..self }
    }

    /// # Shapes
    /// `x: [R, input]` → `[R, width of the last layer]`
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Mat) -> Mat {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let activation = if i + 1 == self.layers.len() { self.last } else { Activation::Relu };
            x = layer.forward(pass, &x, activation);
            if i == 0 && activation == Activation::Relu && self.dropout > 0.0 {
                x = ops::dropout(&mut pass.tape, &x, self.dropout, &mut pass.rng);
            }
        }
        x
    }

    /// MACs for `rows` rows.
    pub fn macs(&self, rows: usize) -> usize {
        self.layers.iter().map(|l| l.macs(rows)).sum()
    }
}

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
}

impl SequenceEncoder for Positioned {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let table = pass.param(self.table);
        let rows = ops::add_positions(&mut pass.tape, &input.rows, &input.events.offsets, &table);
        self.inner.forward(pass, &Input { rows, ..input.clone() })
    }

    fn vectors(&self) -> usize {
        self.inner.vectors()
    }

    fn evidence(&self) -> usize {
        self.inner.evidence()
    }

    fn cost(&self, pass: &mut Pass<'_>, events: &Events) -> Result<Cost> {
        self.inner.cost(pass, events)
    }

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.inner.as_ref()]
    }
}
