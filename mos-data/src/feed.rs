//! Where a training takes its batches from: users in memory, or in a store that is read block by block.
//!
//! An epoch is shuffled on two levels: the order of the blocks, and, in a window of a few blocks, that of the samples. Blocks
//! are read, made into samples and cut into batches on threads of their own, ahead of whoever takes the batches. Users in
//! memory are one block, so that both are read alike: a window of all blocks gives the batches of the same log in memory.

mod ahead;
mod stream;
#[cfg(test)]
mod tests;
mod trained;

use std::{ops::Range, sync::Arc, thread, time::Duration};

use rand::seq::SliceRandom as _;

pub(crate) use self::stream::Stream;
use self::{ahead::Ahead, trained::Trained};
use crate::{Batch, Dataset, Result, Sample, Users, rng, shuffled_order};

/// Batches that are made ahead.
const AHEAD: usize = 4;

/// Users with their samples, in memory or in a store.
#[derive(Clone, Debug)]
pub struct Feed {
    place: Place,
    trained: Trained,
    /// Validation samples.
    pub valid: Vec<Sample>,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<Users>),
    Stored(Arc<Stream>),
}

impl Place {
    fn block(&self, n: usize) -> Result<Arc<Users>> {
        match self {
            Self::Memory(users) => Ok(users.clone()),
            Self::Stored(stream) => stream.block(n).map(Arc::new),
        }
    }

    /// The same without samples.
    fn histories(&self, n: usize) -> Result<Arc<Users>> {
        match self {
            Self::Memory(users) => Ok(users.clone()),
            Self::Stored(stream) => stream.histories(n).map(Arc::new),
        }
    }

    fn block_of(&self, user: u32) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Stored(stream) => stream.block_of(user),
        }
    }

    /// Blocks of a window.
    fn window(&self) -> usize {
        match self {
            Self::Memory(_) => 1,
            Self::Stored(stream) => stream.window(),
        }
    }
}

/// The batches of a pass over the training samples, from one of them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Number of the pass; each has an order of its own.
    pub number: u64,
    /// Seed of the order.
    pub seed: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// Most recent behaviours that a history keeps.
    pub max_length: usize,
    /// Batches that were taken before.
    pub from: usize,
}

/// Batches as they are made, on a thread of their own.
#[derive(Debug)]
pub struct Batches(Ahead<Result<Batch>>);

impl Batches {
    /// How long their taker has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.0.waited()
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl Dataset {
    /// The same task to be trained on, and its test samples, which a training does not get.
    pub fn into_feed(mut self) -> (Dataset<Feed>, Vec<Sample>) {
        let splits = &mut self.users.splits;
        let (valid, test) = (std::mem::take(&mut splits.valid), std::mem::take(&mut splits.test));
        let mut trained = Trained::new(self.catalog.items, self.users.splits.train.len() as u64);
        trained.add(&self.users);
        let data = self.map(|users| Feed { place: Place::Memory(Arc::new(users)), trained, valid });
        (data, test)
    }
}

impl Dataset<Feed> {
    /// Gives [`Self::split_sha256`] its value again, after validation or test samples were left out.
    pub fn hash_again(&mut self, test: &[Sample]) {
        self.split_sha256 = self.users.trained.split_sha256(&self.users.valid, test);
    }
}

impl Feed {
    /// Number of training samples.
    pub fn train_samples(&self) -> u64 {
        self.trained.samples()
    }

    /// Number of training samples with more than `length` behaviours before them.
    pub fn longer_than(&self, length: usize) -> u64 {
        self.trained.longer_than(length)
    }

    /// Of each item whether training meets it, as a target or in a history.
    pub fn seen_in_training(&self) -> &[bool] {
        &self.trained.seen
    }

    /// Of each item the number of training samples in which it is clicked.
    pub fn clicks(&self) -> &[u64] {
        &self.trained.clicks
    }

    /// The batches of an epoch; all have the same number of samples but the last.
    pub fn epoch(&self, epoch: Epoch) -> Batches {
        let mut blocks: Vec<usize> = (0..self.trained.blocks.len()).collect();
        blocks.retain(|n| self.trained.blocks[*n] > 0);
        blocks.shuffle(&mut rng::stream(epoch.seed, "shuffle_blocks", &[epoch.number]));
        let mut skip = epoch.from.saturating_mul(epoch.batch);
        let mut windows = Vec::new();
        for (number, window) in (0..).zip(blocks.chunks(self.place.window())) {
            let mut blocks = window.to_vec();
            // Inside a window blocks have the order of the log.
            blocks.sort_unstable();
            let samples: usize = blocks.iter().map(|n| self.trained.blocks[*n]).sum();
            if skip < samples {
                windows.push(Window { number, blocks, skip: std::mem::take(&mut skip) });
            } else {
                skip -= samples;
            }
        }
        let place = self.place.clone();
        let order: Vec<usize> = windows.iter().flat_map(|w| w.blocks.iter().copied()).collect();
        // While a window is read in any order, the blocks of the next one come.
        let read = Ahead::new(self.place.window(), move |send| {
            order.into_iter().all(|n| send(place.block(n)));
        });
        Batches(Ahead::new(AHEAD, move |send| batches(read, &windows, epoch, send)))
    }

    /// Hands samples to `take` in batches of `size`, in order, each with its samples. A block is read when the first sample of its
    /// users comes, so samples should lie user by user.
    ///
    /// # Errors
    /// Those of `take`, and a damaged store.
    pub fn each_batch<E: From<crate::Error>>(
        &self,
        samples: &[Sample],
        size: usize,
        max_length: usize,
        mut take: impl FnMut(Batch, &[Sample]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let place = &self.place;
        thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::sync_channel(AHEAD);
            scope.spawn(move || {
                let mut users = Reader { place, here: None };
                for chunk in samples.chunks(size.max(1)) {
                    let batch = users.batch(chunk, max_length);
                    // Nobody listens after an error.
                    if sender.send((batch, chunk)).is_err() {
                        break;
                    }
                }
            });
            receiver.into_iter().try_for_each(|(batch, chunk)| take(batch?, chunk))
        })
    }

    /// Shows the items of the whole history of each sample, in order; samples should lie as for [`Self::each_batch`].
    ///
    /// # Errors
    /// A damaged store.
    pub fn each_history(&self, samples: &[Sample], mut look: impl FnMut(&Sample, &[u32])) -> Result<()> {
        let mut users = Reader { place: &self.place, here: None };
        for sample in samples {
            let users = users.of(sample)?;
            let start = users.interactions.offsets()[(sample.user - users.first_user) as usize];
            look(sample, &users.interactions.items()[start..start + sample.end as usize]);
        }
        Ok(())
    }
}

/// The users of samples of any blocks; a block is read when the first sample of its users comes.
struct Reader<'a> {
    place: &'a Place,
    /// The block that was read last.
    here: Option<(usize, Arc<Users>)>,
}

impl Reader<'_> {
    /// The users that hold the history of a sample.
    fn of(&mut self, sample: &Sample) -> Result<&Users> {
        let n = self.place.block_of(sample.user);
        let users = match self.here.take() {
            Some((at, users)) if at == n => users,
            _ => self.place.histories(n)?,
        };
        Ok(&self.here.insert((n, users)).1)
    }

    fn batch(&mut self, samples: &[Sample], max_length: usize) -> Result<Batch> {
        let mut batch = Batch::empty();
        for sample in samples {
            batch.push(self.of(sample)?, sample, max_length);
        }
        Ok(batch)
    }
}

/// Blocks whose samples are read in one order.
struct Window {
    number: u64,
    /// In the order of the log.
    blocks: Vec<usize>,
    /// Samples that were taken before.
    skip: usize,
}

/// Makes batches of the windows of `blocks` until nobody takes them.
fn batches(
    mut blocks: impl Iterator<Item = Result<Arc<Users>>>,
    windows: &[Window],
    epoch: Epoch,
    send: &dyn Fn(Result<Batch>) -> bool,
) {
    let mut batch = Batch::empty();
    for window in windows {
        let users: Vec<Arc<Users>> = match blocks.by_ref().take(window.blocks.len()).collect() {
            Ok(users) => users,
            Err(error) => {
                send(Err(error));
                return;
            }
        };
        let mut samples = 0;
        let places: Vec<Range<usize>> = users
            .iter()
            .map(|u| {
                let first = samples;
                samples += u.splits.train.len();
                first..samples
            })
            .collect();
        let order = shuffled_order(samples, epoch.seed, epoch.number, window.number);
        for at in order.into_iter().skip(window.skip) {
            let at = at as usize;
            let n = places.partition_point(|p| p.end <= at);
            let (Some(users), Some(place)) = (users.get(n), places.get(n)) else { continue };
            batch.push(users, &users.splits.train[at - place.start], epoch.max_length);
            if batch.len() == epoch.batch && !send(Ok(std::mem::replace(&mut batch, Batch::empty()))) {
                return;
            }
        }
    }
    if !batch.is_empty() {
        send(Ok(batch));
    }
}
