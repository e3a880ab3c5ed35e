//! From a source to a store, in bounded memory.

use std::path::Path;

use super::Source;
use crate::{Result, Store, events::Keep, store::BLOCK};

/// Behaviours of a log that are in memory at a time.
const PART: usize = 1 << 25;

impl Source {
    /// Writes the log as the store `folder`. A log of more than 2^25 behaviours is read once to count them, and then once for each
    /// part of its users that has as many, so that no more are in memory. Ids, items and impressions are, all of them; so is all of a
    /// store or of synthetic data that is converted.
    ///
    /// # Errors
    /// Those of the source, and [`crate::Error::File`] for a folder that is there already or cannot be written.
    pub fn convert(&self, folder: &Path) -> Result<()> {
        self.convert_in_parts(folder, PART, BLOCK)
    }

    fn convert_in_parts(&self, folder: &Path, part: usize, block: usize) -> Result<()> {
        Store::check_new(folder)?;
        let (known, options) = self.known()?;
        let task = self.task()?;
        let Some(path) = &self.path else { return Store::create(&self.load()?, &task, folder) };
        let (log, counts) = (known.part)(&options, path, Keep::AtMost(part))?;
        let Some(counts) = counts else { return Store::create_in_blocks(&log, &task, folder, block) };
        Store::create_in_parts(&log, &task, folder, &counts, [part, block], |users, events| {
            Ok((known.part)(&options, path, Keep::Of(users, events))?.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Every file of a store is the same, however many parts it was made from.
    fn same_in_parts(source: &Source) {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        source.convert_in_parts(&place("whole"), usize::MAX, 40).unwrap();
        for (part, name) in [(1, "a"), (100, "b"), (250, "c")] {
            source.convert_in_parts(&place(name), part, 40).unwrap();
            let files = |name: &str| {
                let all = std::fs::read_dir(place(name)).unwrap().map(|f| f.unwrap().path());
                let mut all: Vec<_> =
                    all.map(|f| (f.file_name().unwrap().to_owned(), std::fs::read(f).unwrap())).collect();
                all.sort();
                all
            };
            assert!(files("whole") == files(name), "parts of {part}");
        }
        let store = Store::open(&place("a")).unwrap();
        assert!(store.blocks().len() > 3);
        assert_eq!(store.log().unwrap().sha256(), source.load().unwrap().sha256());
    }

    #[test]
    fn a_store_is_the_same_in_however_many_parts_the_source_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let (mut taobao, mut ratings) = (String::new(), String::from("userId,movieId,rating,timestamp\n"));
        let mut shown = String::from("user_id,video_id,time_ms,is_click,tab\n");
        for i in 0..400u64 {
            let (user, item) = (i * 7 % 23 + 1, i * i % 97);
            let _ = writeln!(taobao, "{user},{item},{},pv,{}", item % 9, 1_511_544_070 + i * 31 % 977);
            let _ = writeln!(ratings, "{user},{item},{}.5,{}", i % 5, 900_000_000 + i);
            let _ = writeln!(shown, "{user},{item},{},{},{}", 1_649_408_076_000 + i, i % 3 % 2, i % 4);
        }
        same_in_parts(&Source::new("taobao", Some(file("UserBehavior.csv", &taobao))));
        same_in_parts(&Source::new("movielens", Some(file("ratings.csv", &ratings))));
        let profile = "user_id,user_active_degree\n3,full\n5,low\n";
        file("kuairand/user_features_pure.csv", profile);
        let path = file("kuairand/log_standard_4_08_to_4_21_pure.csv", &shown);
        same_in_parts(&Source::new("kuairand", path.parent().map(Path::to_owned)));
    }
}
