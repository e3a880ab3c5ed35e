//! Foursquare check-ins in New York and Tokyo (TSMC2014; Yang et al. 2015), as published; not checked against the published
//! files.
//!
//! `dataset_TSMC2014_NYC.txt` and `dataset_TSMC2014_TKY.txt`, no header, tabs, Latin-1: user, venue, category id, category
//! name, latitude, longitude, minutes that local time is ahead of UTC, `Tue Apr 03 18:00:09 +0000 2012`. Both cities number
//! their users from 1, so one is read: New York, or what the option `city` says.
//!
//! The category is its name. Coordinates and local time are not used: times are UTC.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    dates::Clock,
    table::{Layout, Table},
};
use crate::{Event, Log, Result};

/// Foursquare TSMC2014.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Foursquare {
    city: City,
}

/// Which file of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum City {
    /// New York.
    #[default]
    Nyc,
    /// Tokyo.
    Tky,
}

impl Format for Foursquare {
    const NAME: &'static str = "foursquare";
    const LINE: &'static str = "Foursquare check-ins dataset_TSMC2014_NYC.txt or _TKY.txt (city = \"tky\")";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let name = match self.city {
            City::Nyc => "dataset_TSMC2014_NYC.txt",
            City::Tky => "dataset_TSMC2014_TKY.txt",
        };
        let file = reading.files.main(&[name])?;
        let layout = Layout { separator: "\t", header: false, quotes: false, columns: Some(8) };
        let mut log = LogBuilder::new(reading);
        Table::open(&file, layout)?.each(reading, |row| {
            let (user, venue, time) = (row.number_id(0)?, row.id(1)?, Clock::Twitter.time(row, 7, 1)?);
            let (user, item) = (log.users.number(&user), log.items.number(&venue));
            log.categorise(item, &row.text(3));
            log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
            Ok(())
        })?;
        log.build(if file.name().contains("TKY") { "foursquare-tky" } else { "foursquare-nyc" }, 1)
    }
}
