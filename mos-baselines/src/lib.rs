//! Sequence encoders and mixtures of experts behind [`mos_core::SequenceEncoder`], with the conformance kit that
//! every plug-in passes.
//!
//! A new encoder or mixture is one file in [`encoders`] or [`mixtures`], one line in [`registry`], and one line in
//! `docs/src/plugins.md`; the conformance tests then find it by themselves.

pub mod conformance;
pub mod encoders;
pub mod mixtures;
pub mod registry;

pub use registry::{Spec, build, encoders as encoder_names, mixtures as mixture_names};
