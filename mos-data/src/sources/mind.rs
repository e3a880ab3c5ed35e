//! MIND, the Microsoft news set (Wu et al., ACL 2020), as published; not checked against the published files.
//!
//! | file | columns, tabs between them, no header |
//! | --- | --- |
//! | `behaviors.tsv` | impression, user, `11/15/2019 8:55:22 AM`, clicks before (`N1 N2`), shown items (`N3-1 N4-0`, 1 = clicked) |
//! | `news.tsv` | item, category, subcategory, title, abstract, URL, entities of the title, of the abstract; optional |
//!
//! Every `behaviors.tsv` of a folder is read (train and dev). The test part has no labels and is refused.
//!
//! **Histories.** The clicks before are published without times, one list for all of a user's impressions. They become
//! behaviours one second apart that end one second before the user's earliest impression; clicks on shown items become
//! behaviours at their own time. So a history is the published one and what the user clicked since, and nothing later than
//! its sample. Rows with another list than the user's earliest row are counted; their lists are not used.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    dates::Clock,
    files::Member,
    table::{Layout, Row, Table},
    task,
};
use crate::{Error, Event, Impression, LabelRule, Log, Result, Sessionizer, TaskConfig};

/// MIND.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mind {}

/// The earliest row of a user: its time and its list.
type Earliest = HashMap<u32, (i64, Vec<u32>)>;

impl Format for Mind {
    const NAME: &'static str = "mind";
    const LINE: &'static str = "MIND behaviors.tsv, train and dev, with news.tsv beside it";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let mut log = LogBuilder::new(reading);
        log.impressions = Some(Vec::new());
        let mut earliest = Earliest::new();
        for file in behaviours_of(reading)? {
            let layout = Layout { separator: "\t", header: false, quotes: false, columns: Some(5) };
            Table::open(&file, layout)?.each(reading, |row| behaviours(row, &mut log, &mut earliest))?;
        }
        let mut users: Vec<_> = earliest.into_iter().collect();
        users.sort_unstable_by_key(|(user, _)| *user);
        for (user, (first, history)) in users {
            for (back, item) in (1..).zip(history.into_iter().rev()) {
                let event =
                    Event { user, item, time: first - back, behaviour: 0, rating: None, session: None };
                log.events.push(event);
            }
        }
        let subcategory = log.attribute("subcategory", false);
        for file in news_of(reading) {
            let layout = Layout { separator: "\t", header: false, quotes: false, columns: Some(8) };
            Table::open(&file, layout)?.each(reading, |row| {
                if let Some(item) = log.items.find(&row.id(0)?) {
                    log.categorise(item, &row.text(1));
                    log.describe(item, subcategory, &row.text(2));
                }
                Ok(())
            })?;
        }
        log.build("mind", 1)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::Impressions {}, Sessionizer::HALF_HOUR))
    }
}

/// Every file of this name.
fn every(reading: &Reading, name: &str) -> Vec<Member> {
    reading.files.matching(|n| n.strip_suffix(".gz").unwrap_or(n) == name)
}

/// One file alone is the main one, whatever its name.
fn behaviours_of(reading: &Reading) -> Result<Vec<Member>> {
    let all = every(reading, "behaviors.tsv");
    if all.is_empty() { Ok(vec![reading.files.main(&["behaviors.tsv"])?]) } else { Ok(all) }
}

/// Those of the folder, or the one beside a file.
fn news_of(reading: &Reading) -> Vec<Member> {
    let all = every(reading, "news.tsv");
    if all.is_empty() { reading.files.find(&["news.tsv"]).into_iter().collect() } else { all }
}

fn behaviours(row: &Row<'_>, log: &mut LogBuilder, earliest: &mut Earliest) -> Result<()> {
    let (user, time) = (row.id(1)?, Clock::American.time(row, 2, 1)?);
    let shown = row.text(4);
    let shown = shown.split_ascii_whitespace().map(|text| label(row, text));
    let shown: Vec<(&str, f32)> = shown.collect::<Result<_>>()?;
    let user = log.users.number(&user);
    let history: Vec<u32> = row.text(3).split_ascii_whitespace().map(|id| log.items.number(id)).collect();
    for (item, label) in shown {
        let item = log.items.number(item);
        log.impressions.get_or_insert_default().push(Impression { user, item, time, label });
        if label > 0.5 {
            log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
        }
    }
    let first = earliest.entry(user).or_insert_with(|| (time, history.clone()));
    if first.1 != history {
        log.drop_row("rows with another list of clicks before than the user's earliest row (not used)");
    }
    if time < first.0 {
        *first = (time, history);
    }
    Ok(())
}

fn label<'a>(row: &Row<'_>, text: &'a str) -> Result<(&'a str, f32)> {
    let wrong = || -> Error {
        row.fail(
            4,
            format!("has {text:?}, which is no shown item"),
            "N1-0 or N1-1; the test part has no labels",
        )
    };
    let (item, label) = text.rsplit_once('-').filter(|(item, _)| !item.is_empty()).ok_or_else(wrong)?;
    match label {
        "1" => Ok((item, 1.0)),
        "0" => Ok((item, 0.0)),
        _ => Err(wrong()),
    }
}
