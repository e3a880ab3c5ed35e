//! Writes a store block by block, into a folder that gets its name when all is there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    UserBlock,
    manifest::{self, BlockEntry, Feature, FeatureKind, Manifest},
    table::{Column, Kind, TableReader, TableWriter, column},
};
use crate::{Catalog, Error, FeatureValues, Log, Part, Result, Store, TaskConfig, log::LogHash};

/// Events of a block, unless one user has more.
pub(crate) const BLOCK: usize = 1 << 18;

/// What belongs to the whole log.
pub(crate) struct Whole<'a> {
    pub(crate) name: &'a str,
    pub(crate) task: &'a TaskConfig,
    pub(crate) catalog: &'a Catalog,
    pub(crate) user_ids: &'a [String],
    pub(crate) item_ids: &'a [String],
    pub(crate) behaviour_names: &'a [String],
    pub(crate) dropped: &'a BTreeMap<String, u64>,
    pub(crate) ticks_per_second: i64,
    pub(crate) user_fields: usize,
    /// `[users, user_fields]`.
    pub(crate) of_users: &'a [u32],
    /// Whether the log has impressions, even if there is none.
    pub(crate) impressions: bool,
}

impl<'a> Whole<'a> {
    /// Of a log.
    pub(crate) fn of(log: &'a Log, task: &'a TaskConfig) -> Self {
        Self {
            name: &log.name,
            task,
            catalog: &log.catalog,
            user_ids: &log.user_ids,
            item_ids: &log.item_ids,
            behaviour_names: &log.behaviour_names,
            dropped: &log.dropped,
            ticks_per_second: log.ticks_per_second,
            user_fields: log.contexts.user_fields,
            of_users: &log.contexts.of_users,
            impressions: log.impressions.is_some(),
        }
    }
}

/// Where the hash of the log comes from.
pub(crate) enum HashOf<'a> {
    /// It is known.
    Log(String),
    /// From the written behaviours and all else of the log.
    Rest(&'a Log),
    /// From what was written.
    Columns,
}

/// A store under way.
pub(crate) struct StoreWriter {
    place: Place,
    events: TableWriter,
    impressions: TableWriter,
    blocks: Vec<BlockEntry>,
    has: Has,
    in_order: bool,
    rows: u64,
}

/// The folder that it will be, and the one that it is till then, which is deleted when it is left unfinished.
struct Place {
    folder: PathBuf,
    partial: PathBuf,
}

/// Optional columns.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools)] // one for each
struct Has {
    ratings: bool,
    sessions: bool,
    published: bool,
    bayes: bool,
}

impl StoreWriter {
    /// A store that will be `folder`.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that is there already, or cannot be made.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        Store::check_new(folder)?;
        let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = folder.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        // Of a process of the same number that was killed.
        let _stale = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial)
            .map_err(|e| Error::file(&partial, e, "check the path and its permissions"))?;
        Ok(Self {
            events: TableWriter::new(&partial.join(super::EVENTS)),
            impressions: TableWriter::new(&partial.join(super::IMPRESSIONS)),
            place: Place { folder: folder.to_owned(), partial },
            blocks: Vec::new(),
            has: Has::default(),
            in_order: true,
            rows: 0,
        })
    }

    /// Adds the users that follow.
    pub(crate) fn push(&mut self, block: &UserBlock) -> Result<()> {
        let x = &block.interactions;
        self.has = Has {
            ratings: x.ratings().is_some() || self.has.ratings,
            sessions: x.given_sessions().is_some() || self.has.sessions,
            published: block.published.is_some() || self.has.published,
            bayes: block.bayes.is_some() || self.has.bayes,
        };
        if !x.is_empty() {
            let of = |user: u32| std::iter::repeat_n(block.first_user + user, x.range(user).len());
            let mut columns = vec![
                column("user", (0..x.users() as u32).flat_map(of).collect::<Vec<u32>>()),
                column("item", x.items().to_vec()),
                column("time", x.times().to_vec()),
                column("behaviour", x.behaviours().to_vec()),
            ];
            columns.extend(x.ratings().map(|r| column("rating", r.to_vec())));
            columns.extend(x.given_sessions().map(|s| column("session", s.to_vec())));
            self.events.write(columns)?;
        }
        if !block.impressions.is_empty() {
            self.impressions.write(impression_columns(block))?;
        }
        self.in_order &= block.rows.iter().zip(self.rows..).all(|(row, at)| *row == at);
        self.rows += block.rows.len() as u64;
        self.blocks.push(BlockEntry {
            first_user: block.first_user,
            users: x.users() as u32,
            events: x.len() as u64,
            impressions: block.impressions.len() as u64,
            sha256: block.sha256(),
        });
        Ok(())
    }

    /// Completes the store.
    pub(crate) fn finish(self, whole: &Whole<'_>, hash: HashOf<'_>) -> Result<()> {
        let Self { place, events, impressions, blocks, has, in_order, rows } = self;
        let Place { folder, partial } = &place;
        events.finish()?;
        impressions.finish()?;
        let sha256 = match hash {
            HashOf::Log(hash) => hash,
            HashOf::Rest(log) => hash_log(partial, whole, has, Some(log))?,
            HashOf::Columns => hash_log(partial, whole, has, None)?,
        };
        let mut files = BTreeMap::new();
        let mut table = |name: String, columns: Vec<Column>| -> Result<()> {
            let path = partial.join(&name);
            let mut writer = TableWriter::new(&path);
            writer.write(columns)?;
            writer.finish()?;
            files.insert(name, super::hash_file(&path)?);
            Ok(())
        };
        let mut users = vec![column("id", whole.user_ids)];
        let fields = whole.user_fields;
        users.extend((0..fields).map(|f| {
            let values: Vec<u32> = whole.of_users.iter().skip(f).step_by(fields).copied().collect();
            column(&format!("context_{f}"), values)
        }));
        table("users.parquet".into(), users)?;
        let c = whole.catalog;
        let mut items = vec![column("id", whole.item_ids)];
        items.extend(c.categories.clone().map(|values| column("category", values)));
        let themes = c.themes.as_ref();
        items.extend(themes.map(|t| column("theme", t.iter().map(|t| u32::from(*t)).collect::<Vec<u32>>())));
        table("items.parquet".into(), items)?;
        if let Some(content) = &c.content {
            table("content.parquet".into(), vec![column("value", content.values.clone())])?;
        }
        let mut features = Vec::new();
        for (n, feature) in c.features.iter().enumerate() {
            let (kind, count, columns) = match &feature.values {
                FeatureValues::One { ids, count } => {
                    (FeatureKind::One, *count, vec![column("value", ids.clone())])
                }
                FeatureValues::Many { offsets, ids, count } => {
                    let of =
                        |(item, pair): (usize, &[usize])| std::iter::repeat_n(item as u32, pair[1] - pair[0]);
                    let items: Vec<u32> = offsets.windows(2).enumerate().flat_map(of).collect();
                    (FeatureKind::Many, *count, vec![column("item", items), column("value", ids.clone())])
                }
                FeatureValues::Dense(c) => {
                    (FeatureKind::Dense, c.dim, vec![column("value", c.values.clone())])
                }
            };
            table(format!("feature-{n}.parquet"), columns)?;
            features.push(Feature { name: feature.name.clone(), kind, count });
        }
        let mut sizes = BTreeMap::new();
        for name in [super::EVENTS, super::IMPRESSIONS] {
            if let Ok(file) = std::fs::metadata(partial.join(name)) {
                sizes.insert(name.to_owned(), file.len());
            }
        }
        let manifest = Manifest {
            format: manifest::FORMAT.into(),
            version: manifest::VERSION,
            name: whole.name.to_owned(),
            log_sha256: sha256,
            task: whole.task.clone(),
            users: whole.user_ids.len(),
            items: c.items,
            events: blocks.iter().map(|b| b.events).sum(),
            impressions: whole.impressions.then_some(rows),
            ticks_per_second: whole.ticks_per_second,
            ratings: has.ratings,
            sessions: has.sessions,
            published: has.published,
            bayes: has.bayes,
            impressions_in_order: in_order,
            behaviour_names: whole.behaviour_names.to_vec(),
            user_fields: whole.user_fields,
            contexts: c.contexts.iter().map(|f| (f.name.clone(), f.count)).collect(),
            categories: c.categories.as_ref().map(|_| c.category_count),
            content: c.content.as_ref().map(|c| c.dim),
            themes: c.themes.is_some(),
            features,
            dropped: whole.dropped.clone(),
            blocks,
            files,
            sizes,
        };
        let file = partial.join(manifest::FILE);
        std::fs::write(&file, manifest.text()?).map_err(|e| Error::file(&file, e, "is the disk full?"))?;
        std::fs::rename(partial, folder)
            .map_err(|e| Error::file(folder, e, "was it made meanwhile? name another folder"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After the last step it has another name.
        let _gone = std::fs::remove_dir_all(&self.partial);
    }
}

/// Hash of the log whose behaviours lie in `folder`, and the rest in `log`; without that its impressions lie there too, in order.
fn hash_log(folder: &Path, whole: &Whole<'_>, has: Has, log: Option<&Log>) -> Result<String> {
    fn column_of<T: Kind, const N: usize>(
        h: &mut LogHash,
        table: &TableReader,
        name: &str,
        bytes: fn(T) -> [u8; N],
    ) -> Result<()> {
        for group in 0..table.blocks() {
            h.numbers(table.read(group, &[name])?.values::<T>(name)?.into_iter().map(bytes));
        }
        Ok(())
    }
    let events = TableReader::open(&folder.join(super::EVENTS))?;
    let mut h = LogHash::default();
    let mut offsets = vec![0u64; whole.user_ids.len() + 1];
    for group in 0..events.blocks() {
        let users = events.read(group, &["user"])?.values::<u32>("user")?;
        users.into_iter().for_each(|user| offsets[user as usize + 1] += 1);
    }
    (1..offsets.len()).for_each(|u| offsets[u] += offsets[u - 1]);
    h.numbers(offsets.into_iter().map(u64::to_le_bytes));
    column_of(&mut h, &events, "item", u32::to_le_bytes)?;
    column_of(&mut h, &events, "time", i64::to_le_bytes)?;
    column_of(&mut h, &events, "behaviour", u8::to_le_bytes)?;
    if has.ratings {
        column_of(&mut h, &events, "rating", f32::to_le_bytes)?;
    }
    if has.sessions {
        column_of(&mut h, &events, "session", u64::to_le_bytes)?;
    }
    if let Some(log) = log {
        h.rest(log);
        return Ok(h.finish());
    }
    if whole.impressions {
        let shown = TableReader::open(&folder.join(super::IMPRESSIONS))?;
        for group in 0..shown.blocks() {
            h.impressions(&super::impressions_of(&shown.read(group, &["user", "item", "time", "label"])?)?);
        }
    }
    h.catalog(whole.catalog);
    h.texts(whole.user_ids.iter().chain(whole.item_ids).chain(whole.behaviour_names));
    Ok(h.finish())
}

fn impression_columns(block: &UserBlock) -> Vec<Column> {
    let all = &block.impressions;
    let mut columns = vec![
        column("row", block.rows.clone()),
        column("user", all.iter().map(|i| i.user).collect::<Vec<u32>>()),
        column("item", all.iter().map(|i| i.item).collect::<Vec<u32>>()),
        column("time", all.iter().map(|i| i.time).collect::<Vec<i64>>()),
        column("label", all.iter().map(|i| i.label).collect::<Vec<f32>>()),
    ];
    if let Some(published) = &block.published {
        columns.push(column("part", published.iter().map(|p| p.part as u8).collect::<Vec<u8>>()));
        let history = published.iter().map(|p| p.history.unwrap_or(u32::MAX));
        columns.push(column("history", history.collect::<Vec<u32>>()));
    }
    columns.extend(block.bayes.clone().map(|b| column("bayes", b)));
    let fields = block.impression_fields;
    columns.extend((0..fields).map(|f| {
        let values: Vec<u32> = block.contexts.iter().skip(f).step_by(fields).copied().collect();
        column(&format!("context_{f}"), values)
    }));
    columns
}

impl UserBlock {
    /// Hash of its columns.
    pub(super) fn sha256(&self) -> String {
        let x = &self.interactions;
        let mut h = LogHash::default();
        h.interactions(x);
        h.impressions(&self.impressions);
        h.numbers(self.rows.iter().map(|v| v.to_le_bytes()));
        h.published(self.published.as_deref().unwrap_or_default());
        h.numbers(self.bayes.iter().flatten().map(|v| v.to_le_bytes()));
        h.numbers(self.contexts.iter().map(|v| v.to_le_bytes()));
        h.finish()
    }

    /// Blocks of a log that end where `ends` says, one after another, from user `first` on.
    pub(super) fn of(log: &Log, first: u32, ends: &[u32]) -> impl Iterator<Item = Self> {
        let x = &log.interactions;
        let shown = log.impressions.as_deref().unwrap_or_default();
        let mut order: Vec<usize> = (0..shown.len()).collect();
        order.sort_by_key(|row| shown[*row].user);
        let mut next = order.partition_point(|row| shown[*row].user < first);
        let mut from = first;
        ends.iter().map(move |to| {
            let to = *to;
            let rows = &order[next..];
            let rows = &rows[..rows.partition_point(|row| shown[*row].user < to)];
            next += rows.len();
            let fields = log.contexts.impression_fields;
            let block = Self {
                first_user: from,
                interactions: x.users_in(from..to),
                impressions: rows.iter().map(|row| shown[*row]).collect(),
                rows: rows.iter().map(|row| *row as u64).collect(),
                published: log.published.as_ref().map(|p| rows.iter().map(|row| p[*row]).collect()),
                bayes: log.bayes.as_ref().map(|b| rows.iter().map(|row| b[*row]).collect()),
                impression_fields: fields,
                contexts: rows
                    .iter()
                    .flat_map(|row| &log.contexts.of_impressions[row * fields..][..fields])
                    .copied()
                    .collect(),
            };
            from = to;
            block
        })
    }
}

/// The part that a number stands for.
pub(super) fn part(number: u8) -> Option<Part> {
    [Part::Train, Part::Valid, Part::Test].into_iter().find(|p| *p as u8 == number)
}
