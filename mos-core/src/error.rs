//! Errors of this crate.

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong while building, running or storing a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes that have to agree do not.
    #[error("{operation}: expected {expected}, found {found}")]
    Shape {
        /// The operation that refused its input.
        operation: &'static str,
        /// What it needs.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// A configuration value that no model can be built from.
    #[error("{field} = {value}: {message}")]
    Config {
        /// Dotted name of the field.
        field: String,
        /// The offending value.
        value: String,
        /// What is legal.
        message: String,
    },
    /// A loss or gradient that is no longer a finite number.
    #[error("step {step}: the {what} is {value}, training cannot go on (a lower learning rate often helps)")]
    NotFinite {
        /// The optimizer step, from 0.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
        /// The value.
        value: f32,
    },
    /// Scores or a checkpoint were asked for while what scoring looks up is older than the weights.
    #[error("the model was trained since scoring was prepared: call prepare_scoring first")]
    NotPrepared,
    /// A checkpoint that cannot be read or does not fit the model.
    #[error("{path}: {message}")]
    Checkpoint {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// Raw data that cannot be read as the model's own was.
    #[error(transparent)]
    Data(#[from] mos_data::Error),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Its reason.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn shape(operation: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Shape { operation, expected: expected.to_string(), found: found.to_string() }
    }

    /// A [`Error::Config`] from its parts.
    pub fn config(field: impl ToString, value: impl ToString, message: impl ToString) -> Self {
        Self::Config { field: field.to_string(), value: value.to_string(), message: message.to_string() }
    }
}
