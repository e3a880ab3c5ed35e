//! `scales`: a global expert on the whole history and a short expert on its end, no themes. The control that MoS must
//! beat before themes can be said to matter.

use mos_core::{Builder, Result, check_sizes};
use serde::{Deserialize, Serialize};

use super::{Expert, none::Alone, short::WithShort};

/// Configuration of the global and the short expert.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalesConfig {
    /// Behaviours that the short expert reads.
    pub short: usize,
}

impl Default for ScalesConfig {
    fn default() -> Self {
        Self { short: 20 }
    }
}

/// Builds both experts.
///
/// # Errors
/// [`mos_core::Error::Config`] for a short expert of nothing, and those of the encoder.
pub fn build(builder: &mut Builder<'_>, config: &ScalesConfig, expert: &mut Expert<'_>) -> Result<WithShort> {
    check_sizes("scales", &[("short", config.short)])?;
    let global = Alone::new(&mut builder.at("global"), &(), expert)?;
    WithShort::around(global, builder, config.short, expert)
}
