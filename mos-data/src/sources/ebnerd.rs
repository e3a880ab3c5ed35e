//! EB-NeRD, the news of Ekstra Bladet, as published (RecSys Challenge 2024; Kruse et al. 2024).
//!
//! | file | one row | columns read |
//! | --- | --- | --- |
//! | `history` | a user | `user_id`, lists `impression_time_fixed`, `article_id_fixed` |
//! | `behaviors` | a page that was shown | `user_id`, `impression_time`, `article_ids_inview`, `article_ids_clicked`, context |
//! | `articles` | an article | `article_id`, `category`, `subcategory`, `topics`, `article_type`, `premium`, `sentiment_label` |
//!
//! Each as `.parquet` or as `.jsonl` with the same names, plain or gzip; `history` and `behaviors` from every folder that has them
//! (`train`, `validation`), `articles` where it is there. Beside them `image_embeddings`, `contrastive_vector` or
//! `document_vector` (parquet: article, vector) gives the articles' content vectors.
//!
//! Every article of a page is an impression, clicked or not; a page without a list of clicks (the test set of the challenge) is
//! left out and counted. Histories are the published clicks; the lists of the folders overlap, and what is in two of them
//! counts once. Clicks on pages are no events of their own: later histories have them. Context of an impression: device, login,
//! gender, postcode, age, subscription; an empty one is unknown. Times of reading and scrolling are not read, as they come after
//! the click. Times are seconds, read as UTC.

use std::{borrow::Cow, collections::HashSet};

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    columns::{Cells, Columns},
    dates::Clock,
    files::Member,
    json,
    table::{Row, Table},
    task,
};
use crate::{Error, Event, Impression, LabelRule, Log, Result, Sessionizer, TaskConfig};

const CONTEXT: [&str; 6] = ["device_type", "is_sso_user", "gender", "postcode", "age", "is_subscriber"];
/// Attributes of an article, and whether there can be many.
const ATTRIBUTES: [(&str, bool); 6] = [
    ("category", false),
    ("subcategory", true),
    ("topics", true),
    ("article_type", false),
    ("premium", false),
    ("sentiment_label", false),
];
const VECTORS: [&str; 3] =
    ["image_embeddings.parquet", "contrastive_vector.parquet", "document_vector.parquet"];

/// EB-NeRD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ebnerd {}

impl Format for Ebnerd {
    const NAME: &'static str = "ebnerd";
    const LINE: &'static str = "EB-NeRD as published: history, behaviors, articles as parquet or json lines";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let mut log = LogBuilder::new(reading);
        log.impressions = Some(Vec::new());
        let mut known = HashSet::new();
        for file in files(reading, "history")? {
            each(reading, &file, &["user_id", "impression_time_fixed", "article_id_fixed"], 3, |row| {
                let user = log.users.number(&row.id(0)?);
                let (times, articles) = (row.list(1), row.list(2));
                if times.len() != articles.len() {
                    let message = format!("has {} times for {} articles", times.len(), articles.len());
                    return Err(row.fail(1, message, "one time for each article"));
                }
                let times = times.iter().map(|t| row.time(1, t)).collect::<Result<Vec<i64>>>()?;
                for (time, article) in times.into_iter().zip(&articles) {
                    if article.is_empty() {
                        log.drop_row("behaviours without an article");
                        continue;
                    }
                    let item = log.items.number(article);
                    // The histories of the parts overlap.
                    if !known.insert((user, item, time)) {
                        log.drop_row("behaviours that stand in the histories twice");
                        continue;
                    }
                    log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
                }
                Ok(())
            })?;
        }
        let fields = CONTEXT.map(|name| log.impression_field(name));
        let mut names = vec!["user_id", "impression_time", "article_ids_inview", "article_ids_clicked"];
        names.extend(CONTEXT);
        for file in files(reading, "behaviors")? {
            each(reading, &file, &names, 3, |row| {
                let user = log.users.number(&row.id(0)?);
                let time = row.time(1, &row.text(1))?;
                let (shown, clicked) = (row.list(2), row.list(3));
                if clicked.is_empty() {
                    log.drop_row("pages without a list of clicks");
                    return Ok(());
                }
                clicked
                    .iter()
                    .filter(|c| !shown.contains(c))
                    .for_each(|_| log.drop_row("clicks on articles that the page does not show"));
                for article in shown.iter().filter(|a| !a.is_empty()) {
                    let (item, label) = (log.items.number(article), f32::from(clicked.contains(article)));
                    log.impressions.get_or_insert_default().push(Impression { user, item, time, label });
                    for (field, at) in fields.iter().zip(4..) {
                        log.set_impression(*field, &row.text(at));
                    }
                }
                Ok(())
            })?;
        }
        articles(reading, &mut log)?;
        vectors(reading, &mut log)?;
        log.build(&reading.files.name(), 1)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::Impressions {}, Sessionizer::HALF_HOUR))
    }
}

/// Every file of this kind, parquet before json lines; both forms of one file are one file.
fn files(reading: &Reading, stem: &str) -> Result<Vec<Member>> {
    let ending = |end: &str| {
        reading.files.matching(|name| name.strip_suffix(".gz").unwrap_or(name) == format!("{stem}.{end}"))
    };
    let mut found = ending("parquet");
    if found.is_empty() {
        found = ending("jsonl");
    }
    if found.is_empty() {
        let message = format!("{stem}.parquet or {stem}.jsonl is not here");
        return Err(Error::file(reading.files.root(), message, "give the folder or archive of the set"));
    }
    Ok(found)
}

fn articles(reading: &Reading, log: &mut LogBuilder) -> Result<()> {
    let Ok(found) = files(reading, "articles") else { return Ok(()) };
    let attributes = ATTRIBUTES.map(|(name, many)| log.attribute(name, many));
    let names: Vec<&str> = ["article_id"].into_iter().chain(ATTRIBUTES.map(|a| a.0)).collect();
    for file in found {
        each(reading, &file, &names, 1, |row| {
            let Some(item) = log.items.find(&row.id(0)?) else { return Ok(()) };
            for (at, (attribute, (name, many))) in attributes.iter().zip(ATTRIBUTES).enumerate() {
                if many {
                    row.list(at + 1).iter().for_each(|value| log.describe(item, *attribute, value));
                } else {
                    log.describe(item, *attribute, &row.text(at + 1));
                }
                if name == "category" {
                    log.categorise(item, &row.text(at + 1));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn vectors(reading: &Reading, log: &mut LogBuilder) -> Result<()> {
    let Some(file) = reading.files.find(&VECTORS) else { return Ok(()) };
    let columns = Columns::open(&file, 1)?;
    let [id] = columns.places(["article_id"])?;
    let vector = (0..columns.names().len()).find(|c| columns.is_vector(*c)).ok_or_else(|| {
        Error::file(&file.path, "has no column of vectors", "an article_id and a list of numbers in each row")
    })?;
    columns.each(reading, &[id, vector], |row| {
        let Some(item) = log.items.find(&row.id(id)?) else { return Ok(()) };
        log.set_content(item, &row.floats(vector)?)
            .map_err(|e| row.fail(vector, e, "all articles have vectors of one width"))
    })
}

/// Hands each row of a file to `take`: its columns in the order of `names`, of which the first `needed` must be there.
fn each(
    reading: &Reading,
    file: &Member,
    names: &[&str],
    needed: usize,
    mut take: impl FnMut(&Either<'_>) -> Result<()>,
) -> Result<()> {
    if file.name().ends_with(".parquet") {
        let columns = Columns::open(file, 1)?;
        for name in &names[..needed] {
            columns.places([name])?;
        }
        let places: Vec<Option<usize>> = names.iter().map(|name| columns.find(name)).collect();
        let wanted: Vec<usize> = places.iter().flatten().copied().collect();
        columns.each(reading, &wanted, |row| take(&Either::Parquet { row, places: &places }))
    } else {
        Table::records(file, names, needed)?.each(reading, |row| take(&Either::Json(row)))
    }
}

/// A row of either form.
enum Either<'a> {
    Parquet { row: &'a Cells<'a>, places: &'a [Option<usize>] },
    Json(&'a Row<'a>),
}

impl Either<'_> {
    /// The row, and the place in it of a column that must be there.
    fn at(&self, name: usize) -> (&Row<'_>, usize) {
        match self {
            Self::Parquet { row, places } => (row, places[name].unwrap_or(0)),
            Self::Json(row) => (row, name),
        }
    }

    fn id(&self, name: usize) -> Result<Cow<'_, str>> {
        let (row, at) = self.at(name);
        row.id(at)
    }

    /// Empty for a column that is not there.
    fn text(&self, name: usize) -> Cow<'_, str> {
        match self {
            Self::Parquet { row, places } => places[name].map_or(Cow::Borrowed(""), |c| row.text(c)),
            Self::Json(row) => row.text(name),
        }
    }

    fn list(&self, name: usize) -> Vec<String> {
        match self {
            Self::Parquet { row, places } => places[name].map_or_else(Vec::new, |c| row.texts(c)),
            Self::Json(row) => json::lists(&row.text(name)).concat(),
        }
    }

    /// Seconds of a time in column `name`: parquet counts them already, JSON has dates.
    fn time(&self, name: usize, text: &str) -> Result<i64> {
        let seconds = text.parse().ok().or_else(|| Clock::Iso.milliseconds(text).map(|t| t.div_euclid(1000)));
        let (row, at) = self.at(name);
        let wrong = || {
            row.fail(at, format!("holds {text:?}, which is no time"), "a date such as 2023-02-27 03:23:27")
        };
        row.known_time(at, seconds.ok_or_else(wrong)?, 1)
    }

    fn fail(&self, name: usize, message: impl ToString, hint: impl ToString) -> Error {
        let (row, at) = self.at(name);
        row.fail(at, message, hint)
    }
}
