//! Errors of this crate: each names the place, the text and the likely fix.

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
}
