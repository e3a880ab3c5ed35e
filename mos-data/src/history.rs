//! One user's history in raw ids, read as a data set reads it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Dataset, Error, Result, Sessionizer, Vocabulary};

/// One behaviour in raw ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEvent {
    /// Item. A whole number in JSON stands for its digits.
    #[serde(deserialize_with = "raw_id")]
    pub item: String,
    /// Time, in the unit of the log that the model was trained on.
    pub time: i64,
    /// Kind of behaviour; `None` = none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_raw_id")]
    pub behaviour: Option<String>,
    /// Session, where the log has them: any number that changes where a session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
}

/// An id that may be written as a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an id must be text or a whole number")]
enum Id {
    Text(String),
    Whole(i64),
    Large(u64),
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        match id {
            Id::Text(text) => text,
            Id::Whole(number) => number.to_string(),
            Id::Large(number) => number.to_string(),
        }
    }
}

fn raw_id<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    Id::deserialize(from).map(Into::into)
}

fn optional_raw_id<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<String>, D::Error> {
    Ok(Option::<Id>::deserialize(from)?.map(Into::into))
}

/// Reads a list of ids, each text or a whole number.
///
/// # Errors
/// Those of the format.
pub fn raw_ids<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<String>, D::Error> {
    Ok(Vec::<Id>::deserialize(from)?.into_iter().map(Into::into).collect())
}

/// How raw histories were read where a model was trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryRule {
    /// Sessions.
    pub session: Sessionizer,
    /// Units of time in one second.
    pub ticks_per_second: i64,
    /// Most recent behaviours that a history keeps.
    pub max_length: usize,
}

/// One user's behaviours in the numbers of a catalog, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Item of each behaviour `[N]`.
    pub items: Vec<u32>,
    /// Behaviour code `[N]`.
    pub behaviours: Vec<u8>,
    /// Session `[N]`.
    pub sessions: Vec<u32>,
    /// Time of each behaviour `[N]`, in seconds.
    pub times: Vec<i64>,
}

/// What of a raw history is not as it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Behaviours of items that the model does not know; they are kept, as the unknown item.
    pub unknown_items: usize,
    /// Behaviours of a kind that the model does not know; they are kept, as no kind.
    pub unknown_behaviours: usize,
    /// Behaviours at or after the time of the prediction; they are left out.
    pub too_late: usize,
    /// Older behaviours beyond the longest history of training; they are left out.
    pub too_old: usize,
}

impl Vocabulary {
    /// Reads a history as the data set did: the behaviours strictly before `time` in the order of time (equal times in the order
    /// given), sessions by the rule where none are given, of more than `max_length` the most recent.
    ///
    /// # Errors
    /// [`Error::TooFew`] if only some behaviours have a session, or none although the log had its own.
    pub fn history(&self, events: &[RawEvent], time: i64, rule: &HistoryRule) -> Result<(History, Left)> {
        let mut before: Vec<&RawEvent> = events.iter().filter(|e| e.time < time).collect();
        before.sort_by_key(|e| e.time);
        let mut left = Left { too_late: events.len() - before.len(), ..Left::default() };
        let times: Vec<i64> = before.iter().map(|e| e.time).collect();
        let given: Option<Vec<u64>> = before.iter().map(|e| e.session).collect();
        let some = before.iter().any(|e| e.session.is_some());
        if given.is_none() && (some || rule.session == (Sessionizer::Given {})) {
            let what = if some {
                "some behaviours have a session and some have none"
            } else {
                "no behaviour has a session, but the model was trained with those of the log"
            };
            return Err(Error::too_few(what, "give each behaviour a \"session\""));
        }
        let by = if some { Sessionizer::Given {} } else { rule.session };
        let sessions = by.number(&times, given.as_deref(), rule.ticks_per_second);
        let from = before.len().saturating_sub(rule.max_length);
        left.too_old = from;
        let kept = &before[from..];
        let items: Vec<u32> = kept.iter().map(|e| self.item(&e.item)).collect();
        let codes: Vec<Option<u8>> = kept
            .iter()
            .map(|e| e.behaviour.as_deref().map_or(Some(0), |name| self.behaviour(name)))
            .collect();
        left.unknown_items = items.iter().filter(|i| **i == 0).count();
        left.unknown_behaviours = codes.iter().filter(|code| code.is_none()).count();
        let behaviours = codes.into_iter().map(Option::unwrap_or_default).collect();
        // Sessions were told by ticks; a model sees seconds, as in a batch.
        let seconds = times[from..].iter().map(|t| t.div_euclid(rule.ticks_per_second)).collect();
        let (sessions, times) = (sessions[from..].to_vec(), seconds);
        Ok((History { items, behaviours, sessions, times }, left))
    }
}

impl<U> Dataset<U> {
    /// How this data set reads histories of at most `max_length` behaviours.
    pub fn history_rule(&self, max_length: usize) -> HistoryRule {
        HistoryRule { session: self.session, ticks_per_second: self.ticks_per_second, max_length }
    }
}
