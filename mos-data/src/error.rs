//! Errors of this crate: each names the place, the text and the likely fix.

use std::path::{Path, PathBuf};

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row that cannot be read.
    #[error("{}:{line}:{column}: {text:?} {message} ({hint})", file.display())]
    Row {
        /// File.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1 (fields of a table, characters of a record), 0 = the whole row.
        column: usize,
        /// The offending text, cut to 80 characters.
        text: String,
        /// What is wrong with it.
        message: String,
        /// The likely fix.
        hint: String,
    },
    /// Several rows that cannot be read.
    #[error("{}", list(.0))]
    Rows(Vec<Error>),
    /// A file that cannot be used as a whole.
    #[error("{}: {message} ({hint})", file.display())]
    File {
        /// File.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
        /// The likely fix.
        hint: String,
    },
    /// A configuration value that cannot be used.
    #[error("{field} = {value}: {message}")]
    Config {
        /// Dotted name.
        field: String,
        /// The offending value.
        value: String,
        /// What is legal.
        message: String,
    },
    /// The data cannot carry the task.
    #[error("{what} ({hint})")]
    TooFew {
        /// What is missing.
        what: String,
        /// The likely fix.
        hint: String,
    },
}

impl Error {
    pub(crate) fn config(field: impl ToString, value: impl ToString, message: impl ToString) -> Self {
        Self::Config { field: field.to_string(), value: value.to_string(), message: message.to_string() }
    }

    pub(crate) fn too_few(what: impl ToString, hint: impl ToString) -> Self {
        Self::TooFew { what: what.to_string(), hint: hint.to_string() }
    }

    pub(crate) fn file(file: &Path, message: impl ToString, hint: impl ToString) -> Self {
        Self::File { file: file.to_owned(), message: message.to_string(), hint: hint.to_string() }
    }
}

/// Errors, one a line.
fn list(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The name that `wanted` was probably meant to be: the nearest by edit distance.
pub fn nearest_name<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names.into_iter().min_by_key(|name| distance(name, wanted))
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
