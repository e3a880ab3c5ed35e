//! Layers: parameters with a forward and a cost.

use crate::{
    Builder, Cost, Init, Input, Interest, Mat, ParamId, Pass, Result, SequenceEncoder,
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
        Self::starting_at(builder, input, output, Init::XavierNormal)
    }

    /// Without a bias, W starting as `init` says.
    pub fn starting_at(builder: &mut Builder<'_>, input: usize, output: usize, init: Init) -> Self {
        let weight = builder.param("weight", input, output, init);
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
    dropout: f32,
}

impl Mlp {
    /// `input → hidden… → output`, no activation at the end, no dropout.
    pub fn new(builder: &mut Builder<'_>, input: usize, hidden: &[usize], output: usize) -> Self {
        let mut widths = vec![input];
        widths.extend_from_slice(hidden);
        widths.push(output);
        let layers = widths
            .windows(2)
            .enumerate()
            .map(|(i, w)| Linear::new(&mut builder.at(&i.to_string()), w[0], w[1]));
        Self { layers: layers.collect(), dropout: 0.0 }
    }

    /// The same with dropout `rate` after the first hidden layer.
    #[must_use]
    pub fn with_dropout(self, rate: f32) -> Self {
        Self { dropout: rate, ..self }
    }

    /// # Shapes
    /// `x: [R, input]` → `[R, output]`
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Mat) -> Mat {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            x = layer.forward(pass, &x, if last { Activation::None } else { Activation::Relu });
            if i == 0 && !last && self.dropout > 0.0 {
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

    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        vec![self.inner.as_ref()]
    }
}
