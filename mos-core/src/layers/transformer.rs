//! Transformer encoder layers.

use super::{LayerNorm, Linear};
use crate::{
    Builder, Init, Mat, Offsets, ParamId, Pass, Result, check_heads,
    ops::{self, Activation, Function, Weighting},
};

/// Configuration of a [`Transformer`].
#[derive(Clone, Copy, Debug)]
pub struct TransformerConfig<'a> {
    /// What an error names.
    pub field: &'a str,
    /// Width D of a token.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width F of the feed-forward layer.
    pub feed_forward: usize,
    /// Its activation; `None` = ReLU.
    pub activation: Option<Function>,
    /// Dropout behind attention and behind feed-forward.
    pub dropout: f32,
}

/// One bidirectional layer with norms behind the residuals (Vaswani et al. 2017):
/// y = LN(x + MHSA(x)), z = LN(y + W_2 act(W_1 y)).
///
/// Biases of keys and of values are left out: the first cancels in the softmax, the second is part of the output's.
#[derive(Clone, Debug)]
pub struct Transformer {
    query: Linear,
    key: ParamId,
    value: ParamId,
    out: Linear,
    first_norm: LayerNorm,
    up: Linear,
    down: Linear,
    second_norm: LayerNorm,
    width: usize,
    feed_forward: usize,
    heads: usize,
    activation: Option<Function>,
    dropout: f32,
}

impl Transformer {
    /// Builds the layer.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the heads do not divide the width.
    pub fn new(builder: &mut Builder<'_>, config: &TransformerConfig<'_>) -> Result<Self> {
        let &TransformerConfig { field, width, heads, feed_forward, activation, dropout } = config;
        check_heads(field, heads, width)?;
        let value = Init::Normal((1.0 / width as f32).sqrt());
        Ok(Self {
            query: Linear::new(&mut builder.at("query"), width, width),
            // Laid out as in [`super::TargetAttention`].
            key: builder.param("key", width, width, Init::XavierNormal),
            value: builder.param("value", heads * width, width / heads, value),
            out: Linear::new(&mut builder.at("out"), width, width),
            first_norm: LayerNorm::new(&mut builder.at("first_norm"), width),
            up: Linear::new(&mut builder.at("up"), width, feed_forward),
            down: Linear::new(&mut builder.at("down"), feed_forward, width),
            second_norm: LayerNorm::new(&mut builder.at("second_norm"), width),
            width,
            feed_forward,
            heads,
            activation,
            dropout,
        })
    }

    fn scale(&self) -> f32 {
        1.0 / ((self.width / self.heads) as f32).sqrt()
    }

    /// All tokens.
    ///
    /// # Shapes
    /// `tokens: [N, D]` → `[N, D]`
    pub fn forward(&self, pass: &mut Pass<'_>, tokens: &Mat, offsets: &Offsets) -> Mat {
        let (key, value) = (pass.param(self.key), pass.param(self.value));
        let q = self.query.forward(pass, tokens, Activation::None);
        let k = ops::matmul_nt(&mut pass.tape, tokens, &key);
        let v = ops::stacked_linear(&mut pass.tape, tokens, &value, self.heads);
        let weighting = Weighting::Softmax { scale: self.scale() };
        let seen =
            ops::self_attend(&mut pass.tape, (&q, &k, &v), None, offsets, self.heads, weighting, false);
        self.rest(pass, tokens, &seen)
    }

    /// The `columns` newest tokens of each segment, oldest of them first, side by side: one query each against all
    /// tokens, with W_k and W_v folded as in [`super::TargetAttention`]. Exactly those rows of [`Self::forward`]; where a
    /// segment is shorter, zeros.
    ///
    /// # Shapes
    /// `tokens: [N, D]` → `[B, columns D]`
    pub fn forward_last(&self, pass: &mut Pass<'_>, tokens: &Mat, offsets: &Offsets, columns: usize) -> Mat {
        let (key, value) = (pass.param(self.key), pass.param(self.value));
        let (b, d, heads) = (offsets.segments(), self.width, self.heads);
        let (mut rows, mut slots) = (Vec::new(), Vec::new());
        for (s, range) in offsets.ranges().enumerate() {
            let n = range.len().min(columns);
            rows.extend((range.end - n..range.end).map(|r| r as u32));
            slots.extend(((s + 1) * columns - n..(s + 1) * columns).map(|slot| slot as u32));
        }
        let tape = &mut pass.tape;
        let last = ops::gather_rows(tape, tokens, &rows);
        let last = ops::scatter_rows(tape, &last, &slots, b * columns);
        let q = self.query.forward(pass, &last, Activation::None);
        let tape = &mut pass.tape;
        let folded = ops::head_project(tape, &q, &key, heads);
        let folded = ops::reshape(tape, &folded, b, columns * heads * d);
        let sums = ops::attend(tape, &folded, tokens, offsets, columns * heads, self.scale(), None);
        let sums = ops::reshape(tape, &sums, b * columns, heads * d);
        let seen = ops::head_project(tape, &sums, &value, heads);
        let out = self.rest(pass, &last, &seen);
        let mut there = vec![0.0; b * columns];
        slots.iter().for_each(|slot| there[*slot as usize] = 1.0);
        let out = ops::scale_rows(&mut pass.tape, &out, &Mat::new(b * columns, 1, there));
        ops::reshape(&mut pass.tape, &out, b, columns * d)
    }

    fn rest(&self, pass: &mut Pass<'_>, tokens: &Mat, seen: &Mat) -> Mat {
        let out = self.out.forward(pass, seen, Activation::None);
        let out = pass.dropout(&out, self.dropout);
        let sum = ops::add(&mut pass.tape, tokens, &out);
        let x = self.first_norm.forward(pass, &sum);
        let hidden = match self.activation {
            None => self.up.forward(pass, &x, Activation::Relu),
            Some(function) => {
                let hidden = self.up.forward(pass, &x, Activation::None);
                ops::map(&mut pass.tape, &hidden, function)
            }
        };
        let out = self.down.forward(pass, &hidden, Activation::None);
        let out = pass.dropout(&out, self.dropout);
        let sum = ops::add(&mut pass.tape, &x, &out);
        self.second_norm.forward(pass, &sum)
    }

    /// MACs of [`Self::forward`]: 4 n D² + 2 n² D + 2 n D F for each segment.
    pub fn macs(&self, offsets: &Offsets) -> usize {
        let (d, n) = (self.width, offsets.rows());
        let pairs: usize = offsets.lengths().map(|n| n * n).sum();
        4 * n * d * d + 2 * pairs * d + 2 * n * d * self.feed_forward
    }

    /// MACs of [`Self::forward_last`]: for each column 4 D² + 2 H n D + 2 D F.
    pub fn last_macs(&self, offsets: &Offsets, columns: usize) -> usize {
        let (d, n, b) = (self.width, offsets.rows(), offsets.segments());
        columns * (4 * b * d * d + 2 * self.heads * n * d + 2 * b * d * self.feed_forward)
    }
}
