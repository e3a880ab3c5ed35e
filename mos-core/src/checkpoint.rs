//! Weights on disk: one safetensors file, names by path, metadata as text.
//!
//! Readable from Python with `safetensors.numpy.load_file`. Dense parameters are `param.<name>`, buffers
//! `buffer.<name>`, embedding tables `table.<name>`. A file is written beside its target and then renamed.

use std::{collections::HashMap, path::Path};

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

use crate::{CtrModel, Error, Result};

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
    let io = |source| Error::Io { path: path.display().to_string(), source };
    let metadata = metadata.into_iter().collect();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = entries(model)
        .into_iter()
        .map(|(name, shape, values)| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| refuse(path, &e))?;
    let file = serialize(views, Some(metadata)).map_err(|e| refuse(path, &e))?;
    let part = path.with_extension("part");
    std::fs::write(&part, file).and_then(|()| std::fs::rename(&part, path)).map_err(io)
}

/// Reads weights into a model built from the same configuration, makes it ready for scoring, and returns the metadata.
/// The moments of the optimizer are no part of the file: training that goes on starts with fresh ones.
///
/// # Errors
/// [`Error::Checkpoint`] when a name or shape is missing or differs; the model is then unchanged.
pub fn load(model: &mut CtrModel, path: &Path) -> Result<HashMap<String, String>> {
    let file =
        std::fs::read(path).map_err(|source| Error::Io { path: path.display().to_string(), source })?;
    let (_, header) = SafeTensors::read_metadata(&file).map_err(|e| refuse(path, &e))?;
    let tensors = SafeTensors::deserialize(&file).map_err(|e| refuse(path, &e))?;
    let mut read = HashMap::new();
    for (name, shape, _) in entries(model) {
        let view = tensors.tensor(&name).map_err(|e| refuse(path, &format!("{name}: {e}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let (dtype, found) = (view.dtype(), view.shape());
            return Err(refuse(
                path,
                &format!("{name} is {found:?} of {dtype}, the model needs {shape:?} of F32"),
            ));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        read.insert(name, values);
    }
    let mut take = |name: String| read.remove(&name).unwrap_or_default();
    let params = model.params_mut();
    for id in params.ids() {
        let values = take(format!("param.{}", params.name(id)));
        params.set(id, values);
        params.forget_moments(id);
    }
    for id in params.buffer_ids() {
        if !params.is_derived(id) {
            let values = take(format!("buffer.{}", params.buffer_name(id).0));
            params.set_buffer(id, values);
        }
    }
    for table in &mut model.tables_mut().tables {
        table.values = take(format!("table.{}", table.name));
        table.m.fill(0.0);
        table.v.fill(0.0);
    }
    model.forget_steps();
    model.prepare_scoring();
    Ok(header.metadata().clone().unwrap_or_default())
}

/// All weights of a model in a fixed order: name, shape, values. What scoring derives from them is left out.
pub fn entries(model: &CtrModel) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let params = model.params();
    let dense = params.ids().map(|id| {
        let value = params.get(id);
        (format!("param.{}", params.name(id)), vec![value.rows(), value.cols()], value.to_vec())
    });
    let buffers = params.buffer_ids().filter(|id| !params.is_derived(*id)).map(|id| {
        let ((name, cols), values) = (params.buffer_name(id), params.buffer(id));
        (format!("buffer.{name}"), vec![values.len() / cols, cols], values.to_vec())
    });
    let tables = model
        .tables()
        .tables
        .iter()
        .map(|t| (format!("table.{}", t.name), vec![t.values.len() / t.dim, t.dim], t.values.clone()));
    dense.chain(buffers).chain(tables).collect()
}

fn refuse(path: &Path, message: &impl ToString) -> Error {
    Error::Checkpoint { path: path.display().to_string(), message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mos_data::{Batch, Catalog};

    use super::*;
    use crate::{
        Builder, Cost, HeadConfig, Input, Interest, ModelConfig, Pass, SequenceEncoder, TrainConfig, ops,
    };

    #[derive(Debug)]
    struct Mean;

    impl SequenceEncoder for Mean {
        fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
            Ok(Interest::one(ops::segment_mean(&mut pass.tape, &input.rows, &input.events.offsets)))
        }

        fn cost(&self, _: &mut Pass<'_>, _: &Input) -> Result<Cost> {
            Ok(Cost::default())
        }
    }

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
