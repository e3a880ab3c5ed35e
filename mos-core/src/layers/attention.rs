//! Multi-head target attention.

use crate::{
    Builder, Cost, Init, Mat, ParamId, Pass, Result, Spans, check_heads,
    ops::{self, Activation},
};

/// Multi-head target attention without biases: per head softmax_t((W_q q)·(W_k h_t) / sqrt(a / H)) over the history, the
/// weighted sum of W_v h_t, heads joined, W_o.
///
/// Folded: W_k on the query's side and W_v behind the sum, so that no behaviour is ever projected. The published form
/// costs 2 n d a + (n + k) a + 2 d a multiply-adds for a history of n of which k enter the sum, this one
/// 4 d a + H d (n + k).
#[derive(Clone, Debug)]
pub struct TargetAttention {
    query: ParamId,
    key: ParamId,
    value: ParamId,
    out: ParamId,
    width: usize,
    attention: usize,
    heads: usize,
}

impl TargetAttention {
    /// Attention of width `attention` (0 = the width of the vectors) in `heads` heads.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming `field` if the heads do not divide the width.
    pub fn new(builder: &mut Builder<'_>, field: &str, heads: usize, attention: usize) -> Result<Self> {
        let width = builder.width();
        let attention = if attention == 0 { width } else { attention };
        check_heads(field, heads, attention)?;
        // Xavier-normal of the [d, a] matrix whose blocks it holds.
        let value = Init::Normal((2.0 / (width + attention) as f32).sqrt());
        Ok(Self {
            query: builder.param("query", width, attention, Init::XavierNormal),
            // Kept transposed: head h owns the rows h a/H .. (h + 1) a/H of `key`, and block h of `value` is the whole
            // map from a row to the head's values.
            key: builder.param("key", attention, width, Init::XavierNormal),
            value: builder.param("value", heads * width, attention / heads, value),
            out: builder.param("out", attention, width, Init::XavierNormal),
            width,
            attention,
            heads,
        })
    }

    /// Over the `top_k` best rows of each head where it is given (ties: the most recent). An empty history gives zeros.
    ///
    /// # Shapes
    /// `target: [B, d]`, `rows: [N, d]` → `[B, d]`
    pub fn forward(
        &self,
        pass: &mut Pass<'_>,
        target: &Mat,
        rows: &Mat,
        spans: impl Into<Spans>,
        top_k: Option<usize>,
    ) -> Mat {
        let heads = self.heads;
        let scale = 1.0 / ((self.attention / heads) as f32).sqrt();
        let [query, key, value, out] = [self.query, self.key, self.value, self.out].map(|p| pass.param(p));
        let tape = &mut pass.tape;
        let q = ops::linear(tape, target, &query, None, Activation::None);
        let folded = ops::head_project(tape, &q, &key, heads);
        let sums = ops::attend(tape, &folded, rows, spans, heads, scale, top_k);
        let values = ops::head_project(tape, &sums, &value, heads);
        ops::linear(tape, &values, &out, None, Activation::None)
    }

    /// MACs over these histories, and what the folding saves.
    pub fn cost(&self, spans: impl Into<Spans>, top_k: Option<usize>) -> Cost {
        let spans = spans.into();
        let (b, d, a) = (spans.samples(), self.width, self.attention);
        let read: usize = spans.lengths().map(|n| n + top_k.map_or(n, |k| n.min(k))).sum();
        let published = 2 * (spans.rows() + b) * d * a + a * read;
        Cost::folded(4 * b * d * a + self.heads * d * read, published)
    }
}
