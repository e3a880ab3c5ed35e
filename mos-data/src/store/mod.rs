//! A log on disk, user by user, that opens at once and is read by range of users.
//!
//! A store is a folder: `manifest.json`, `events.parquet` and `impressions.parquet` with one row group for each block of
//! users, and tables of users, items and their attributes. Blocks and files carry their SHA-256; a manifest that lacks its own
//! is refused. `docs/src/store.md` describes every column.

mod manifest;
mod table;
mod writer;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

pub(crate) use self::writer::{BLOCK, HashOf, StoreWriter, Whole};
use sha2::{Digest as _, Sha256};

use self::{
    manifest::{FeatureKind, Manifest},
    table::{Block, Kind, TableReader},
    writer::part,
};
use crate::{
    Catalog, Content, Contexts, Error, FeatureValues, Impression, Interactions, ItemFeature, Log, Published,
    Result, TaskConfig, rng::hex,
};

const EVENTS: &str = "events.parquet";
const IMPRESSIONS: &str = "impressions.parquet";
/// Far more than packing makes of them.
const MOST_IDS_PER_BYTE: u64 = 64;
const DAMAGED: &str = "the store is damaged: copy it again, or convert the source again";

/// A store that is open; its columns stay on disk.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    manifest: Manifest,
    events: Option<TableReader>,
    impressions: Option<TableReader>,
}

/// Users side by side, with what they did and were shown.
#[derive(Clone, Debug, PartialEq)]
pub struct UserBlock {
    /// The first of them.
    pub first_user: u32,
    /// Behaviours; user 0 here is `first_user`.
    pub interactions: Interactions,
    /// Shown items, user by user; their users are numbered as in the log.
    pub impressions: Vec<Impression>,
    /// Row of each impression among those of the log.
    pub rows: Vec<u64>,
    /// Part and history of each impression, where the set was published with them.
    pub published: Option<Vec<Published>>,
    /// True click probability of each impression (synthetic data).
    pub bayes: Option<Vec<f64>>,
    /// Number of context fields of an impression.
    pub impression_fields: usize,
    /// `[impressions, impression_fields]`, row-major.
    pub contexts: Vec<u32>,
}

impl Store {
    /// Refuses a place where [`Self::create`] would not write, before the work.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that is there already.
    pub fn check_new(folder: &Path) -> Result<()> {
        if folder.exists() {
            return Err(Error::file(folder, "is there already", "delete it, or name another folder"));
        }
        Ok(())
    }

    /// Writes a log as the store `folder`, which is there when all of it is, and not before. `task` is what is predicted where
    /// nothing else is asked for.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that is there already, and for files that cannot be written.
    pub fn create(log: &Log, task: &TaskConfig, folder: &Path) -> Result<()> {
        Self::create_in_blocks(log, task, folder, BLOCK)
    }

    /// The same with blocks of `most` events, unless one user has more.
    pub(crate) fn create_in_blocks(log: &Log, task: &TaskConfig, folder: &Path, most: usize) -> Result<()> {
        let mut writer = StoreWriter::new(folder)?;
        let ends = ends(log.interactions.offsets(), most);
        for block in UserBlock::of(log, 0, &ends) {
            writer.push(&block)?;
        }
        writer.finish(&Whole::of(log, task), HashOf::Log(log.sha256()))
    }

    /// The same of a log whose behaviours are not all in memory: there are `counts` of the first users, none of the others.
    /// `read` gives the log with the behaviours of some users alone, whose number it is told; they are asked for in parts of `part`.
    /// `log` has none, all else of it is there.
    pub(crate) fn create_in_parts(
        log: &Log,
        task: &TaskConfig,
        folder: &Path,
        counts: &[u64],
        [part, block]: [usize; 2],
        read: impl Fn(Range<u32>, usize) -> Result<Log>,
    ) -> Result<()> {
        let mut writer = StoreWriter::new(folder)?;
        let mut offsets = vec![0];
        let of_users = counts.iter().chain(std::iter::repeat(&0)).take(log.user_ids.len());
        offsets.extend(of_users.scan(0, |sum, n| {
            *sum += *n as usize;
            Some(*sum)
        }));
        let blocks = ends(&offsets, block);
        let (mut first, mut left) = (0u32, &blocks[..]);
        while let Some(next) = left.first() {
            let start = offsets[first as usize];
            let fit = left.partition_point(|end| offsets[*end as usize] <= start + part).max(1);
            let (these, others) = left.split_at(fit);
            let end = these.last().copied().unwrap_or(*next);
            let events = offsets[end as usize] - start;
            let some = read(first..end, events)?;
            if some.interactions.len() != events
                || some.user_ids != log.user_ids
                || some.item_ids != log.item_ids
            {
                let hint = "convert it again when nobody writes to it any more";
                return Err(Error::file(folder, "the source changed while it was read", hint));
            }
            for block in UserBlock::of(&some, first, these) {
                writer.push(&block)?;
            }
            (first, left) = (end, others);
        }
        writer.finish(&Whole::of(log, task), HashOf::Rest(log))
    }

    /// Opens a store. Its columns are checked when they are read.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that is no store, one of another version, and a damaged one.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        let open = |name: &str| -> Result<Option<TableReader>> {
            let Some(size) = manifest.sizes.get(name) else { return Ok(None) };
            let path = folder.join(name);
            let found = std::fs::metadata(&path).map_err(|e| Error::file(&path, e, DAMAGED))?.len();
            if found != *size {
                return Err(Error::file(&path, format!("has {found} bytes instead of {size}"), DAMAGED));
            }
            TableReader::open(&path).map(Some)
        };
        let (events, impressions) = (open(EVENTS)?, open(IMPRESSIONS)?);
        // Ids differ, so that a file of few bytes has few of them, and what is made for each has a limit.
        for (name, ids) in [("users.parquet", manifest.users), ("items.parquet", manifest.items)] {
            let path = folder.join(name);
            let bytes = std::fs::metadata(&path).map_err(|e| Error::file(&path, e, DAMAGED))?.len();
            if ids as u64 > bytes.saturating_mul(MOST_IDS_PER_BYTE) {
                return Err(Error::file(&path, format!("is too small for {ids} ids"), DAMAGED));
            }
        }
        Ok(Self { folder: folder.to_owned(), manifest, events, impressions })
    }

    /// Rows that were left out of the log, by reason.
    pub fn dropped(&self) -> &BTreeMap<String, u64> {
        &self.manifest.dropped
    }

    /// Name of the data set.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Hash of the log that was stored.
    pub fn log_sha256(&self) -> &str {
        &self.manifest.log_sha256
    }

    /// What is predicted, where nothing else is asked for.
    pub fn task(&self) -> &TaskConfig {
        &self.manifest.task
    }

    /// Number of users.
    pub fn users(&self) -> usize {
        self.manifest.users
    }

    /// Number of behaviours.
    pub fn events(&self) -> u64 {
        self.manifest.events
    }

    /// Users of each block, the unit in which columns are read.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Range<u32>> {
        self.manifest.blocks.iter().map(|b| b.first_user..b.first_user + b.users)
    }

    /// The block that a user is in.
    pub(crate) fn block_of(&self, user: u32) -> usize {
        self.manifest.blocks.partition_point(|b| b.first_user + b.users <= user)
    }

    /// Reads users.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged store, [`Error::TooFew`] for users beyond the last.
    pub fn read(&self, users: Range<u32>) -> Result<UserBlock> {
        if users.start > users.end || users.end as usize > self.users() {
            let what = format!("users {} to {} of {}", users.start, users.end, self.users());
            return Err(Error::too_few(what, "users are numbered from 0"));
        }
        let mut out: Option<UserBlock> = None;
        for (n, of) in self.blocks().enumerate() {
            if of.start >= users.end || of.end <= users.start {
                continue;
            }
            let block = self.block(n)?;
            let block = if users.start <= of.start && of.end <= users.end {
                block
            } else {
                block.slice(users.start.max(of.start)..users.end.min(of.end))
            };
            match &mut out {
                Some(all) => all.append(block),
                None => out = Some(block),
            }
        }
        Ok(out.unwrap_or_else(|| self.empty(users.start)))
    }

    /// No user.
    fn empty(&self, first_user: u32) -> UserBlock {
        let m = &self.manifest;
        UserBlock {
            first_user,
            interactions: Interactions {
                offsets: vec![0],
                items: Vec::new(),
                times: Vec::new(),
                behaviours: Vec::new(),
                ratings: m.ratings.then(Vec::new),
                sessions: m.sessions.then(Vec::new),
            },
            impressions: Vec::new(),
            rows: Vec::new(),
            published: m.published.then(Vec::new),
            bayes: m.bayes.then(Vec::new),
            impression_fields: m.contexts.len().saturating_sub(m.user_fields),
            contexts: Vec::new(),
        }
    }

    /// Reads block `n` and checks its hash.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged store.
    pub(crate) fn block(&self, n: usize) -> Result<UserBlock> {
        let m = &self.manifest;
        let entry = &m.blocks[n];
        let damaged = |what: &str| Error::file(&self.folder, format!("block {n} {what}"), DAMAGED);
        let mut out = self.empty(entry.first_user);
        let x = &mut out.interactions;
        x.offsets = vec![0; entry.users as usize + 1];
        if let (Some(events), 1..) = (&self.events, entry.events) {
            // Blocks without rows have no row group.
            let group = m.blocks[..n].iter().filter(|b| b.events > 0).count();
            let mut names = vec!["user", "item", "time", "behaviour"];
            names.extend(m.ratings.then_some("rating"));
            names.extend(m.sessions.then_some("session"));
            let columns = events.read(group, &names)?;
            for user in columns.values::<u32>("user")? {
                let user = user.checked_sub(entry.first_user).filter(|u| *u < entry.users);
                x.offsets[user.ok_or_else(|| damaged("has users of another"))? as usize + 1] += 1;
            }
            (1..x.offsets.len()).for_each(|u| x.offsets[u] += x.offsets[u - 1]);
            x.items = columns.values("item")?;
            x.times = columns.values("time")?;
            x.behaviours = columns.values("behaviour")?;
            x.ratings = m.ratings.then(|| columns.values("rating")).transpose()?;
            x.sessions = m.sessions.then(|| columns.values("session")).transpose()?;
        }
        if let (Some(impressions), 1..) = (&self.impressions, entry.impressions) {
            let group = m.blocks[..n].iter().filter(|b| b.impressions > 0).count();
            let fields: Vec<String> = (0..out.impression_fields).map(|f| format!("context_{f}")).collect();
            let mut names = vec!["row", "user", "item", "time", "label"];
            names.extend(m.published.then_some(["part", "history"]).into_iter().flatten());
            names.extend(m.bayes.then_some("bayes"));
            names.extend(fields.iter().map(String::as_str));
            let columns = impressions.read(group, &names)?;
            out.rows = columns.values("row")?;
            out.impressions = impressions_of(&columns)?;
            if m.published {
                let histories = columns.values::<u32>("history")?;
                let one = |(number, history): (u8, u32)| {
                    let part = part(number).ok_or_else(|| damaged("has a part that does not exist"))?;
                    Ok(Published { part, history: (history < u32::MAX).then_some(history) })
                };
                let parts = columns.values::<u8>("part")?.into_iter().zip(histories);
                out.published = Some(parts.map(one).collect::<Result<_>>()?);
            }
            out.bayes = m.bayes.then(|| columns.values("bayes")).transpose()?;
            let fields = fields.iter().map(|name| columns.values(name)).collect::<Result<Vec<Vec<u32>>>>()?;
            out.contexts = (0..out.rows.len())
                .flat_map(|row| fields.iter().filter_map(move |f| f.get(row)))
                .copied()
                .collect();
        }
        if out.sha256() != entry.sha256 {
            return Err(damaged("does not have the checksum that the manifest states"));
        }
        let users = entry.first_user..entry.first_user + entry.users;
        let items = out.interactions.items.iter().chain(out.impressions.iter().map(|i| &i.item));
        let behaviours = &out.interactions.behaviours;
        if items.into_iter().any(|item| *item as usize >= m.items)
            || behaviours.iter().any(|b| usize::from(*b) >= m.behaviour_names.len())
            || !fit(&out.contexts, &m.contexts[m.user_fields..])
            || out.impressions.iter().any(|i| !users.contains(&i.user))
        {
            return Err(damaged("has users, items, behaviours or contexts that the manifest does not know"));
        }
        Ok(out)
    }

    /// The log that was stored, with the same hash.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged store.
    pub fn log(&self) -> Result<Log> {
        let log = self.common()?;
        let mut all = self.read(0..self.manifest.users as u32)?;
        if !self.manifest.impressions_in_order {
            all.restore_order();
        }
        Ok(Log {
            interactions: all.interactions,
            impressions: log.impressions.map(|_| all.impressions),
            published: all.published,
            contexts: Contexts { of_impressions: all.contexts, ..log.contexts },
            bayes: all.bayes,
            ..log
        })
    }

    /// What its users have in common: the log without behaviours and impressions.
    pub(crate) fn common(&self) -> Result<Log> {
        let m = &self.manifest;
        let none = self.empty(0);
        let user_file = self.whole("users.parquet")?;
        let user_ids: Vec<String> = column_of(&user_file, "id", m.users)?;
        let fields: Vec<Vec<u32>> = (0..m.user_fields)
            .map(|f| column_of(&user_file, &format!("context_{f}"), m.users))
            .collect::<Result<_>>()?;
        let of_users: Vec<u32> =
            (0..user_ids.len()).flat_map(|u| fields.iter().filter_map(move |f| f.get(u))).copied().collect();
        if !fit(&of_users, &m.contexts[..m.user_fields]) {
            return Err(user_file.damaged("has contexts that the manifest does not know"));
        }
        let items = self.whole("items.parquet")?;
        let dense = |file: &str, dim: usize| -> Result<Content> {
            let values = column_of(&self.whole(file)?, "value", m.items.saturating_mul(dim))?;
            Ok(Content { dim, values })
        };
        let mut features = Vec::new();
        for (n, feature) in m.features.iter().enumerate() {
            let name = format!("feature-{n}.parquet");
            let values = match feature.kind {
                FeatureKind::Dense => FeatureValues::Dense(dense(&name, feature.count)?),
                FeatureKind::One => {
                    let ids = column_of(&self.whole(&name)?, "value", m.items)?;
                    FeatureValues::One { ids, count: feature.count }
                }
                FeatureKind::Many => {
                    let file = self.whole(&name)?;
                    let mut offsets = vec![0usize; m.items + 1];
                    for item in column::<u32>(&file, "item")? {
                        let damaged =
                            || Error::file(&self.folder, format!("{name} names item {item}"), DAMAGED);
                        *offsets.get_mut(item as usize + 1).ok_or_else(damaged)? += 1;
                    }
                    (0..m.items).for_each(|i| offsets[i + 1] += offsets[i]);
                    FeatureValues::Many { offsets, ids: column(&file, "value")?, count: feature.count }
                }
            };
            features.push(ItemFeature { name: feature.name.clone(), values });
        }
        let themes = m.themes.then(|| column_of::<u32>(&items, "theme", m.items)).transpose()?;
        Ok(Log {
            name: m.name.clone(),
            interactions: none.interactions,
            impressions: m.impressions.map(|_| none.impressions),
            published: none.published,
            contexts: Contexts {
                user_fields: m.user_fields,
                of_users,
                impression_fields: none.impression_fields,
                of_impressions: none.contexts,
            },
            catalog: Catalog {
                items: m.items,
                categories: m.categories.map(|_| column_of(&items, "category", m.items)).transpose()?,
                category_count: m.categories.unwrap_or(0),
                content: m.content.map(|dim| dense("content.parquet", dim)).transpose()?,
                themes: themes.map(|t| t.into_iter().map(|t| t as u16).collect()),
                features,
                contexts: m.context_fields(),
                behaviours: m.behaviour_names.len(),
            },
            user_ids,
            item_ids: column_of(&items, "id", m.items)?,
            behaviour_names: m.behaviour_names.clone(),
            dropped: m.dropped.clone(),
            ticks_per_second: m.ticks_per_second,
            bayes: none.bayes,
        })
    }

    /// A file that is read as a whole, once its hash is right.
    fn whole(&self, name: &str) -> Result<TableReader> {
        let path = self.folder.join(name);
        if self.manifest.files.get(name) != Some(&hash_file(&path)?) {
            let message = "does not have the checksum that the manifest states";
            return Err(Error::file(&path, message, DAMAGED));
        }
        TableReader::open(&path)
    }
}

/// A column of a table of one block.
fn column<T: Kind>(table: &TableReader, name: &str) -> Result<Vec<T>> {
    if table.blocks() == 0 { Ok(Vec::new()) } else { table.read(0, &[name])?.values(name) }
}

/// The same with as many values as there must be.
fn column_of<T: Kind>(table: &TableReader, name: &str, rows: usize) -> Result<Vec<T>> {
    let values = column(table, name)?;
    if values.len() != rows {
        return Err(table.damaged(format!("has {} values of {name} instead of {rows}", values.len())));
    }
    Ok(values)
}

fn impressions_of(columns: &Block<'_>) -> Result<Vec<Impression>> {
    let (users, items) = (columns.values::<u32>("user")?, columns.values::<u32>("item")?);
    let (times, labels) = (columns.values::<i64>("time")?, columns.values::<f32>("label")?);
    let rows = users.into_iter().zip(items).zip(times.into_iter().zip(labels));
    Ok(rows.map(|((user, item), (time, label))| Impression { user, item, time, label }).collect())
}

fn hash_file(path: &Path) -> Result<String> {
    std::fs::read(path)
        .map(|bytes| hex(Sha256::new_with_prefix(bytes)))
        .map_err(|e| Error::file(path, e, DAMAGED))
}

/// The ends of blocks of `most` events each, unless one user has more.
fn ends(offsets: &[usize], most: usize) -> Vec<u32> {
    let (mut ends, mut from) = (Vec::new(), 0);
    while from + 1 < offsets.len() {
        let room = offsets[from + 1..].partition_point(|end| *end <= offsets[from] + most);
        from += room.max(1);
        ends.push(from as u32);
    }
    ends
}

impl UserBlock {
    /// All of a log as one block, and the log without it.
    pub(crate) fn take(mut log: Log) -> (Log, Self) {
        let x = &log.interactions;
        let none = Interactions {
            offsets: vec![0],
            items: Vec::new(),
            times: Vec::new(),
            behaviours: Vec::new(),
            ratings: x.ratings().map(|_| Vec::new()),
            sessions: x.given_sessions().map(|_| Vec::new()),
        };
        let impressions = log.impressions.as_mut().map(std::mem::take).unwrap_or_default();
        let block = Self {
            first_user: 0,
            interactions: std::mem::replace(&mut log.interactions, none),
            rows: Vec::new(),
            impressions,
            published: log.published.as_mut().map(std::mem::take),
            bayes: log.bayes.as_mut().map(std::mem::take),
            impression_fields: log.contexts.impression_fields,
            contexts: std::mem::take(&mut log.contexts.of_impressions),
        };
        (log, block)
    }

    /// The users of a range, which are all here.
    fn slice(&self, users: Range<u32>) -> Self {
        let local = users.start - self.first_user..users.end - self.first_user;
        let from = self.impressions.partition_point(|i| i.user < users.start);
        let to = self.impressions.partition_point(|i| i.user < users.end);
        Self {
            first_user: users.start,
            interactions: self.interactions.users_in(local),
            impressions: self.impressions[from..to].to_vec(),
            rows: self.rows[from..to].to_vec(),
            published: self.published.as_ref().map(|p| p[from..to].to_vec()),
            bayes: self.bayes.as_ref().map(|b| b[from..to].to_vec()),
            impression_fields: self.impression_fields,
            contexts: self.contexts[from * self.impression_fields..to * self.impression_fields].to_vec(),
        }
    }

    /// Adds the users that follow.
    fn append(&mut self, next: Self) {
        self.interactions.append(next.interactions);
        self.impressions.extend(next.impressions);
        self.rows.extend(next.rows);
        self.published.iter_mut().zip(next.published).for_each(|(all, more)| all.extend(more));
        self.bayes.iter_mut().zip(next.bayes).for_each(|(all, more)| all.extend(more));
        self.contexts.extend(next.contexts);
    }

    /// Puts the impressions into the order of the log.
    fn restore_order(&mut self) {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|i| self.rows[*i]);
        let fields = self.impression_fields;
        self.impressions = order.iter().map(|i| self.impressions[*i]).collect();
        self.published = self.published.take().map(|p| order.iter().map(|i| p[*i]).collect());
        self.bayes = self.bayes.take().map(|b| order.iter().map(|i| b[*i]).collect());
        self.contexts = order.iter().flat_map(|i| &self.contexts[i * fields..][..fields]).copied().collect();
        self.rows = order.iter().map(|i| self.rows[*i]).collect();
    }
}

/// Whether each value, row after row, is one of its field's.
fn fit(values: &[u32], fields: &[(String, usize)]) -> bool {
    values.iter().zip(fields.iter().cycle()).all(|(value, (_, count))| (*value as usize) < *count)
}
