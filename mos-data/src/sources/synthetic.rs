//! Synthetic histories with planted session hopping.
//!
//! Items belong to themes and sub-topics; a user lives in a few themes, session after session, and clicks a
//! candidate by what they last did *inside the candidate's theme*. Both can be switched off: `hopping = false` gives
//! each user one theme, `theme_labels = false` lets the last events of any theme decide.
//!
//! All users share one clock by position: event k happens in hour k, so that a cut in positions is a global time
//! split. Real gaps would destroy that, therefore sessions are given by the log and not found by gaps.

use std::{borrow::Cow, path::Path};

use rand::{RngExt as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, Gamma, Geometric, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::{
    Catalog, Content, Contexts, Cuts, Error, Event, Impression, LabelRule, Log, Result, Sessionizer,
    TaskConfig, UserBlock,
    events::EventColumns,
    rng,
    store::{BLOCK, HashOf, StoreWriter, Whole},
};

/// Themes, sub-topics of a theme, items of a sub-topic, width of content vectors.
const THEMES: usize = 8;
const SUBTOPICS: usize = 5;
const ITEMS: usize = 20;
const CONTENT: usize = 16;
/// Length of a time slot in seconds; event k lies in slot k.
const SLOT: i64 = 3600;
/// Training, validation and test candidates of each user, and where on the history they lie.
const PARTS: [(usize, f64, f64); 3] = [(12, 0.45, 0.84), (5, 0.84, 0.91), (8, 0.91, 1.0)];

/// The generator's choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Number of users, 25 candidates each.
    pub users: usize,
    /// Behaviours of each user.
    pub events: usize,
    /// Generator seed.
    pub seed: u64,
    /// Users hop between two to four themes; off = one theme each.
    pub hopping: bool,
    /// Clicks depend on the last behaviours inside the candidate's theme; off = on the last of any theme.
    pub theme_labels: bool,
    /// Items of each sub-topic, of 20, that do not occur before the validation part, as behaviour or candidate.
    pub cold: usize,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { users: 4000, events: 200, seed: 101, hopping: true, theme_labels: true, cold: 0 }
    }
}

/// The generator as a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Synthetic {
    pub(super) generator: SyntheticConfig,
}

impl Synthetic {
    pub(super) const NAME: &'static str = "synthetic";
    pub(super) const LINE: &'static str = "generated session-hopping histories with planted themes (no PATH)";
}

struct World {
    /// Popularity of an item's rank, in histories and among candidates.
    rank: Vec<f64>,
    candidate_rank: Vec<f64>,
    theme: Vec<f64>,
    quality: Vec<f64>,
}

/// What was generated so far.
#[derive(Default)]
struct Made {
    /// The events number users from here.
    first_user: u32,
    events: EventColumns,
    impressions: Vec<Impression>,
    bayes: Vec<f64>,
}

struct User {
    themes: Vec<usize>,
    weights: Vec<f64>,
    /// Preferred sub-topic of each own theme.
    preferred: Vec<usize>,
    bias: f64,
}

fn pick(weights: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    weights.iter().position(|w| (left -= w, left < 0.0).1).unwrap_or(weights.len() - 1)
}

fn item_of(theme: usize, subtopic: usize, rank: usize) -> u32 {
    ((theme * SUBTOPICS + subtopic) * ITEMS + rank + 1) as u32
}

fn theme_of(item: u32) -> usize {
    (item as usize - 1) / (SUBTOPICS * ITEMS)
}

fn subtopic_of(item: u32) -> usize {
    (item as usize - 1) / ITEMS % SUBTOPICS
}

impl SyntheticConfig {
    /// The prediction task that belongs to the generated log.
    pub fn task(&self) -> TaskConfig {
        let at = |share: f64| (share * self.events as f64) as i64 * SLOT - 1;
        TaskConfig {
            label: LabelRule::Impressions {},
            session: Sessionizer::Given {},
            cuts: Cuts::Time { valid: at(0.84), test: at(0.91) },
            min_history: 0,
            max_train: None,
            seed: self.seed,
        }
    }

    /// Generates the log.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than 2 users or 20 events, or where no item is warm.
    pub fn generate(&self) -> Result<Log> {
        let (world, catalog) = self.world()?;
        let mut made = Made::default();
        (0..self.users as u32).for_each(|user| self.add(user, &world, &mut made));
        let (user_ids, item_ids) = self.ids(&catalog);
        Ok(Log {
            name: self.name(),
            interactions: made.events.sort(self.users)?,
            impressions: Some(made.impressions),
            published: None,
            contexts: Contexts::default(),
            catalog,
            user_ids,
            item_ids,
            behaviour_names: vec![String::new()],
            dropped: [].into(),
            ticks_per_second: 1,
            bayes: Some(made.bayes),
        })
    }

    /// Generates the same log as the store `folder`, user by user, in the memory of a block.
    ///
    /// # Errors
    /// As [`Self::generate`], and [`Error::File`] for a folder that is there already, or cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (world, catalog) = self.world()?;
        let mut writer = StoreWriter::new(folder)?;
        let (users, each) = (self.users as u32, (BLOCK / self.events).max(1));
        let mut row = 0;
        for first in (0..users).step_by(each) {
            let last = users.min(first.saturating_add(each as u32));
            let mut made = Made { first_user: first, ..Made::default() };
            (first..last).for_each(|user| self.add(user, &world, &mut made));
            let shown = made.impressions.len() as u64;
            writer.push(&UserBlock {
                first_user: first,
                interactions: made.events.sort((last - first) as usize)?,
                impressions: made.impressions,
                rows: (row..row + shown).collect(),
                published: None,
                bayes: Some(made.bayes),
                impression_fields: 0,
                contexts: Vec::new(),
            })?;
            row += shown;
        }
        let (user_ids, item_ids) = self.ids(&catalog);
        let whole = Whole {
            name: &self.name(),
            task: &self.task(),
            catalog: &catalog,
            user_ids: &user_ids,
            item_ids: &item_ids,
            behaviour_names: &[String::new()],
            dropped: &[].into(),
            ticks_per_second: 1,
            user_fields: 0,
            of_users: &[],
            impressions: true,
        };
        writer.finish(&whole, HashOf::Columns)
    }

    fn name(&self) -> String {
        format!("synthetic-{}", self.seed)
    }

    /// Checks the choices and draws what all users share.
    fn world(&self) -> Result<(World, Catalog)> {
        if !(2..=100_000_000).contains(&self.users) || !(20..=100_000).contains(&self.events) {
            let value = format!("{} users, {} events", self.users, self.events);
            let message = "at least 2 users and 20 events, at most 100 million users and 100,000 events";
            return Err(Error::config("generator", value, message));
        }
        if self.cold >= ITEMS {
            let message = format!("must be below the {ITEMS} items of a sub-topic");
            return Err(Error::config("generator.cold", self.cold, message));
        }
        let (world, content) = World::new(&mut rng::stream(self.seed, "synthetic/world", &[]));
        let items = THEMES * SUBTOPICS * ITEMS + 1;
        let mut themes = vec![u16::MAX];
        themes.extend((1..items as u32).map(|i| theme_of(i) as u16));
        let (content, themes) = (Some(content), Some(themes));
        Ok((world, Catalog { items, content, themes, behaviours: 1, ..Catalog::default() }))
    }

    /// Raw ids of users and items.
    fn ids(&self, catalog: &Catalog) -> (Vec<String>, Vec<String>) {
        let items = (1..catalog.items).map(|i| format!("i{i}"));
        (
            (0..self.users).map(|u| format!("u{u}")).collect(),
            std::iter::once(String::new()).chain(items).collect(),
        )
    }

    fn add(&self, user: u32, world: &World, made: &mut Made) {
        let mut draw = rng::stream(self.seed, "synthetic/user", &[u64::from(user)]);
        self.user(user, world, &mut draw, made);
    }

    fn user(&self, number: u32, world: &World, draw: &mut ChaCha8Rng, made: &mut Made) {
        let mut user = User::new(world, self.hopping, draw);
        let mut cuts: Vec<usize> = Vec::new();
        for (count, from, to) in PARTS {
            let at = |share: f64| (share * self.events as f64) as usize;
            cuts.extend((0..count).map(|_| draw.random_range(at(from) as u32..at(to) as u32) as usize));
        }
        cuts.sort_unstable();
        let mut cuts = cuts.into_iter().peekable();
        let mut history: Vec<u32> = Vec::with_capacity(self.events);
        let (mut previous, mut session) = (usize::MAX, 0);
        while history.len() < self.events {
            let mut own = pick(&user.weights, draw);
            if own == previous && draw.random::<f64>() < 0.7 {
                own = pick(&user.weights, draw);
            }
            previous = own;
            if draw.random::<f64>() < 0.3 {
                user.preferred[own] = draw.random_range(0..SUBTOPICS as u32) as usize;
            }
            let length = 1 + Geometric::new(1.0 / 8.0).map_or(0, |g| g.sample(draw)) as usize;
            for _ in 0..length.min(30).min(self.events - history.len()) {
                while cuts.peek() == Some(&history.len()) {
                    cuts.next();
                    let (item, probability) = self.candidate(&user, world, &history, draw);
                    let label = f32::from(draw.random::<f64>() < probability);
                    let time = history.len() as i64 * SLOT - 1;
                    made.impressions.push(Impression { user: number, item, time, label });
                    made.bayes.push(probability);
                }
                let liked = draw.random::<f64>() < 0.7;
                let subtopic =
                    if liked { user.preferred[own] } else { draw.random_range(0..SUBTOPICS as u32) as usize };
                let rank = self.known(&world.rank, history.len());
                let mut item = item_of(user.themes[own], subtopic, pick(&rank, draw));
                if draw.random::<f64>() < 0.1 {
                    let mut any = || draw.random_range(1..=(THEMES * SUBTOPICS * ITEMS) as u32);
                    item = any();
                    while rank[(item as usize - 1) % ITEMS] == 0.0 {
                        item = any();
                    }
                }
                let jitter: f64 = Exp1.sample(draw);
                let time = history.len() as i64 * SLOT + (jitter as i64).min(SLOT - 2);
                let (rating, session) = (None, Some(session));
                made.events.push(Event {
                    user: number - made.first_user,
                    item,
                    time,
                    behaviour: 0,
                    rating,
                    session,
                });
                history.push(item);
            }
            session += 1;
        }
    }

    /// Weights of the ranks of a sub-topic after `events` behaviours: cold items have none before the validation part.
    fn known<'w>(&self, rank: &'w [f64], events: usize) -> Cow<'w, [f64]> {
        if self.cold == 0 || events >= (PARTS[1].1 * self.events as f64) as usize {
            return Cow::Borrowed(rank);
        }
        // Spread over popular and rare ranks alike.
        let cold = |r: usize| (r + 1) * self.cold / ITEMS > r * self.cold / ITEMS;
        Cow::Owned(rank.iter().enumerate().map(|(r, w)| if cold(r) { 0.0 } else { *w }).collect())
    }

    fn candidate(&self, user: &User, world: &World, history: &[u32], draw: &mut ChaCha8Rng) -> (u32, f64) {
        let theme = if draw.random::<f64>() < 0.75 {
            user.themes[pick(&user.weights, draw)]
        } else {
            draw.random_range(0..THEMES as u32) as usize
        };
        let own = user.themes.iter().position(|t| *t == theme);
        let subtopic = match own {
            Some(own) if draw.random::<f64>() < 0.5 => user.preferred[own],
            _ => draw.random_range(0..SUBTOPICS as u32) as usize,
        };
        let item = item_of(theme, subtopic, pick(&self.known(&world.candidate_rank, history.len()), draw));
        let (mut weight, mut hit, mut all) = (1.0, 0.0, 0.0);
        for past in history.iter().rev().filter(|i| !self.theme_labels || theme_of(**i) == theme).take(20) {
            all += weight;
            hit += if theme_of(*past) == theme && subtopic_of(*past) == subtopic { weight } else { 0.0 };
            weight *= 0.8;
        }
        let affinity = if all > 0.0 { hit / all } else { 0.0 };
        let weight = own.map_or(0.0, |own| user.weights[own]);
        let logit = -2.55 + 3.6 * affinity + weight + 0.6 * world.quality[item as usize] + user.bias;
        (item, 1.0 / (1.0 + (-logit).exp()))
    }
}

impl World {
    fn new(draw: &mut ChaCha8Rng) -> (Self, Content) {
        let mut normal = || -> f64 { StandardNormal.sample(draw) };
        let power = |n: usize, exponent: f64| (1..=n).map(|r| (r as f64).powf(exponent)).collect::<Vec<_>>();
        let rank = power(ITEMS, -0.8);
        let log_mean = rank.iter().map(|w| w.ln()).sum::<f64>() / ITEMS as f64;
        let mut quality = vec![0.0];
        let mut values = vec![0.0f32; CONTENT];
        for _ in 0..THEMES {
            let of_theme: Vec<f64> = (0..CONTENT).map(|_| normal()).collect();
            for _ in 0..SUBTOPICS {
                let of_subtopic: Vec<f64> = (0..CONTENT).map(|_| normal()).collect();
                for weight in &rank {
                    quality.push(0.9 * normal() + 0.4 * (weight.ln() - log_mean));
                    let vector = of_theme.iter().zip(&of_subtopic).map(|(t, s)| t + 0.8 * s);
                    values.extend(vector.map(|v| ((v + 0.6 * normal()) / 4.0) as f32));
                }
            }
        }
        let n = (quality.len() - 1) as f64;
        let mean = quality[1..].iter().sum::<f64>() / n;
        let deviation = (quality[1..].iter().map(|q| (q - mean).powi(2)).sum::<f64>() / n).sqrt();
        quality.iter_mut().for_each(|q| *q /= deviation);
        let candidate_rank = rank.iter().map(|w| w.sqrt()).collect();
        (Self { rank, candidate_rank, theme: power(THEMES, -0.5), quality }, Content { dim: CONTENT, values })
    }
}

impl User {
    fn new(world: &World, hopping: bool, draw: &mut ChaCha8Rng) -> Self {
        let count = if hopping { draw.random_range(2..5u32) as usize } else { 1 };
        let mut left = world.theme.clone();
        let mut themes = Vec::new();
        for _ in 0..count {
            let theme = pick(&left, draw);
            left[theme] = 0.0;
            themes.push(theme);
        }
        themes.shuffle(draw);
        let mut weights: Vec<f64> =
            themes.iter().map(|_| Gamma::new(2.0, 1.0).map_or(1.0, |g| g.sample(draw))).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        let preferred = themes.iter().map(|_| draw.random_range(0..SUBTOPICS as u32) as usize).collect();
        let bias: f64 = StandardNormal.sample(draw);
        Self { themes, weights, preferred, bias: 0.3 * bias }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare;

    #[test]
    fn clicks_and_sizes_are_those_of_the_design() {
        let config = SyntheticConfig { users: 600, ..SyntheticConfig::default() };
        let data = prepare(config.generate().unwrap(), &config.task()).unwrap();
        assert_eq!(
            [data.users.splits.train.len(), data.users.splits.valid.len(), data.users.splits.test.len()],
            [7200, 3000, 4800]
        );
        let rate = data.users.splits.train.iter().map(|s| s.label).sum::<f32>() / 7200.0;
        assert!((0.30..0.42).contains(&rate), "click rate {rate}");
        for s in data.users.splits.train.iter().chain(&data.users.splits.test) {
            let history = &data.users.interactions.times()[data.users.interactions.range(s.user)];
            assert!(history[..s.end as usize].iter().all(|t| *t < s.time));
            assert!(history[s.end as usize..].iter().all(|t| *t >= s.time));
        }
    }

    #[test]
    fn cold_items_come_with_the_validation_part() {
        let config = SyntheticConfig { users: 200, cold: 4, ..SyntheticConfig::default() };
        let data = prepare(config.generate().unwrap(), &config.task()).unwrap();
        let (before, all) = (data.users.seen_in_training(data.catalog.items), &data.users.interactions);
        let warm = before.iter().skip(1).filter(|seen| **seen).count();
        assert!(warm <= THEMES * SUBTOPICS * (ITEMS - 4), "{warm} items are warm");
        let share = |items: &[u32]| {
            items.iter().filter(|i| !before[**i as usize]).count() as f64 / items.len() as f64
        };
        let targets: Vec<u32> = data.users.splits.test.iter().map(|s| s.item).collect();
        assert!((0.1..0.3).contains(&share(&targets)), "{} of the test targets are new", share(&targets));
        assert!(share(all.items()) < 0.05);
    }

    #[test]
    fn the_same_seed_gives_the_same_log_and_another_another() {
        let hash = |seed| {
            SyntheticConfig { users: 30, seed, ..SyntheticConfig::default() }.generate().unwrap().sha256()
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }

    #[test]
    fn a_store_that_is_written_user_by_user_is_the_generated_log() {
        let folder = tempfile::tempdir().unwrap();
        // Blocks of two users each.
        let config = SyntheticConfig { users: 5, events: 100_000, ..SyntheticConfig::default() };
        config.write(&folder.path().join("store")).unwrap();
        let store = crate::Store::open(&folder.path().join("store")).unwrap();
        assert_eq!(store.blocks().len(), 3);
        let log = config.generate().unwrap();
        assert_eq!(store.log_sha256(), log.sha256());
        assert_eq!(format!("{:?}", store.log().unwrap()), format!("{log:?}"));
    }
}
