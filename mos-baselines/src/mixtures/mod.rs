//! Mixtures of experts, one file each: encoders made of encoders. (MoS itself is [`mos_core::mos`].)

pub mod gshard;
pub mod none;
pub mod scales;

/// Makes one expert.
pub type Expert<'f> = mos_core::mos::ExpertFactory<'f>;
