//! Taobao UserBehavior (Tianchi data set 649; Zhu et al., KDD 2018).
//!
//! `UserBehavior.csv`, plain or gzip, no header: user, item, category, behaviour (`pv`, `cart`, `fav`, `buy`), unix
//! seconds. The set covers nine days of China time; the few rows outside are dropped and counted, as is usual.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    blocks::{Rows, each_block},
    builder::{LogBuilder, leading_number},
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
                Rows::Expected(rows) => log.expect(rows),
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
#[derive(Debug, PartialEq)]
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
    let mut left = lines;
    while !left.is_empty() {
        if let Some(rest) = line_end(left) {
            left = rest;
            continue;
        }
        let (user, rest) = field(left)?;
        let (item, rest) = field(rest)?;
        let (category, rest) = field(rest)?;
        let comma = rest.iter().position(|b| *b == b',')?;
        let (name, rest) = (&rest[..comma], &rest[comma + 1..]);
        let behaviour = behaviour(name)?;
        let (negative, rest) = rest.strip_prefix(b"-").map_or((false, rest), |rest| (true, rest));
        let (time, rest) = leading_number(rest)?;
        let time = i64::try_from(time).ok()?;
        let time = if negative { -time } else { time };
        if time > LATEST {
            return None;
        }
        left = if rest.is_empty() { rest } else { line_end(rest)? };
        rows.push(Plain { user, item, category, time, behaviour });
    }
    Some(rows)
}

/// A number and what follows the comma behind it.
fn field(text: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = leading_number(text)?;
    Some((number, rest.strip_prefix(b",")?))
}

/// What follows the end of a line.
fn line_end(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => Some(rest),
        b"\r" => Some(&[]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by lines and fields.
    fn plainly(lines: &[u8]) -> Option<Vec<Plain>> {
        use crate::sources::builder::plain_number;
        let mut rows = Vec::new();
        for line in lines.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let fields: Vec<&[u8]> = line.split(|b| *b == b',').collect();
            let [user, item, category, name, time] = fields[..] else { return None };
            let (negative, digits) = time.strip_prefix(b"-").map_or((false, time), |digits| (true, digits));
            let time = i64::try_from(plain_number(digits)?).ok()?;
            let time = if negative { -time } else { time };
            if time > LATEST {
                return None;
            }
            rows.push(Plain {
                user: plain_number(user)?,
                item: plain_number(item)?,
                category: plain_number(category)?,
                time,
                behaviour: behaviour(name)?,
            });
        }
        Some(rows)
    }

    proptest! {
        #[test]
        fn lines_are_parsed_as_fields_between_commas(
            lines in prop::collection::vec(
                prop_oneof![
                    8 => "[1-9][0-9]{0,18},(0|[1-9][0-9]{0,3}),[1-9][0-9]{0,2},(pv|cart|fav|buy),-?[1-9][0-9]{0,9}",
                    1 => "[0-9]{0,20},[0-9]{1,2},[0-9]{1,2},(pv|buys|),[-0-9]{0,3}(,7)?",
                    1 => "[0-9,\r]{0,6}",
                ],
                0..6,
            ),
            ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n")], 6),
            last: bool,
        ) {
            let mut text: String = lines.iter().zip(&ends).flat_map(|(line, end)| [line.as_str(), end]).collect();
            if !last {
                text.truncate(text.trim_end_matches('\n').len());
            }
            prop_assert_eq!(parse(text.as_bytes()), plainly(text.as_bytes()), "{:?}", text);
        }
    }
}
