//! One row of a table: its fields as what they must be, and the errors that name their place.

use std::{borrow::Cow, path::Path};

use csv::ByteRecord;

use super::{json::NoRecord, likely, reading::Reading};
use crate::{Error, Result};

/// The end of the year 2099 in seconds: later times are taken for milliseconds.
pub(super) const LATEST: i64 = 4_102_444_799;

/// UTF-8, or Latin-1 where it is not.
pub(super) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect::<String>().into(),
    }
}

/// One row and its place.
pub(super) struct Row<'a> {
    pub(super) file: &'a Path,
    pub(super) line: u64,
    pub(super) separator: &'a str,
    pub(super) header: &'a [String],
    /// Fields of a record have names and no places.
    pub(super) of_record: bool,
    pub(super) fields: &'a ByteRecord,
    /// What the row is read for.
    pub(super) reading: Option<&'a Reading>,
}

impl<'a> Row<'a> {
    /// A row that comes from elsewhere than text.
    pub(super) fn new(
        file: &'a Path,
        line: u64,
        header: &'a [String],
        fields: &'a ByteRecord,
        reading: &'a Reading,
    ) -> Self {
        Self { file, line, separator: ",", header, of_record: false, fields, reading: Some(reading) }
    }
}

impl Row<'_> {
    /// The trimmed text of column `c`, from 0.
    pub(super) fn text(&self, c: usize) -> Cow<'_, str> {
        match text_of(&self.fields[c]) {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        }
    }

    /// Number of columns.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// An id: any text that is neither empty nor a negative number.
    pub(super) fn id(&self, c: usize) -> Result<Cow<'_, str>> {
        let text = self.text(c);
        if text.is_empty() {
            return Err(self.fail(c, "is no id: it is empty", "drop the row or give it an id"));
        }
        if text.strip_prefix('-').is_some_and(|t| t.parse::<f64>().is_ok()) {
            return Err(self.fail(c, "is a negative id", "ids are text or numbers from 0"));
        }
        Ok(text)
    }

    /// An id that must be a whole number.
    pub(super) fn number_id(&self, c: usize) -> Result<Cow<'_, str>> {
        let text = self.id(c)?;
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.fail(c, "is not a whole number", "ids are digits here"));
        }
        Ok(text)
    }

    /// A label: 1 = clicked, 0 = not.
    pub(super) fn label(&self, c: usize) -> Result<f32> {
        match self.text(c).as_ref() {
            "1" | "1.0" => Ok(1.0),
            "0" | "0.0" => Ok(0.0),
            _ => Err(self.fail(
                c,
                "is no label",
                "labels are 0 or 1; for graded values use `rating` and a rule",
            )),
        }
    }

    /// A finite number.
    pub(super) fn float(&self, c: usize) -> Result<f32> {
        let text = self.text(c);
        text.parse::<f32>()
            .ok()
            .filter(|x| x.is_finite())
            .ok_or_else(|| self.fail(c, "is not a number", "a number such as 4.5"))
    }

    /// A whole number.
    pub(super) fn integer(&self, c: usize) -> Result<i64> {
        let wrong = || self.fail(c, "is not a whole number", "digits only");
        self.text(c).parse().map_err(|_| wrong())
    }

    /// A time, `ticks` of which make a second.
    pub(super) fn time(&self, c: usize, ticks: i64) -> Result<i64> {
        self.known_time(c, self.integer(c)?, ticks)
    }

    /// A time that was read from column `c`, if it can be right.
    pub(super) fn known_time(&self, c: usize, time: i64, ticks: i64) -> Result<i64> {
        if time < 0 {
            return Err(self.fail(c, "is a time before 1970", "times count from 1970-01-01 00:00 UTC"));
        }
        if time / ticks > LATEST {
            let hint = likely::unit(&self.text(c)).map_or_else(
                || "is the unit of time right?".to_owned(),
                |(unit, day)| format!("it is {day} in {unit}: is the unit of time right?"),
            );
            return Err(self.fail(c, "is a time after 2099", hint));
        }
        if let Some(mut watch) = self.reading.and_then(Reading::watch) {
            watch.time(&self.text(c), time, ticks);
        }
        Ok(time)
    }

    /// What is wrong with the row as a whole, where a field of it is.
    fn hint(&self) -> &'static str {
        if self.of_record {
            ""
        } else if self.line == 1
            && self.header.is_empty()
            && likely::is_header(self.fields.iter().map(text_of))
        {
            "this line looks like a header, which this layout does not have; "
        } else if !self.header.is_empty()
            && self.fields.iter().map(text_of).eq(self.header.iter().map(String::as_str))
        {
            "this line names the columns once more: were files joined?; "
        } else {
            ""
        }
    }

    pub(super) fn whole(&self) -> String {
        self.fields.iter().map(text_of).collect::<Vec<_>>().join(self.separator)
    }

    /// An error at column `c`, from 0.
    pub(super) fn fail(&self, c: usize, message: impl ToString, hint: impl ToString) -> Error {
        let what = if self.of_record { "field" } else { "column" };
        let named = self.header.get(c).map_or(String::new(), |name| format!(" ({what} {name})"));
        Error::Row {
            file: self.file.to_owned(),
            line: self.line,
            column: if self.of_record { 0 } else { c + 1 },
            text: cut(&text_of(&self.fields[c])),
            message: message.to_string() + &named,
            hint: self.hint().to_owned() + &hint.to_string(),
        }
    }

    pub(super) fn no_record(&self, wrong: NoRecord) -> Error {
        let Self { file, line, .. } = self;
        let NoRecord { column, message, hint } = wrong;
        Error::Row { file: file.to_path_buf(), line: *line, column, text: cut(&self.whole()), message, hint }
    }

    pub(super) fn fail_whole(&self, message: impl ToString, hint: impl ToString) -> Error {
        Error::Row {
            file: self.file.to_owned(),
            line: self.line,
            column: 0,
            text: cut(&self.whole()),
            message: message.to_string(),
            hint: hint.to_string(),
        }
    }
}

/// At most 80 characters.
pub(super) fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
