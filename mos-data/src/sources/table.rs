//! Tables of delimited text or of records, plain or gzip, row by row.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{BufRead, BufReader, Cursor, Error as IoError, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use csv::ByteRecord;

pub(super) use super::row::Row;
use super::{
    files::Member,
    json::Fields,
    likely,
    reading::Reading,
    row::{cut, text_of},
};
use crate::{Error, Result, nearest_name};

/// Bytes of a row at most, so that a file without ends of lines or with a quote that never ends is not read into memory.
pub(super) const LONGEST: u64 = 1 << 26;

/// A row that is longer.
pub(super) fn too_long() -> IoError {
    IoError::other(format!("a row is longer than {} MiB: is this a text with a row a line?", LONGEST >> 20))
}

/// How the text of a table is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    /// Between columns; one byte or more.
    pub(super) separator: &'a str,
    /// Whether the first line names the columns.
    pub(super) header: bool,
    /// Whether `"` encloses fields.
    pub(super) quotes: bool,
    /// Number of columns; `None` = as many as the first line has.
    pub(super) columns: Option<usize>,
}

/// A file being read row by row.
pub(super) struct Table {
    file: PathBuf,
    separator: String,
    reader: Reader,
    columns: usize,
    header: Vec<String>,
    /// Where each line is a record of JSON, what is taken from it.
    fields: Option<Fields>,
    row: ByteRecord,
    /// A row that was handed out and whose memory serves the next.
    spare: ByteRecord,
    ahead: Option<ByteRecord>,
    /// Lines of the file before what is read here.
    lines_before: u64,
    /// Whether the bytes could not be read.
    broken: bool,
    /// Bytes that the row which is read may still have.
    left: Rc<Cell<u64>>,
}

enum Reader {
    Csv(Box<csv::Reader<Box<dyn Read>>>),
    /// The csv crate knows separators of one byte only.
    Lines {
        input: BufReader<Box<dyn Read>>,
        line: u64,
    },
}

/// Bytes that fail where a row is too long.
struct Bounded {
    input: Box<dyn Read>,
    /// What the row may still have.
    left: Rc<Cell<u64>>,
}

impl Bounded {
    fn around(input: Box<dyn Read>) -> (Box<dyn Read>, Rc<Cell<u64>>) {
        let left = Rc::new(Cell::new(LONGEST));
        (Box::new(Self { input, left: Rc::clone(&left) }), left)
    }
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(out)?;
        self.left.set(self.left.get().checked_sub(n as u64).ok_or_else(too_long)?);
        Ok(n)
    }
}

/// The bytes of a file without the mark that some programs put before UTF-8.
pub(super) fn open(file: &Member) -> Result<Box<dyn Read + Send>> {
    let mut text = BufReader::with_capacity(1 << 16, file.open()?);
    // A damaged file is refused at its first row, where the place is known.
    if text.fill_buf().is_ok_and(|start| start.starts_with("\u{feff}".as_bytes())) {
        text.consume(3);
    }
    Ok(Box::new(text))
}

impl Reader {
    fn new(input: Box<dyn Read>, layout: Layout<'_>) -> Self {
        let [separator] = layout.separator.as_bytes() else {
            return Self::lines(input);
        };
        let reader = csv::ReaderBuilder::new()
            .delimiter(*separator)
            .has_headers(false)
            .flexible(true)
            .quoting(layout.quotes)
            .buffer_capacity(1 << 16)
            .from_reader(input);
        Self::Csv(Box::new(reader))
    }

    fn lines(input: Box<dyn Read>) -> Self {
        Self::Lines { input: BufReader::with_capacity(1 << 16, input), line: 0 }
    }
}

impl Table {
    pub(super) fn open(file: &Member, layout: Layout<'_>) -> Result<Self> {
        let (input, left) = Bounded::around(open(file)?);
        let mut table = Self::over(Reader::new(input, layout), left, &file.path, layout.separator, None);
        let first = table.first()?;
        table.columns = layout.columns.unwrap_or(first.len());
        if layout.header {
            let name = |f| text_of(f).trim().to_owned();
            table.header = first.iter().map(name).collect();
        }
        // A header is checked like any row, a first row is read again.
        table.ahead = Some(first);
        if layout.header {
            table.advance()?;
        }
        Ok(table)
    }

    /// Records of JSON, one a line, as rows of these fields; the first `needed` must be there in every record.
    pub(super) fn records(file: &Member, fields: &[&str], needed: usize) -> Result<Self> {
        let (input, left) = Bounded::around(open(file)?);
        let fields = Fields::new(fields, needed);
        // No line contains its own end, so that each is one column until it is taken apart.
        let mut table = Self::over(Reader::lines(input), left, &file.path, "\n", Some(fields));
        table.ahead = Some(table.first()?);
        Ok(table)
    }

    /// Rows of a block of whole lines, `lines_before` lines into the file; nothing is read yet.
    pub(super) fn block(lines: Vec<u8>, lines_before: u64, file: &Path, layout: Layout<'_>) -> Self {
        let (input, left) = Bounded::around(Box::new(Cursor::new(lines)));
        let columns = layout.columns.unwrap_or(0);
        let reader = Reader::new(input, layout);
        Self { columns, lines_before, ..Self::over(reader, left, file, layout.separator, None) }
    }

    fn over(
        reader: Reader,
        left: Rc<Cell<u64>>,
        file: &Path,
        separator: &str,
        fields: Option<Fields>,
    ) -> Self {
        let header = fields.as_ref().map_or(Vec::new(), |f| f.names().to_vec());
        Self {
            file: file.to_owned(),
            separator: separator.to_owned(),
            reader,
            columns: header.len(),
            header,
            fields,
            row: ByteRecord::new(),
            spare: ByteRecord::new(),
            ahead: None,
            lines_before: 0,
            broken: false,
            left,
        }
    }

    fn first(&mut self) -> Result<ByteRecord> {
        let first = self.read()?;
        first.ok_or_else(|| Error::file(&self.file, "the file is empty", "there is nothing to read"))
    }

    /// The place of the first of these columns that the header has.
    pub(super) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.header.iter().position(|h| h == name))
    }

    /// The same of a column that must be there.
    pub(super) fn column(&self, names: &[&str]) -> Result<usize> {
        self.find(names).ok_or_else(|| {
            let near = nearest_name(names[0], self.header.iter().map(String::as_str)).unwrap_or_default();
            self.explain(Error::file(
                &self.file,
                format!(
                    "there is no column {}; the first line is {:?}",
                    names.join(" or "),
                    cut(&self.header.join(&self.separator))
                ),
                format!("is {near:?} meant? the separator is {:?}", self.separator),
            ))
        })
    }

    /// An error over the columns with another hint, where the first line says what is wrong: another separator, or no header.
    pub(super) fn explain(&self, error: Error) -> Error {
        let first: Vec<Cow<'_, str>> = match &self.ahead {
            _ if !self.header.is_empty() => self.header.iter().map(|n| Cow::Borrowed(n.as_str())).collect(),
            Some(row) => row.iter().map(text_of).collect(),
            None => return error,
        };
        let other = likely::separator(&first.join(&self.separator), &self.separator, first.len(), 2);
        let headless = (!self.header.is_empty() && likely::is_data(&first))
            .then(|| "the first line looks like data: the line that names the columns is missing".to_owned());
        match (error, other.or(headless)) {
            (Error::File { file, message, .. }, Some(hint)) => Error::File { file, message, hint },
            (error, _) => error,
        }
    }

    /// The names of the columns; empty without a header.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Number of columns of every row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    fn read(&mut self) -> Result<Option<ByteRecord>> {
        self.left.set(LONGEST);
        match &mut self.reader {
            Reader::Csv(reader) => {
                let mut row = std::mem::take(&mut self.spare);
                let found = reader.read_byte_record(&mut row);
                match found {
                    Ok(found) => Ok(found.then_some(row)),
                    Err(e) => {
                        let line = reader.position().line();
                        Err(unreadable(&self.file, line, e))
                    }
                }
            }
            Reader::Lines { input, line } => loop {
                let mut text = Vec::new();
                *line += 1;
                let read =
                    input.read_until(b'\n', &mut text).map_err(|e| unreadable(&self.file, *line, e))?;
                if read == 0 {
                    return Ok(None);
                }
                while text.last().is_some_and(|b| b"\r\n".contains(b)) {
                    text.pop();
                }
                if text.is_empty() {
                    continue;
                }
                let mut row = ByteRecord::new();
                let mut rest = text.as_slice();
                let separator = self.separator.as_bytes();
                while let Some(at) = rest.windows(separator.len()).position(|w| w == separator) {
                    row.push_field(&rest[..at]);
                    rest = &rest[at + separator.len()..];
                }
                row.push_field(rest);
                let mut at = csv::Position::new();
                at.set_line(*line);
                row.set_position(Some(at));
                return Ok(Some(row));
            },
        }
    }

    /// Hands every row to `take`. Rows that cannot be read go to `reading`, which says whether to go on.
    pub(super) fn each(
        &mut self,
        reading: &Reading,
        mut take: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            match self.advance() {
                Ok(false) => break,
                Ok(true) => {
                    let row = Row { reading: Some(reading), ..self.row() };
                    if let Some(mut watch) = reading.watch() {
                        watch.enter(row.file, row.line);
                    }
                    reading.tolerate(take(&row))?
                }
                // A row of the wrong shape was read to its end, bytes that cannot be read have none.
                Err(error) if self.broken => return Err(error),
                Err(error) => reading.tolerate(Err(error))?,
            };
        }
        if let Some(mut watch) = reading.watch() {
            watch.leave();
        }
        Ok(())
    }

    /// Goes to the next row and checks its number of columns; false at the end.
    fn advance(&mut self) -> Result<bool> {
        let next = self.ahead.take().map_or_else(|| self.read(), |row| Ok(Some(row)));
        self.broken = next.is_err();
        let Some(row) = next? else { return Ok(false) };
        self.spare = std::mem::replace(&mut self.row, row);
        if let Some(fields) = &self.fields {
            let mut row = fields.of(&text_of(&self.row[0])).map_err(|wrong| self.row().no_record(wrong))?;
            row.set_position(self.row.position().cloned());
            self.spare = std::mem::replace(&mut self.row, row);
            return Ok(true);
        }
        if self.row.iter().any(|f| f.contains(&b'\n')) {
            self.ahead = self.read()?;
            if self.ahead.is_none() {
                let row = self.row();
                let column = row.fields.iter().position(|f| f.contains(&b'\n')).unwrap_or(0);
                return Err(row.fail(
                    column,
                    "opens with a quote that never ends",
                    "close the quote, or set quotes = false if \" is an ordinary character",
                ));
            }
        }
        let (found, wanted) = (self.row.len(), self.columns);
        if found != wanted {
            let row = self.row();
            let hint = likely::separator(&row.whole(), &self.separator, found, wanted.max(2))
                .unwrap_or_else(|| format!("the separator is {:?}", self.separator));
            return Err(row.fail_whole(format!("has {found} column(s) instead of {wanted}"), hint));
        }
        Ok(true)
    }

    fn row(&self) -> Row<'_> {
        Row {
            file: &self.file,
            line: self.lines_before + self.row.position().map_or(0, csv::Position::line),
            separator: &self.separator,
            header: &self.header,
            of_record: self.fields.is_some(),
            fields: &self.row,
            reading: None,
        }
    }
}

pub(super) fn unreadable(file: &Path, line: u64, e: impl ToString) -> Error {
    Error::Row {
        file: file.to_owned(),
        line,
        column: 0,
        text: String::new(),
        message: format!("cannot be read: {}", e.to_string()),
        hint: "a compressed file that is cut short or damaged must be fetched again".into(),
    }
}
