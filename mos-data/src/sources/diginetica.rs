//! Diginetica (CIKM Cup 2016, track 2), as published; not checked against the published files.
//!
//! | file | columns, `;` between them |
//! | --- | --- |
//! | `train-item-views.csv` | `sessionId;userId;itemId;timeframe;eventdate`, also as `session_id;user_id;item_id;...` |
//! | `train-purchases.csv` | `sessionId;userId;timeframe;eventdate;ordernumber;itemId`; optional |
//! | `product-categories.csv` | `itemId;categoryId`; optional |
//!
//! `timeframe` counts milliseconds from the start of the session, `eventdate` is a day: an event has the time of day 00:00
//! plus its `timeframe`, so that sessions of one day overlap. A user is the `userId`; where that is `NA`, which is most
//! often, the session stands for one, as user `session:` and its id.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::{Ids, LogBuilder},
    dates::Clock,
    files::Member,
    table::{Layout, Table},
    task,
};
use crate::{Event, LabelRule, Log, Result, Sessionizer, TaskConfig};

const SEMICOLONS: Layout<'_> = Layout { separator: ";", header: true, quotes: false, columns: None };
const SESSION: [&str; 2] = ["sessionId", "session_id"];
const USER: [&str; 2] = ["userId", "user_id"];
const ITEM: [&str; 2] = ["itemId", "item_id"];
const CATEGORY: [&str; 2] = ["categoryId", "category_id"];

/// Diginetica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Diginetica {}

impl Format for Diginetica {
    const NAME: &'static str = "diginetica";
    const LINE: &'static str = "Diginetica train-item-views.csv, with purchases and categories beside it";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let views = reading.files.main(&["train-item-views.csv"])?;
        let mut log = LogBuilder::new(reading);
        let mut sessions = Ids::default();
        for (behaviour, file) in
            [("view", Some(views)), ("buy", reading.files.find(&["train-purchases.csv"]))]
        {
            let behaviour = log.behaviours.number(behaviour) as u8;
            if let Some(file) = file {
                events(&file, behaviour, reading, &mut log, &mut sessions)?;
            }
        }
        if let Some(file) = reading.files.find(&["product-categories.csv"]) {
            let mut table = Table::open(&file, SEMICOLONS)?;
            let (item, category) = (table.column(&ITEM)?, table.column(&CATEGORY)?);
            table.each(reading, |row| {
                if let Some(item) = log.items.find(&row.number_id(item)?) {
                    log.categorise(item, &row.number_id(category)?);
                }
                Ok(())
            })?;
        }
        log.build("diginetica", 1000)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::SAMPLED, Sessionizer::Given {}))
    }
}

fn events(
    file: &Member,
    behaviour: u8,
    reading: &Reading,
    log: &mut LogBuilder,
    sessions: &mut Ids,
) -> Result<()> {
    let mut table = Table::open(file, SEMICOLONS)?;
    let [session, user, item] = [table.column(&SESSION)?, table.column(&USER)?, table.column(&ITEM)?];
    let (since, day) = (table.column(&["timeframe"])?, table.column(&["eventdate"])?);
    table.each(reading, |row| {
        let (session, item) = (row.number_id(session)?, row.number_id(item)?);
        let time = Clock::Iso.time(row, day, 1000)?.saturating_add(row.time(since, 1000)?);
        let user = match row.text(user).as_ref() {
            "" | "NA" => log.users.number(&format!("session:{session}")),
            known => log.users.number(known),
        };
        let (item, session) = (log.items.number(&item), Some(u64::from(sessions.number(&session))));
        log.events.push(Event { user, item, time, behaviour, rating: None, session });
        Ok(())
    })
}
