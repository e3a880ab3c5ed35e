//! Sessions: bursts of one user's behaviour.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Interactions, Log, Result};

/// How a user's events fall into sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sessionizer {
    /// A new session after a gap longer than this.
    Gap {
        /// Largest gap inside a session.
        seconds: i64,
    },
    /// Every so many events.
    Fixed {
        /// Events of a session.
        events: usize,
    },
    /// By calendar day.
    Day {
        /// Hours that local time is ahead of UTC.
        utc_offset_hours: i64,
    },
    /// As the log says.
    Given {},
}

impl Sessionizer {
    /// For logs without sessions of their own, where nothing else is asked for.
    pub const HALF_HOUR: Self = Self::Gap { seconds: 1800 };
}

/// Session number of each event, from 0 within each user.
///
/// # Errors
/// [`Error::Config`] for [`Sessionizer::Given`] on a log without sessions, and for sizes below 1.
pub fn sessions(log: &Log, by: &Sessionizer) -> Result<Vec<u32>> {
    by.check(log.interactions.given_sessions().is_some())?;
    Ok(by.of_users(&log.interactions, log.ticks_per_second))
}

impl Sessionizer {
    /// Refuses what cannot be; `given` = whether the log has sessions of its own.
    pub(crate) fn check(&self, given: bool) -> Result<()> {
        match self {
            Self::Given {} if !given => {
                Err(Error::config("session.by", "given", "this log has no sessions of its own"))
            }
            Self::Fixed { events: 0 } => Err(Error::config("session.events", 0, "must be at least 1")),
            Self::Gap { seconds: ..=0 } => Err(Error::config("session.seconds", 0, "must be at least 1")),
            Self::Day { utc_offset_hours: h } if !(-24..=24).contains(h) => {
                Err(Error::config("session.utc_offset_hours", h, "must lie between -24 and 24"))
            }
            _ => Ok(()),
        }
    }

    /// Session number of each event, from 0 within each user.
    pub(crate) fn of_users(&self, x: &Interactions, ticks_per_second: i64) -> Vec<u32> {
        let of_user = |user: u32| {
            let range = x.range(user);
            let given = x.given_sessions().map(|g| &g[range.clone()]);
            self.number(&x.times()[range], given, ticks_per_second)
        };
        (0..x.users() as u32).into_par_iter().flat_map_iter(of_user).collect()
    }

    /// Session number of each event of one user, from 0; `given` = those of the log, which [`Sessionizer::Given`] needs.
    pub(crate) fn number(&self, times: &[i64], given: Option<&[u64]>, ticks_per_second: i64) -> Vec<u32> {
        let tick = ticks_per_second;
        let day = |t: i64, offset: i64| t.div_euclid(tick).saturating_add(offset * 3600).div_euclid(86_400);
        let breaks = |at: usize| match self {
            Self::Gap { seconds } => times[at].saturating_sub(times[at - 1]) > seconds.saturating_mul(tick),
            Self::Fixed { events } => at.is_multiple_of(*events),
            Self::Day { utc_offset_hours: h } => day(times[at], *h) != day(times[at - 1], *h),
            Self::Given {} => given.is_some_and(|s| s[at] != s[at - 1]),
        };
        let mut session = 0;
        (0..times.len()).map(|at| (session += u32::from(at > 0 && breaks(at)), session).1).collect()
    }
}
