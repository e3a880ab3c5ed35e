//! Taobao UserBehavior (Tianchi data set 649; Zhu et al., KDD 2018).
//!
//! `UserBehavior.csv`, plain or gzip, no header: user, item, category, behaviour (`pv`, `cart`, `fav`, `buy`), unix
//! seconds. The set covers nine days of China time; the few rows outside are dropped and counted, as is usual.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    table::{Layout, Table},
};
use crate::{Event, Log, Result};

/// 2017-11-25 00:00 to 2017-12-04 00:00 China time.
const DAYS: std::ops::Range<i64> = 1_511_539_200..1_512_316_800;
const BEHAVIOURS: [&str; 4] = ["pv", "cart", "fav", "buy"];

/// Taobao UserBehavior.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Taobao {
    items: TaobaoItems,
}

/// What counts as an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TaobaoItems {
    /// The item.
    #[default]
    Item,
    /// Its category: a smaller vocabulary, for samples that show few items twice.
    Category,
}

impl Format for Taobao {
    const NAME: &'static str = "taobao";
    const LINE: &'static str = "Taobao UserBehavior.csv";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let file = reading.files.main(&["UserBehavior.csv"])?;
        let layout = Layout { separator: ",", header: false, quotes: false, columns: Some(5) };
        let mut table = Table::open(&file, layout)?;
        let mut log = LogBuilder::new();
        for behaviour in BEHAVIOURS {
            log.behaviours.number(behaviour);
        }
        let by_category = self.items == TaobaoItems::Category;
        table.each(reading, |row| {
            let (user, item, category) = (row.number_id(0)?, row.number_id(1)?, row.number_id(2)?);
            let behaviour = BEHAVIOURS
                .iter()
                .position(|b| *b == row.text(3))
                .ok_or_else(|| row.fail(3, "is no behaviour", "pv, cart, fav or buy"))?;
            let time = row.integer(4)?;
            if !DAYS.contains(&time) {
                log.drop_row("rows outside 2017-11-25 to 2017-12-03, China time");
                return Ok(());
            }
            let item = log.items.number(if by_category { &category } else { &item });
            log.categorise(item, &category);
            let user = log.users.number(&user);
            let behaviour = behaviour as u8 + 1;
            log.events.push(Event { user, item, time, behaviour, rating: None, session: None });
            Ok(())
        })?;
        log.build(if by_category { "taobao-categories" } else { "taobao" }, 1)
    }
}
