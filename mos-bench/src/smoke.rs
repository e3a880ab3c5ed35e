//! Any experiment in seconds: does everything in it run?

use serde_json::Value;

use crate::config::Experiment;

/// Users of synthetic data.
const USERS: u64 = 40;
/// Training samples, and validation and test samples each, of real logs.
const SAMPLES: usize = 1000;
/// Behaviours of a history.
const LENGTH: usize = 32;

impl Experiment {
    /// The same rows on less data, with shorter histories, one epoch and at most two seeds; what is smaller already stays.
    /// Reading a log takes as long as it takes.
    ///
    /// # Errors
    /// Those of the source's task.
    pub fn smoke(mut self) -> anyhow::Result<Self> {
        self.name += "-smoke";
        self.seeds.truncate(2);
        (self.epochs, self.validations) = (1, 1);
        self.max_length = self.max_length.min(LENGTH);
        self.lengths.retain(|length| *length < LENGTH);
        if let Some(generator) = self.data.options.get_mut("generator").and_then(Value::as_object_mut) {
            let users = generator.get("users").and_then(Value::as_u64).unwrap_or(USERS);
            generator.insert("users".into(), users.min(USERS).into());
        } else {
            let mut task = self.task.take().map_or_else(|| self.data.task(), Ok)?;
            task.max_train = Some(task.max_train.unwrap_or(SAMPLES).min(SAMPLES));
            self.task = Some(task);
            self.max_scored = Some(self.max_scored.unwrap_or(SAMPLES).min(SAMPLES));
        }
        Ok(self)
    }
}
