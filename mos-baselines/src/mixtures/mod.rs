//! Mixtures of experts, one file each: encoders made of encoders. (MoS itself is [`mos_core::mos`].)
//!
//! Gated mixtures are a gate (`gshard`, `switch`, …) in the body [`gated`]; `wide`, `theme_feature` and `theme_loss` are
//! controls.

pub mod deepseek;
pub mod dense;
pub mod dselect_k;
pub mod expert_choice;
pub mod gated;
pub mod gshard;
pub mod noisy_top_k;
pub mod none;
pub mod random_routing;
pub mod routing;
pub mod scales;
pub mod short;
pub mod switch;
#[cfg(test)]
mod tests;
pub mod theme_feature;
pub mod theme_loss;
pub mod wide;

/// Makes one expert.
pub type Expert<'f> = mos_core::mos::ExpertFactory<'f>;
