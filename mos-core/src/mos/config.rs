//! The choices of MoS.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, check_weight};

/// Where themes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Themes {
    /// A learned codebook.
    Learned,
    /// Control: each item has a random theme of its own.
    Random,
    /// Control: the themes planted by the synthetic generator.
    Oracle,
    /// Control: the item's category is its theme (hard search of SIM).
    Category,
}

/// The vector that is compared with the codebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingVector {
    /// `W c` of the item's content vector c where the catalog has content, a free row elsewhere.
    Auto,
    /// `W c`: a linear map of the content vector, starting at the identity. Serves items never seen in training.
    ContentMap,
    /// The content vector itself: only the codes learn.
    Content,
    /// `W c` plus a free row that starts at zero.
    ContentMapPlusFree,
    /// A free row of a table of its own, starting at the content vector where the catalog has content, else as
    /// `FreeRandom`.
    Free,
    /// A free row, starting at N(0, 0.1^2) even where there is content (whose width it then has).
    FreeRandom,
    /// The item's embedding; the router's losses reach it.
    Tied,
    /// The item's embedding; the router's losses do not reach it.
    Detached,
}

/// How the codebook learns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Codebook {
    /// By gradient of the mutual information between themes of neighbouring behaviours, weighted `weight`.
    MutualInformation {
        /// Weight of the loss.
        weight: f32,
    },
    /// By moving averages of the vectors that choose a code (VQ-VAE with EMA; van den Oord et al. 2017), with a
    /// commitment loss on the routing vectors. Both begin with codes from k-means++: on content at the start (see
    /// [`MosConfig::kmeans_start`]), else on the routing vectors after a third of the first epoch.
    MovingAverage {
        /// Weight of the commitment loss.
        commitment: f32,
    },
    /// Control: k-means++ on content at the start, never moved.
    Fixed,
}

/// What is assigned to a theme as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RoutingUnit {
    /// Each behaviour by itself.
    Behaviour,
    /// A session by the mean of its routing vectors, each scaled to length 1.
    Session,
    /// Windows of this many behaviours, counted from the newest, by the same mean.
    Window(usize),
}

/// Hard or soft membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// The nearest code.
    Hard,
    /// Every behaviour belongs to every run theme, its vector scaled by its membership (without effect where an encoder
    /// scales its rows to one length itself).
    Soft,
}

/// Which themes are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Run {
    /// The target's nearest themes only.
    Target(usize),
    /// All, mixed by the target's membership among the themes that the history has.
    All,
}

/// What the global expert reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GlobalExpert {
    /// No global expert.
    Off,
    /// The whole history.
    Full,
    /// Means of blocks of this many behaviours.
    Pooled(usize),
}

/// One encoder for all experts, or one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// A separate encoder for global, short and theme; one theme encoder for all themes.
    Separate,
    /// One encoder for all three.
    Shared,
    /// As separate, and one encoder for each theme.
    PerTheme,
}

/// How the experts' vectors reach the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// Side by side.
    Concat,
    /// Their sum, weighted by softmax of a linear gate on the target.
    GatedSum,
    /// Their sum, weighted by softmax of (W q)·v / sqrt(d) for each vector v.
    Attention,
}

/// Configuration of [`crate::mos::Mos`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MosConfig {
    /// Where themes come from.
    pub themes: Themes,
    /// Number of themes K (1 to 255).
    pub codes: usize,
    /// Width of free routing vectors where the catalog has no content; with content they are as wide as it is.
    pub routing_dim: usize,
    /// What is compared with the codebook.
    pub vector: RoutingVector,
    /// How the codebook learns.
    pub codebook: Codebook,
    /// Weight of a loss that evens out how much each theme is used: K times the sum of squared mean memberships. With a
    /// codebook that learns by mutual information alone, which balances by itself.
    pub balance: f32,
    /// Weight of the mean squared cosine of different codes; with a codebook that learns by mutual information alone.
    pub orthogonality: f32,
    /// Start the codes by k-means++ on content vectors where the catalog has them, else at N(0, 1).
    pub kmeans_start: bool,
    /// Softmax temperature of memberships (cosines divided by this).
    pub temperature: f32,
    /// Lags of the neighbours whose themes should agree.
    pub lags: Vec<usize>,
    /// Neighbours must be of one session.
    pub same_session: bool,
    /// Histories of each shard that the codebook learns from.
    pub information_rows: usize,
    /// Of each of them, the most recent behaviours that it learns from.
    pub information_length: usize,
    /// What is assigned as a whole.
    pub unit: RoutingUnit,
    /// Hard or soft membership.
    pub assignment: Assignment,
    /// Which themes are run.
    pub run: Run,
    /// Longest theme subsequence M; the most recent are kept.
    pub theme_length: usize,
    /// Whether there is a theme expert at all.
    pub theme_expert: bool,
    /// Global expert.
    pub global: GlobalExpert,
    /// Behaviours that the short expert reads; 0 for no short expert.
    pub short: usize,
    /// Expert weights.
    pub sharing: Sharing,
    /// How vectors reach the head.
    pub fusion: Fusion,
    /// Share of training samples whose target theme is hidden, so that "unknown" has a meaning at scoring time. Off by
    /// default: where items have content there are no unknown themes, and hiding known ones costs accuracy.
    pub theme_dropout: f32,
    /// The evidence value that stands for "unknown theme" (an empty theme has 0).
    pub unknown_evidence: f32,
}

impl Default for MosConfig {
    fn default() -> Self {
        Self::mos()
    }
}

impl MosConfig {
    /// The default: behaviours routed by their item, the target's theme only, codebook by mutual information.
    pub fn mos() -> Self {
        Self {
            themes: Themes::Learned,
            codes: 8,
            routing_dim: 16,
            vector: RoutingVector::Auto,
            codebook: Codebook::MutualInformation { weight: 0.1 },
            balance: 0.0,
            orthogonality: 0.0,
            kmeans_start: true,
            temperature: 0.2,
            lags: vec![1, 2, 4],
            same_session: true,
            information_rows: 48,
            information_length: 128,
            unit: RoutingUnit::Behaviour,
            assignment: Assignment::Hard,
            run: Run::Target(1),
            theme_length: 40,
            theme_expert: true,
            global: GlobalExpert::Pooled(4),
            short: 20,
            sharing: Sharing::Separate,
            fusion: Fusion::Concat,
            theme_dropout: 0.0,
            unknown_evidence: -0.5,
        }
    }

    /// The closest reading of what is known of the paper: a VQ codebook, sessions as routing unit, all themes run
    /// and gated, a full-length global expert.
    pub fn vq() -> Self {
        Self {
            vector: RoutingVector::Tied,
            codebook: Codebook::MovingAverage { commitment: 0.25 },
            kmeans_start: false,
            unit: RoutingUnit::Session,
            run: Run::All,
            global: GlobalExpert::Full,
            ..Self::mos()
        }
    }

    /// # Errors
    /// [`Error::Config`] for values or combinations that cannot be built.
    pub fn check(&self) -> Result<()> {
        let fail = |field: &str, value: &dyn std::fmt::Debug, message: &str| {
            Err(Error::config(format!("mos.{field}"), format!("{value:?}"), message))
        };
        if !(1..=255).contains(&self.codes) {
            return fail("codes", &self.codes, "must lie between 1 and 255");
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return fail("temperature", &self.temperature, "must be positive");
        }
        if self.routing_dim == 0 {
            return fail("routing_dim", &self.routing_dim, "must be at least 1");
        }
        if self.theme_length == 0 {
            return fail(
                "theme_length",
                &self.theme_length,
                "must be at least 1; theme_expert = false turns it off",
            );
        }
        let informed = matches!(self.codebook, Codebook::MutualInformation { .. });
        if informed && (self.lags.is_empty() || self.lags.contains(&0)) {
            return fail("lags", &self.lags, "needs lags of at least 1, or the codebook never learns");
        }
        let weight = match self.codebook {
            Codebook::MutualInformation { weight } => weight,
            Codebook::MovingAverage { commitment } => commitment,
            Codebook::Fixed => 0.0,
        };
        check_weight("mos.codebook", weight)?;
        check_weight("mos.balance", self.balance)?;
        check_weight("mos.orthogonality", self.orthogonality)?;
        if !informed && (self.balance > 0.0 || self.orthogonality > 0.0) {
            let message =
                "balance and orthogonality need codes that learn by gradient, by mutual information";
            return fail("codebook", &self.codebook, message);
        }
        if self.information_rows == 0 && self.codebook != Codebook::Fixed {
            return fail("information_rows", &0, "must be at least 1, or the codebook never learns");
        }
        let least = if informed { self.lags.iter().min().map_or(1, |lag| lag + 1) } else { 1 };
        if self.information_length < least && self.codebook != Codebook::Fixed {
            let message = "must be at least 1 and beyond the shortest lag, or the codebook never learns";
            return fail("information_length", &self.information_length, message);
        }
        if matches!(self.run, Run::Target(n) if n == 0 || n > self.codes) {
            return fail("run", &self.run, "must name between 1 and `codes` themes");
        }
        if matches!(self.unit, RoutingUnit::Window(0)) || matches!(self.global, GlobalExpert::Pooled(0)) {
            return fail("unit/global", &(self.unit, self.global), "needs at least one behaviour");
        }
        if !self.theme_expert && self.global == GlobalExpert::Off && self.short == 0 {
            return fail("theme_expert", &self.theme_expert, "at least one expert must be on");
        }
        if !(0.0..1.0).contains(&self.theme_dropout) {
            return fail("theme_dropout", &self.theme_dropout, "must lie in [0, 1)");
        }
        if self.assignment == Assignment::Soft && self.run != Run::All {
            return fail("assignment", &self.assignment, "soft membership runs all themes (run = \"all\")");
        }
        if self.assignment == Assignment::Soft && self.unit != RoutingUnit::Behaviour {
            return fail("unit", &self.unit, "soft membership is that of a behaviour");
        }
        if self.sharing == Sharing::PerTheme && matches!(self.run, Run::Target(2..)) {
            return fail(
                "run",
                &self.run,
                "experts of one theme each need one theme at a time (1 or \"all\")",
            );
        }
        let given = self.themes != Themes::Learned;
        if given && self.unit != RoutingUnit::Behaviour {
            return fail("unit", &self.unit, "given themes belong to items: unit must be \"behaviour\"");
        }
        if given && (self.assignment == Assignment::Soft || matches!(self.run, Run::Target(2..))) {
            return fail("run", &self.run, "given themes have no degrees: an item has one theme or none");
        }
        Ok(())
    }
}
