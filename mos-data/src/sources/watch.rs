//! Looks over the rows of a log while it is read for a check: what is legal, but seldom meant.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rayon::slice::ParallelSliceMut as _;

use super::likely;

/// The end of 1970 in seconds.
const EARLY: i64 = 31_536_000;

/// Something in a log that is legal, but seldom meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is called.
    pub name: &'static str,
    /// Number of rows.
    pub count: u64,
    /// File of the first of them.
    pub file: PathBuf,
    /// Line of the first of them, from 1.
    pub line: u64,
    /// What is so in these rows.
    pub message: String,
    /// What comes of it, and the likely fix.
    pub hint: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, count, file, line, message, hint } = self;
        write!(f, "{name}: {count} {message}, first {}:{line} ({hint})", file.display())
    }
}

/// The line of a row, and the number of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: u16,
    line: u32,
}

/// A row as two rows are compared: 24 bytes each, in a check only. The order puts repeats beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    user: u32,
    item: u32,
    time: i64,
    /// Behaviour or label.
    kind: u8,
    shown: bool,
    file: u16,
    line: u32,
}

const _: () = assert!(size_of::<Seen>() == 24);

impl Seen {
    fn place(&self) -> Place {
        Place { file: self.file, line: self.line }
    }
}

/// How many rows, and the first.
#[derive(Clone, Debug)]
struct Tally<T> {
    count: u64,
    first: Option<(Place, T)>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { count: 0, first: None }
    }
}

impl<T> Tally<T> {
    fn add(&mut self, place: Place, what: impl FnOnce() -> T) {
        self.count += 1;
        self.first.get_or_insert_with(|| (place, what()));
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// The row that is being read.
    place: Option<Place>,
    /// Whether it is one of shown items; its clicks stand for the same row.
    shown: bool,
    rows: Vec<Seen>,
    /// File and time of the last row of each user.
    last: Vec<Option<(u16, i64)>>,
    unsorted: Tally<()>,
    /// Times in 1970, with what was read as what.
    early: Tally<(String, i64)>,
}

impl Watch {
    /// A row is being read from now on.
    pub(super) fn enter(&mut self, file: &Path, line: u64) {
        let known = self.files.last().filter(|f| *f == file).map(|_| self.files.len() - 1);
        let known = known.or_else(|| self.files.iter().position(|f| f == file));
        let file = known.unwrap_or_else(|| {
            self.files.push(file.to_owned());
            self.files.len() - 1
        });
        self.place = Some(Place { file: file as u16, line: u32::try_from(line).unwrap_or(u32::MAX) });
        self.shown = false;
    }

    /// No row is being read: what comes now stands in none.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }

    /// A time in units of which `ticks` make a second.
    pub(super) fn time(&mut self, text: &str, time: i64, ticks: i64) {
        if let (Some(place), true) = (self.place, time.div_euclid(ticks) < EARLY) {
            self.early.add(place, || (text.to_owned(), ticks));
        }
    }

    /// A behaviour of the row that is being read.
    pub(super) fn behaviour(&mut self, user: u32, item: u32, time: i64, kind: u8) {
        if !self.shown {
            self.row(user, item, time, kind);
        }
    }

    /// A shown item of the row that is being read.
    pub(super) fn impression(&mut self, user: u32, item: u32, time: i64, label: f32) {
        self.shown = self.place.is_some();
        self.row(user, item, time, u8::from(label > 0.5));
    }

    fn row(&mut self, user: u32, item: u32, time: i64, kind: u8) {
        let Some(place) = self.place else { return };
        let Place { file, line } = place;
        self.rows.push(Seen { user, item, time, kind, shown: self.shown, file, line });
        if self.last.len() <= user as usize {
            self.last.resize(user as usize + 1, None);
        }
        let last = self.last[user as usize].replace((place.file, time));
        if last.is_some_and(|(file, before)| file == place.file && time < before) {
            self.unsorted.add(place, || ());
        }
    }

    /// What was found.
    pub(super) fn notes(mut self) -> Vec<Note> {
        let repeats = repeats(&mut self.rows);
        let mut notes = Vec::new();
        let mut note = |name, count, place: Place, message, hint| {
            let file = self.files[usize::from(place.file)].clone();
            notes.push(Note { name, count, file, line: u64::from(place.line), message, hint });
        };
        if let Some((place, (text, ticks))) = self.early.first {
            let unit = match ticks {
                1 => "seconds",
                1000 => "milliseconds",
                _ => "microseconds",
            };
            let hint = match likely::unit(&text) {
                Some((other, day)) if other != unit => {
                    format!("{text:?} is {day} in {other}: is the unit of time right?")
                }
                _ => format!("{text:?}: is this a time, or does it stand for a missing one?"),
            };
            let message = format!("time(s) fall into 1970, read as {unit}");
            note("unit of time", self.early.count, place, message, hint);
        }
        if let Some((place, ())) = self.unsorted.first {
            let message = "row(s) are earlier than the row of their user before them".to_owned();
            let hint = "rows are sorted by time as they are read; those of equal times keep their order";
            note("unsorted input", self.unsorted.count, place, message, hint.to_owned());
        }
        if let Some((place, earlier)) = repeats.first {
            let message = "row(s) repeat user, item, time and behaviour of an earlier one".to_owned();
            let of_file = match self.files.get(usize::from(earlier.file)) {
                Some(file) if earlier.file != place.file => format!(" of {}", file.display()),
                _ => String::new(),
            };
            let hint =
                format!("it repeats line {}{of_file}; each counts as one more behaviour", earlier.line);
            note("duplicate rows", repeats.count, place, message, hint);
        }
        notes
    }
}

/// Rows that were there before, each with the one that it repeats first.
fn repeats(rows: &mut [Seen]) -> Tally<Place> {
    rows.par_sort_unstable();
    let key = |row: &Seen| (row.user, row.item, row.time, row.kind, row.shown);
    let mut out: Tally<Place> = Tally::default();
    for group in rows.chunk_by(|a, b| key(a) == key(b)) {
        out.count += group.len() as u64 - 1;
        if let [first, again, ..] = group
            && out.first.is_none_or(|(place, _)| again.place() < place)
        {
            out.first = Some((again.place(), first.place()));
        }
    }
    out
}
