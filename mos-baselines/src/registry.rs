//! Names of encoders and mixtures, and how each is built.

use mos_core::{
    Builder, Error, Result, SequenceEncoder,
    layers::Positioned,
    mos::{Mos, MosConfig, Themes},
};
use mos_data::nearest_name;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    encoders::{din::Din, mean::Mean, sdim::Sdim, twin::Twin},
    mixtures::{
        Expert,
        gshard::{GShard, GShardConfig},
        scales::Scales,
    },
};

/// One cell of a table: an encoder, the mixture around it, and their options (empty = defaults).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the encoder.
    pub encoder: String,
    /// Name of the mixture; `none` = the encoder by itself.
    pub mixture: String,
    /// Options of the encoder.
    #[serde(default)]
    pub encoder_options: Value,
    /// Options of the mixture.
    #[serde(default)]
    pub mixture_options: Value,
}

impl Spec {
    /// A cell with default options.
    pub fn new(encoder: &str, mixture: &str) -> Self {
        let (encoder_options, mixture_options) = (Value::Null, Value::Null);
        Self { encoder: encoder.into(), mixture: mixture.into(), encoder_options, mixture_options }
    }
}

type MakeEncoder = fn(&mut Builder<'_>, &Value) -> Result<Box<dyn SequenceEncoder>>;
type MakeMixture = fn(&mut Builder<'_>, &Value, &mut Expert<'_>) -> Result<Box<dyn SequenceEncoder>>;

/// Every encoder: name, one line, how it is built.
const ENCODERS: &[(&str, &str, MakeEncoder)] = &[
    ("mean", "mean pooling of the history", |b, o| Ok(Box::new(Mean::new(b, &options("mean", o)?)?))),
    ("din", "DIN: an MLP weighs each behaviour against the target", |b, o| {
        Ok(Box::new(Din::new(b, &options("din", o)?)?))
    }),
    ("twin", "TWIN: target attention over the top-k behaviours", |b, o| {
        Ok(Box::new(Twin::new(b, &options("twin", o)?)?))
    }),
    ("sdim", "SDIM: behaviours that share the target's hash codes", |b, o| {
        Ok(Box::new(Sdim::new(b, &options("sdim", o)?)?))
    }),
];

/// Every mixture: name, one line, how it is built.
const MIXTURES: &[(&str, &str, MakeMixture)] = &[
    ("none", "the encoder by itself", |b, _, expert| expert(b)),
    ("scales", "global and short experts, no themes (control)", |b, o, e| {
        Ok(Box::new(Scales::new(b, &options("scales", o)?, e)?))
    }),
    ("gshard", "GShard at sequence level, with the short branch that MoS has", |b, o, e| {
        Ok(Box::new(GShard::new(b, &options("gshard", o)?, e)?))
    }),
    ("gshard-bare", "GShard at sequence level, top 2 of 4, no short branch", |b, o, e| {
        let bare = GShardConfig { short: 0, top_k: 2, ..GShardConfig::default() };
        Ok(Box::new(GShard::new(b, &merged("gshard-bare", &bare, o)?, e)?))
    }),
    ("mos", "MoS: theme-aware routing by neighbour mutual information", |b, o, e| {
        mos(b, "mos", MosConfig::mos(), o, e)
    }),
    ("mos-vq", "MoS with a VQ codebook, sessions routed, all themes run and gated", |b, o, e| {
        mos(b, "mos-vq", MosConfig::vq(), o, e)
    }),
    ("random_themes", "MoS with a random theme for each item (control)", |b, o, e| {
        mos(b, "random_themes", MosConfig { themes: Themes::Random, ..MosConfig::mos() }, o, e)
    }),
    ("oracle_themes", "MoS with the planted themes of synthetic data (control)", |b, o, e| {
        mos(b, "oracle_themes", MosConfig { themes: Themes::Oracle, ..MosConfig::mos() }, o, e)
    }),
    ("same_category", "MoS with the item's category as theme (control; SIM's hard search)", |b, o, e| {
        mos(b, "same_category", MosConfig { themes: Themes::Category, ..MosConfig::mos() }, o, e)
    }),
];

/// Names and lines of all encoders.
pub fn encoders() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENCODERS.iter().map(|(name, line, _)| (*name, *line))
}

/// Names and lines of all mixtures.
pub fn mixtures() -> impl Iterator<Item = (&'static str, &'static str)> {
    MIXTURES.iter().map(|(name, line, _)| (*name, *line))
}

/// Builds a cell. Every expert has its own positions.
///
/// # Errors
/// [`Error::Config`] for a name or option that does not exist, naming the nearest that does.
pub fn build(builder: &mut Builder<'_>, spec: &Spec) -> Result<Box<dyn SequenceEncoder>> {
    let find = |kind: &str, name: &str, names: Vec<&'static str>| {
        names.iter().position(|n| *n == name).ok_or_else(move || {
            let near = nearest_name(name, names).unwrap_or_default();
            Error::config(kind, name, format!("not known; did you mean `{near}`?"))
        })
    };
    let make_encoder = ENCODERS[find("encoder", &spec.encoder, ENCODERS.iter().map(|e| e.0).collect())?].2;
    let make_mixture = MIXTURES[find("mixture", &spec.mixture, MIXTURES.iter().map(|m| m.0).collect())?].2;
    let mut expert = |b: &mut Builder<'_>| -> Result<Box<dyn SequenceEncoder>> {
        let inner = make_encoder(&mut b.at(&spec.encoder), &spec.encoder_options)?;
        Ok(Box::new(Positioned::new(b, inner)))
    };
    make_mixture(builder, &spec.mixture_options, &mut expert)
}

fn mos(
    builder: &mut Builder<'_>,
    name: &str,
    preset: MosConfig,
    value: &Value,
    expert: &mut Expert<'_>,
) -> Result<Box<dyn SequenceEncoder>> {
    Ok(Box::new(Mos::new(builder, &merged(name, &preset, value)?, expert)?))
}

fn options<T: DeserializeOwned + Default + Serialize>(name: &str, value: &Value) -> Result<T> {
    merged(name, &T::default(), value)
}

/// `preset` with the fields of `value` put over it.
fn merged<T: DeserializeOwned + Serialize>(name: &str, preset: &T, value: &Value) -> Result<T> {
    let refuse = |e: serde_json::Error| Error::config(name, value, e);
    let mut all = serde_json::to_value(preset).map_err(refuse)?;
    match (all.as_object_mut(), value) {
        (_, Value::Null) => {}
        (Some(all), Value::Object(given)) => all.extend(given.clone()),
        _ => return Err(Error::config(name, value, "options must be a table")),
    }
    serde_json::from_value(all).map_err(refuse)
}
