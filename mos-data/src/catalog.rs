//! What is known of the items.

/// Item attributes; row 0 of each column is the unknown item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// Number of item rows, the unknown item included.
    pub items: usize,
    /// Category of each item, 0 = none.
    pub categories: Option<Vec<u32>>,
    /// Number of categories, 0 included.
    pub category_count: usize,
    /// Content vectors.
    pub content: Option<Content>,
    /// Planted theme of each item (synthetic data); `u16::MAX` = none.
    pub themes: Option<Vec<u16>>,
    /// Further attributes of the items; a model reads those that its configuration names.
    pub features: Vec<ItemFeature>,
    /// What is known of a prediction beside user and item, one field each; a model reads those that its configuration names.
    pub contexts: Vec<ContextField>,
    /// Number of behaviour codes, 0 = none included.
    pub behaviours: usize,
}

impl Catalog {
    /// Names of what is known of the items: `category`, `content` where they are there, and those of [`Self::features`].
    pub fn attributes(&self) -> Vec<&str> {
        let own = [("category", self.categories.is_some()), ("content", self.content.is_some())];
        let own = own.into_iter().filter(|(_, is)| *is).map(|(name, _)| name);
        own.chain(self.features.iter().map(|f| f.name.as_str())).collect()
    }
}

/// One dense vector per item.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// Width.
    pub dim: usize,
    /// `[items, dim]`, row-major; row 0 is zero.
    pub values: Vec<f32>,
}

/// A column of item attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemFeature {
    /// Name, as in the published file.
    pub name: String,
    /// Values.
    pub values: FeatureValues,
}

/// Values of an item attribute, one row per item; row 0 is the unknown item.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureValues {
    /// One value each.
    One {
        /// Value of each item, 0 = none.
        ids: Vec<u32>,
        /// Number of values, 0 included.
        count: usize,
    },
    /// Any number of values each.
    Many {
        /// Borders `[items + 1]`.
        offsets: Vec<usize>,
        /// Values, never 0.
        ids: Vec<u32>,
        /// Number of values, 0 included.
        count: usize,
    },
    /// A vector each.
    Dense(Content),
}

/// A categorical field of the context of a prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextField {
    /// Name, as in the published file.
    pub name: String,
    /// Number of values, 0 = unknown or empty included.
    pub count: usize,
}
