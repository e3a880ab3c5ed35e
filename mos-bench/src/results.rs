//! What a run found, as it stands in `results.json`. Metrics are fractions; what is absent is `null`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use mos_core::Cost;
use mos_data::{LabelRule, nearest_name};
use serde::{Deserialize, Serialize};

use crate::{
    config::Variant,
    settings::Settings,
    stats::{Interval, Paired, correct, paired_t, t_interval},
    stopping::{Ended, Stopping},
};

/// The data of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataRecord {
    /// Name.
    pub name: String,
    /// Hash of the log.
    pub sha256: String,
    /// Hash of the samples.
    pub split_sha256: String,
    /// What is predicted.
    pub label: LabelRule,
    /// Users.
    pub users: usize,
    /// Items.
    pub items: usize,
    /// Training samples.
    pub train_samples: usize,
    /// Validation samples.
    pub valid_samples: usize,
    /// Test samples.
    pub test_samples: usize,
    /// Test AUC of the true click probabilities (synthetic data).
    pub bayes_auc: Option<f64>,
}

/// One training with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Seed.
    pub seed: u64,
    /// Test AUC.
    pub auc: Option<f64>,
    /// The same over test samples whose target training never met.
    #[serde(default)]
    pub auc_new: Option<f64>,
    /// Test gAUC over users, weighted by impressions.
    pub gauc: Option<f64>,
    /// The same weighted by positives.
    pub gauc_positives: Option<f64>,
    /// The same unweighted.
    pub gauc_uniform: Option<f64>,
    /// Share of users with both labels.
    pub gauc_users: f64,
    /// Share of samples that are theirs.
    pub gauc_samples: f64,
    /// Test log loss.
    pub logloss: Option<f64>,
    /// Test calibration error, 15 bins.
    pub ece: Option<f64>,
    /// The stopping metric of the best validation.
    pub valid: Option<f64>,
    /// Optimizer step with the best validation.
    pub best_step: u64,
    /// How the training ended; absent where nothing is trained.
    #[serde(default)]
    pub stopping: Option<Stopping>,
    /// Wall time.
    pub seconds: f64,
    /// Seconds of it in which training waited for batches.
    #[serde(default)]
    pub waited: f64,
    /// Mean MACs of scoring one test sample, with the tested weights.
    pub macs: Cost,
    /// The same of samples whose history has as many behaviours as are kept, where there are any.
    #[serde(default)]
    pub macs_full: Option<Cost>,
    /// Trained values: embedding tables, dense parameters.
    pub params: ParamCount,
}

impl RunRecord {
    /// Of the time of some trainings the part in which they waited for batches, in words.
    pub fn waiting<'r>(runs: impl IntoIterator<Item = &'r Self>) -> String {
        let (mut seconds, mut waited) = (0.0, 0.0);
        runs.into_iter().for_each(|run| (seconds, waited) = (seconds + run.seconds, waited + run.waited));
        format!(
            "{:.1} % of the time waiting for training batches",
            100.0 * waited / f64::max(seconds, f64::MIN_POSITIVE)
        )
    }
}

/// Trained values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamCount {
    /// Embedding tables.
    pub embedding: usize,
    /// Everything else.
    pub dense: usize,
}

/// Mean MACs of one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Macs {
    /// Encoders.
    pub encoder: u64,
    /// Routing and gating.
    pub router: u64,
    /// Head.
    pub head: u64,
    /// All of it.
    pub total: u64,
    /// The same with the encoders in their published forms, nothing folded.
    #[serde(default)]
    pub published: u64,
}

/// Milliseconds for 1,000 samples, all threads, measured after the runs one cell at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Training step.
    pub train: f64,
    /// Scoring.
    pub score: f64,
}

/// One row of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Encoder, or the name of a control row.
    pub encoder: String,
    /// Mixture; `none` = the encoder by itself.
    pub mixture: String,
    /// Behaviours that a history keeps; 0 in results from before this was recorded.
    #[serde(default)]
    pub max_length: usize,
    /// What the mixture is, where it is a variant.
    #[serde(default)]
    pub variant: Option<Variant>,
    /// Settings that this row does not share with the others.
    #[serde(default)]
    pub settings: Settings,
    /// One per seed.
    pub runs: Vec<RunRecord>,
    /// Over seeds.
    pub auc: Option<Interval>,
    /// Over seeds.
    pub gauc: Option<Interval>,
    /// Over seeds.
    pub logloss: Option<Interval>,
    /// Over seeds.
    pub ece: Option<Interval>,
    /// Paired over seeds with the encoder by itself, p after Holm.
    pub delta_auc: Option<Paired>,
    /// The same for gAUC.
    pub delta_gauc: Option<Paired>,
    /// AUC minus that of the encoder by itself, mean over seeds, interval by bootstrap over users.
    pub delta_auc_users: Option<Interval>,
    /// Paired over seeds with `scales` around the same encoder, p after Holm.
    pub delta_scales_auc: Option<Paired>,
    /// The same for gAUC.
    pub delta_scales_gauc: Option<Paired>,
    /// Cost.
    pub macs_per_sample: Macs,
    /// Size.
    pub params: ParamCount,
    /// Speed.
    pub ms_per_1000: Option<Speed>,
}

/// Everything a table is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Data.
    pub data: DataRecord,
    /// Hash of the resolved configuration.
    pub config_sha256: String,
    /// Commit that the trainings were made with (several, joined by +, where a run was resumed by another build);
    /// `unknown` outside a checkout.
    pub commit: String,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Machine and versions.
    pub environment: BTreeMap<String, String>,
    /// Rows.
    pub cells: Vec<Cell>,
}

/// A metric of a training.
pub type Metric = fn(&RunRecord) -> Option<f64>;

impl Cell {
    /// A row from its runs; comparisons come with [`Results::compare`].
    pub fn new(encoder: &str, mixture: &str, runs: Vec<RunRecord>, ms_per_1000: Option<Speed>) -> Self {
        let over = |metric: Metric| t_interval(&runs.iter().map(metric).collect::<Option<Vec<_>>>()?);
        let mean = |part: fn(&Cost) -> u64| {
            runs.iter().map(|r| part(&r.macs)).sum::<u64>() / runs.len().max(1) as u64
        };
        let (encoder_macs, router, head) = (mean(|c| c.encoder), mean(|c| c.router), mean(|c| c.head));
        Self {
            encoder: encoder.into(),
            mixture: mixture.into(),
            max_length: 0,
            variant: None,
            settings: Settings::new(),
            auc: over(|r| r.auc),
            gauc: over(|r| r.gauc),
            logloss: over(|r| r.logloss),
            ece: over(|r| r.ece),
            delta_auc: None,
            delta_gauc: None,
            delta_auc_users: None,
            delta_scales_auc: None,
            delta_scales_gauc: None,
            macs_per_sample: Macs {
                encoder: encoder_macs,
                router,
                head,
                total: encoder_macs + router + head,
                published: mean(|c| c.published()),
            },
            params: runs.first().map(|r| r.params).unwrap_or_default(),
            runs,
            ms_per_1000,
        }
    }

    /// Difference of a metric to another row of the same seeds, paired over them; p not corrected.
    pub fn against(&self, base: &Self, metric: Metric) -> Option<Paired> {
        let values = |cell: &Self| cell.runs.iter().map(metric).collect::<Option<Vec<f64>>>();
        paired_t(&values(self)?, &values(base)?)
    }

    /// Whether a run failed to learn (AUC below 0.55 or undefined, or training that left the finite numbers): shown, never
    /// dropped. Controls that never learn do not fail at it.
    pub fn collapsed(&self) -> bool {
        let failed = |r: &RunRecord| {
            r.auc.is_none_or(|auc| auc < 0.55) || r.stopping.is_some_and(|s| s.ended == Ended::Diverged)
        };
        self.params.dense > 0 && self.runs.iter().any(failed)
    }
}

impl Results {
    /// The row of `mixture` around the same encoder, at the same length.
    pub fn beside(&self, cell: &Cell, mixture: &str) -> Option<&Cell> {
        let same = |c: &&Cell| c.encoder == cell.encoder && c.max_length == cell.max_length;
        self.cells.iter().filter(same).find(|c| c.mixture == mixture)
    }

    /// Fills the paired differences, with Holm's correction over the table, metric by metric.
    pub fn compare(&mut self) {
        let against = |base: &str, metric: Metric| -> Vec<Option<Paired>> {
            let compared = self.cells.iter().map(|cell| {
                let plain = self.beside(cell, base).filter(|_| cell.mixture != base)?;
                cell.against(plain, metric)
            });
            let mut out: Vec<Option<Paired>> = compared.collect();
            correct(&mut out);
            out
        };
        let plain = (against("none", |r| r.auc), against("none", |r| r.gauc));
        let scales = (against("scales", |r| r.auc), against("scales", |r| r.gauc));
        for (i, cell) in self.cells.iter_mut().enumerate() {
            (cell.delta_auc, cell.delta_gauc) = (plain.0[i], plain.1[i]);
            (cell.delta_scales_auc, cell.delta_scales_gauc) = (scales.0[i], scales.1[i]);
        }
    }

    /// The rows of these encoders and mixtures; an empty list means all.
    ///
    /// # Errors
    /// A name that no row has, with the nearest that one has.
    pub fn only(mut self, encoders: &[String], mixtures: &[String]) -> anyhow::Result<Self> {
        let kept = |names: &[String], of: fn(&Cell) -> &str| -> anyhow::Result<()> {
            for name in names {
                if !self.cells.iter().any(|c| of(c) == name) {
                    let near = nearest_name(name, self.cells.iter().map(of)).unwrap_or_default();
                    bail!("no row of {name} in these results; did you mean {near}?");
                }
            }
            Ok(())
        };
        kept(encoders, |c| &c.encoder)?;
        kept(mixtures, |c| &c.mixture)?;
        let wanted = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        self.cells.retain(|c| wanted(encoders, &c.encoder) && wanted(mixtures, &c.mixture));
        Ok(self)
    }

    /// Reads `results.json`.
    ///
    /// # Errors
    /// A file that cannot be read or is no result.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("{}: a finished run writes it (mos-bench alone fills runs/quick)", path.display())
        })?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}
