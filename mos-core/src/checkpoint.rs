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
/// [`Error::Io`] when the file cannot be written.
pub fn save<S: ::std::hash::BuildHasher>(
    model: &CtrModel,
    path: &Path,
    metadata: HashMap<String, String, S>,
) -> Result<()> {
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

/// Reads weights into a model built from the same configuration, and returns the metadata.
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
        // The length of a lookup buffer depends on whether scoring was prepared.
        if view.shape() != shape && !name.starts_with("buffer.") {
            return Err(refuse(path, &format!("{name} is {:?}, the model needs {shape:?}", view.shape())));
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
    }
    for id in params.buffer_ids() {
        let values = take(format!("buffer.{}", params.buffer_name(id).0));
        params.set_buffer(id, values);
    }
    for table in &mut model.tables_mut().tables {
        table.values = take(format!("table.{}", table.name));
    }
    Ok(header.metadata().clone().unwrap_or_default())
}

/// All weights of a model in a fixed order: name, shape, values.
pub fn entries(model: &CtrModel) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let params = model.params();
    let dense = params.ids().map(|id| {
        let value = params.get(id);
        (format!("param.{}", params.name(id)), vec![value.rows(), value.cols()], value.to_vec())
    });
    let buffers = params.buffer_ids().map(|id| {
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
