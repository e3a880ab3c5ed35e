//! A trained model on disk.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.safetensors` | weights, see [`crate::checkpoint`] |
//! | `vocabulary.json.gz` | raw ids and behaviour names ([`mos_data::Vocabulary`]), categories and planted themes of items |
//! | `model.json` | what is built, how histories are read, and the SHA-256 of the other two |
//!
//! The folder is written beside its place and then renamed. Of the attributes of items those are kept that the model reads, vectors
//! as a table of the weights. Other vectors are not kept: what a model makes of them is in its weights.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use mos_data::{Catalog, Content, FeatureValues, HistoryRule, ItemFeature, Vocabulary, rng::hex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{Builder, CtrModel, Error, ModelConfig, Result, SequenceEncoder, checkpoint};

/// Builds the encoder that a model folder names.
pub trait EncoderSource {
    /// Names and options of an encoder and the mixture around it.
    type Spec: Serialize + DeserializeOwned;

    /// Builds it.
    ///
    /// # Errors
    /// [`Error::Config`] for names or options that do not exist.
    fn build(&self, builder: &mut Builder<'_>, spec: &Self::Spec) -> Result<Box<dyn SequenceEncoder>>;
}

const FORMAT: &str = "mos-model";
const VERSION: u64 = 1;
const MANIFEST: &str = "model.json";
const WEIGHTS: &str = "model.safetensors";
const VOCABULARY: &str = "vocabulary.json.gz";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    version: u64,
    /// Encoder and mixture.
    spec: Value,
    model: ModelConfig,
    seed: u64,
    history: HistoryRule,
    /// Width of the items' content vectors.
    content: Option<usize>,
    category_count: usize,
    /// SHA-256 of each other file.
    files: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Items<V> {
    vocabulary: V,
    /// Category of each item, 0 = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<u32>>,
    /// Planted theme of each item, 65535 = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    themes: Option<Vec<u16>>,
    /// Further attributes that the model reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Attribute>,
}

/// An attribute of the items; see [`mos_data::FeatureValues`].
#[derive(Serialize, Deserialize)]
struct Attribute {
    name: String,
    #[serde(flatten)]
    values: Values,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Values {
    One { ids: Vec<u32>, count: usize },
    Many { offsets: Vec<usize>, ids: Vec<u32>, count: usize },
    Dense { dim: usize },
}

impl Attribute {
    fn of(feature: &ItemFeature) -> Self {
        let values = match feature.values.clone() {
            FeatureValues::One { ids, count } => Values::One { ids, count },
            FeatureValues::Many { offsets, ids, count } => Values::Many { offsets, ids, count },
            FeatureValues::Dense(Content { dim, .. }) => Values::Dense { dim },
        };
        Self { name: feature.name.clone(), values }
    }

    /// The attribute of `rows` items; `None` where its columns do not fit.
    fn feature(self, rows: usize) -> Option<ItemFeature> {
        let known = |ids: &[u32], count: usize| ids.iter().all(|id| (*id as usize) < count);
        let values = match self.values {
            Values::One { ids, count } if ids.len() == rows && known(&ids, count) => {
                FeatureValues::One { ids, count }
            }
            Values::Many { offsets, ids, count }
                if offsets.len() == rows + 1
                    && offsets[0] == 0
                    && offsets[rows] == ids.len()
                    && offsets.is_sorted()
                    && known(&ids, count) =>
            {
                FeatureValues::Many { offsets, ids, count }
            }
            Values::Dense { dim } => FeatureValues::Dense(Content { dim, values: vec![0.0; rows * dim] }),
            _ => return None,
        };
        Some(ItemFeature { name: self.name, values })
    }
}

/// Writes a model folder. One that stands there already is replaced.
///
/// # Errors
/// [`Error::NotPrepared`] after a training step without [`CtrModel::prepare_scoring`], [`Error::Io`] when something cannot be
/// written, [`Error::Checkpoint`] where something else is in the way.
pub fn save(
    folder: &Path,
    model: &CtrModel,
    spec: &impl Serialize,
    vocabulary: &Vocabulary,
    history: &HistoryRule,
) -> Result<()> {
    check_place(folder)?;
    check_model(model.config())?;
    let catalog = model.catalog();
    let part = beside(folder, "part");
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir_all(&part).map_err(|e| io(&part, e))?;
    checkpoint::save(model, &part.join(WEIGHTS), HashMap::<String, String>::new())?;
    let read = catalog.features.iter().filter(|f| model.config().attributes.contains(&f.name));
    let items = Items {
        vocabulary,
        categories: catalog.categories.clone(),
        themes: catalog.themes.clone(),
        attributes: read.map(Attribute::of).collect(),
    };
    let path = part.join(VOCABULARY);
    write_compressed(&path, &items).map_err(|e| io(&path, e))?;
    let mut files = BTreeMap::new();
    for name in [WEIGHTS, VOCABULARY] {
        files.insert(name.to_owned(), sha256(&part.join(name))?);
    }
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        spec: serde_json::to_value(spec).map_err(|e| refuse(folder, &e))?,
        model: model.config().clone(),
        seed: model.seed(),
        history: history.clone(),
        content: catalog.content.as_ref().map(|c| c.dim),
        category_count: catalog.category_count,
        files,
    };
    let path = part.join(MANIFEST);
    let json = serde_json::to_string_pretty(&manifest).map_err(|e| refuse(&path, &e))? + "\n";
    std::fs::write(&path, json).map_err(|e| io(&path, e))?;
    let old = beside(folder, "old");
    let _ = std::fs::remove_dir_all(&old);
    if folder.join(MANIFEST).is_file() {
        std::fs::rename(folder, &old).map_err(|e| io(folder, e))?;
    }
    std::fs::rename(&part, folder).map_err(|e| io(folder, e))?;
    let _ = std::fs::remove_dir_all(&old);
    Ok(())
}

/// Refuses a model that [`save`] would refuse, before it is trained.
///
/// # Errors
/// [`Error::Config`] where the model reads contexts: a folder knows no names for their values.
pub fn check_model(config: &ModelConfig) -> Result<()> {
    match config.contexts.first() {
        None => Ok(()),
        Some(field) => Err(Error::config(
            "model.contexts",
            field,
            "a model folder has no names for the values of contexts, so that nobody could ask it: leave contexts out, or \
             do not keep the model",
        )),
    }
}

/// Refuses a place that [`save`] would refuse, before the work, and makes the folder that it stands in.
///
/// # Errors
/// [`Error::Checkpoint`] where something else is in the way, [`Error::Io`] for a folder that cannot be made.
pub fn check_place(folder: &Path) -> Result<()> {
    let filled = || std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    if folder.file_name().is_none() || folder.is_file() || (!folder.join(MANIFEST).is_file() && filled()) {
        return Err(refuse(folder, "something that is no model folder is in the way: name another folder"));
    }
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            std::fs::create_dir_all(parent).map_err(|e| io(parent, e))
        }
        _ => Ok(()),
    }
}

/// Reads a model folder.
///
/// # Errors
/// [`Error::Io`], and [`Error::Checkpoint`] for a folder that is damaged, of another version or no model.
pub fn load<E: EncoderSource>(folder: &Path, encoders: &E) -> Result<(CtrModel, Vocabulary, HistoryRule)> {
    let path = folder.join(MANIFEST);
    if !path.is_file() {
        let message = if folder.exists() { "holds no model.json" } else { "does not exist" };
        return Err(refuse(
            folder,
            &format!("{message}: name the folder that was written for a trained model"),
        ));
    }
    let text = std::fs::read(&path).map_err(|e| io(&path, e))?;
    let manifest: Value =
        serde_json::from_slice(&text).map_err(|e| refuse(&path, &format!("{e}: {DAMAGED}")))?;
    if manifest["format"] != FORMAT {
        return Err(refuse(
            &path,
            "describes something else than a model of this program: name another folder",
        ));
    }
    if manifest["version"] != VERSION {
        let found = &manifest["version"];
        let message = format!(
            "is of version {found}, this program reads version {VERSION}: use the release that wrote it, or train again"
        );
        return Err(refuse(&path, &message));
    }
    let manifest: Manifest =
        serde_json::from_value(manifest).map_err(|e| refuse(&path, &format!("{e}: {DAMAGED}")))?;
    // What is parsed is what was hashed.
    let checked = |name: &str| -> Result<Vec<u8>> {
        let file = folder.join(name);
        let Some(wanted) = manifest.files.get(name) else {
            return Err(refuse(&path, &format!("does not name {name}: {DAMAGED}")));
        };
        let bytes = std::fs::read(&file).map_err(|e| io(&file, e))?;
        if hex(Sha256::new_with_prefix(&bytes)) != *wanted {
            let message = format!("is not the file that model.json was written with: {DAMAGED}");
            return Err(refuse(&file, &message));
        }
        Ok(bytes)
    };
    let (weights, packed) = (checked(WEIGHTS)?, checked(VOCABULARY)?);
    let path = folder.join(VOCABULARY);
    let mut text = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut text).map_err(|e| io(&path, e))?;
    let Items::<Vocabulary> { vocabulary, categories, themes, attributes } =
        serde_json::from_slice(&text).map_err(|e| refuse(&path, &e))?;
    let rows = vocabulary.rows();
    // The vectors themselves are in the weights; only their width decides what is built.
    let content = manifest.content.map(|dim| Content { dim, values: vec![0.0; rows * dim] });
    let (category_count, behaviours) = (manifest.category_count, vocabulary.behaviours());
    let columns = [categories.as_ref().map(Vec::len), themes.as_ref().map(Vec::len)];
    let features: Option<Vec<ItemFeature>> = attributes.into_iter().map(|a| a.feature(rows)).collect();
    let Some(features) = features.filter(|_| columns.into_iter().flatten().all(|len| len == rows)) else {
        return Err(refuse(&path, &format!("its columns do not fit together: {DAMAGED}")));
    };
    let catalog = Arc::new(Catalog {
        items: rows,
        categories,
        category_count,
        content,
        themes,
        features,
        behaviours,
        ..Catalog::default()
    });
    let path = folder.join(MANIFEST);
    let spec: E::Spec = serde_json::from_value(manifest.spec).map_err(|e| refuse(&path, &e))?;
    let mut model =
        CtrModel::new(&manifest.model, &catalog, manifest.seed, |builder| encoders.build(builder, &spec))
            .map_err(|e| refuse(&path, &format!("{e}: was it written by a program with other plug-ins?")))?;
    checkpoint::load_bytes(&mut model, &folder.join(WEIGHTS), &weights)?;
    Ok((model, vocabulary, manifest.history))
}

const DAMAGED: &str = "the folder is damaged, copy or write it again";

/// A neighbour of `folder` with a name that nobody else gives.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(format!(".mos-{ending}"));
    folder.with_file_name(name)
}

fn write_compressed(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut gz = std::io::BufWriter::new(GzEncoder::new(file, Compression::default()));
    serde_json::to_writer(&mut gz, value)?;
    gz.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()?.flush()
}

fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).map_err(|e| io(path, e))?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).map_err(|e| io(path, e))? {
            0 => return Ok(hex(hash)),
            n => hash.update(&chunk[..n]),
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.display().to_string(), source }
}

fn refuse(path: &Path, message: &(impl ToString + ?Sized)) -> Error {
    Error::Checkpoint { path: path.display().to_string(), message: message.to_string() }
}
