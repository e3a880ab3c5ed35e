//! The harness: experiment configurations, training protocol, metrics, statistics, run folders, tables.
//!
//! A run writes typed results first ([`results::Results`], JSON); every table is rendered from them.

pub mod cli;
pub mod config;
pub mod experiment;
pub mod folder;
pub mod metrics;
pub mod model_folder;
pub mod progress;
pub mod results;
pub mod stats;
pub mod tables;
pub mod train;
