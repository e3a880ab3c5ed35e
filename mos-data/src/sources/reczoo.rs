//! The three benchmark sets of RecZoo that have long histories, each in the forms in which it was published: the LongCTR form
//! (parquet, every user's list once) and, for the two video sets, the `x1` form (csv, the history in the row). The two forms are
//! different sets with different numbers of samples.

use serde::{Deserialize, Serialize};

use super::{Format, Reading, fuxictr::FuxiCtr, longctr, published};
use crate::{Log, Result, TaskConfig};

fn either(reading: &Reading, name: &str) -> Result<Log> {
    if longctr::is_here(reading) {
        return longctr::read(reading, &format!("{name}-x2"));
    }
    FuxiCtr::default().log(reading, &format!("{name}-x1"))
}

/// KuaiVideo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KuaiVideo {}

impl Format for KuaiVideo {
    const NAME: &'static str = "kuaivideo";
    const LINE: &'static str = "KuaiVideo_x2 (parquet) or KuaiVideo_x1 (csv) of RecZoo";

    fn read(&self, reading: &Reading) -> Result<Log> {
        either(reading, Self::NAME)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(published())
    }
}

/// MicroVideo-1.7M.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MicroVideo {}

impl Format for MicroVideo {
    const NAME: &'static str = "microvideo";
    const LINE: &'static str = "MicroVideo1.7M_x2 (parquet) or MicroVideo1.7M_x1 (csv) of RecZoo";

    fn read(&self, reading: &Reading) -> Result<Log> {
        either(reading, Self::NAME)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(published())
    }
}

/// EB-NeRD small as the benchmark prepared it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EbnerdSmall {}

impl Format for EbnerdSmall {
    const NAME: &'static str = "ebnerd-small";
    const LINE: &'static str = "Ebnerd_small_x1 (parquet) of RecZoo; the publisher's files are `ebnerd`";

    fn read(&self, reading: &Reading) -> Result<Log> {
        longctr::read(reading, Self::NAME)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(published())
    }
}
