//! The harness: experiment configurations, training protocol, metrics, statistics, run folders, tables.
//!
//! A run writes typed results first ([`results::Results`], JSON); every table is rendered from them.

pub mod agreement;
pub mod cli;
pub mod compare;
pub mod config;
pub mod environment;
pub mod experiment;
pub mod export;
pub mod fetch;
pub mod flops;
pub mod folder;
pub mod log;
pub mod merge;
pub mod metrics;
pub mod model_folder;
pub mod progress;
pub mod report;
pub mod results;
pub mod routing;
pub mod settings;
pub mod shard;
pub mod smoke;
pub mod speed;
pub mod stats;
pub mod stopping;
pub mod tables;
pub mod train;
pub mod training;
pub mod tune;
pub mod verify;
