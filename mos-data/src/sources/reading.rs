//! One reading of a set: its files, and what to do about rows that cannot be read.

use std::{cell::RefCell, path::Path, rc::Rc};

use super::files::Files;
use crate::{Error, Result, events::Keep};

/// Events of each user, once they are too many to be kept.
pub(super) type Counts = Rc<RefCell<Option<Vec<u64>>>>;

/// What a source reads from.
#[derive(Debug)]
pub struct Reading {
    /// The files of the set.
    pub files: Files,
    /// Rows that could not be read so far; the reading ends with one more than `most`.
    found: RefCell<Vec<Error>>,
    most: usize,
    /// Which behaviours are kept.
    pub(super) keep: Keep,
    pub(super) counts: Counts,
}

impl Reading {
    /// Stops at the first row that cannot be read.
    ///
    /// # Errors
    /// [`Error::File`] for a path that cannot be read.
    pub fn strict(path: &Path) -> Result<Self> {
        Self::tolerant(path, 0)
    }

    /// Leaves out up to `most` rows that cannot be read and keeps their errors.
    ///
    /// # Errors
    /// [`Error::File`] for a path that cannot be read.
    pub fn tolerant(path: &Path, most: usize) -> Result<Self> {
        let (found, keep, counts) = (RefCell::default(), Keep::All, Counts::default());
        Ok(Self { files: Files::open(path)?, found, most, keep, counts })
    }

    /// The first row that cannot be read ends it; of behaviours some are kept.
    pub(super) fn of(path: &Path, keep: Keep) -> Result<Self> {
        Ok(Self { keep, ..Self::strict(path)? })
    }

    /// Passes a result on; an error within what is tolerated is kept, and `None` says to leave the row out.
    ///
    /// # Errors
    /// The error itself where no more is tolerated.
    pub fn tolerate<T>(&self, row: Result<T>) -> Result<Option<T>> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if self.found.borrow().len() < self.most => {
                self.found.borrow_mut().push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The errors of the rows that were left out.
    pub fn into_errors(self) -> Vec<Error> {
        self.found.into_inner()
    }
}
