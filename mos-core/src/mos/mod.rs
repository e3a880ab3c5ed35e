//! Mixture of Sequence: theme-aware routing of a history into subsequences, read by three kinds of experts.
//!
//! The paper (arXiv 2604.20858) names the parts; its router is not public knowledge. What is here is this project's
//! reconstruction with two named configurations: [`MosConfig::mos`], the default, and [`MosConfig::vq`], the closest
//! reading of what is known of the paper. Every choice between them is a field of [`MosConfig`].

mod codebook;
mod config;
mod experts;
mod plan;
mod router;
#[cfg(test)]
mod tests;

pub use codebook::{kmeans, nearest};
pub use config::{
    Assignment, Codebook, Fusion, GlobalExpert, MosConfig, RoutingUnit, RoutingVector, Run, Sharing, Themes,
};
pub use experts::{ExpertFactory, Mos};
pub use router::{NO_THEME, Router};
