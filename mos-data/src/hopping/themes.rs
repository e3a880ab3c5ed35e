//! The theme of each item.

use std::fmt;

use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::{HoppingConfig, SessionVectors, clusters::clusters, cooccurrence::vectors};
use crate::{Catalog, Content, Error, FeatureValues, Log, Result, rng};

/// Where themes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeSource {
    /// The items' categories.
    Category,
    /// Clusters of the items' content vectors.
    Content,
    /// Clusters of vectors from co-occurrence in sessions. They are learned on the sessions of one half of the users and
    /// measured on the others: sessions that made the themes would look coherent in any log.
    Cooccurrence,
    /// The themes that synthetic data was made with.
    Planted,
    /// An attribute of items: the first value of several, clusters of vectors.
    Attribute(String),
}

impl ThemeSource {
    /// The default: categories where they exist, else co-occurrence.
    pub fn of(catalog: &Catalog) -> Self {
        if catalog.categories.is_some() { Self::Category } else { Self::Cooccurrence }
    }

    /// By name; what is no other source is an attribute.
    pub fn named(name: &str) -> Self {
        match name {
            "category" => Self::Category,
            "content" => Self::Content,
            "cooccurrence" => Self::Cooccurrence,
            "planted" => Self::Planted,
            attribute => Self::Attribute(attribute.to_owned()),
        }
    }
}

impl fmt::Display for ThemeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Category => "category",
            Self::Content => "content",
            Self::Cooccurrence => "cooccurrence",
            Self::Planted => "planted",
            Self::Attribute(name) => name,
        })
    }
}

/// Themes of items, and the users whose histories are measured.
#[derive(Debug)]
pub(super) struct Themes {
    /// From 1; 0 = none.
    of_item: Vec<u32>,
    /// What was clustered.
    vectors: Option<Content>,
    pub(super) measured: Vec<u32>,
    pub(super) learners: usize,
}

impl Themes {
    pub(super) fn new(log: &Log, sessions: &[u32], config: &HoppingConfig) -> Result<Self> {
        let catalog = &log.catalog;
        let everyone: Vec<u32> = (0..log.interactions.users() as u32).collect();
        let of = |of_item| Ok(Self { of_item, vectors: None, measured: everyone.clone(), learners: 0 });
        let from_vectors = |content: Content, measured: Vec<u32>, learners| Self {
            of_item: clusters(&content, config.clusters, config.seed),
            vectors: Some(content),
            measured,
            learners,
        };
        let lacks = |what: &str| Error::config("hopping.themes", &config.themes, offer(catalog, what));
        match &config.themes {
            ThemeSource::Category => of(catalog.categories.clone().ok_or_else(|| lacks("categories"))?),
            ThemeSource::Planted => {
                let planted = catalog.themes.as_ref().ok_or_else(|| lacks("planted themes"))?;
                of(planted.iter().map(|t| if *t == u16::MAX { 0 } else { u32::from(*t) + 1 }).collect())
            }
            ThemeSource::Content => {
                let content = catalog.content.clone().ok_or_else(|| lacks("content vectors"))?;
                Ok(from_vectors(content, everyone, 0))
            }
            ThemeSource::Attribute(name) => {
                let feature = catalog.features.iter().find(|f| f.name == *name);
                match &feature.ok_or_else(|| lacks("such attribute"))?.values {
                    FeatureValues::One { ids, .. } => of(ids.clone()),
                    FeatureValues::Many { offsets, ids, .. } => {
                        let first = |w: &[usize]| ids[w[0]..w[1]].first().copied().unwrap_or(0);
                        of(offsets.windows(2).map(first).collect())
                    }
                    FeatureValues::Dense(content) => Ok(from_vectors(content.clone(), everyone, 0)),
                }
            }
            ThemeSource::Cooccurrence => {
                let mut learners = everyone;
                learners.shuffle(&mut rng::stream(config.seed, "hopping/learners", &[]));
                let mut measured = learners.split_off(learners.len() / 2);
                measured.sort_unstable();
                learners.sort_unstable();
                let content = vectors(log, sessions, &learners, config.clusters, config.seed);
                Ok(from_vectors(content, measured, learners.len()))
            }
        }
    }

    /// The theme of an item, where it has one.
    pub(super) fn of(&self, item: u32) -> Option<u32> {
        self.of_item.get(item as usize).copied().filter(|t| *t != 0)
    }

    /// What sessions are compared by, where that is not the themes.
    pub(super) fn vectors(&self, config: &HoppingConfig) -> Result<Option<&Content>> {
        match (config.similarity, &self.vectors) {
            (SessionVectors::Histograms, _) => Ok(None),
            (SessionVectors::Means, Some(vectors)) => Ok(Some(vectors)),
            (SessionVectors::Means, None) => {
                let message = "needs themes that are clusters of vectors: content, cooccurrence, or an attribute that is a vector";
                Err(Error::config("hopping.similarity", "means", message))
            }
        }
    }
}

/// What a log has in place of what it lacks.
fn offer(catalog: &Catalog, lacks: &str) -> String {
    let mut all = catalog.attributes();
    all.extend(catalog.themes.as_ref().map(|_| "planted"));
    all.push("cooccurrence");
    format!("this log has no {lacks}; it has {}", all.join(", "))
}
