//! Things that are made on a thread of their own, some ahead of whoever takes them.

use std::{
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What another thread makes. It ends when it is done, or when this is dropped.
#[derive(Debug)]
pub(super) struct Ahead<T> {
    made: Receiver<T>,
    maker: Option<JoinHandle<()>>,
    waited: Duration,
}

impl<T: Send + 'static> Ahead<T> {
    /// Runs `make`, at most `most` things ahead. It gets what sends a thing, which says whether there is somebody to take it.
    pub(super) fn new(most: usize, make: impl FnOnce(&dyn Fn(T) -> bool) + Send + 'static) -> Self {
        let (sender, made) = sync_channel(most);
        let maker = Some(thread::spawn(move || make(&|thing| sender.send(thing).is_ok())));
        Self { made, maker, waited: Duration::ZERO }
    }

    /// How long the taker has waited.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T> Ahead<T> {
    /// The end of what was made; what the maker died of, if it died, is passed on.
    fn end(&mut self) -> Option<T> {
        if let Some(Err(panic)) = self.maker.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic)
        }
        None
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self.made.try_recv() {
            Ok(thing) => Some(thing),
            Err(TryRecvError::Disconnected) => self.end(),
            Err(TryRecvError::Empty) => {
                let started = Instant::now();
                let thing = self.made.recv().ok();
                self.waited += started.elapsed();
                thing.or_else(|| self.end())
            }
        }
    }
}
