//! Interaction logs for click-through-rate prediction: loaders, sessions, splits, samples, batches.
//!
//! ```text
//! source file → Log (Interactions, Catalog) → prepare(task) → Dataset (Samples by time) → Feed → Batch (jagged ids)
//! store on disk ───────────── Source::feed(task) ─────────────────────────────────────────↗
//! ```
//!
//! ```
//! use mos_data::{prepare, sources::synthetic::SyntheticConfig};
//! let config = SyntheticConfig { users: 60, ..SyntheticConfig::default() };
//! let data = prepare(config.generate()?, &config.task())?;
//! let batch = data.users.batch(&data.users.splits.train[..8], 128);
//! assert_eq!(batch.offsets.len(), 9);
//! # Ok::<(), mos_data::Error>(())
//! ```

mod batch;
mod card;
mod catalog;
mod dataset;
mod error;
mod events;
mod feed;
mod guard;
mod history;
pub mod hopping;
mod interactions;
mod log;
pub mod rng;
mod sessions;
pub mod sources;
mod store;
mod vocabulary;

pub use batch::{Batch, shuffled_order};
pub use card::Card;
pub use catalog::{Catalog, Content, ContextField, FeatureValues, ItemFeature};
pub use dataset::{Cuts, Dataset, LabelRule, Sample, Splits, TaskConfig, Users, prepare};
pub use error::{Error, Result, nearest_name};
pub use feed::{Batches, Epoch, Feed};
pub use history::{History, HistoryRule, Left, RawEvent, raw_ids};
pub use interactions::{Event, Impression, Interactions};
pub use log::{Contexts, Log, Part, Published};
pub use sessions::{Sessionizer, sessions};
pub use store::{Store, UserBlock};
pub use vocabulary::Vocabulary;
