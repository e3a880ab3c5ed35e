//! Weights on disk: one safetensors file, names by path, metadata as text.
//!
//! Readable from Python with `safetensors.numpy.load_file`. Dense parameters are `param.<name>`, buffers
//! `buffer.<name>`, embedding tables `table.<name>`. A file is written beside its target and then renamed.
//! [`training`] writes what a training goes on from, in the same form.

pub mod training;

use std::{borrow::Cow, collections::HashMap, path::Path};

use safetensors::{Dtype, SafeTensors, View, serialize_to_file};

use crate::{CtrModel, Error, Result, model::Weights};

/// Writes a model's weights and `metadata`.
///
/// # Errors
/// [`Error::NotPrepared`] after a training step without [`CtrModel::prepare_scoring`], [`Error::Io`] when the file cannot
/// be written.
pub fn save<S: ::std::hash::BuildHasher>(
    model: &CtrModel,
    path: &Path,
    metadata: HashMap<String, String, S>,
) -> Result<()> {
    model.check_prepared()?;
    let weights = model.weights();
    let tensors = shapes(model).zip(weights.values()).map(|((name, shape), values)| (name, shape, values));
    write(path, tensors, metadata.into_iter().collect())
}

/// Reads weights into a model built from the same configuration, makes it ready for scoring, and returns the metadata.
/// The moments of the optimizer are no part of the file: training that goes on starts with fresh ones.
///
/// # Errors
/// [`Error::Checkpoint`] when a name or shape is missing or differs; the model is then unchanged.
pub fn load(model: &mut CtrModel, path: &Path) -> Result<HashMap<String, String>> {
    load_bytes(model, path, &read(path)?)
}

/// The same from the bytes of the file.
pub(crate) fn load_bytes(model: &mut CtrModel, path: &Path, bytes: &[u8]) -> Result<HashMap<String, String>> {
    let file = File::open(path, bytes)?;
    let weights = file.weights(model, "")?;
    model.moments_mut().flatten().for_each(|moment| moment.fill(0.0));
    model.set_step(0);
    model.restore(weights);
    Ok(file.metadata)
}

/// All weights of a model in a fixed order: name, shape, values. What scoring derives from them is left out.
pub fn entries(model: &CtrModel) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let Weights { params, buffers, tables } = model.weights();
    let values = params.into_iter().chain(buffers).chain(tables);
    shapes(model).zip(values).map(|((name, shape), values)| (name, shape, values)).collect()
}

/// Name and shape of every weight, in the order of [`entries`].
fn shapes(model: &CtrModel) -> impl Iterator<Item = (String, Vec<usize>)> {
    let params = model.params();
    let dense = params.ids().map(|id| {
        let value = params.get(id);
        (format!("param.{}", params.name(id)), vec![value.rows(), value.cols()])
    });
    let buffers = params.stored_buffers().map(|id| {
        let (name, cols) = params.buffer_name(id);
        (format!("buffer.{name}"), vec![params.buffer(id).len() / cols, cols])
    });
    let tables = model.tables().tables.iter();
    dense
        .chain(buffers)
        .chain(tables.map(|t| (format!("table.{}", t.name), vec![t.values.len() / t.dim, t.dim])))
}

/// Values on their way to a file: turned into bytes one tensor at a time.
struct Tensor<V> {
    shape: Vec<usize>,
    values: V,
}

impl<V: AsRef<[f32]>> View for Tensor<V> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.as_ref().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        4 * self.values.as_ref().len()
    }
}

/// Writes named tensors. The library writes beside `path`, into `.tmp…`, and then renames.
fn write<V: AsRef<[f32]>>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, V)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let tensors = tensors.into_iter().map(|(name, shape, values)| (name, Tensor { shape, values }));
    serialize_to_file(tensors, Some(metadata), path).map_err(|e| refuse(path, &e))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| unreachable_file(path, source))
}

/// A file that is being read.
struct File<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> File<'a> {
    fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| refuse(path, &e))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| refuse(path, &e))?;
        Ok(Self { path, tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    /// The tensor `name`, which has to have this shape.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.tensors.tensor(name).map_err(|e| refuse(self.path, &format!("{name}: {e}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let (dtype, found) = (view.dtype(), view.shape());
            let message = format!("{name} is {found:?} of {dtype}, the model needs {shape:?} of F32");
            return Err(refuse(self.path, &message));
        }
        let (values, _) = view.data().as_chunks::<4>();
        Ok(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// The weights whose names begin with `prefix`, for a model of this shape.
    fn weights(&self, model: &CtrModel, prefix: &str) -> Result<Weights> {
        let mut weights = Weights { params: Vec::new(), buffers: Vec::new(), tables: Vec::new() };
        for (name, shape) in shapes(model) {
            let values = self.tensor(&format!("{prefix}{name}"), &shape)?;
            let kind = match name.split('.').next() {
                Some("param") => &mut weights.params,
                Some("buffer") => &mut weights.buffers,
                _ => &mut weights.tables,
            };
            kind.push(values);
        }
        Ok(weights)
    }
}

fn unreachable_file(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.display().to_string(), source }
}

fn refuse(path: &Path, message: &impl ToString) -> Error {
    Error::Checkpoint { path: path.display().to_string(), message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mos_data::{Batch, Catalog};
    use safetensors::{serialize, tensor::TensorView};

    use super::*;
    use crate::{Builder, HeadConfig, ModelConfig, TrainConfig, testing::Mean};

    fn model(dim: usize) -> CtrModel {
        let catalog = Arc::new(Catalog { items: 5, behaviours: 1, ..Catalog::default() });
        let config = ModelConfig { dim, head: HeadConfig::Mlp { hidden: vec![4] }, ..ModelConfig::default() };
        CtrModel::new(&config, &catalog, 1, |_: &mut Builder<'_>| Ok(Box::new(Mean))).unwrap()
    }

    fn batch(item: u32, behaviour: u8) -> Batch {
        Batch {
            users: vec![0],
            targets: vec![1],
            labels: vec![1.0],
            target_times: vec![1],
            contexts: Vec::new(),
            offsets: vec![0, 1],
            items: vec![item],
            behaviours: vec![behaviour],
            sessions: vec![0],
            times: vec![0],
            truncated: 0,
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(&model(8), &path, HashMap::<String, String>::new()).unwrap();
        let mut other = model(4);
        let before = other.score(&batch(2, 0)).unwrap();
        let error = load(&mut other, &path).unwrap_err().to_string();
        assert!(error.contains("the model needs"), "{error}");
        // The same numbers as 16-bit words: the right shape, half the bytes.
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> =
            entries(&other).into_iter().map(|(name, shape, v)| (name, shape, vec![0; 2 * v.len()])).collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            (name.as_str(), TensorView::new(Dtype::F16, shape.clone(), data).unwrap())
        });
        std::fs::write(&path, serialize(views, None).unwrap()).unwrap();
        let error = load(&mut other, &path).unwrap_err().to_string();
        assert!(error.contains("F16"), "{error}");
        std::fs::write(&path, b"not a model").unwrap();
        assert!(load(&mut other, &path).is_err());
        assert_eq!(other.score(&batch(2, 0)).unwrap(), before);
    }

    #[test]
    fn training_goes_on_from_a_file_alike_whatever_the_model_did_before() {
        let folder = tempfile::tempdir().unwrap();
        let (path, train) = (folder.path().join("model.safetensors"), TrainConfig::default());
        save(&model(4), &path, HashMap::<String, String>::new()).unwrap();
        let goes_on = |steps: usize| {
            let mut subject = model(4);
            for _ in 0..steps {
                subject.train_step(&batch(2, 0), &train, 9, 9).unwrap();
            }
            load(&mut subject, &path).unwrap();
            subject.train_step(&batch(3, 0), &train, 9, 9).unwrap();
            entries(&subject)
        };
        assert_eq!(goes_on(0), goes_on(5));
    }

    #[test]
    fn an_interrupted_training_goes_on_to_the_same_bits_with_its_best_weights() {
        let folder = tempfile::tempdir().unwrap();
        let (path, train) = (folder.path().join("training.safetensors"), TrainConfig::default());
        let step = |m: &mut CtrModel, n: u32| {
            m.train_step(&batch(1 + n % 4, 0), &train, 9, 9).unwrap();
        };
        let mut straight = model(4);
        (0..3).for_each(|n| step(&mut straight, n));
        let best = straight.weights();
        (3..5).for_each(|n| step(&mut straight, n));
        assert!(matches!(training::save(&straight, None, &path, HashMap::new()), Err(Error::NotPrepared)));
        straight.prepare_scoring();
        let said = HashMap::from([("epoch".to_owned(), "2".to_owned())]);
        training::save(&straight, Some(&best), &path, said.clone()).unwrap();
        (5..9).for_each(|n| step(&mut straight, n));

        let mut resumed = model(4);
        step(&mut resumed, 7);
        let (read, metadata) = training::load(&mut resumed, &path).unwrap();
        assert_eq!((read.unwrap(), metadata, resumed.step()), (best, said, 5));
        (5..9).for_each(|n| step(&mut resumed, n));
        assert_eq!(entries(&resumed), entries(&straight));
        assert!(resumed.moments().eq(straight.moments()));

        save(&model(4), &path, HashMap::<String, String>::new()).unwrap();
        let error = training::load(&mut resumed, &path).unwrap_err().to_string();
        assert!(error.contains("adam.m.param."), "weights alone are no training: {error}");
    }

    #[test]
    fn what_cannot_be_trained_or_scored_is_an_error_and_no_panic() {
        let (mut subject, train) = (model(4), TrainConfig::default());
        assert!(subject.train_step(&Batch { offsets: vec![0], ..Batch::default() }, &train, 1, 1).is_err());
        assert!(subject.score(&Batch::default()).is_err());
        assert_eq!(
            subject.score(&Batch { offsets: vec![0], ..Batch::default() }).unwrap(),
            Vec::<f32>::new()
        );
        assert!(subject.score(&batch(5, 0)).is_err() && subject.score(&batch(1, 1)).is_err());
        for broken in [
            Batch { items: vec![1, 2], ..batch(1, 0) },
            Batch { users: Vec::new(), ..batch(1, 0) },
            Batch { offsets: vec![1, 1], ..batch(1, 0) },
            Batch {
                offsets: vec![0, 2, 1],
                targets: vec![1; 2],
                labels: vec![1.0; 2],
                target_times: vec![1; 2],
                users: vec![0; 2],
                ..batch(1, 0)
            },
        ] {
            assert!(subject.score(&broken).is_err(), "{broken:?}");
        }
        for broken in [
            TrainConfig { clip: 0.0, ..train.clone() },
            TrainConfig { clip: f32::NAN, ..train.clone() },
            TrainConfig { shards: 0, ..train.clone() },
            TrainConfig { adam: crate::Adam { lr: -1.0, ..train.adam }, ..train.clone() },
        ] {
            assert!(subject.train_step(&batch(1, 0), &broken, 1, 1).is_err(), "{broken:?}");
        }
        subject.train_step(&batch(1, 0), &train, 1, 1).unwrap();
        assert!(matches!(subject.score(&batch(1, 0)), Err(Error::NotPrepared)));
        subject.prepare_scoring();
        assert!(subject.score(&batch(1, 0)).is_ok());
    }
}
