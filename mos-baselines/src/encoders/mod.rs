//! Sequence encoders, one file each.

pub mod din;
pub mod mean;
pub mod sdim;
pub mod twin;
