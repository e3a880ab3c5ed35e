//! A table of plain columns in a Parquet file, one row group for each block.

use std::{fs::File, path::Path, sync::Arc};

use arrow_array::{
    Array as _, ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray, UInt8Array,
    UInt32Array, UInt64Array,
};
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::ParquetRecordBatchReaderBuilder,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    },
    basic::{Compression, Encoding},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use super::DAMAGED;
use crate::{Error, Result, guard::guarded};

/// Rows that are decoded at a time, whatever a file says it has. No block of ordinary users has more.
const BATCH: usize = 1 << 20;

/// A column of a block.
pub(super) type Column = (String, ArrayRef);

/// A named column.
pub(super) fn column(name: &str, values: impl Into<Values>) -> Column {
    (name.to_owned(), values.into().0)
}

/// Values of a column of any kind.
pub(super) struct Values(ArrayRef);

/// Kinds of values that a column can have.
pub(super) trait Kind: Sized {
    fn values(array: &ArrayRef) -> Option<Vec<Self>>;
}

macro_rules! kinds {
    ($($kind:ty, $array:ty;)*) => {$(
        impl From<Vec<$kind>> for Values {
            fn from(values: Vec<$kind>) -> Self {
                Self(Arc::new(<$array>::from(values)))
            }
        }
        impl Kind for $kind {
            fn values(array: &ArrayRef) -> Option<Vec<Self>> {
                let array = array.as_any().downcast_ref::<$array>()?;
                (array.null_count() == 0).then(|| array.values().to_vec())
            }
        }
    )*};
}
kinds! {
    u8, UInt8Array;
    u32, UInt32Array;
    u64, UInt64Array;
    i64, Int64Array;
    f32, Float32Array;
    f64, Float64Array;
}

impl From<&[String]> for Values {
    fn from(values: &[String]) -> Self {
        Self(Arc::new(StringArray::from_iter_values(values)))
    }
}

impl Kind for String {
    fn values(array: &ArrayRef) -> Option<Vec<Self>> {
        let array = array.as_any().downcast_ref::<StringArray>()?;
        (array.null_count() == 0).then(|| array.iter().flatten().map(str::to_owned).collect())
    }
}

/// Writes a table block by block.
pub(super) struct TableWriter {
    file: std::path::PathBuf,
    writer: Option<ArrowWriter<File>>,
}

impl TableWriter {
    /// A table in `file`, whose columns are those of its first block.
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), writer: None }
    }

    pub(super) fn write(&mut self, block: Vec<Column>) -> Result<()> {
        let refuse = |e: &dyn std::fmt::Display| Error::file(&self.file, e, "is the disk full?");
        let batch = RecordBatch::try_from_iter(block).map_err(|e| refuse(&e))?;
        let mut writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let file = File::create(&self.file).map_err(|e| refuse(&e))?;
            ArrowWriter::try_new(file, batch.schema(), Some(properties())).map_err(|e| refuse(&e))?
        };
        writer.write(&batch).and_then(|()| writer.flush()).map_err(|e| refuse(&e))?;
        self.writer = Some(writer);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        let Some(writer) = self.writer else { return Ok(()) };
        let done = writer.close().map(|_| ());
        done.map_err(|e| Error::file(&self.file, e, "is the disk full?"))
    }
}

/// Times rise within a user, so their differences are small; all else is packed by dictionaries.
fn properties() -> WriterProperties {
    let time = ColumnPath::from("time");
    WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(None)
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .build()
}

/// A table that is read by block.
#[derive(Debug)]
pub(super) struct TableReader {
    path: std::path::PathBuf,
    metadata: ArrowReaderMetadata,
}

impl TableReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let refuse = |e: &dyn std::fmt::Display| Error::file(path, e, DAMAGED);
        let file = File::open(path).map_err(|e| refuse(&e))?;
        let metadata = guarded(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::default()));
        let metadata = metadata.map_err(|e| refuse(&e))?;
        Ok(Self { path: path.to_owned(), metadata })
    }

    /// What is wrong with it.
    pub(super) fn damaged(&self, what: impl ToString) -> Error {
        Error::file(&self.path, what, DAMAGED)
    }

    /// Number of blocks that have rows.
    pub(super) fn blocks(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Some columns of a block.
    pub(super) fn read(&self, block: usize, names: &[&str]) -> Result<Block<'_>> {
        let refuse = |e: &dyn std::fmt::Display| Error::file(&self.path, e, DAMAGED);
        let groups = self.metadata.metadata().row_groups();
        let rows = groups.get(block).ok_or_else(|| refuse(&format!("block {block} is missing")))?.num_rows();
        let rows = usize::try_from(rows).map_err(|e| refuse(&e))?;
        // A handle of its own: those that are cloned share their place in the file.
        let file = File::open(&self.path).map_err(|e| refuse(&e))?;
        let batches = guarded(|| {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
            let columns = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
            let reader = builder
                .with_row_groups(vec![block])
                .with_projection(columns)
                .with_batch_size(rows.clamp(1, BATCH))
                .build()?;
            reader.collect::<std::result::Result<Vec<_>, _>>().map_err(ParquetError::from)
        });
        Ok(Block { table: self, batches: batches.map_err(|e| refuse(&e))? })
    }
}

/// Columns of a block.
pub(super) struct Block<'a> {
    table: &'a TableReader,
    batches: Vec<RecordBatch>,
}

impl Block<'_> {
    /// The values of a column.
    pub(super) fn values<T: Kind>(&self, name: &str) -> Result<Vec<T>> {
        let mut out = Vec::new();
        for batch in &self.batches {
            let values = batch.column_by_name(name).and_then(T::values).ok_or_else(|| {
                let message = format!("has no column {name} of the right kind");
                Error::file(&self.table.path, message, DAMAGED)
            })?;
            if out.is_empty() { out = values } else { out.extend(values) }
        }
        Ok(out)
    }
}
