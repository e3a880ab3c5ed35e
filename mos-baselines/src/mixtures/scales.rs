//! `scales`: a global expert on the whole history and a short expert on its end, no themes. The control that MoS must
//! beat before themes can be said to matter.

use mos_core::{Builder, Error, Result};
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
/// [`Error::Config`] for a short expert of nothing, and those of the encoder.
pub fn build(builder: &mut Builder<'_>, config: &ScalesConfig, expert: &mut Expert<'_>) -> Result<WithShort> {
    if config.short == 0 {
        return Err(Error::config("scales.short", 0, "must be at least 1"));
    }
    let global = Alone::new(&mut builder.at("global"), &(), expert)?;
    WithShort::around(global, builder, config.short, expert)
}
