//! Raw ids and the numbers that a model knows them by.

use std::collections::HashMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Dataset, Error, Result};

/// Raw ids of items and names of kinds of behaviour. An id that is not in it has number 0, the unknown item.
///
/// As JSON: `items`, the id of each row of the catalog, `null` where none leads to it (row 0; items that the data set made
/// unknown), and `behaviours`, the name of each code, the first empty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Stored<String>")]
pub struct Vocabulary {
    items: HashMap<Box<str>, u32>,
    rows: usize,
    behaviours: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<T> {
    items: Vec<Option<T>>,
    behaviours: Vec<T>,
}

impl TryFrom<Stored<String>> for Vocabulary {
    type Error = Error;

    fn try_from(stored: Stored<String>) -> Result<Self> {
        Self::new(stored.items, stored.behaviours)
    }
}

impl Serialize for Vocabulary {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut items = vec![None; self.rows];
        self.items.iter().for_each(|(id, number)| items[*number as usize] = Some(&**id));
        Stored { items, behaviours: self.behaviours.iter().map(String::as_str).collect() }
            .serialize(serializer)
    }
}

impl Vocabulary {
    /// From the id of each row of the catalog (`None` = no id leads there) and the name of each behaviour code (the first is
    /// that of no behaviour).
    ///
    /// # Errors
    /// [`Error::TooFew`] without row 0 and code 0, or for an id or name that stands there twice.
    pub fn new(ids: impl IntoIterator<Item = Option<String>>, behaviours: Vec<String>) -> Result<Self> {
        let twice = |what: &str, id: &str| {
            Error::too_few(format!("{what} {id:?} stands there twice"), "each has one number")
        };
        let (mut items, mut rows) = (HashMap::new(), 0);
        for id in ids {
            if let Some(id) = id.filter(|_| rows > 0)
                && let Some(first) = items.insert(id.into_boxed_str(), rows as u32)
            {
                let id = items.iter().find(|(_, row)| **row == rows as u32).map_or("", |(id, _)| id);
                return Err(twice(&format!("after row {first} item"), id));
            }
            rows += 1;
        }
        if rows == 0 || behaviours.is_empty() || behaviours.len() > 256 {
            let what = format!("{rows} item rows and {} kinds of behaviour", behaviours.len());
            return Err(Error::too_few(
                what,
                "at least the unknown item and no behaviour, at most 256 kinds",
            ));
        }
        if let Some((_, name)) =
            behaviours.iter().enumerate().find(|(i, name)| behaviours[..*i].contains(name))
        {
            return Err(twice("behaviour", name));
        }
        Ok(Self { items, rows, behaviours })
    }

    /// Rows of the catalog, the unknown item included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Kinds of behaviour, none included.
    pub fn behaviours(&self) -> usize {
        self.behaviours.len()
    }

    /// Number of an item, 0 where it is unknown.
    pub fn item(&self, id: &str) -> u32 {
        self.items.get(id).copied().unwrap_or(0)
    }

    /// Code of a kind of behaviour; `None` where it is unknown.
    pub fn behaviour(&self, name: &str) -> Option<u8> {
        self.behaviours.iter().position(|known| known == name).map(|code| code as u8)
    }
}

impl<U> Dataset<U> {
    /// What the raw ids of this data set are to a model that was trained on it: items that training never saw are unknown
    /// (unless their content is known).
    ///
    /// # Errors
    /// [`Error::TooFew`] if an id stands there twice.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        let known = self.item_ids.iter().zip(&self.known_items);
        let ids = known.map(|(id, known)| known.then(|| id.clone()));
        Vocabulary::new(ids, self.behaviour_names.clone())
    }
}
