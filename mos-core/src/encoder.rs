//! The trait every encoder and every mixture implements, and what they are built with.

use std::sync::Arc;

use mos_data::Catalog;
use rand_chacha::ChaCha8Rng;

use crate::{
    Cost, Error, Events, Init, Input, Mat, ParamId, Params, Pass, Result, StateUpdate, TableId, TableInit,
    Tables, engine::BufferId,
};

/// What an encoder says about B samples.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Interest vectors, each `[B, d]`; the head sees each of them and its product with the target.
    pub vectors: Vec<Mat>,
    /// Further columns for the head, `[B, e]` (how much evidence an expert had, a gate's choice).
    pub evidence: Vec<Mat>,
}

impl Interest {
    /// One vector and nothing else: a plain encoder.
    pub fn one(vector: Mat) -> Self {
        Self { vectors: vec![vector], evidence: Vec::new() }
    }

    /// The same with every matrix replaced by `change` of it.
    #[must_use]
    pub fn map(self, mut change: impl FnMut(Mat) -> Mat) -> Self {
        let vectors = self.vectors.into_iter().map(&mut change).collect();
        Self { vectors, evidence: self.evidence.into_iter().map(&mut change).collect() }
    }

    /// One from several of the same form, matrix by matrix.
    ///
    /// # Panics
    /// If `all` is empty.
    #[must_use]
    pub fn join(all: &[Self], mut join: impl FnMut(&[&Mat]) -> Mat) -> Self {
        let mut columns = |of: fn(&Self) -> &Vec<Mat>| -> Vec<Mat> {
            let places = 0..of(&all[0]).len();
            places.map(|i| join(&all.iter().map(|one| &of(one)[i]).collect::<Vec<_>>())).collect()
        };
        Self { vectors: columns(|i| &i.vectors), evidence: columns(|i| &i.evidence) }
    }

    /// Appends another expert's output.
    pub fn extend(&mut self, other: Self) {
        self.vectors.extend(other.vectors);
        self.evidence.extend(other.evidence);
    }
}

/// The themes of the behaviours of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowThemes {
    /// Number of themes that there are, used or not.
    pub count: usize,
    /// Theme of each behaviour `[N]`, [`crate::mos::NO_THEME`] where it has none.
    pub of_rows: Vec<u16>,
}

/// Where training stands when [`SequenceEncoder::after_step`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of one epoch.
    pub steps_per_epoch: u64,
    /// Seed of the run.
    pub seed: u64,
}

/// Turns (history, target) into interest vectors. Mixtures of experts are encoders made of encoders.
///
/// A new encoder needs `forward`, `vectors` (if more than one) and `cost`; a mixture also `children`. The other methods
/// have defaults.
pub trait SequenceEncoder: Send + Sync + std::fmt::Debug {
    /// The interest of each sample. An empty history gives zero vectors.
    ///
    /// # Shapes
    /// `input.target: [B, d]`, `input.rows: [N, d]`; each returned vector is `[B, d]`.
    ///
    /// # Errors
    /// The encoder's own; shapes are checked where a model takes a batch.
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest>;

    /// Number of vectors that `forward` returns.
    fn vectors(&self) -> usize {
        1
    }

    /// Number of evidence columns that `forward` returns.
    fn evidence(&self) -> usize {
        0
    }

    /// MACs of one scoring pass over `input`, as a formula; must equal what `forward` executes. Most encoders need no
    /// more than the lengths; where routing decides, the values do too.
    ///
    /// # Errors
    /// As [`Self::forward`], for encoders whose cost depends on routing.
    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost>;

    /// Whether an encoder registered by name is to see its rows with positions added ([`crate::layers::Positioned`]), so
    /// that order is no private advantage of what routes by it. One that knows order by itself says no, as does one whose
    /// paper leaves it out on purpose.
    fn wants_positions(&self) -> bool {
        true
    }

    /// Whether this encoder can read samples that share a history ([`crate::Events::histories`]), so that one user's history
    /// is encoded once for many candidates: what it makes of a row must not depend on the target, what depends on it must go
    /// by [`crate::Events::spans`]. One that says no is given a copy of the history for each sample. A mixture says yes if
    /// its experts do.
    fn shares_histories(&self) -> bool {
        false
    }

    /// Whether training compares the samples of a shard with each other (a loss over how often each expert is chosen, a limit
    /// for each expert). Shards are then as large as [`crate::TrainConfig::shards`] says; else they are as small as a
    /// cache. Asked of every encoder inside a model: a mixture never has to pass it on.
    fn compares_samples(&self) -> bool {
        false
    }

    /// The encoders inside this one, each once. They are visited by the model: a mixture never has to pass
    /// [`Self::after_step`] and [`Self::prepare_scoring`] on.
    fn children(&self) -> Vec<&dyn SequenceEncoder> {
        Vec::new()
    }

    /// The theme of each behaviour, for encoders that give them one; `None` for all others. It is asked of a scoring pass,
    /// and of every encoder inside a model: a mixture never has to pass it on.
    fn themes(&self, _pass: &mut Pass<'_>, _events: &Events) -> Option<RowThemes> {
        None
    }

    /// Called once after each optimizer step with what the passes of this step recorded, in shard order: changes this
    /// encoder's own state (a codebook).
    fn after_step(
        &self,
        _params: &mut Params,
        _tables: &mut Tables,
        _updates: &[StateUpdate],
        _at: StepInfo,
    ) {
    }

    /// Called before scoring: derives what this encoder's scoring looks up (an item → theme table) from the weights.
    fn prepare_scoring(&self, _params: &mut Params, _tables: &Tables) {}
}

/// Visits `encoder` and everything inside it, parents first.
pub(crate) fn visit<'e>(encoder: &'e dyn SequenceEncoder, with: &mut dyn FnMut(&'e dyn SequenceEncoder)) {
    with(encoder);
    encoder.children().into_iter().for_each(|child| visit(child, with));
}

/// Hands out parameters, buffers and tables under a name path while a model is built.
#[derive(Debug)]
pub struct Builder<'a> {
    pub(crate) params: &'a mut Params,
    pub(crate) tables: &'a mut Tables,
    catalog: &'a Arc<Catalog>,
    width: usize,
    seed: u64,
    path: String,
}

impl<'a> Builder<'a> {
    /// A builder at the root of the name tree; `width` is d, the width of the encoder's input vectors.
    pub fn new(
        params: &'a mut Params,
        tables: &'a mut Tables,
        catalog: &'a Arc<Catalog>,
        width: usize,
        seed: u64,
    ) -> Self {
        Self { params, tables, catalog, width, seed, path: String::new() }
    }

    /// A builder one level down.
    pub fn at(&mut self, name: &str) -> Builder<'_> {
        let (path, width) = (self.name(name), self.width);
        self.child(path, width)
    }

    /// A builder at the same place for an encoder whose input vectors have another width.
    pub fn with_width(&mut self, width: usize) -> Builder<'_> {
        let path = self.path.clone();
        self.child(path, width)
    }

    fn child(&mut self, path: String, width: usize) -> Builder<'_> {
        let Self { params, tables, catalog, seed, .. } = self;
        Builder { params, tables, catalog, width, seed: *seed, path }
    }

    /// Where in the name tree this is, as in `encoder.theme`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Width d of target and behaviour vectors.
    pub fn width(&self) -> usize {
        self.width
    }

    /// What is known of the items.
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.catalog
    }

    /// Seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A trained parameter `[rows, cols]`.
    pub fn param(&mut self, name: &str, rows: usize, cols: usize, init: Init) -> ParamId {
        let name = self.name(name);
        self.params.add(self.seed, &name, rows, cols, init)
    }

    /// A trained parameter that starts at given values.
    pub fn param_of(&mut self, name: &str, cols: usize, values: Vec<f32>) -> ParamId {
        let id = self.param(name, values.len() / cols, cols, Init::Zeros);
        self.params.set(id, values);
        id
    }

    /// A buffer `[rows, cols]`, drawn from its own named stream.
    pub fn buffer(&mut self, name: &str, rows: usize, cols: usize, init: Init) -> BufferId {
        let (mut stream, name) = (self.stream(name), self.name(name));
        let values = init.values(rows, cols, &mut stream);
        self.params.add_buffer(&name, cols, values)
    }

    /// A stream of random numbers for the start of the value `name`.
    pub fn stream(&self, name: &str) -> ChaCha8Rng {
        mos_data::rng::stream(self.seed, &format!("init/{}", self.name(name)), &[])
    }

    /// An empty buffer for what [`SequenceEncoder::prepare_scoring`] derives; no part of a checkpoint.
    pub fn derived(&mut self, name: &str, cols: usize) -> BufferId {
        let name = self.name(name);
        self.params.add_derived(&name, cols)
    }

    /// A buffer with given values.
    pub fn buffer_of(&mut self, name: &str, cols: usize, values: Vec<f32>) -> BufferId {
        let name = self.name(name);
        self.params.add_buffer(&name, cols, values)
    }

    /// An embedding table with one row per item.
    ///
    /// # Errors
    /// [`Error::Config`] if `init` asks for content vectors that the catalog lacks.
    pub fn item_table(&mut self, name: &str, dim: usize, init: TableInit) -> Result<TableId> {
        let name = self.name(name);
        self.tables.add_item_table(self.seed, &name, self.catalog, dim, init)
    }

    /// An embedding table with one row per value of a feature, at zero; row 0, no value, stays there.
    pub(crate) fn value_table(&mut self, name: &str, rows: usize, dim: usize) -> TableId {
        let name = self.name(name);
        self.tables.add(&name, dim, vec![0.0; rows * dim], true)
    }

    /// A table of values that are not trained, row-major.
    pub(crate) fn frozen_table(&mut self, name: &str, dim: usize, values: Vec<f32>) -> TableId {
        let name = self.name(name);
        self.tables.add(&name, dim, values, false)
    }

    fn name(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// Checks that a vector width divides into heads.
///
/// # Errors
/// [`Error::Config`] naming `field`.
pub fn check_heads(field: &str, heads: usize, width: usize) -> Result<()> {
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(Error::config(field, heads, format!("must divide the width {width}")));
    }
    Ok(())
}

/// Checks that sizes are positive.
///
/// # Errors
/// [`Error::Config`] naming `<of>.<field>` of the first that is not.
pub fn check_sizes(of: &str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((field, _)) => Err(Error::config(format!("{of}.{field}"), 0, "must be at least 1")),
        None => Ok(()),
    }
}

/// Checks a dropout rate.
///
/// # Errors
/// [`Error::Config`] naming `field` outside [0, 1).
pub fn check_rate(field: &str, rate: f32) -> Result<()> {
    if (0.0..1.0).contains(&rate) { Ok(()) } else { Err(Error::config(field, rate, "must lie in [0, 1)")) }
}

/// Checks the weight of a loss.
///
/// # Errors
/// [`Error::Config`] naming `field` if it is negative or not finite.
pub fn check_weight(field: &str, weight: f32) -> Result<()> {
    if weight >= 0.0 && weight.is_finite() {
        Ok(())
    } else {
        Err(Error::config(field, weight, "must be 0 or more"))
    }
}
