//! Names of encoders and mixtures, and how each is built.

use std::fmt;

use mos_core::{
    Builder, EncoderSource, Error, Result, SequenceEncoder,
    layers::Positioned,
    mos::{Codebook, Mos, MosConfig, RoutingVector, Themes},
};
use mos_data::nearest_name;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    encoders::{
        attenmixer::{AttenMixer, AttenMixerConfig},
        bst::{Bst, BstConfig},
        dien::{Dien, DienConfig},
        din::{Din, DinConfig},
        eta::{Eta, EtaConfig},
        hstu::{Hstu, HstuConfig},
        mamba4rec::{Mamba4Rec, Mamba4RecConfig},
        mean::Mean,
        miasrec::{MiaSRec, MiaSRecConfig},
        mirrn::{Mirrn, MirrnConfig},
        sdim::{Sdim, SdimConfig},
        sim::{Sim, SimConfig},
        transact::{TransAct, TransActConfig},
        twin::{Twin, TwinConfig},
    },
    mixtures::{
        Expert,
        deepseek::DeepSeek,
        dense::Dense,
        dselect_k::DSelectK,
        expert_choice::ExpertChoice,
        gated::{self, GatedConfig},
        gshard::{GShard, GShardConfig},
        noisy_top_k::NoisyTopK,
        none::Alone,
        random_routing::RandomRouting,
        routing::Level,
        scales::{self, ScalesConfig},
        switch::{Switch, SwitchConfig},
        theme_feature::{self, ThemeFeatureConfig},
        theme_loss::{ThemeLoss, ThemeLossConfig},
        wide::{self, WideConfig},
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

/// What an encoder or mixture lets its user choose: a configuration struct of plain data.
pub trait Options: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Options for T {}

struct Plugin<F: ?Sized> {
    name: &'static str,
    line: &'static str,
    defaults: Value,
    /// Whether options can be read at all, before there is any data.
    check: fn(&str, &Value, &Value) -> Result<()>,
    make: Box<F>,
}

impl<F: ?Sized> fmt::Debug for Plugin<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.defaults)
    }
}

/// What each expert is put into: from its place in the name tree and the expert to what stands there.
pub type Around<'a> = dyn FnMut(&str, Box<dyn SequenceEncoder>) -> Box<dyn SequenceEncoder> + 'a;

type Made = Result<Box<dyn SequenceEncoder>>;
type MakeEncoder = dyn Fn(&mut Builder<'_>, &Value) -> Made + Send + Sync;
type MakeMixture = dyn Fn(&mut Builder<'_>, &Value, &mut Expert<'_>) -> Made + Send + Sync;

/// The encoders and mixtures that a table can be made of, in the order in which they are listed.
#[derive(Debug)]
pub struct Registry {
    encoders: Vec<Plugin<MakeEncoder>>,
    mixtures: Vec<Plugin<MakeMixture>>,
}

impl Default for Registry {
    /// Everything in this crate.
    fn default() -> Self {
        let mut r = Self { encoders: Vec::new(), mixtures: Vec::new() };
        r.encoder("mean", "mean pooling of the history", (), Mean::new);
        r.encoder(
            "din",
            "DIN: an MLP weighs each behaviour against the target",
            DinConfig::default(),
            Din::new,
        );
        r.encoder(
            "dien",
            "DIEN: two GRUs, the second steered by the target",
            DienConfig::default(),
            Dien::new,
        );
        r.encoder("bst", "BST: a transformer layer over history and target", BstConfig::default(), Bst::new);
        r.encoder(
            "sim",
            "SIM with soft search: attention over behaviours that a learned product finds",
            SimConfig::default(),
            Sim::new,
        );
        r.encoder(
            "sim-hard",
            "SIM with hard search: attention over behaviours of the target's category",
            SimConfig::hard(),
            Sim::new,
        );
        r.encoder(
            "eta",
            "ETA: attention over behaviours that hash codes find",
            EtaConfig::default(),
            Eta::new,
        );
        r.encoder(
            "sdim",
            "SDIM: behaviours that share the target's hash codes",
            SdimConfig::default(),
            Sdim::new,
        );
        r.encoder(
            "twin",
            "TWIN: target attention over the top-k behaviours",
            TwinConfig::default(),
            Twin::new,
        );
        r.encoder(
            "mirrn",
            "MIRRN: three hash searches, each refined in the Fourier domain",
            MirrnConfig::default(),
            Mirrn::new,
        );
        r.encoder(
            "transact",
            "TransAct: a transformer over behaviours fused with the target",
            TransActConfig::default(),
            TransAct::new,
        );
        r.encoder(
            "mamba4rec",
            "Mamba4Rec: a selective state space over the history",
            Mamba4RecConfig::default(),
            Mamba4Rec::new,
        );
        r.encoder(
            "hstu",
            "HSTU: blocks of pointwise attention with time and distance bias",
            HstuConfig::default(),
            Hstu::new,
        );
        r.encoder(
            "attenmixer",
            "Atten-Mixer: multi-level queries over the history",
            AttenMixerConfig::default(),
            AttenMixer::new,
        );
        r.encoder(
            "miasrec",
            "MiaSRec: sparse selection among one intent for each behaviour",
            MiaSRecConfig::default(),
            MiaSRec::new,
        );

        r.mixture("none", "the encoder by itself", (), Alone::new);
        r.mixture(
            "scales",
            "global and short experts, no themes (control)",
            ScalesConfig::default(),
            scales::build,
        );
        r.mixture(
            "wide",
            "one encoder of one and a half times the width, with the short branch (control)",
            WideConfig::default(),
            wide::build,
        );
        r.gated_mixtures();
        r.mixture(
            "mos",
            "MoS: theme-aware routing by neighbour mutual information",
            MosConfig::mos(),
            Mos::new,
        );
        r.mixture(
            "mos-vq",
            "MoS with a VQ codebook, sessions routed, all themes run and gated",
            MosConfig::vq(),
            Mos::new,
        );
        let themes = |themes| MosConfig { themes, ..MosConfig::mos() };
        r.mixture(
            "random_themes",
            "MoS with a random theme for each item (control)",
            themes(Themes::Random),
            Mos::new,
        );
        r.mixture(
            "oracle_themes",
            "MoS with the planted themes of synthetic data (control)",
            themes(Themes::Oracle),
            Mos::new,
        );
        r.mixture(
            "same_category",
            "MoS with the item's category as theme (control; SIM's hard search)",
            themes(Themes::Category),
            Mos::new,
        );
        r.mixture(
            "content_themes",
            "MoS with fixed clusters of the content vectors as themes (control)",
            MosConfig { codebook: Codebook::Fixed, vector: RoutingVector::Content, ..MosConfig::mos() },
            Mos::new,
        );
        r.mixture(
            "theme-feature",
            "themes of MoS's router as a feature of one encoder, no routing (control)",
            ThemeFeatureConfig::default(),
            theme_feature::build,
        );
        r.mixture(
            "theme-loss",
            "the loss of MoS's router on the embeddings of `scales`, no routing (control)",
            ThemeLossConfig::default(),
            ThemeLoss::new,
        );
        r
    }
}

impl Registry {
    /// Adds an encoder, made by `new` from its options. One type can stand under several names with different defaults.
    ///
    /// # Panics
    /// If the name is taken or not made of letters, digits, `-` and `_` (it becomes part of file names), or the options are
    /// no plain data: mistakes of the program, seen at its start.
    pub fn encoder<C: Options, E: SequenceEncoder + 'static>(
        &mut self,
        name: &'static str,
        line: &'static str,
        defaults: C,
        new: fn(&mut Builder<'_>, &C) -> Result<E>,
    ) {
        assert_new(&self.encoders, name);
        let defaults = plain(name, &defaults);
        let preset = defaults.clone();
        let make = move |b: &mut Builder<'_>, given: &Value| -> Made {
            Ok(Box::new(new(b, &merged(name, &preset, given)?)?))
        };
        self.encoders.push(Plugin { name, line, defaults, check: readable::<C>, make: Box::new(make) });
    }

    /// Adds a mixture, made by `new` from its options and from a factory of experts.
    ///
    /// # Panics
    /// As [`Self::encoder`].
    pub fn mixture<C: Options, M: SequenceEncoder + 'static>(
        &mut self,
        name: &'static str,
        line: &'static str,
        defaults: C,
        new: fn(&mut Builder<'_>, &C, &mut Expert<'_>) -> Result<M>,
    ) {
        assert_new(&self.mixtures, name);
        let defaults = plain(name, &defaults);
        let preset = defaults.clone();
        let make = move |b: &mut Builder<'_>, given: &Value, expert: &mut Expert<'_>| -> Made {
            Ok(Box::new(new(b, &merged(name, &preset, given)?, expert)?))
        };
        self.mixtures.push(Plugin { name, line, defaults, check: readable::<C>, make: Box::new(make) });
    }

    /// The mixtures that are a gate in one common body.
    fn gated_mixtures(&mut self) {
        let gshard = |top_k, capacity| GShardConfig { top_k, capacity, ..GShardConfig::default() };
        self.mixture(
            "gshard",
            "GShard at sequence level, all 4 of 4 experts, with the short branch that MoS has",
            GatedConfig { gate: gshard(4, 0.0), ..GatedConfig::default() },
            gated::build::<GShard>,
        );
        self.mixture(
            "gshard-bare",
            "GShard at sequence level, top 2 of 4, no short branch",
            GatedConfig { short: 0, gate: gshard(2, 0.0), ..GatedConfig::default() },
            gated::build::<GShard>,
        );
        self.mixture(
            "gshard-token",
            "GShard at token level, top 2 of 4, capacity 1.25 in each history",
            GatedConfig { level: Level::Token, gate: gshard(2, 1.25), ..GatedConfig::default() },
            gated::build::<GShard>,
        );
        self.mixture(
            "switch",
            "Switch at sequence level: the best expert, scaled by its probability",
            GatedConfig::default(),
            gated::build::<Switch>,
        );
        let gate = SwitchConfig { capacity: 1.25, ..SwitchConfig::default() };
        self.mixture(
            "switch-token",
            "Switch at token level, capacity 1.25 in each history",
            GatedConfig { level: Level::Token, gate, ..GatedConfig::default() },
            gated::build::<Switch>,
        );
        self.mixture(
            "noisy-top-k",
            "noisy top-k gating at sequence level, importance and load losses",
            GatedConfig::default(),
            gated::build::<NoisyTopK>,
        );
        self.mixture(
            "dselect-k",
            "DSelect-k at sequence level, two selectors for each sample",
            GatedConfig::default(),
            gated::build::<DSelectK>,
        );
        self.mixture(
            "expert-choice",
            "Expert Choice at token level: experts choose inside each history",
            GatedConfig { level: Level::Token, ..GatedConfig::default() },
            gated::build::<ExpertChoice>,
        );
        self.mixture(
            "dense",
            "all experts, softmax gate: MMoE with one task (control at full cost)",
            GatedConfig::default(),
            gated::build::<Dense>,
        );
        self.mixture(
            "deepseek",
            "DeepSeekMoE at sequence level: a shared expert, balance by a bias on the choice",
            GatedConfig::default(),
            gated::build::<DeepSeek>,
        );
        self.mixture(
            "random-routing",
            "experts by a hash of the sample (control)",
            GatedConfig::default(),
            gated::build::<RandomRouting>,
        );
    }

    /// Name, line and default options of each encoder.
    pub fn encoders(&self) -> impl Iterator<Item = (&'static str, &'static str, &Value)> {
        self.encoders.iter().map(|p| (p.name, p.line, &p.defaults))
    }

    /// Name, line and default options of each mixture.
    pub fn mixtures(&self) -> impl Iterator<Item = (&'static str, &'static str, &Value)> {
        self.mixtures.iter().map(|p| (p.name, p.line, &p.defaults))
    }

    /// Checks names and options of a cell as far as that goes without data.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn check(&self, spec: &Spec) -> Result<()> {
        let encoder = find("encoder", &self.encoders, &spec.encoder)?;
        (encoder.check)(encoder.name, &encoder.defaults, &spec.encoder_options)?;
        let mixture = find("mixture", &self.mixtures, &spec.mixture)?;
        (mixture.check)(mixture.name, &mixture.defaults, &spec.mixture_options)
    }

    /// The cell with the value of every option written out.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn resolved(&self, spec: &Spec) -> Result<Spec> {
        self.check(spec)?;
        let Spec { encoder, mixture, encoder_options, mixture_options } = spec;
        Ok(Spec {
            encoder: encoder.clone(),
            mixture: mixture.clone(),
            encoder_options: over(
                encoder,
                &find("encoder", &self.encoders, encoder)?.defaults,
                encoder_options,
            )?,
            mixture_options: over(
                mixture,
                &find("mixture", &self.mixtures, mixture)?.defaults,
                mixture_options,
            )?,
        })
    }

    /// Builds a cell. Every expert that wants positions has its own.
    ///
    /// # Errors
    /// [`Error::Config`] for a name or option that does not exist, naming the nearest that does.
    pub fn build(&self, builder: &mut Builder<'_>, spec: &Spec) -> Made {
        self.build_around(builder, spec, &mut |_, expert| expert)
    }

    /// As [`Self::build`], with each expert put into what `around` makes of it and of its place in the name tree, to be
    /// watched.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_around(&self, builder: &mut Builder<'_>, spec: &Spec, around: &mut Around<'_>) -> Made {
        let encoder = find("encoder", &self.encoders, &spec.encoder)?;
        let mixture = find("mixture", &self.mixtures, &spec.mixture)?;
        let mut expert = |b: &mut Builder<'_>| -> Made {
            let inner = (encoder.make)(&mut b.at(&spec.encoder), &spec.encoder_options)?;
            let expert: Box<dyn SequenceEncoder> =
                if inner.wants_positions() { Box::new(Positioned::new(b, inner)) } else { inner };
            Ok(around(b.path(), expert))
        };
        (mixture.make)(builder, &spec.mixture_options, &mut expert)
    }
}

impl EncoderSource for Registry {
    type Spec = Spec;

    fn build(&self, builder: &mut Builder<'_>, spec: &Spec) -> Made {
        Self::build(self, builder, spec)
    }
}

fn assert_new<F: ?Sized>(plugins: &[Plugin<F>], name: &str) {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(!name.is_empty() && name.chars().all(fits), "{name:?} is no name for a plug-in");
    assert!(plugins.iter().all(|p| p.name != name), "{name} is registered twice");
}

fn find<'r, F: ?Sized>(kind: &str, plugins: &'r [Plugin<F>], name: &str) -> Result<&'r Plugin<F>> {
    plugins.iter().find(|p| p.name == name).ok_or_else(|| {
        let near = nearest_name(name, plugins.iter().map(|p| p.name)).unwrap_or_default();
        Error::config(kind, name, format!("not known; did you mean `{near}`?"))
    })
}

fn plain(name: &str, options: &impl Options) -> Value {
    serde_json::to_value(options).unwrap_or_else(|e| panic!("the options of {name} are no plain data: {e}"))
}

fn readable<C: Options>(name: &str, preset: &Value, given: &Value) -> Result<()> {
    merged::<C>(name, preset, given).map(drop)
}

/// `preset` with the fields of `given` put over it.
fn over(name: &str, preset: &Value, given: &Value) -> Result<Value> {
    let refuse = |message: &str| Err(Error::config(name, given, message));
    let mut all = preset.clone();
    match (all.as_object_mut(), given) {
        (_, Value::Null) => {}
        (Some(all), Value::Object(given)) => all.extend(given.clone()),
        (None, Value::Object(given)) if given.is_empty() => {}
        (None, _) => return refuse("has no options"),
        _ => return refuse("options must be a table"),
    }
    Ok(all)
}

/// The options that `preset` and `given` make together.
fn merged<T: DeserializeOwned>(name: &str, preset: &Value, given: &Value) -> Result<T> {
    serde_json::from_value(over(name, preset, given)?).map_err(|e| Error::config(name, given, e))
}
