//! The boundary to dfdx 0.13: matrices, the tape, the parameter store, Adam. No other module names dfdx.
//!
//! Departure from dfdx's own style: a [`Mat`] never carries its tape. One [`Tape`] travels through a pass and
//! every operation records into it, so values are shared by reference, fan-out needs no merging, and the same
//! code scores (tape off) and trains (tape on).

use std::sync::{Arc, OnceLock};

use dfdx::tensor::{
    Cpu, CpuError, Gradients as DfdxGradients, NoneTape, OwnedTape, PutTape, Tape as _, Tensor, TensorFromVec,
};
use dfdx::tensor_ops::Backward as _;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    clock::{self, Stage},
    ops::{axpy, is_zero, wide},
};

thread_local! {
    static DEVICE: Cpu = Cpu::default();
}

/// What a matrix is known by on a dfdx tape. It is empty: values stay in one place and are never copied into a tensor.
type Tag = Tensor<(usize,), f32, Cpu, NoneTape>;

fn tag() -> Arc<Tag> {
    Arc::new(DEVICE.with(|device| device.tensor_from_vec(Vec::new(), (0,))))
}

/// A row-major matrix of `f32`, `[rows, cols]`. Cloning shares the values.
///
/// Rows gathered from other matrices are copied when they are first read, and not at all where they are only gathered again.
#[derive(Clone, Debug)]
pub struct Mat {
    rows: usize,
    cols: usize,
    values: Arc<Values>,
    tag: Arc<Tag>,
    /// Of gathered rows, the matrices that they were copied from. Gradients of what is gathered from these rows go there at once.
    targets: Option<Arc<[Target]>>,
}

#[derive(Debug)]
struct Values {
    there: OnceLock<Arc<Vec<f32>>>,
    /// Where values that are not there yet come from: their sum.
    reads: Vec<Read>,
}

/// Row r is row `at[r]` of `from`.
#[derive(Clone, Debug)]
struct Read {
    from: Arc<Vec<f32>>,
    at: Arc<[u32]>,
}

/// The gradient of row r belongs to row `at[r]` of another matrix, which has so many rows.
#[derive(Clone, Debug)]
struct Target {
    tag: Arc<Tag>,
    rows: usize,
    at: Arc<[u32]>,
}

fn pick(of: &[u32], at: &[u32]) -> Arc<[u32]> {
    at.iter().map(|i| of[*i as usize]).collect()
}

impl Mat {
    /// A matrix from its values in row-major order.
    ///
    /// # Panics
    /// If `values.len() != rows * cols`: the shape is this crate's own arithmetic, never user data.
    pub fn new(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows} x {cols} matrix needs {} values", rows * cols);
        let values = Values { there: OnceLock::from(Arc::new(values)), reads: Vec::new() };
        Self { rows, cols, values: Arc::new(values), tag: tag(), targets: None }
    }

    /// The rows `at` of a table whose rows have `cols` values, as a leaf.
    pub(crate) fn of_table(table: &Arc<Vec<f32>>, cols: usize, at: &[u32]) -> Self {
        let reads = vec![Read { from: table.clone(), at: at.into() }];
        let values = Arc::new(Values { there: OnceLock::new(), reads });
        Self { rows: at.len(), cols, values, tag: tag(), targets: None }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self::new(rows, cols, vec![0.0; rows * cols])
    }

    /// The same values as a constant: nothing reaches them in a backward pass.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { values: self.values.clone(), tag: tag(), targets: None, ..*self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The values, row-major.
    pub fn values(&self) -> &[f32] {
        self.there()
    }

    /// A copy of the values, row-major.
    pub fn to_vec(&self) -> Vec<f32> {
        self.there().to_vec()
    }

    /// Copies gathered rows, if nobody has read them yet.
    pub(crate) fn copy_now(&self) {
        self.there();
    }

    fn there(&self) -> &Arc<Vec<f32>> {
        self.values.there.get_or_init(|| {
            let _gather = clock::running(Stage::Gather);
            let reads = &self.values.reads;
            clock::moved(|| (1 + reads.len()) * self.rows * self.cols);
            let mut out = Vec::with_capacity(self.rows * self.cols);
            wide(
                #[inline(always)]
                || sum_rows(&mut out, self.rows, self.cols, reads),
            );
            Arc::new(out)
        })
    }

    /// Where the rows lie, for operations that read each of them once: in the values of another matrix, if they were gathered from
    /// that alone and nobody has read them yet.
    pub(crate) fn lying(&self) -> Lying<'_> {
        match (self.values.there.get(), self.values.reads.as_slice()) {
            (None, [one]) => Lying { values: &one.from, at: Some(&one.at), cols: self.cols },
            _ => Lying { values: self.values(), at: None, cols: self.cols },
        }
    }

    /// The values, to be changed; others that share them keep theirs.
    fn values_mut(&mut self) -> &mut Vec<f32> {
        if Arc::get_mut(&mut self.values).is_none() {
            let there = OnceLock::from(self.there().clone());
            self.values = Arc::new(Values { there, reads: Vec::new() });
        }
        self.there();
        let values = Arc::get_mut(&mut self.values).and_then(|values| values.there.get_mut());
        Arc::make_mut(values.expect("values of its own, which are there"))
    }

    /// Where the rows `at` of this matrix come from, and where their gradient goes. `None`: all of them.
    fn picked(&self, at: Option<&Arc<[u32]>>) -> (Vec<Read>, Vec<Target>) {
        let all = || at.cloned().unwrap_or_else(|| (0..self.rows as u32).collect());
        let of = |mine: &Arc<[u32]>| at.map_or_else(|| mine.clone(), |at| pick(mine, at));
        let reads = match self.values.there.get() {
            Some(there) => vec![Read { from: there.clone(), at: all() }],
            None => {
                let read = |read: &Read| Read { from: read.from.clone(), at: of(&read.at) };
                self.values.reads.iter().map(read).collect()
            }
        };
        let targets = match &self.targets {
            None => vec![Target { tag: self.tag.clone(), rows: self.rows, at: all() }],
            Some(targets) => targets.iter().map(|t| Target { at: of(&t.at), ..t.clone() }).collect(),
        };
        (reads, targets)
    }
}

/// Rows of a matrix, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lying<'a> {
    values: &'a [f32],
    at: Option<&'a [u32]>,
    cols: usize,
}

impl<'a> Lying<'a> {
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [f32] {
        let r = self.at.map_or(r, |at| at[r] as usize);
        &self.values[r * self.cols..(r + 1) * self.cols]
    }
}

/// Appends the `rows` rows that are the sums of what is read.
#[inline(always)]
fn sum_rows(out: &mut Vec<f32>, rows: usize, d: usize, reads: &[Read]) {
    match d {
        8 => sum_rows_of::<8>(out, rows, reads),
        16 => sum_rows_of::<16>(out, rows, reads),
        32 => sum_rows_of::<32>(out, rows, reads),
        64 => sum_rows_of::<64>(out, rows, reads),
        _ => {
            for r in 0..rows {
                let start = out.len();
                for (k, Read { from, at }) in reads.iter().enumerate() {
                    let row = &from[at[r] as usize * d..(at[r] as usize + 1) * d];
                    if k == 0 {
                        out.extend_from_slice(row);
                    } else {
                        axpy(1.0, row, &mut out[start..]);
                    }
                }
            }
        }
    }
}

/// As [`sum_rows`] for rows of `D` values, which stay in registers.
#[inline(always)]
fn sum_rows_of<const D: usize>(out: &mut Vec<f32>, rows: usize, reads: &[Read]) {
    let Some((first, others)) = reads.split_first() else { return };
    let from = first.from.as_chunks::<D>().0;
    if others.is_empty() {
        for i in &first.at[..rows] {
            out.extend_from_slice(&from[*i as usize]);
        }
        return;
    }
    for (r, i) in first.at[..rows].iter().enumerate() {
        let mut sum = from[*i as usize];
        for Read { from, at } in others {
            let row = &from.as_chunks::<D>().0[at[r] as usize];
            for c in 0..D {
                sum[c] += row[c];
            }
        }
        out.extend_from_slice(&sum);
    }
}

/// Takes the gradient that has reached a matrix of so many values. Zeros: nothing has yet, or it was taken already; the parts are
/// summed by [`put`].
fn take(
    grads: &mut DfdxGradients<f32, Cpu>,
    of: &Tag,
    values: usize,
) -> std::result::Result<Vec<f32>, CpuError> {
    let buffer = std::mem::take(&mut **grads.get_or_alloc_mut(of)?);
    Ok(if buffer.len() == values { buffer } else { vec![0.0; values] })
}

/// Adds a gradient to what has reached a matrix.
fn put(grads: &mut DfdxGradients<f32, Cpu>, of: &Tag, buffer: Vec<f32>) -> std::result::Result<(), CpuError> {
    let slot = &mut **grads.get_or_alloc_mut(of)?;
    if slot.is_empty() {
        *slot = buffer;
    } else {
        slot.iter_mut().zip(&buffer).for_each(|(s, b)| *s += b);
    }
    Ok(())
}

/// Where the gradient of a matrix goes row by row.
#[derive(Debug, Default)]
struct Places {
    cols: usize,
    /// The matrix itself, and its number of values.
    itself: Option<(Arc<Tag>, usize)>,
    /// Matrices that its rows come from, all different.
    targets: Arc<[Target]>,
}

/// Gradients of rows that an operation adds to: see [`Tape::record_rows`].
#[derive(Debug)]
pub(crate) struct ToRows {
    cols: usize,
    /// Of the matrix itself.
    all: Vec<f32>,
    /// Of the matrices that its rows come from.
    picked: Vec<(Vec<f32>, Arc<[u32]>)>,
}

impl ToRows {
    /// Adds `grad` to the gradient of row `r`.
    #[inline(always)]
    pub(crate) fn add(&mut self, r: usize, grad: &[f32]) {
        let d = self.cols;
        for (to, at) in &mut self.picked {
            let at = at[r] as usize * d;
            axpy(1.0, grad, &mut to[at..at + d]);
        }
        if self.picked.is_empty() {
            axpy(1.0, grad, &mut self.all[r * d..(r + 1) * d]);
        }
    }
}

impl Places {
    fn of(rows: &Mat) -> Self {
        let twice = |targets: &Arc<[Target]>| {
            targets.iter().enumerate().any(|(k, a)| targets[..k].iter().any(|b| Arc::ptr_eq(&a.tag, &b.tag)))
        };
        match rows.targets.as_ref().filter(|targets| !twice(targets)) {
            Some(targets) => Self { cols: rows.cols, itself: None, targets: targets.clone() },
            None => {
                let itself = Some((rows.tag.clone(), rows.rows * rows.cols));
                Self { cols: rows.cols, itself, targets: [].into() }
            }
        }
    }

    fn take(&self, grads: &mut DfdxGradients<f32, Cpu>) -> std::result::Result<ToRows, CpuError> {
        let all = match &self.itself {
            Some((tag, values)) => take(grads, tag, *values)?,
            None => Vec::new(),
        };
        let mut picked = Vec::with_capacity(self.targets.len());
        for Target { tag, rows, at } in self.targets.iter() {
            picked.push((take(grads, tag, rows * self.cols)?, at.clone()));
        }
        Ok(ToRows { cols: self.cols, all, picked })
    }

    fn put(&self, grads: &mut DfdxGradients<f32, Cpu>, to: ToRows) -> std::result::Result<(), CpuError> {
        if let Some((tag, _)) = &self.itself {
            put(grads, tag, to.all)?;
        }
        for (target, (buffer, _)) in self.targets.iter().zip(to.picked) {
            put(grads, &target.tag, buffer)?;
        }
        Ok(())
    }
}

/// Rows whose gradients are added to one matrix before they are to the next.
const SCATTERED: usize = 64;

/// Adds each row of `grads` that is not zero to row `at[r]` of `to`.
#[inline(always)]
fn scatter(grads: &[f32], at: &[u32], d: usize, to: &mut [f32]) {
    match d {
        8 => scatter_of::<8>(grads, at, to),
        16 => scatter_of::<16>(grads, at, to),
        32 => scatter_of::<32>(grads, at, to),
        64 => scatter_of::<64>(grads, at, to),
        _ => {
            for (g, i) in grads.chunks_exact(d).zip(at).filter(|(g, _)| !is_zero(g)) {
                axpy(1.0, g, &mut to[*i as usize * d..(*i as usize + 1) * d]);
            }
        }
    }
}

/// As [`scatter`] for rows of `D` values.
#[inline(always)]
fn scatter_of<const D: usize>(grads: &[f32], at: &[u32], to: &mut [f32]) {
    let to = to.as_chunks_mut::<D>().0;
    for (g, i) in grads.as_chunks::<D>().0.iter().zip(at) {
        if !is_zero(g) {
            let to = &mut to[*i as usize];
            for c in 0..D {
                to[c] += g[c];
            }
        }
    }
}

/// The record of a training pass, or nothing in a scoring pass.
#[derive(Debug, Default)]
pub struct Tape {
    recorded: Option<OwnedTape<f32, Cpu>>,
}

/// What a backward function is given: the output's gradient and, in the order of the inputs, the inputs' values
/// and the gradients to add to.
#[derive(Debug)]
pub struct Back<'a> {
    /// Gradient of the loss with respect to the output.
    pub out: &'a [f32],
    /// Values of the inputs.
    pub values: &'a [Arc<Vec<f32>>],
    /// Gradients of the inputs; a backward function adds to them.
    pub grads: &'a mut [Vec<f32>],
}

impl Tape {
    /// A tape that records, for training.
    pub fn training() -> Self {
        Self { recorded: Some(OwnedTape::default()) }
    }

    /// A tape that records nothing, for scoring.
    pub fn scoring() -> Self {
        Self::default()
    }

    /// Whether this pass will be differentiated.
    pub fn is_training(&self) -> bool {
        self.recorded.is_some()
    }

    /// Runs one operation: `forward` maps the inputs' values to the output's values and whatever its `backward`
    /// needs to keep. An input may occur twice.
    ///
    /// # Panics
    /// If `forward` returns another number of values than `shape` has.
    pub fn record<S, F, B>(&mut self, inputs: &[&Mat], shape: (usize, usize), forward: F, backward: B) -> Mat
    where
        S: 'static,
        F: FnOnce(&[Arc<Vec<f32>>]) -> (Vec<f32>, S),
        B: FnOnce(Back<'_>, S) + 'static,
    {
        self.record_rows(
            None,
            inputs,
            shape,
            forward,
            #[inline(always)]
            |back, _, saved| backward(back, saved),
        )
    }

    /// As [`Self::record`] for an operation that may read `rows` too, whose `backward` adds to the gradients of some of these, row by
    /// row. Where they were gathered, that goes to where they come from.
    pub(crate) fn record_rows<S, F, B>(
        &mut self,
        rows: Option<&Mat>,
        inputs: &[&Mat],
        shape: (usize, usize),
        forward: F,
        backward: B,
    ) -> Mat
    where
        S: 'static,
        F: FnOnce(&[Arc<Vec<f32>>]) -> (Vec<f32>, S),
        B: FnOnce(Back<'_>, &mut ToRows, S) + 'static,
    {
        let values: Vec<Arc<Vec<f32>>> = inputs.iter().map(|m| m.there().clone()).collect();
        let of_rows = rows.map_or(0, |rows| rows.rows * rows.cols);
        let (out, saved) = wide(
            #[inline(always)]
            || forward(&values),
        );
        clock::moved(|| out.len() + of_rows + values.iter().map(|v| v.len()).sum::<usize>());
        let out = Mat::new(shape.0, shape.1, out);
        if let Some(tape) = &mut self.recorded {
            let tags: Vec<_> = inputs.iter().map(|m| m.tag.clone()).collect();
            let of_out = out.tag.clone();
            let places = rows.map(Places::of).unwrap_or_default();
            tape.add_backward_op(move |grads| {
                // Every consumer of the output has already run: its gradient is taken, not copied.
                let out_grad = std::mem::take(&mut **grads.get_or_alloc_mut(of_out.as_ref())?);
                if out_grad.is_empty() {
                    return Ok(());
                }
                let mut buffers = Vec::with_capacity(tags.len());
                for (tag, value) in tags.iter().zip(&values) {
                    buffers.push(take(grads, tag, value.len())?);
                }
                let mut to_rows = places.take(grads)?;
                // Values are read, gradients read and written.
                clock::moved(|| out_grad.len() + 3 * values.iter().map(|v| v.len()).sum::<usize>() + of_rows);
                let back = Back { out: &out_grad, values: &values, grads: &mut buffers };
                wide(
                    #[inline(always)]
                    || backward(back, &mut to_rows, saved),
                );
                for (tag, buffer) in tags.iter().zip(buffers) {
                    put(grads, tag, buffer)?;
                }
                places.put(grads, to_rows)
            });
        }
        out
    }

    /// Row r is the sum of the rows `at[r]` of the given matrices; `None` stands for all rows of a matrix, in order. Their gradient
    /// goes where the rows of those matrices come from, if they were gathered themselves. Zero gradients are left out: where few
    /// rows were chosen from many, most are.
    pub(crate) fn gathered(&mut self, rows: usize, of: &[(&Mat, Option<&[u32]>)]) -> Mat {
        let cols = of[0].0.cols;
        let (mut reads, mut targets) = (Vec::new(), Vec::new());
        for (k, (mat, at)) in of.iter().enumerate() {
            assert_eq!(mat.cols, cols, "gathered rows are of one width");
            assert_eq!(at.map_or(mat.rows, <[u32]>::len), rows, "as many rows of each matrix");
            if k > 0 {
                // Sums keep their order.
                mat.copy_now();
            }
            let (mine, to) = mat.picked(at.map(Arc::from).as_ref());
            reads.extend(mine);
            targets.extend(to);
        }
        let values = Arc::new(Values { there: OnceLock::new(), reads });
        let mut out = Mat { rows, cols, values, tag: tag(), targets: None };
        if let Some(tape) = &mut self.recorded {
            let targets: Arc<[Target]> = targets.into();
            out.targets = Some(targets.clone());
            let of_out = out.tag.clone();
            tape.add_backward_op(move |grads| {
                let grad = std::mem::take(&mut **grads.get_or_alloc_mut(of_out.as_ref())?);
                if grad.is_empty() {
                    return Ok(());
                }
                clock::moved(|| 3 * targets.len() * grad.len());
                for Target { tag, rows, .. } in targets.iter() {
                    grads.get_or_alloc_mut(tag.as_ref())?.resize(rows * cols, 0.0);
                }
                // Few rows at a time, so that they are still there for the next matrix.
                for from in (0..grad.len()).step_by(SCATTERED * cols) {
                    let part = &grad[from..(from + SCATTERED * cols).min(grad.len())];
                    for Target { tag, at, .. } in targets.iter() {
                        let to = &mut **grads.get_or_alloc_mut(tag.as_ref())?;
                        wide(
                            #[inline(always)]
                            || scatter(part, &at[from / cols..], cols, to),
                        );
                    }
                }
                Ok(())
            });
        }
        out
    }

    /// Differentiates a `[1, 1]` loss with respect to everything that was recorded.
    ///
    /// # Errors
    /// [`Error::Shape`] if `loss` is not a scalar.
    ///
    /// # Panics
    /// If the tape belongs to a scoring pass.
    pub fn backward(self, loss: &Mat) -> Result<Gradients> {
        if (loss.rows(), loss.cols()) != (1, 1) {
            return Err(Error::shape(
                "backward",
                "a [1, 1] loss",
                format!("[{}, {}]", loss.rows(), loss.cols()),
            ));
        }
        let mut tape = self.recorded.expect("only a training pass can be differentiated");
        let start = loss.tag.clone();
        tape.add_backward_op(move |grads| {
            **grads.get_or_alloc_mut(start.as_ref())? = vec![1.0];
            Ok(())
        });
        let scalar = DEVICE.with(|device| device.tensor_from_vec(vec![0.0], ())).put_tape(tape);
        Ok(Gradients { inner: scalar.backward() })
    }
}

/// Gradients of one pass.
#[derive(Debug)]
pub struct Gradients {
    inner: DfdxGradients<f32, Cpu>,
}

impl Gradients {
    /// Removes and returns the gradient of `of`; `None` if nothing reached it.
    pub fn take(&mut self, of: &Mat) -> Option<Vec<f32>> {
        let slot = self.inner.get_or_alloc_mut(of.tag.as_ref()).ok()?;
        let values = std::mem::take(&mut **slot);
        (!values.is_empty() && values.iter().any(|v| *v != 0.0)).then_some(values)
    }
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// N(0, std^2).
    Normal(f32),
    /// N(0, 2 / (rows + cols)) (Glorot and Bengio 2010).
    XavierNormal,
    /// Ones on the diagonal, zero elsewhere.
    Identity,
}

impl Init {
    /// Draws `rows * cols` values.
    pub fn values(self, rows: usize, cols: usize, rng: &mut impl rand::Rng) -> Vec<f32> {
        let normal = |std: f32, rng: &mut dyn FnMut() -> f32| (0..rows * cols).map(|_| std * rng()).collect();
        let mut draw = || -> f32 { StandardNormal.sample(rng) };
        match self {
            Self::Zeros => vec![0.0; rows * cols],
            Self::Ones => vec![1.0; rows * cols],
            Self::Normal(std) => normal(std, &mut draw),
            Self::XavierNormal => normal((2.0 / (rows + cols) as f32).sqrt(), &mut draw),
            Self::Identity => (0..rows * cols).map(|i| f32::from(i / cols == i % cols)).collect(),
        }
    }
}

/// Handle of a trained parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParamId(usize);

/// Handle of a buffer: values that belong to the model but get no gradient (hash matrices, theme tables).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(usize);

#[derive(Clone, Debug)]
struct Param {
    name: String,
    value: Mat,
    m: Vec<f32>,
    v: Vec<f32>,
}

#[derive(Clone, Debug)]
struct Buffer {
    name: String,
    cols: usize,
    derived: bool,
    values: Arc<Vec<f32>>,
}

/// The dense parameters and buffers of a model, in order of creation, named by path (`theme.attention.query`).
#[derive(Clone, Debug, Default)]
pub struct Params {
    params: Vec<Param>,
    buffers: Vec<Buffer>,
}

impl Params {
    /// Adds a parameter of shape `[rows, cols]`; its start depends on `seed` and `name` alone.
    ///
    /// # Panics
    /// If the name is taken: two parts of a model would start alike and overwrite each other in a checkpoint.
    pub fn add(&mut self, seed: u64, name: &str, rows: usize, cols: usize, init: Init) -> ParamId {
        assert!(self.params.iter().all(|p| p.name != name), "two parameters are named {name}");
        let values = init.values(rows, cols, &mut mos_data::rng::stream(seed, &format!("init/{name}"), &[]));
        self.params.push(Param {
            name: name.to_owned(),
            value: Mat::new(rows, cols, values),
            m: vec![0.0; rows * cols],
            v: vec![0.0; rows * cols],
        });
        ParamId(self.params.len() - 1)
    }

    /// Adds a buffer.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add_buffer(&mut self, name: &str, cols: usize, values: Vec<f32>) -> BufferId {
        self.push_buffer(name, cols, values, false)
    }

    /// Adds an empty buffer for what scoring derives from the weights; it is no part of a checkpoint.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add_derived(&mut self, name: &str, cols: usize) -> BufferId {
        self.push_buffer(name, cols, Vec::new(), true)
    }

    fn push_buffer(&mut self, name: &str, cols: usize, values: Vec<f32>, derived: bool) -> BufferId {
        assert!(self.buffers.iter().all(|b| b.name != name), "two buffers are named {name}");
        self.buffers.push(Buffer { name: name.to_owned(), cols, derived, values: Arc::new(values) });
        BufferId(self.buffers.len() - 1)
    }

    /// Handles of the buffers that belong to the weights, rather than being derived from them.
    pub(crate) fn stored_buffers(&self) -> impl Iterator<Item = BufferId> {
        self.buffer_ids().filter(|id| !self.buffers[id.0].derived)
    }

    /// The parameter's value.
    pub fn get(&self, id: ParamId) -> &Mat {
        &self.params[id.0].value
    }

    /// Replaces a parameter's value (its moments stay).
    pub fn set(&mut self, id: ParamId, values: Vec<f32>) {
        let p = &mut self.params[id.0];
        p.value = Mat::new(p.value.rows(), p.value.cols(), values);
    }

    /// Name and both moments of each parameter.
    pub(crate) fn moments(&self) -> impl Iterator<Item = (&str, [&Vec<f32>; 2])> {
        self.params.iter().map(|p| (p.name.as_str(), [&p.m, &p.v]))
    }

    /// Both moments of each parameter, to be changed.
    pub(crate) fn moments_mut(&mut self) -> impl Iterator<Item = [&mut Vec<f32>; 2]> {
        self.params.iter_mut().map(|p| [&mut p.m, &mut p.v])
    }

    /// The buffer's values.
    pub fn buffer(&self, id: BufferId) -> &Arc<Vec<f32>> {
        &self.buffers[id.0].values
    }

    /// Replaces a buffer's values.
    pub fn set_buffer(&mut self, id: BufferId, values: Vec<f32>) {
        self.buffers[id.0].values = Arc::new(values);
    }

    /// Handles of all parameters, in order.
    pub fn ids(&self) -> impl Iterator<Item = ParamId> + use<> {
        (0..self.params.len()).map(ParamId)
    }

    /// Handles of all buffers, in order.
    pub fn buffer_ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        (0..self.buffers.len()).map(BufferId)
    }

    /// The parameter's name.
    pub fn name(&self, id: ParamId) -> &str {
        &self.params[id.0].name
    }

    /// The buffer's name and number of columns.
    pub fn buffer_name(&self, id: BufferId) -> (&str, usize) {
        (&self.buffers[id.0].name, self.buffers[id.0].cols)
    }

    /// Number of trained values.
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.m.len()).sum()
    }

    /// One Adam step on one parameter. `step` counts from 1.
    pub(crate) fn update(&mut self, id: ParamId, grad: &[f32], scale: f32, adam: &Adam, step: u64) {
        let p = &mut self.params[id.0];
        adam.at(step).step(p.value.values_mut(), &mut p.m, &mut p.v, grad, scale);
    }
}

/// Adam (Kingma and Ba 2015) with PyTorch's defaults. Dense parameters and embedding rows share this one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl Adam {
    /// The rule of one step; `step` counts from 1.
    pub fn at(&self, step: u64) -> AdamStep {
        let step = step.min(1 << 30) as i32;
        let rate = self.lr / (1.0 - self.beta1.powi(step));
        AdamStep { adam: *self, rate, correct: (1.0 - self.beta2.powi(step)).sqrt() }
    }
}

/// [`Adam`] with the bias corrections of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    adam: Adam,
    rate: f32,
    correct: f32,
}

impl AdamStep {
    /// Updates `values` and both moments in place with `scale * grad`.
    pub fn step(&self, values: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], scale: f32) {
        wide(
            #[inline(always)]
            || self.inlined(values, m, v, grad, scale),
        );
    }

    /// As [`Self::step`], inside of [`wide`].
    #[inline(always)]
    pub(crate) fn inlined(&self, values: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], scale: f32) {
        let Adam { beta1, beta2, eps, .. } = self.adam;
        for (((x, m), v), g) in values.iter_mut().zip(m).zip(v).zip(grad) {
            let g = scale * g;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *x -= self.rate * *m / (v.sqrt() / self.correct + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_used_twice_gets_both_parts() {
        let x = Mat::new(1, 1, vec![3.0]);
        let mut tape = Tape::training();
        let y = tape.record(
            &[&x, &x],
            (1, 1),
            |v| (vec![v[0][0] * v[1][0]], ()),
            |b, ()| {
                b.grads[0][0] += b.out[0] * b.values[1][0];
                b.grads[1][0] += b.out[0] * b.values[0][0];
            },
        );
        assert_eq!(tape.backward(&y).unwrap().take(&x), Some(vec![6.0]));
    }

    #[test]
    fn adam_matches_pytorch() {
        // torch 2.x: torch.optim.Adam([1., -2.], lr=0.1), three steps with gradient (0.5, -0.25).
        let (mut x, mut m, mut v) = (vec![1.0, -2.0], vec![0.0; 2], vec![0.0; 2]);
        for step in 1..=3 {
            let rule = Adam { lr: 0.1, ..Adam::default() }.at(step);
            rule.step(&mut x, &mut m, &mut v, &[1.0, -0.5], 0.5);
        }
        assert!((x[0] - 0.7).abs() < 1e-5 && (x[1] + 1.7).abs() < 1e-5, "{x:?}");
    }
}
