//! Layers: parameters with a forward and a cost.

mod attention;
mod positioned;
mod transformer;

pub use attention::TargetAttention;
pub use positioned::Positioned;
pub use transformer::{Transformer, TransformerConfig};

use crate::{
    Builder, Init, Mat, ParamId, Params, Pass,
    ops::{self, Activation, add_product},
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

    /// With a bias that starts at `bias`.
    pub fn with_bias_of(builder: &mut Builder<'_>, input: usize, output: usize, bias: Vec<f32>) -> Self {
        let mut layer = Self::without_bias(builder, input, output);
        layer.bias = Some(builder.param_of("bias", output, bias));
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

    /// Columns `from..from + width` of [`Self::forward`] alone, without bias and activation.
    ///
    /// # Shapes
    /// `x: [R, input]` → `[R, width]`
    pub fn forward_columns(&self, pass: &mut Pass<'_>, x: &Mat, from: usize, width: usize) -> Mat {
        let weight = pass.param(self.weight);
        let weight = ops::columns(&mut pass.tape, &weight, from, width);
        ops::linear(&mut pass.tape, x, &weight, None, Activation::None)
    }

    /// What it makes of rows outside a pass, row-major; nothing is counted and nothing learned.
    pub(crate) fn of_all(&self, params: &Params, rows: &[f32]) -> Vec<f32> {
        let (input, output) = self.shape;
        let n = rows.len() / input;
        let mut out = match self.bias {
            Some(bias) => params.get(bias).values().repeat(n),
            None => vec![0.0; n * output],
        };
        let weight = params.get(self.weight).values();
        add_product((rows, (n, input), false), (weight, self.shape, false), &mut out, (n, output));
        out
    }

    /// Columns of its output.
    pub fn width(&self) -> usize {
        self.shape.1
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
                x = pass.dropout(&x, self.dropout);
            }
        }
        x
    }

    /// MACs for `rows` rows.
    pub fn macs(&self, rows: usize) -> usize {
        self.layers.iter().map(|l| l.macs(rows)).sum()
    }
}

/// Layer norm with a gain and a bias for each column (Ba et al. 2016), eps 1e-5.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gain: ParamId,
    bias: ParamId,
}

impl LayerNorm {
    /// Gain one, bias zero.
    pub fn new(builder: &mut Builder<'_>, width: usize) -> Self {
        let gain = builder.param("gain", 1, width, Init::Ones);
        Self { gain, bias: builder.param("bias", 1, width, Init::Zeros) }
    }

    /// # Shapes
    /// `x: [R, width]` → `[R, width]`
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Mat) -> Mat {
        let (gain, bias) = (pass.param(self.gain), pass.param(self.bias));
        ops::layer_norm(&mut pass.tape, x, &gain, &bias, 1e-5)
    }
}
