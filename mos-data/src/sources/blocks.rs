//! Text read as blocks of whole lines that are parsed side by side.

use std::{
    io::{Error as IoError, Read},
    sync::mpsc::{SyncSender, sync_channel},
};

use rayon::prelude::*;

use super::{
    files::Member,
    reading::Reading,
    table::{LONGEST, Layout, Row, Table, open, too_long, unreadable},
};
use crate::{Error, Result};

/// Bytes of a block.
const BLOCK: usize = 1 << 18;

/// What a block holds.
pub(super) enum Rows<'a, B> {
    /// None yet; so many are likely to come, as the size of the file and its first lines say.
    Expected(usize),
    /// All of its rows.
    Parsed(B),
    /// One row of a block that could not be parsed as a whole.
    Text(&'a Row<'a>),
}

/// Hands every row of a file to `take`, in order. `parse` sees blocks of lines, on any thread, and returns `None` for a
/// block with a row that is not quite as it should be: such a block is read row by row, so that an error finds its place.
/// The layout is to have neither header nor quotes.
pub(super) fn each_block<B: Send>(
    file: &Member,
    layout: Layout<'_>,
    reading: &Reading,
    parse: impl Fn(&[u8]) -> Option<B> + Sync,
    take: impl FnMut(Rows<'_, B>) -> Result<()>,
) -> Result<()> {
    each_block_of(BLOCK, file, layout, reading, parse, take)
}

fn each_block_of<B: Send>(
    size: usize,
    file: &Member,
    layout: Layout<'_>,
    reading: &Reading,
    parse: impl Fn(&[u8]) -> Option<B> + Sync,
    mut take: impl FnMut(Rows<'_, B>) -> Result<()>,
) -> Result<()> {
    let blocks = Blocks { input: open(file)?, size, rest: Vec::new(), failed: None };
    // A check sees every row with its place.
    let checking = reading.watch.is_some();
    let parse = &|text: &[u8]| if checking { None } else { parse(text) };
    let (mut lines, mut empty, mut size) = (0, true, file.plain_size());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || blocks.send(&sender, parse));
        for group in receiver {
            let group: Vec<Block<B>> = group.map_err(|e| unreadable(&file.path, lines + 1, e))?;
            let bytes: usize = group.iter().map(|block| block.text.len()).sum();
            if let Some(size) = size.take().filter(|_| bytes > 0) {
                let newlines: u64 = group.iter().map(|block| block.newlines).sum();
                take(Rows::Expected((size as f64 * newlines as f64 / bytes as f64 * 1.02) as usize + 1))?;
            }
            for Block { text, newlines, parsed } in group {
                empty = empty && text.iter().all(|b| b"\r\n".contains(b));
                match parsed {
                    Some(rows) => take(Rows::Parsed(rows))?,
                    None => Table::block(text, lines, &file.path, layout)
                        .each(reading, |row| take(Rows::Text(row)))?,
                }
                lines += newlines;
            }
        }
        if empty {
            return Err(Error::file(&file.path, "the file is empty", "there is nothing to read"));
        }
        Ok(())
    })
}

struct Block<B> {
    text: Vec<u8>,
    newlines: u64,
    parsed: Option<B>,
}

struct Blocks {
    input: Box<dyn Read + Send>,
    size: usize,
    /// The beginning of a line.
    rest: Vec<u8>,
    failed: Option<IoError>,
}

impl Blocks {
    /// Sends all blocks, as many together as can be parsed side by side, and at last what failed.
    fn send<B: Send>(
        mut self,
        to: &SyncSender<std::result::Result<Vec<Block<B>>, IoError>>,
        parse: &(impl Fn(&[u8]) -> Option<B> + Sync),
    ) {
        loop {
            let texts: Vec<Vec<u8>> =
                std::iter::from_fn(|| self.next()).take(2 * rayon::current_num_threads()).collect();
            if texts.is_empty() {
                break;
            }
            // Few enough together that a byte counts them.
            let newlines = |some: &[u8]| some.iter().map(|b| u8::from(*b == b'\n')).sum::<u8>();
            let block = |text: Vec<u8>| Block {
                newlines: text.chunks(255).map(|some| u64::from(newlines(some))).sum(),
                parsed: parse(&text),
                text,
            };
            // Nobody listens after an error.
            if to.send(Ok(texts.into_par_iter().map(block).collect())).is_err() {
                return;
            }
        }
        if let Some(error) = self.failed {
            drop(to.send(Err(error)));
        }
    }

    /// The next whole lines; what follows the last newline of the file is a line too.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut block = std::mem::take(&mut self.rest);
        while self.failed.is_none() {
            let before = block.len();
            let read = self.input.by_ref().take(self.size as u64).read_to_end(&mut block);
            let last = block[before..].iter().rposition(|b| *b == b'\n');
            match (read, last) {
                (Ok(0), _) => break,
                (Err(error), last) => {
                    self.failed = Some(error);
                    block.truncate(last.map_or(0, |at| before + at + 1));
                }
                (Ok(_), Some(at)) => {
                    self.rest = block.split_off(before + at + 1);
                    break;
                }
                (Ok(_), None) if block.len() as u64 > LONGEST => self.failed = Some(too_long()),
                (Ok(_), None) => {}
            }
        }
        (!block.is_empty()).then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Blocks of one row length each, of lines of digits.
    fn numbers(text: &[u8]) -> Option<Vec<u64>> {
        let text = std::str::from_utf8(text).ok()?;
        text.lines().filter(|l| !l.is_empty()).map(|l| l.parse().ok()).collect()
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_hold_every_row_in_order_with_its_line(
            lines in prop::collection::vec(prop_oneof![4 => "[1-9][0-9]{0,3}", 1 => Just(String::new()), 1 => "[a-z]{1,3}"], 1..40),
            size in 1usize..50,
            end: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("n");
            let text = lines.join("\n") + if end { "\n" } else { "" };
            std::fs::write(&path, &text).unwrap();
            let reading = Reading::strict(&path).unwrap();
            let file = reading.files.main(&["n"]).unwrap();
            let layout = Layout { separator: ",", header: false, quotes: false, columns: Some(1) };
            let mut found = Vec::new();
            let read = each_block_of(size, &file, layout, &reading, numbers, |rows| {
                match rows {
                    // A guess from the first lines; no line is shorter than its newline.
                    Rows::Expected(some) => assert!((1..=text.len() * 2).contains(&some), "{some} of {}", text.len()),
                    Rows::Parsed(all) => found.extend(all.iter().map(u64::to_string)),
                    Rows::Text(row) => {
                        let place = row.fail(0, "", "").to_string();
                        let line = place.split(':').nth(1).and_then(|l| l.parse::<usize>().ok()).unwrap();
                        // The csv crate counts blank lines before a row to the row.
                        let here = lines[line - 1..].iter().find(|l| !l.is_empty()).unwrap();
                        assert_eq!(here, &row.text(0));
                        found.push(row.text(0).into_owned());
                    }
                }
                Ok(())
            });
            let wanted: Vec<&String> = lines.iter().filter(|l| !l.is_empty()).collect();
            prop_assert_eq!(read.is_err(), wanted.is_empty());
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
        }
    }
}
