//! KuaiRec (Gao et al., CIKM 2022): short videos watched on Kuaishou; in the small matrix nearly every user has seen nearly every
//! video.
//!
//! | file | columns read |
//! | --- | --- |
//! | `big_matrix.csv`, `small_matrix.csv` | `user_id`, `video_id`, `timestamp` (seconds with fractions), `watch_ratio` |
//! | `item_categories.csv` | `video_id`, `feat`: a list such as `"[8, 3]"` |
//! | `user_features.csv` | all but counts: activity, author, ranges of counts, 18 encoded features |
//!
//! The option `matrix` says which one is read, `big` unless it is `small`. Each row is a behaviour with its `watch_ratio` as
//! rating; by default one of 2 or more, a video watched twice over, is a click, as the publisher advises. The numbers in `feat`
//! are an attribute, the first is the category. Rows without a time, which the small matrix has, are left out and counted.
//!
//! Names of files and columns follow the publisher's description; no whole file was at hand.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    dates::Clock,
    json,
    kuairand::users,
    table::{Layout, Table},
    task,
};
use crate::{Event, LabelRule, Log, Result, Sessionizer, TaskConfig};

/// KuaiRec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KuaiRec {
    matrix: Matrix,
}

/// Which part is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Matrix {
    /// All users, sparse.
    #[default]
    Big,
    /// 1,411 users, dense.
    Small,
}

impl Format for KuaiRec {
    const NAME: &'static str = "kuairec";
    const LINE: &'static str = "KuaiRec big_matrix.csv or small_matrix.csv, with item_categories.csv beside";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let (file, name) = match self.matrix {
            Matrix::Big => ("big_matrix.csv", "kuairec-big"),
            Matrix::Small => ("small_matrix.csv", "kuairec-small"),
        };
        let layout = Layout { separator: ",", header: true, quotes: true, columns: None };
        let mut log = LogBuilder::new(reading);
        let mut table = Table::open(&reading.files.main(&[file])?, layout)?;
        let [user, video, time, ratio] =
            ["user_id", "video_id", "timestamp", "watch_ratio"].map(|name| table.column(&[name]));
        let (user, video, time, ratio) = (user?, video?, time?, ratio?);
        table.each(reading, |row| {
            let (user, item, rating) = (row.number_id(user)?, row.number_id(video)?, row.float(ratio)?);
            if row.text(time).is_empty() {
                log.drop_row("rows without a time");
                return Ok(());
            }
            let time = Clock::Decimal.time(row, time, 1000)?;
            let (user, item) = (log.users.number(&user), log.items.number(&item));
            log.events.push(Event { user, item, time, behaviour: 0, rating: Some(rating), session: None });
            Ok(())
        })?;
        if let Some(file) = reading.files.find(&["item_categories.csv"]) {
            let feature = log.attribute("feat", true);
            let mut table = Table::open(&file, layout)?;
            let (id, feat) = (table.column(&["video_id"])?, table.column(&["feat"])?);
            table.each(reading, |row| {
                let Some(item) = log.items.find(&row.number_id(id)?) else { return Ok(()) };
                for (n, value) in json::lists(&row.text(feat)).concat().iter().enumerate() {
                    log.describe(item, feature, value);
                    if n == 0 {
                        log.categorise(item, value);
                    }
                }
                Ok(())
            })?;
        }
        users(reading, &mut log)?;
        log.build(name, 1000)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::Rating { at_least: 2.0 }, Sessionizer::HALF_HOUR))
    }
}
