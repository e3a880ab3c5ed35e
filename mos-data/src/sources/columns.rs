//! Rows of a parquet file, in the form of rows of text, and the errors that name their place.
//!
//! A file that lies on disk by itself is read where it lies; one in an archive or packed once more is unpacked into memory.

use std::{
    fmt::Write as _,
    fs::File,
    io::Read as _,
    ops::Deref,
    path::{Path, PathBuf},
};

use ::parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
    },
    file::reader::ChunkReader,
};
use arrow_array::{Array, ArrayRef, cast::AsArray as _, types};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use csv::ByteRecord;

use super::{files::Member, reading::Reading, table::Row};
use crate::{Error, Result, guard::guarded, nearest_name};

/// Rows that are unpacked at a time.
const BLOCK: usize = 4096;

/// A parquet file.
pub(super) struct Columns {
    file: PathBuf,
    names: Vec<String>,
    types: Vec<DataType>,
    footer: ArrowReaderMetadata,
    origin: Origin,
    ticks: i64,
}

enum Origin {
    Disk(File),
    Memory(Bytes),
}

/// What is wrong with a file, the reader's words for it.
fn refuse(file: &Path, e: impl ToString) -> Error {
    Error::file(file, e, "is it a parquet file, and whole? fetch it again")
}

impl Columns {
    /// Opens a file; its own times are counted in `ticks` of a second from 1970.
    pub(super) fn open(member: &Member, ticks: i64) -> Result<Self> {
        let file = member.path.clone();
        let origin = match member.on_disk().map(plain).transpose()?.flatten() {
            Some(plain) => Origin::Disk(plain),
            None => Origin::Memory(member.bytes()?.into()),
        };
        // Only what parquet itself says of the types counts; what its writer held them for does not.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let footer = guarded(|| match &origin {
            Origin::Disk(disk) => ArrowReaderMetadata::load(disk, options),
            Origin::Memory(bytes) => ArrowReaderMetadata::load(bytes, options),
        });
        let footer = footer.map_err(|e| refuse(&file, e))?;
        let fields = footer.schema().fields();
        let names = fields.iter().map(|f| f.name().clone()).collect();
        let types = fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Self { file, names, types, footer, origin, ticks })
    }

    /// The names of the columns.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of a column that need not be there.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// The places of columns that must be there.
    pub(super) fn places<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N]> {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            *place = self.find(name).ok_or_else(|| {
                let near = nearest_name(name, self.names.iter().map(String::as_str)).unwrap_or_default();
                let hint = format!("did you mean {near:?}? The columns are {}", self.names.join(", "));
                Error::file(&self.file, format!("has no column {name:?}"), hint)
            })?;
        }
        Ok(places)
    }

    /// Whether a cell of this column holds a list.
    pub(super) fn is_list(&self, column: usize) -> bool {
        matches!(self.types[column], DataType::List(_))
    }

    /// Whether a cell of this column holds a list of numbers with fractions.
    pub(super) fn is_vector(&self, column: usize) -> bool {
        matches!(&self.types[column], DataType::List(item) if item.data_type().is_floating())
    }

    /// Hands every row to `take`, with nothing but the `wanted` columns in it. Rows that cannot be read go to `reading`,
    /// which says whether to go on.
    pub(super) fn each(
        self,
        reading: &Reading,
        wanted: &[usize],
        mut take: impl FnMut(&Cells<'_>) -> Result<()>,
    ) -> Result<()> {
        for c in wanted {
            if !readable(&self.types[*c]) {
                let what =
                    format!("column {:?} has the type {}, which is not read", self.names[*c], self.types[*c]);
                return Err(Error::file(&self.file, what, "numbers, text, times and lists of them are"));
            }
        }
        let mut order = wanted.to_vec();
        order.sort_unstable();
        order.dedup();
        let (file, names, ticks) = (&self.file, &self.names, self.ticks);
        let footer = self.footer;
        let blocks = guarded(|| match self.origin {
            Origin::Disk(disk) => {
                blocks(ParquetRecordBatchReaderBuilder::new_with_metadata(disk, footer), &order)
            }
            Origin::Memory(bytes) => {
                blocks(ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, footer), &order)
            }
        });
        let mut blocks = blocks.map_err(|e| refuse(file, e))?;
        let (mut line, mut fields, mut text) = (0u64, ByteRecord::new(), String::new());
        loop {
            let block = guarded(|| blocks.next().transpose());
            let damaged = |e| refuse(file, format!("cannot be read after row {line}: {e}"));
            let Some(block) = block.map_err(damaged)? else { break };
            let mut columns: Vec<Option<&ArrayRef>> = vec![None; names.len()];
            order.iter().zip(block.columns()).for_each(|(c, array)| columns[*c] = Some(array));
            for at in 0..block.num_rows() {
                line += 1;
                if let Some(mut watch) = reading.watch() {
                    watch.enter(file, line);
                }
                fields.clear();
                for column in &columns {
                    text.clear();
                    if let Some(array) = column {
                        write(array, at, ticks, &mut text);
                    }
                    fields.push_field(text.as_bytes());
                }
                let row = Row::new(file, line, names, &fields, reading);
                reading.tolerate(take(&Cells { row, columns: &columns, at, ticks }))?;
            }
        }
        if let Some(mut watch) = reading.watch() {
            watch.leave();
        }
        Ok(())
    }
}

/// The file, where it begins as parquet does and not as something packed once more.
fn plain(path: &Path) -> Result<Option<File>> {
    let open = || -> std::io::Result<_> {
        let (mut file, mut start) = (File::open(path)?, [0; 4]);
        let read = file.read(&mut start)?;
        Ok((start[..read] == *b"PAR1").then_some(file))
    };
    open().map_err(|e| Error::file(path, e, "check the path and its permissions"))
}

fn blocks<R: ChunkReader + 'static>(
    builder: ParquetRecordBatchReaderBuilder<R>,
    columns: &[usize],
) -> ::parquet::errors::Result<ParquetRecordBatchReader> {
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).with_batch_size(BLOCK).build()
}

/// One row: its cells as text, lists beside.
pub(super) struct Cells<'a> {
    row: Row<'a>,
    columns: &'a [Option<&'a ArrayRef>],
    at: usize,
    ticks: i64,
}

impl<'a> Deref for Cells<'a> {
    type Target = Row<'a>;

    fn deref(&self) -> &Row<'a> {
        &self.row
    }
}

impl Cells<'_> {
    fn list(&self, c: usize) -> Option<ArrayRef> {
        let lists = self.columns[c]?.as_list_opt::<i32>()?;
        lists.is_valid(self.at).then(|| lists.value(self.at))
    }

    /// The values of a list; none where it is null, an empty text for a null within.
    pub(super) fn texts(&self, c: usize) -> Vec<String> {
        let Some(list) = self.list(c) else { return Vec::new() };
        let text = |at| {
            let mut text = String::new();
            write(&list, at, self.ticks, &mut text);
            text
        };
        (0..list.len()).map(text).collect()
    }

    /// The finite numbers of a list.
    pub(super) fn floats(&self, c: usize) -> Result<Vec<f32>> {
        let parse = |text: String| {
            text.parse::<f32>().ok().filter(|x| x.is_finite()).ok_or_else(|| {
                self.fail(c, format!("holds {text:?}, which is not a number"), "a vector has numbers only")
            })
        };
        if let Some(list) = self.list(c)
            && let Some(numbers) = list.as_primitive_opt::<types::Float32Type>()
            && numbers.null_count() == 0
            && numbers.values().iter().all(|x| x.is_finite())
        {
            return Ok(numbers.values().to_vec());
        }
        self.texts(c).into_iter().map(parse).collect()
    }
}

fn readable(of: &DataType) -> bool {
    match of {
        DataType::List(item) => !item.data_type().is_nested() && readable(item.data_type()),
        DataType::Boolean
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Null => true,
        other => other.is_integer(),
    }
}

/// A cell as text: numbers in digits, truth as 0 or 1, times in ticks, nothing for null and for lists.
fn write(array: &ArrayRef, at: usize, ticks: i64, out: &mut String) {
    if array.is_null(at) {
        return;
    }
    macro_rules! number {
        ($type:ident) => {
            write!(out, "{}", array.as_primitive::<types::$type>().value(at))
        };
    }
    // A time in units of which `per_second` make a second.
    let time = |value: i64, per_second: i64| {
        (i128::from(value) * i128::from(ticks)).div_euclid(i128::from(per_second))
    };
    // Writing to a string cannot fail.
    let _ = match array.data_type() {
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::Boolean => write!(out, "{}", u8::from(array.as_boolean().value(at))),
        DataType::Utf8 => write!(out, "{}", array.as_string::<i32>().value(at)),
        DataType::Binary => {
            write!(out, "{}", super::row::text_of(array.as_binary::<i32>().value(at)))
        }
        DataType::Date32 => {
            let days = array.as_primitive::<types::Date32Type>().value(at);
            write!(out, "{}", time(i64::from(days) * 86_400, 1))
        }
        DataType::Timestamp(unit, _) => {
            let (value, per_second) = match unit {
                TimeUnit::Second => (array.as_primitive::<types::TimestampSecondType>().value(at), 1),
                TimeUnit::Millisecond => {
                    (array.as_primitive::<types::TimestampMillisecondType>().value(at), 1000)
                }
                TimeUnit::Microsecond => {
                    (array.as_primitive::<types::TimestampMicrosecondType>().value(at), 1_000_000)
                }
                TimeUnit::Nanosecond => {
                    (array.as_primitive::<types::TimestampNanosecondType>().value(at), 1_000_000_000)
                }
            };
            write!(out, "{}", time(value, per_second))
        }
        _ => Ok(()),
    };
}
