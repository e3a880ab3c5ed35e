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
    /// Number of behaviour codes, 0 = none included.
    pub behaviours: usize,
}

/// One dense vector per item.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// Width.
    pub dim: usize,
    /// `[items, dim]`, row-major; row 0 is zero.
    pub values: Vec<f32>,
}
