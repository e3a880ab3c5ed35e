//! Sequence encoders and mixtures of experts behind [`mos_core::SequenceEncoder`], with the conformance kit that
//! every plug-in passes.
//!
//! A new encoder or mixture is one file in [`encoders`] or [`mixtures`], one line in [`registry`], one line in
//! `docs/src/plugins.md` and a golden file; the conformance tests then find it by themselves. One from another crate is
//! registered in the same way, on a [`Registry`] of its own.
//!
//! ```
//! use mos_baselines::{Registry, Spec};
//! use mos_core::{Builder, CtrModel, ModelConfig, TrainConfig};
//! use mos_data::{prepare, sources::synthetic::SyntheticConfig};
//!
//! let synthetic = SyntheticConfig { users: 60, ..SyntheticConfig::default() };
//! let data = prepare(synthetic.generate()?, &synthetic.task())?;
//! let (registry, spec) = (Registry::default(), Spec::new("twin", "mos"));
//! let build = |b: &mut Builder<'_>| registry.build(b, &spec);
//! let mut model = CtrModel::new(&ModelConfig::default(), &data.catalog, 1, build)?;
//!
//! let batch = data.users.batch(&data.users.splits.train[..64], 100);
//! let before = model.train_step(&batch, &TrainConfig::default(), 20, 20)?.loss;
//! for _ in 1..20 {
//!     model.train_step(&batch, &TrainConfig::default(), 20, 20)?;
//! }
//! model.prepare_scoring();
//! let logits = model.score(&batch)?;
//! assert_eq!(logits.len(), 64);
//! # assert!(model.train_step(&batch, &TrainConfig::default(), 20, 20)?.loss < before);
//! # model.prepare_scoring();
//!
//! // A model folder scores raw ids without the data.
//! # let folder = std::env::temp_dir().join(format!("mos-doc-{}", std::process::id()));
//! mos_core::model_folder::save(&folder, &model, &spec, &data.vocabulary()?, &data.history_rule(100))?;
//! let predictor = mos_core::Predictor::load(&folder, &registry)?;
//! let candidates = vec!["i5".to_owned(), "i17".to_owned()];
//! let answer = predictor.predict(&mos_core::Request { history: Vec::new(), candidates, time: 0 })?;
//! assert_eq!(answer.scores.len(), 2);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod conformance;
pub mod encoders;
pub mod golden;
pub mod mixtures;
pub mod registry;

pub use registry::{Around, Registry, Spec};
