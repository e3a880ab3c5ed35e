//! MovieLens (GroupLens; Harper and Konstan 2015) and what shares its layouts (MovieTweetings).
//!
//! | sets | ratings | films |
//! | --- | --- | --- |
//! | 100k | `u.data`: tabs, no header | `u.item`: `|`, 19 genre flags from column 6, Latin-1 |
//! | 1M, 10M, MovieTweetings | `ratings.dat`: `::`, no header | `movies.dat`: `::`, genres split by `|` |
//! | 20M, 25M, 32M, latest | `ratings.csv`: header | `movies.csv`: header, quotes, genres split by `|` |
//!
//! Each file may be gzip. The first genre of a film is its category; without the file of films there are none. Ratings
//! are kept as they are. Times are unix seconds; rows come in any order.

use std::{collections::HashMap, path::Path};

use super::{
    builder::LogBuilder,
    find,
    table::{Layout, Table},
};
use crate::{Error, Event, Log, Result};

const RATINGS: [&str; 6] =
    ["ratings.csv", "ratings.csv.gz", "ratings.dat", "ratings.dat.gz", "u.data", "u.data.gz"];
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

/// Reads a file of ratings, or the folder that holds it, and the films beside it.
///
/// # Errors
/// [`crate::Error::Row`] at the first row that cannot be read, [`crate::Error::File`] if no ratings are found.
pub fn read(path: &Path) -> Result<Log> {
    let file = find(path, &RATINGS)?;
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let (kind, separator) = match Path::new(plain).extension().and_then(|e| e.to_str()) {
        Some("csv") => (Kind::Csv, ","),
        Some("dat") => (Kind::Colons, "::"),
        _ => (Kind::Tabs, "\t"),
    };
    let csv = matches!(kind, Kind::Csv);
    let layout = Layout { separator, header: csv, quotes: csv, columns: Some(4) };
    let folder = file.parent().unwrap_or(Path::new("."));
    let genres = genres(folder, kind)?;
    let mut table = Table::open(&file, layout)?;
    let names = ["userId", "movieId", "rating", "timestamp"];
    if csv && table.header() != names {
        return Err(Error::file(
            &file,
            format!("the first line is {:?}", table.header().join(",")),
            format!("{} is expected; describe other tables by a schema (source csv)", names.join(",")),
        ));
    }
    let mut log = LogBuilder::new();
    while let Some(row) = table.next()? {
        let (user, film) = (row.number_id(0)?, row.number_id(1)?);
        let (rating, time) = (row.float(2)?, row.time(3, 1)?);
        let item = log.items.number(&film);
        if let Some(genre) = genres.get(film.as_ref()) {
            log.categorise(item, genre);
        }
        let user = log.users.number(&user);
        log.events.push(Event { user, item, time, behaviour: 0, rating: Some(rating), session: None });
    }
    let set = folder.file_name().map(|n| n.to_string_lossy().into_owned());
    log.build(&set.unwrap_or_else(|| "movielens".into()), 1)
}

/// First genre of each film.
fn genres(folder: &Path, kind: Kind) -> Result<HashMap<String, String>> {
    let (names, layout) = match kind {
        Kind::Tabs => (["u.item", "u.item.gz"], ("|", false, 24)),
        Kind::Colons => (["movies.dat", "movies.dat.gz"], ("::", false, 3)),
        Kind::Csv => (["movies.csv", "movies.csv.gz"], (",", true, 3)),
    };
    let Some(file) = names.map(|n| folder.join(n)).into_iter().find(|f| f.exists()) else {
        return Ok(HashMap::new());
    };
    let (separator, header, columns) = layout;
    let quotes = matches!(kind, Kind::Csv);
    let mut table = Table::open(&file, Layout { separator, header, quotes, columns: Some(columns) })?;
    let mut out = HashMap::new();
    while let Some(row) = table.next()? {
        let genre = match kind {
            Kind::Tabs => {
                let flag = (0..GENRES.len()).find(|g| row.text(5 + g) == "1");
                flag.map_or("", |g| GENRES[g]).to_owned()
            }
            _ => row.text(2).split('|').next().unwrap_or_default().trim().to_owned(),
        };
        if !genre.is_empty() && genre != NO_GENRE {
            out.insert(row.number_id(0)?.into_owned(), genre);
        }
    }
    Ok(out)
}
