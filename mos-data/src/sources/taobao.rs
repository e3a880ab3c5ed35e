//! Taobao UserBehavior (Tianchi data set 649; Zhu et al., KDD 2018).
//!
//! `UserBehavior.csv`, plain or gzip, no header: user, item, category, behaviour (`pv`, `cart`, `fav`, `buy`), unix
//! seconds. The set covers nine days of China time; the few rows outside are dropped and counted, as is usual.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    builder::LogBuilder,
    find,
    table::{Layout, Table},
};
use crate::{Event, Log, Result};

/// 2017-11-25 00:00 to 2017-12-04 00:00 China time.
const DAYS: std::ops::Range<i64> = 1_511_539_200..1_512_316_800;
const BEHAVIOURS: [&str; 4] = ["pv", "cart", "fav", "buy"];

/// What counts as an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaobaoItems {
    /// The item.
    #[default]
    Item,
    /// Its category: a smaller vocabulary, for samples that show few items twice.
    Category,
}

/// Reads the file, or the folder that holds it.
///
/// # Errors
/// [`crate::Error::Row`] at the first row that cannot be read, [`crate::Error::TooFew`] if none is left.
pub fn read(path: &Path, items: TaobaoItems) -> Result<Log> {
    let file = find(path, &["UserBehavior.csv", "UserBehavior.csv.gz"])?;
    let layout = Layout { separator: ",", header: false, quotes: false, columns: Some(5) };
    let mut table = Table::open(&file, layout)?;
    let mut log = LogBuilder::new();
    for behaviour in BEHAVIOURS {
        log.behaviours.number(behaviour);
    }
    while let Some(row) = table.next()? {
        let (user, item, category) = (row.number_id(0)?, row.number_id(1)?, row.number_id(2)?);
        let behaviour = BEHAVIOURS
            .iter()
            .position(|b| *b == row.text(3))
            .ok_or_else(|| row.fail(3, "is no behaviour", "pv, cart, fav or buy"))?;
        let time = row.integer(4)?;
        if !DAYS.contains(&time) {
            log.drop_row("rows outside 2017-11-25 to 2017-12-03, China time");
            continue;
        }
        let item = log.items.number(if items == TaobaoItems::Category { &category } else { &item });
        log.categorise(item, &category);
        let user = log.users.number(&user);
        let behaviour = behaviour as u8 + 1;
        log.events.push(Event { user, item, time, behaviour, rating: None, session: None });
    }
    log.build(if items == TaobaoItems::Category { "taobao-categories" } else { "taobao" }, 1)
}
