//! Sequence encoders, one file each.

pub mod attenmixer;
pub mod bst;
pub mod dien;
pub mod din;
pub mod eta;
pub mod hstu;
pub mod mamba4rec;
pub mod mean;
pub mod miasrec;
pub mod mirrn;
pub mod sdim;
pub mod session;
mod short_term;
pub mod sim;
pub mod transact;
pub mod twin;
