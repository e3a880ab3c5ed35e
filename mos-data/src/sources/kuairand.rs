//! KuaiRand: Pure, 1K and 27K (Gao et al., CIKM 2022). Short videos shown by Kuaishou, with what the user did.
//!
//! | file | columns read |
//! | --- | --- |
//! | `log_standard_*.csv` | `user_id`, `video_id`, `time_ms`, the label, `tab` |
//! | `user_features_*.csv` | all but counts: activity, author, ranges of counts, 18 encoded features |
//! | `video_features_basic_*.csv` (27K: in parts) | `author_id`, `video_type`, `upload_type`, `music_id`, `tag` |
//!
//! The label is the option `label`: `is_click` unless it says `long_view`, `is_like` or another 0/1 column of the log. Videos
//! with a positive label form the histories. `tag` may hold several numbers; they are an attribute, the first is the category.
//! `tab` is the context of an impression. `log_random_*.csv` (shown at random) is not read unless the option `random` is true.
//! Numbers such as durations and the files of daily statistics, which look into the future, are not read. Times are
//! milliseconds.
//!
//! Names of files and columns follow the publisher's description; no whole file was at hand.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    table::{Layout, Table},
    task,
};
use crate::{Error, Event, Impression, LabelRule, Log, Result, Sessionizer, TaskConfig};

const HEADER: Layout<'_> = Layout { separator: ",", header: true, quotes: true, columns: None };
/// Attributes of a video with one value.
const ATTRIBUTES: [&str; 4] = ["author_id", "video_type", "upload_type", "music_id"];

/// KuaiRand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KuaiRand {
    /// The column of the label.
    label: String,
    /// Whether what was shown at random is read too.
    random: bool,
}

impl Default for KuaiRand {
    fn default() -> Self {
        Self { label: "is_click".into(), random: false }
    }
}

impl Format for KuaiRand {
    const NAME: &'static str = "kuairand";
    const LINE: &'static str = "KuaiRand-Pure, -1K, -27K: log_standard_*.csv with users and videos beside";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let mut log = LogBuilder::new(reading);
        log.impressions = Some(Vec::new());
        let logs = reading.files.matching(|name| {
            name.starts_with("log_standard_") || self.random && name.starts_with("log_random_")
        });
        if logs.is_empty() {
            let hint = "give the folder or archive of the set; its files are named log_standard_...csv";
            return Err(Error::file(reading.files.root(), "no log is here", hint));
        }
        let tab = log.impression_field("tab");
        for file in logs {
            let mut table = Table::open(&file, HEADER)?;
            let [user, video, time] = ["user_id", "video_id", "time_ms"].map(|name| table.column(&[name]));
            let (user, video, time, label) = (user?, video?, time?, table.column(&[&self.label])?);
            let place = table.find(&["tab"]);
            table.each(reading, |row| {
                let (user, item) = (row.number_id(user)?, row.number_id(video)?);
                let (time, label) = (row.time(time, 1000)?, row.label(label)?);
                let (user, item) = (log.users.number(&user), log.items.number(&item));
                log.impressions.get_or_insert_default().push(Impression { user, item, time, label });
                if let Some(place) = place {
                    log.set_impression(tab, &row.text(place));
                }
                if label > 0.5 {
                    log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
                }
                Ok(())
            })?;
        }
        users(reading, &mut log)?;
        videos(reading, &mut log)?;
        log.build(&reading.files.name(), 1000)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::Impressions {}, Sessionizer::HALF_HOUR))
    }
}

/// Reads what is known of the users; KuaiRec has the same file.
pub(super) fn users(reading: &Reading, log: &mut LogBuilder) -> Result<()> {
    let mut files =
        reading.files.matching(|name| name.starts_with("user_features") && !name.contains("_raw"));
    if files.is_empty() {
        // Beside a set that was given as one file.
        files.extend(reading.files.find(&["user_features.csv"]));
    }
    for file in files {
        let mut table = Table::open(&file, HEADER)?;
        let id = table.column(&["user_id"])?;
        // Beside each count stands its range.
        let ranges = |name: &str| table.find(&[&format!("{name}_range")]).is_some();
        let named = table.header().iter().enumerate();
        let wanted = named.filter(|(c, name)| *c != id && !ranges(name));
        let fields: Vec<(usize, usize)> = wanted.map(|(c, name)| (c, log.user_field(name))).collect();
        table.each(reading, |row| {
            if let Some(user) = log.users.find(&row.number_id(id)?) {
                fields.iter().for_each(|(c, field)| log.set_user(user, *field, &row.text(*c)));
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn videos(reading: &Reading, log: &mut LogBuilder) -> Result<()> {
    let files = reading.files.matching(|name| name.starts_with("video_features_basic"));
    if files.is_empty() {
        return Ok(());
    }
    let attributes = ATTRIBUTES.map(|name| log.attribute(name, false));
    let tags = log.attribute("tag", true);
    for file in files {
        let mut table = Table::open(&file, HEADER)?;
        let (id, tag) = (table.column(&["video_id"])?, table.column(&["tag"])?);
        let places = ATTRIBUTES.map(|name| table.find(&[name]));
        table.each(reading, |row| {
            let Some(item) = log.items.find(&row.number_id(id)?) else { return Ok(()) };
            for (place, attribute) in places.iter().zip(attributes) {
                if let Some(place) = place {
                    log.describe(item, attribute, &row.text(*place));
                }
            }
            for (n, tag) in row.text(tag).split([',', ';', ' ']).filter(|t| !t.is_empty()).enumerate() {
                log.describe(item, tags, tag);
                if n == 0 {
                    log.categorise(item, tag);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
