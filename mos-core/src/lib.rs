//! Mixture of Sequence (MoS) for click-through-rate prediction: jagged operations, theme router, experts,
//! model, training step, cost accounting, checkpoints.
//!
//! The path of a value: [`mos_data::Batch`] → [`Events`] (who saw what, as integers) → embedding rows →
//! [`SequenceEncoder`] → [`Interest`] → head → logit. Every operation is a function in [`ops`] that takes the
//! [`Tape`] first; the tape of a scoring pass records nothing, so one `forward` serves training and scoring.
//!
//! [`engine`] is the only module that names dfdx, the tensor library underneath.

pub mod checkpoint;
pub mod clock;
pub mod cost;
mod encoder;
pub mod engine;
mod error;
mod events;
mod features;
mod head;
pub mod layers;
pub mod model;
pub mod model_folder;
pub mod mos;
pub mod ops;
mod pass;
mod predictor;
mod tables;
#[cfg(test)]
mod testing;

pub use cost::{Cost, Part};
pub use encoder::{
    Builder, Interest, RowThemes, SequenceEncoder, StepInfo, check_heads, check_rate, check_sizes,
    check_weight,
};
pub use engine::{Adam, AdamStep, Back, Init, Mat, ParamId, Params, Tape};
pub use error::{Error, Result};
pub use events::{Events, Input, Offsets, Spans};
pub use head::HeadConfig;
pub use model::{CtrModel, ModelConfig, StepReport, TrainConfig};
pub use model_folder::EncoderSource;
pub use pass::{ItemIndex, Pass, StateUpdate};
pub use predictor::{Prediction, Predictor, Request};
pub use tables::{RowGrads, ShardRows, TableId, TableInit, Tables};
