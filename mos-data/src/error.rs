//! Errors of this crate: each names the place, the text and the likely fix.

use std::path::{Path, PathBuf};

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One field of one row.
    #[error("{}:{line}:{column}: {message}: {text:?} ({hint})", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Field, from 1.
        column: usize,
        /// The offending text.
        text: String,
        /// What is wrong.
        message: String,
        /// The likely fix.
        hint: String,
    },
    /// The file cannot be read.
    #[error("{}: {message} ({hint})", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
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
    pub(crate) fn file(file: &Path, message: impl ToString, hint: impl ToString) -> Self {
        Self::File { file: file.to_owned(), message: message.to_string(), hint: hint.to_string() }
    }

    pub(crate) fn config(field: impl ToString, value: impl ToString, message: impl ToString) -> Self {
        Self::Config { field: field.to_string(), value: value.to_string(), message: message.to_string() }
    }

    pub(crate) fn too_few(what: impl ToString, hint: impl ToString) -> Self {
        Self::TooFew { what: what.to_string(), hint: hint.to_string() }
    }
}
