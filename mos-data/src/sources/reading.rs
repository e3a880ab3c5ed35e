//! One reading of a set: its files, what to do about rows that cannot be read, and what to look out for.

use std::{
    cell::{RefCell, RefMut},
    path::Path,
    rc::Rc,
};

use super::{
    files::Files,
    watch::{Note, Watch},
};
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
    /// Sees every row, where the log is read for a check.
    pub(super) watch: Option<Rc<RefCell<Watch>>>,
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
        let (found, keep, counts) = (RefCell::default(), Keep::All, Counts::default());
        Ok(Self { files: Files::open(path)?, found, most: 0, watch: None, keep, counts })
    }

    /// Leaves out up to `most` rows that cannot be read, keeps their errors, and looks for what is seldom meant.
    ///
    /// # Errors
    /// [`Error::File`] for a path that cannot be read.
    pub fn checking(path: &Path, most: usize) -> Result<Self> {
        Ok(Self { most, watch: Some(Rc::default()), ..Self::strict(path)? })
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

    /// The watch, to be told of something.
    pub(super) fn watch(&self) -> Option<RefMut<'_, Watch>> {
        self.watch.as_ref().map(|watch| watch.borrow_mut())
    }

    /// The errors of the rows that were left out, and what was noticed in the others.
    pub fn into_findings(self) -> (Vec<Error>, Vec<Note>) {
        let notes = self.watch.map_or_else(Vec::new, |watch| watch.take().notes());
        (self.found.into_inner(), notes)
    }
}
