//! A trained model that scores raw ids, without the data set it was trained on.

use std::path::Path;

use mos_data::{History, HistoryRule, Left, RawEvent, Vocabulary, raw_ids};
use serde::{Deserialize, Serialize};

use crate::{CtrModel, EncoderSource, Error, Result, model_folder};

/// What is asked: which of `candidates` would the user of `history` click at `time`?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The user's behaviours in any order: they are sorted by time, equal times stay in the order given. Those at or after
    /// `time` are left out, as in training.
    pub history: Vec<RawEvent>,
    /// Raw ids of the items to be scored. A whole number in JSON stands for its digits.
    #[serde(deserialize_with = "raw_ids")]
    pub candidates: Vec<String>,
    /// Time of the prediction, in the unit of the log that the model was trained on.
    pub time: i64,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Logit of each candidate, in the order asked; 1 / (1 + exp(−x)) is the click probability at the training part's
    /// share of clicks.
    pub scores: Vec<f32>,
    /// Candidates that the model does not know; they were scored as the unknown item.
    pub unknown_candidates: usize,
    /// What of the history is not as it was given.
    #[serde(flatten)]
    pub left: Left,
}

/// A trained model with the vocabulary of its data: scores raw ids. It can be shared between threads, and a score depends
/// neither on their number nor on which other candidates are asked about.
#[derive(Debug)]
pub struct Predictor {
    model: CtrModel,
    vocabulary: Vocabulary,
    rule: HistoryRule,
}

impl Predictor {
    /// A predictor of a model in memory.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] after a training step without [`CtrModel::prepare_scoring`], [`Error::Shape`] for a
    /// vocabulary of another catalog or a rule without a unit of time.
    pub fn new(model: CtrModel, vocabulary: Vocabulary, rule: HistoryRule) -> Result<Self> {
        model.check_prepared()?;
        if rule.ticks_per_second < 1 {
            return Err(Error::shape("Predictor", "at least 1 tick in a second", rule.ticks_per_second));
        }
        let catalog = model.catalog();
        let (wanted, found) =
            ((catalog.items, catalog.behaviours.max(1)), (vocabulary.rows(), vocabulary.behaviours()));
        if wanted != found {
            let say = |(items, kinds)| format!("{items} items, {kinds} kinds of behaviour");
            return Err(Error::shape("Predictor", say(wanted), say(found)));
        }
        Ok(Self { model, vocabulary, rule })
    }

    /// Reads a folder that [`model_folder::save`] wrote; `encoders` knows the names in it.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Checkpoint`] for a folder that is damaged, older or no model, naming the file.
    pub fn load<E: EncoderSource>(folder: &Path, encoders: &E) -> Result<Self> {
        let (model, vocabulary, rule) = model_folder::load(folder, encoders)?;
        Self::new(model, vocabulary, rule)
    }

    /// Scores the candidates of one user. The history is encoded once.
    ///
    /// # Errors
    /// [`Error::Data`] for a history with sessions in some places only, and those of the encoder.
    pub fn predict(&self, request: &Request) -> Result<Prediction> {
        let Request { history, candidates, time } = request;
        let (history, left) = self.vocabulary.history(history, *time, &self.rule)?;
        let targets: Vec<u32> = candidates.iter().map(|id| self.vocabulary.item(id)).collect();
        let unknown_candidates = targets.iter().filter(|t| **t == 0).count();
        let scores = self.score(&history, &targets, time.div_euclid(self.rule.ticks_per_second))?;
        Ok(Prediction { scores, unknown_candidates, left })
    }

    /// As [`Self::predict`], in the numbers of the catalog and at a `time` in seconds.
    ///
    /// # Errors
    /// [`Error::Shape`] for numbers that the catalog does not have, and those of the encoder.
    pub fn score(&self, history: &History, targets: &[u32], time: i64) -> Result<Vec<f32>> {
        Ok(self.model.score_candidates(history, targets, time)?.0)
    }

    /// The model.
    pub fn model(&self) -> &CtrModel {
        &self.model
    }

    /// The raw ids it knows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// How it reads histories.
    pub fn rule(&self) -> &HistoryRule {
        &self.rule
    }
}
