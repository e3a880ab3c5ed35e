//! Gowalla and Brightkite check-ins (SNAP; Cho, Myers and Leskovec, KDD 2011), as published; not checked against the
//! published files.
//!
//! `Gowalla_totalCheckins.txt`, `loc-gowalla_totalCheckins.txt` or those of Brightkite, no header, tabs: user,
//! `2010-10-19T23:55:27Z`, latitude, longitude, location; newest first. Check-ins without a location, which Brightkite has,
//! are left out and counted. There are no categories; the coordinates are not used.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    dates::Clock,
    table::{Layout, Table},
};
use crate::{Event, Log, Result};

/// Gowalla.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gowalla {}

impl Format for Gowalla {
    const NAME: &'static str = "gowalla";
    const LINE: &'static str = "Gowalla or Brightkite check-ins, ..._totalCheckins.txt";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let file = reading.files.main(&[
            "Gowalla_totalCheckins.txt",
            "loc-gowalla_totalCheckins.txt",
            "Brightkite_totalCheckins.txt",
            "loc-brightkite_totalCheckins.txt",
        ])?;
        let layout = Layout { separator: "\t", header: false, quotes: false, columns: Some(5) };
        let mut log = LogBuilder::new(reading);
        Table::open(&file, layout)?.each(reading, |row| {
            let user = row.number_id(0)?;
            // Brightkite writes 00000000... for a place that is not known.
            if row.text(4).bytes().all(|b| b == b'0') && row.text(4).len() != 1 {
                log.drop_row("check-ins without a location");
                return Ok(());
            }
            let (time, place) = (Clock::Iso.time(row, 1, 1)?, row.id(4)?);
            let (user, item) = (log.users.number(&user), log.items.number(&place));
            log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
            Ok(())
        })?;
        let name = file.name().to_lowercase();
        log.build(if name.contains("brightkite") { "brightkite" } else { "gowalla" }, 1)
    }
}
