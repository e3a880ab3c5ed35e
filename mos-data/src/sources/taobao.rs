//! Taobao UserBehavior (Tianchi data set 649; Zhu et al., KDD 2018).
//!
//! `UserBehavior.csv`, plain or gzip, no header: user, item, category, behaviour (`pv`, `cart`, `fav`, `buy`), unix
//! seconds. The set covers nine days of China time; the few rows outside are dropped and counted, as is usual.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    blocks::{Rows, each_block},
    builder::{LogBuilder, plain_number},
    row::LATEST,
    table::Layout,
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
        let mut log = LogBuilder::new(reading);
        for behaviour in BEHAVIOURS {
            log.behaviours.number(behaviour);
        }
        let by_category = self.items == TaobaoItems::Category;
        let stray = "rows outside 2017-11-25 to 2017-12-03, China time";
        each_block(&file, layout, reading, parse, |rows| {
            match rows {
                Rows::Parsed(rows) => {
                    for Plain { user, item, category, time, behaviour } in rows {
                        if !DAYS.contains(&time) {
                            log.drop_row(stray);
                            continue;
                        }
                        let item = log.items.number_plain(if by_category { category } else { item });
                        log.categorise_plain(item, category);
                        let user = log.users.number_plain(user);
                        log.push(Event { user, item, time, behaviour, rating: None, session: None });
                    }
                }
                Rows::Text(row) => {
                    let (user, item, category) = (row.number_id(0)?, row.number_id(1)?, row.number_id(2)?);
                    let behaviour = behaviour(row.text(3).as_bytes())
                        .ok_or_else(|| row.fail(3, "is no behaviour", "pv, cart, fav or buy"))?;
                    let time = row.integer(4)?;
                    // The strays of the published file lie before 2100.
                    let time = if time < 0 { time } else { row.known_time(4, time, 1)? };
                    if !DAYS.contains(&time) {
                        log.drop_row(stray);
                        return Ok(());
                    }
                    let item = log.items.number(if by_category { &category } else { &item });
                    log.categorise(item, &category);
                    let user = log.users.number(&user);
                    log.push(Event { user, item, time, behaviour, rating: None, session: None });
                }
            }
            Ok(())
        })?;
        log.build(if by_category { "taobao-categories" } else { "taobao" }, 1)
    }
}

/// A row as nearly all are.
struct Plain {
    user: u64,
    item: u64,
    category: u64,
    time: i64,
    behaviour: u8,
}

fn behaviour(name: &[u8]) -> Option<u8> {
    BEHAVIOURS.iter().position(|b| b.as_bytes() == name).map(|at| at as u8 + 1)
}

/// All rows of some lines; `None` where a row has to be looked at more closely.
fn parse(lines: &[u8]) -> Option<Vec<Plain>> {
    let mut rows = Vec::with_capacity(lines.len() / 32);
    for line in lines.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let mut fields = line.split(|b| *b == b',');
        let mut number = || plain_number(fields.next()?);
        let (user, item, category) = (number()?, number()?, number()?);
        let (behaviour, time) = (behaviour(fields.next()?)?, fields.next()?);
        let (negative, digits) = time.strip_prefix(b"-").map_or((false, time), |digits| (true, digits));
        let time = i64::try_from(plain_number(digits)?).ok()?;
        let time = if negative { -time } else { time };
        if time > LATEST || fields.next().is_some() {
            return None;
        }
        rows.push(Plain { user, item, category, time, behaviour });
    }
    Some(rows)
}
