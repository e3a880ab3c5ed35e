//! LastFM-1K (Celma 2010), as published; not checked against the published files.
//!
//! | file | columns, tabs between them |
//! | --- | --- |
//! | `userid-timestamp-artid-artname-traid-traname.tsv` | user, `2009-05-04T23:08:57Z`, artist id and name, track id and name; no header; newest first |
//! | `userid-profile.tsv` | header `#id`, `gender`, `age`, `country`, `registered`; optional |
//!
//! A track without id is known by the names of artist and track, an artist without id by its name. The artist is the category
//! of a track. Gender, age and country are context; the day of registration is not used.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    dates::Clock,
    table::{Layout, Table},
};
use crate::{Event, Log, Result};

/// LastFM-1K.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LastFm {
    items: LastFmItems,
}

/// What counts as an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LastFmItems {
    /// The track.
    #[default]
    Track,
    /// Its artist: a smaller vocabulary, without categories.
    Artist,
}

impl Format for LastFm {
    const NAME: &'static str = "lastfm";
    const LINE: &'static str = "LastFM-1K userid-timestamp-artid-artname-traid-traname.tsv";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let file = reading.files.main(&["userid-timestamp-artid-artname-traid-traname.tsv"])?;
        let layout = Layout { separator: "\t", header: false, quotes: false, columns: Some(6) };
        let mut log = LogBuilder::new(reading);
        Table::open(&file, layout)?.each(reading, |row| {
            let (user, time) = (row.id(0)?, Clock::Iso.time(row, 1, 1)?);
            // A name may be anything, -1 too.
            let artist = if row.text(2).is_empty() { row.text(3) } else { row.text(2) };
            let item = match self.items {
                LastFmItems::Artist => artist.clone(),
                LastFmItems::Track if !row.text(4).is_empty() => row.text(4),
                LastFmItems::Track if row.text(5).is_empty() => row.text(5),
                LastFmItems::Track => format!("{}: {}", row.text(3), row.text(5)).into(),
            };
            if item.is_empty() {
                log.drop_row("rows that name no track or artist");
                return Ok(());
            }
            let item = log.items.number(&item);
            if self.items == LastFmItems::Track {
                log.categorise(item, &artist);
            }
            let user = log.users.number(&user);
            log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
            Ok(())
        })?;
        if let Some(file) = reading.files.find(&["userid-profile.tsv"]) {
            let layout = Layout { separator: "\t", header: true, quotes: false, columns: None };
            let mut table = Table::open(&file, layout)?;
            let id = table.column(&["#id", "id"])?;
            let mut fields = Vec::new();
            for name in ["gender", "age", "country"] {
                fields.push((log.user_field(name), table.column(&[name])?));
            }
            table.each(reading, |row| {
                if let Some(user) = log.users.find(&row.id(id)?) {
                    fields.iter().for_each(|(field, c)| log.set_user(user, *field, &row.text(*c)));
                }
                Ok(())
            })?;
        }
        log.build(if self.items == LastFmItems::Artist { "lastfm-artists" } else { "lastfm" }, 1)
    }
}
