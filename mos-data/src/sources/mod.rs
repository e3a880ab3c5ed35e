//! One file per source.

pub mod synthetic;
