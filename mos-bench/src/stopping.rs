//! When a training is at its best, slows down, and stops: all of it counted in validations.

use std::fmt;

use mos_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::training::Validation;

/// The validation metric that says which weights are best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopOn {
    /// AUC + gAUC weighted by impressions (AUC twice where no user has both labels).
    #[default]
    #[serde(rename = "auc+gauc")]
    AucGauc,
    /// AUC.
    #[serde(rename = "auc")]
    Auc,
    /// gAUC weighted by impressions.
    #[serde(rename = "gauc")]
    Gauc,
    /// Log loss; lower is better.
    #[serde(rename = "logloss")]
    Logloss,
}

impl StopOn {
    /// The metric of a validation.
    pub fn of(self, validation: &Validation) -> Option<f64> {
        match self {
            Self::AucGauc => validation.auc.map(|auc| auc + validation.gauc.unwrap_or(auc)),
            Self::Auc => validation.auc,
            Self::Gauc => validation.gauc,
            Self::Logloss => validation.logloss,
        }
    }

    /// Whether `new` is better than `old`; anything is better than what is undefined.
    pub(crate) fn improves(self, new: Option<f64>, old: Option<f64>) -> bool {
        let rank = |value: Option<f64>| value.map(|v| if self == Self::Logloss { -v } else { v });
        rank(new) > rank(old)
    }
}

impl fmt::Display for StopOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AucGauc => "AUC + gAUC",
            Self::Auc => "AUC",
            Self::Gauc => "gAUC",
            Self::Logloss => "log loss",
        })
    }
}

/// Learning-rate decay where the metric no longer gets better, on top of the schedule of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plateau {
    /// What the rate is multiplied with; 1: no decay.
    pub factor: f32,
    /// Validations without a better one until it is, and again after each further as many.
    pub patience: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, patience: 1 }
    }
}

impl Plateau {
    /// # Errors
    /// [`Error::Config`] for values that would stop or raise the rate.
    pub fn check(&self) -> Result<()> {
        if !(self.factor > 0.0 && self.factor <= 1.0) {
            return Err(Error::config("plateau.factor", self.factor, "must lie in (0, 1]; 1 is no decay"));
        }
        if self.patience == 0 {
            return Err(Error::config("plateau.patience", 0, "must be at least 1 validation"));
        }
        Ok(())
    }
}

/// What a training has seen of its validations. Part of its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stopper {
    best: Option<Best>,
    /// Validations since the best.
    waited: u64,
    /// Times that the rate was lowered.
    decays: i32,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its metric.
    pub value: Option<f64>,
}

impl Stopper {
    /// Takes in the next validation; whether it is the best so far.
    pub fn take(&mut self, metric: StopOn, plateau: &Plateau, step: u64, value: Option<f64>) -> bool {
        if self.best.is_none_or(|best| metric.improves(value, best.value)) {
            self.best = Some(Best { step, value });
            self.waited = 0;
            return true;
        }
        self.waited += 1;
        if plateau.factor < 1.0 && self.waited.is_multiple_of(plateau.patience) {
            self.decays += 1;
        }
        false
    }

    /// The best validation so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Whether training has gone on for `patience` validations without a better one; never with 0.
    pub fn stops(&self, patience: u64) -> bool {
        patience > 0 && self.waited >= patience
    }

    /// What the plateaus so far multiply the learning rate with.
    pub fn rate(&self, plateau: &Plateau) -> f32 {
        plateau.factor.powi(self.decays)
    }
}

/// The stopping rule of a training and what came of it, for its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// The metric.
    pub metric: StopOn,
    /// Validations without a better one after which training stops; 0: never.
    pub patience_validations: u64,
    /// Why it ended.
    pub ended: Ended,
    /// Optimizer steps done.
    pub steps: u64,
    /// Validations done.
    pub validations: u64,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All epochs are done.
    Epochs,
    /// Patience ran out.
    Patience,
    /// Loss or gradient left the finite numbers; the best weights until then are tested.
    Diverged,
}

impl fmt::Display for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.ended {
            Ended::Epochs => "all epochs done",
            Ended::Patience => "stopped early",
            Ended::Diverged => "diverged",
        };
        write!(f, "{why} after {} steps and {} validations; ", self.steps, self.validations)?;
        match self.patience_validations {
            0 => write!(f, "no early stopping, best by {}", self.metric),
            n => write!(f, "patience {n} validations, best by {}", self.metric),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(metric: StopOn, plateau: Plateau, values: &[Option<f64>]) -> Stopper {
        let mut stopper = Stopper::default();
        values.iter().enumerate().for_each(|(i, v)| {
            stopper.take(metric, &plateau, i as u64 + 1, *v);
        });
        stopper
    }

    proptest! {
        #[test]
        fn the_first_of_the_best_validations_wins(
            values in prop::collection::vec(prop::option::of(0u8..5), 1..30),
            lower in any::<bool>(),
        ) {
            let metric = if lower { StopOn::Logloss } else { StopOn::Auc };
            let values: Vec<Option<f64>> = values.iter().map(|v| v.map(f64::from)).collect();
            let stopper = after(metric, Plateau::default(), &values);
            let defined = values.iter().flatten().copied();
            let wanted = if lower { defined.reduce(f64::min) } else { defined.reduce(f64::max) };
            let at = values.iter().position(|v| *v == wanted).unwrap();
            prop_assert_eq!(stopper.best(), Some(Best { step: at as u64 + 1, value: wanted }));
            for patience in 1..30 {
                prop_assert_eq!(stopper.stops(patience), values.len() - 1 - at >= patience as usize);
            }
            prop_assert!(!stopper.stops(0));
        }
    }

    #[test]
    fn the_rate_falls_at_each_plateau_and_stays_low() {
        let plateau = Plateau { factor: 0.5, patience: 2 };
        let rates: Vec<f32> = (1..=8)
            .map(|n| {
                let values = [1.0, 0.9, 0.8, 0.7, 0.6, 2.0, 1.9, 1.8].map(Some);
                after(StopOn::Auc, plateau, &values[..n]).rate(&plateau)
            })
            .collect();
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]);
        assert_eq!(after(StopOn::Auc, Plateau::default(), &[Some(1.0); 9]).rate(&Plateau::default()), 1.0);
    }

    #[test]
    fn a_state_survives_being_written() {
        let plateau = Plateau { factor: 0.1, patience: 1 };
        let stopper = after(StopOn::Logloss, plateau, &[Some(0.1 + 0.2), Some(0.7), None]);
        let text = serde_json::to_string(&stopper).unwrap();
        assert_eq!(serde_json::from_str::<Stopper>(&text).unwrap(), stopper);
    }
}
