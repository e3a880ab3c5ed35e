//! Yoochoose (RecSys Challenge 2015).
//!
//! | file | columns |
//! | --- | --- |
//! | `yoochoose-clicks.dat` | session, `2014-04-07T10:51:09.277Z`, item, category; no header |
//! | `yoochoose-buys.dat` | session, time, item, price, quantity; no header; optional |
//! | `yoochoose_valid.txt` and its like, as RecoHut processed it | header `uid,timestamp,sid`: session, unix seconds with decimals, item |
//!
//! The `.dat` files are read as published, not checked against the published files. There are no users: each session stands
//! for one. A category is a number from 1 to 12, a brand, `S` (a special offer), or `0`, which means none; an item has that of
//! its first click. Price and quantity are not used.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    dates::Clock,
    files::Member,
    table::{Layout, Table},
    task,
};
use crate::{Event, LabelRule, Log, Result, Sessionizer, TaskConfig};

/// Yoochoose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Yoochoose {}

const CLICK: u8 = 1;
const BUY: u8 = 2;

impl Format for Yoochoose {
    const NAME: &'static str = "yoochoose";
    const LINE: &'static str = "Yoochoose clicks and buys (.dat), or RecoHut's table of them";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let file = reading.files.main(&[
            "yoochoose-clicks.dat",
            "yoochoose_train.txt",
            "yoochoose_valid.txt",
            "yoochoose_test.txt",
        ])?;
        let mut log = LogBuilder::new(reading);
        let headed = Layout { separator: ",", header: true, quotes: false, columns: None };
        let mut table = Table::open(&file, headed)?;
        if let (Some(session), Some(time), Some(item)) =
            (table.find(&["uid"]), table.find(&["timestamp"]), table.find(&["sid"]))
        {
            table.each(reading, |row| {
                let time = Clock::Decimal.time(row, time, 1000)?;
                push(&mut log, &row.number_id(session)?, &row.number_id(item)?, time, 0);
                Ok(())
            })?;
            return log.build("yoochoose", 1000);
        }
        log.behaviours.number("click");
        log.behaviours.number("buy");
        events(&file, 4, CLICK, reading, &mut log)?;
        if let Some(buys) = reading.files.find(&["yoochoose-buys.dat"]) {
            events(&buys, 5, BUY, reading, &mut log)?;
        }
        log.build("yoochoose", 1000)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::SAMPLED, Sessionizer::Given {}))
    }
}

fn events(
    file: &Member,
    columns: usize,
    behaviour: u8,
    reading: &Reading,
    log: &mut LogBuilder,
) -> Result<()> {
    let layout = Layout { separator: ",", header: false, quotes: false, columns: Some(columns) };
    Table::open(file, layout)?.each(reading, |row| {
        let (session, item) = (row.number_id(0)?, row.number_id(2)?);
        let item = push(log, &session, &item, Clock::Iso.time(row, 1, 1000)?, behaviour);
        let category = row.text(3);
        if behaviour == CLICK && category != "0" {
            log.categorise(item, &category);
        }
        Ok(())
    })
}

/// Takes an event in; returns its item.
fn push(log: &mut LogBuilder, session: &str, item: &str, time: i64, behaviour: u8) -> u32 {
    let (user, item) = (log.users.number(session), log.items.number(item));
    log.events.push(Event { user, item, time, behaviour, rating: None, session: Some(u64::from(user)) });
    item
}
