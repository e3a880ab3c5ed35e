//! Steam reviews (Kang and McAuley, ICDM 2018), as published; not checked against the published files.
//!
//! | file | a Python dictionary a line, with |
//! | --- | --- |
//! | `steam_reviews.json` | `username`, `product_id`, `date` (a day), and more that is not used |
//! | `steam_games.json` | `id`, `genres`, `tags`, `publisher`, `developer`, and more that is not used; optional |
//!
//! This is the set of 7.8 million reviews that sequence models are measured on; the Australian users' sets and RecBole's
//! `steam.inter` (source `recbole`) are others. Lines of JSON are read too. Order inside a day is that of the file. The first
//! genre is the category; `genres`, `tags`, `publisher` and `developer` are attributes.

use serde::{Deserialize, Serialize};

use super::{Format, Reading, builder::LogBuilder, dates::Clock, json::lists, table::Table};
use crate::{Event, Log, Result};

/// Steam reviews.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Steam {}

impl Format for Steam {
    const NAME: &'static str = "steam";
    const LINE: &'static str = "Steam steam_reviews.json, with steam_games.json beside it";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let file = reading.files.main(&["steam_reviews.json"])?;
        let mut log = LogBuilder::new(reading);
        Table::records(&file, &["username", "product_id", "date"], 3)?.each(reading, |row| {
            let (game, time) = (row.id(1)?, Clock::Iso.time(row, 2, 1)?);
            // A name may be anything, -1 too.
            let user = row.text(0);
            if user.is_empty() {
                log.drop_row("reviews without a user");
                return Ok(());
            }
            let (user, item) = (log.users.number(&user), log.items.number(&game));
            log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
            Ok(())
        })?;
        if let Some(file) = reading.files.find(&["steam_games.json"]) {
            let names = ["genres", "tags", "publisher", "developer"];
            let attributes: Vec<_> = (1..).zip(names.map(|name| log.attribute(name, true))).collect();
            let fields: Vec<&str> = std::iter::once("id").chain(names).collect();
            Table::records(&file, &fields, 0)?.each(reading, |row| {
                // Some games have no id; no review can be of them.
                let Some(item) = log.items.find(&row.text(0)) else { return Ok(()) };
                if let Some(genre) = lists(&row.text(1)).iter().flatten().next() {
                    log.categorise(item, genre);
                }
                for (c, attribute) in &attributes {
                    lists(&row.text(*c)).iter().flatten().for_each(|v| log.describe(item, *attribute, v));
                }
                Ok(())
            })?;
        }
        log.build("steam", 1)
    }
}
