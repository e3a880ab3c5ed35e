//! The users of a store, made into samples block by block.

use std::sync::mpsc::sync_channel;

use super::{Feed, Place, Trained};
use crate::{
    Dataset, Error, Result, Sample, Store, TaskConfig, UserBlock, Users,
    card::Stats,
    dataset::{Blocks, MetContexts, Plan, Tally},
};

/// Blocks that are read ahead in a pass over all of them.
const AHEAD: usize = 2;

/// A store and how its users become samples.
#[derive(Debug)]
pub(crate) struct Stream {
    store: Store,
    plan: Plan,
    /// Training samples before each block, those that are left out too.
    before: Vec<u64>,
    window: usize,
}

impl Blocks for Store {
    fn each(&self, look: &mut dyn FnMut(&UserBlock) -> Result<()>) -> Result<()> {
        each(self, &mut |block| look(&block))
    }
}

/// Takes every block, while the next ones are read.
fn each(store: &Store, take: &mut dyn FnMut(UserBlock) -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || (0..store.blocks().len()).all(|n| sender.send(store.block(n)).is_ok()));
        receiver.into_iter().try_for_each(|block| take(block?))
    })
}

impl Stream {
    /// Prepares a task on a store, in the memory of `window` blocks, of what is known of each item and user, and of the
    /// validation and test samples. The second value is the test samples.
    pub(crate) fn prepare(
        store: Store,
        task: &TaskConfig,
        window: usize,
    ) -> Result<(Dataset<Feed>, Vec<Sample>)> {
        if window == 0 {
            return Err(Error::config("data.window", 0, "must be at least 1 block"));
        }
        let log = store.common()?;
        let sha256 = store.log_sha256().to_owned();
        let mut plan = Plan::new(&store, &log, task)?;
        let mut before = vec![0];
        let mut all = 0;
        store.each(&mut |block| {
            all += plan.count(block)?;
            before.push(all);
            Ok(())
        })?;
        let mut tally = Tally::default();
        let kept = plan.choose(all, &mut tally.dropped)?;
        let (mut trained, mut stats) = (Trained::new(log.catalog.items, kept), Stats::default());
        let (mut met, mut valid, mut test) = (MetContexts::new(&log.catalog), Vec::new(), Vec::new());
        let mut starts = before.iter();
        each(&store, &mut |block| {
            let (mut users, found) = plan.users(block, &log.user_ids)?;
            plan.keep(&mut users.splits.train, starts.next().copied().unwrap_or_default());
            tally.add(found);
            stats.add(&users);
            trained.add(&users);
            met.add(&users);
            valid.append(&mut users.splits.valid);
            test.append(&mut users.splits.test);
            Ok(())
        })?;
        plan.settle(met);
        let split_sha256 = trained.split_sha256(&valid, &test);
        let data = plan.dataset(log, sha256, &stats, tally, (), split_sha256)?;
        let place = Place::Stored(std::sync::Arc::new(Self { store, plan, before, window }));
        Ok((data.map(|()| Feed { place, trained, valid }), test))
    }

    /// The users of a block, with their training samples.
    pub(super) fn block(&self, n: usize) -> Result<Users> {
        let (mut users, _) = self.plan.users(self.store.block(n)?, &[])?;
        self.plan.keep(&mut users.splits.train, self.before[n]);
        users.splits.train.shrink_to_fit();
        (users.splits.valid, users.splits.test) = (Vec::new(), Vec::new());
        Ok(users)
    }

    /// The users of a block, without samples.
    pub(super) fn histories(&self, n: usize) -> Result<Users> {
        Ok(self.plan.histories(self.store.block(n)?))
    }

    pub(super) fn block_of(&self, user: u32) -> usize {
        self.store.block_of(user)
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }
}
