//! MovieLens (GroupLens; Harper and Konstan 2015) and what shares its layouts (MovieTweetings).
//!
//! | sets | ratings | films | users |
//! | --- | --- | --- | --- |
//! | 100k | `u.data`: tabs, no header | `u.item`: `|`, 19 genre flags from column 6, Latin-1 | `u.user`: `|`, id, age, gender, occupation, zip code |
//! | 1M, 10M, MovieTweetings | `ratings.dat`: `::`, no header | `movies.dat`: `::`, genres split by `|` | 1M only, `users.dat`: `::`, id, gender, age group, occupation, zip code |
//! | 20M, 25M, 32M, latest | `ratings.csv`: header | `movies.csv`: header, quotes, genres split by `|` | none |
//!
//! The genres of a film are its attribute `genres`, the first is its category; without the file of films there are none.
//! Gender, age and occupation of the users are context, the zip code is not used; other tables of users, such as that of
//! MovieTweetings, are not read. Ratings
//! are kept as they are. Times are unix seconds; rows come in any order.

use std::{collections::HashMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    table::{Layout, Table},
    task,
};
use crate::{Error, Event, LabelRule, Log, Result, Sessionizer, TaskConfig};

const NO_GENRE: &str = "(no genres listed)";
/// The flags of `u.item`, in order; the first means "unknown".
const GENRES: [&str; 19] = [
    "",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];

#[derive(Clone, Copy)]
enum Kind {
    Tabs,
    Colons,
    Csv,
}

/// Any MovieLens set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MovieLens {}

impl Format for MovieLens {
    const NAME: &'static str = "movielens";
    const LINE: &'static str = "MovieLens u.data, ratings.dat or ratings.csv, with the films beside it";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let file = reading.files.main(&["ratings.csv", "ratings.dat", "u.data"])?;
        let name = file.name();
        let (kind, separator) = match Path::new(&name).extension().and_then(|e| e.to_str()) {
            Some("csv") => (Kind::Csv, ","),
            Some("dat") => (Kind::Colons, "::"),
            _ => (Kind::Tabs, "\t"),
        };
        let csv = matches!(kind, Kind::Csv);
        let layout = Layout { separator, header: csv, quotes: csv, columns: Some(4) };
        let genres = genres(reading, kind)?;
        let mut table = Table::open(&file, layout)?;
        let names = ["userId", "movieId", "rating", "timestamp"];
        if csv && table.header() != names {
            return Err(Error::file(
                &file.path,
                format!("the first line is {:?}", table.header().join(",")),
                format!("{} is expected; describe other tables by a schema (source csv)", names.join(",")),
            ));
        }
        let mut log = LogBuilder::new(reading);
        let of_film = log.attribute("genres", true);
        table.each(reading, |row| {
            let (user, film) = (row.number_id(0)?, row.number_id(1)?);
            let (rating, time) = (row.float(2)?, row.time(3, 1)?);
            let item = log.items.number(&film);
            if let Some(genres) = genres.get(film.as_ref()) {
                log.categorise(item, &genres[0]);
                genres.iter().for_each(|g| log.describe(item, of_film, g));
            }
            let user = log.users.number(&user);
            log.events.push(Event { user, item, time, behaviour: 0, rating: Some(rating), session: None });
            Ok(())
        })?;
        users(reading, kind, &mut log)?;
        let folder = file.path.parent().and_then(Path::file_name);
        let set = folder.map_or_else(|| "movielens".into(), |n| n.to_string_lossy().into_owned());
        log.build(&set, 1)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::Rating { at_least: 4.0 }, Sessionizer::HALF_HOUR))
    }
}

/// Genres of each film that has any.
fn genres(reading: &Reading, kind: Kind) -> Result<HashMap<String, Vec<String>>> {
    let (name, layout) = match kind {
        Kind::Tabs => ("u.item", ("|", false, 24)),
        Kind::Colons => ("movies.dat", ("::", false, 3)),
        Kind::Csv => ("movies.csv", (",", true, 3)),
    };
    let Some(file) = reading.files.find(&[name]) else {
        return Ok(HashMap::new());
    };
    let (separator, header, columns) = layout;
    let quotes = matches!(kind, Kind::Csv);
    let mut table = Table::open(&file, Layout { separator, header, quotes, columns: Some(columns) })?;
    let mut out = HashMap::new();
    table.each(reading, |row| {
        let genres: Vec<String> = if matches!(kind, Kind::Tabs) {
            (1..GENRES.len()).filter(|g| row.text(5 + g) == "1").map(|g| GENRES[g].to_owned()).collect()
        } else {
            let text = row.text(2);
            let named = text.split('|').map(str::trim).filter(|g| !g.is_empty() && *g != NO_GENRE);
            named.map(str::to_owned).collect()
        };
        if !genres.is_empty() {
            out.insert(row.number_id(0)?.into_owned(), genres);
        }
        Ok(())
    })?;
    Ok(out)
}

/// Context of the users that the log has.
fn users(reading: &Reading, kind: Kind, log: &mut LogBuilder) -> Result<()> {
    let (name, separator, columns) = match kind {
        Kind::Tabs => ("u.user", "|", [("gender", 2), ("age", 1), ("occupation", 3)]),
        Kind::Colons => ("users.dat", "::", [("gender", 1), ("age", 2), ("occupation", 3)]),
        Kind::Csv => return Ok(()),
    };
    let Some(file) = reading.files.find(&[name]) else {
        return Ok(());
    };
    let layout = Layout { separator, header: false, quotes: false, columns: None };
    let mut table = Table::open(&file, layout)?;
    if table.columns() != 5 {
        return Ok(());
    }
    let fields = columns.map(|(name, c)| (log.user_field(name), c));
    table.each(reading, |row| {
        if let Some(user) = log.users.find(&row.number_id(0)?) {
            fields.iter().for_each(|(field, c)| log.set_user(user, *field, &row.text(*c)));
        }
        Ok(())
    })
}
