//! What each target does with its bytes. `mos-data/tests/corpus.rs` runs the corpus through the same functions on every
//! compiler, so that neither goes its own way.
//!
//! Nothing is asserted but that a file is read or refused, the refusal with a hint, and that a log that was read can be
//! prepared or is refused.

use std::{collections::BTreeMap, path::PathBuf, sync::OnceLock};

use mos_data::{Log, Result, Store, prepare, sources::Source};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

thread_local! {
    /// A folder for the files of one input.
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
}

fn folder() -> PathBuf {
    FOLDER.with(|folder| folder.path().to_owned())
}

/// Writes the files of an input into an empty folder.
fn write(files: &[(&str, &[u8])]) -> PathBuf {
    let set = folder().join("set");
    let _ = std::fs::remove_dir_all(&set);
    std::fs::create_dir(&set).expect("a folder");
    for (name, content) in files {
        std::fs::write(set.join(name), content).expect("a file");
    }
    set
}

/// A refusal says what to do.
fn accept<T>(read: Result<T>) -> Option<T> {
    match read {
        Ok(log) => Some(log),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains('(') || text.contains(':'), "no hint: {text}");
            None
        }
    }
}

/// Reads, checks and prepares a source.
fn read(source: &Source) {
    let strict = accept(source.load());
    if let Some(all) = accept(source.check(3)) {
        assert!(all.errors.len() <= 3);
        all.notes.iter().for_each(|note| assert!(note.count > 0 && !note.to_string().is_empty()));
        // A check is stricter in nothing.
        assert!(
            !all.errors.is_empty() || strict.as_ref().is_some_and(|log| log.sha256() == all.log.sha256())
        );
    }
    if let (Some(log), Some(task)) = (strict, accept(source.task())) {
        try_to_prepare(log, &task);
    }
}

fn try_to_prepare(log: Log, task: &mos_data::TaskConfig) {
    if let Some(data) = accept(prepare(log, task)) {
        assert!(data.card.to_string().contains("users"));
    }
}

/// Names of files in an input begin with this.
const MARK: &[u8] = b"=== ";

/// A set of any source: its name, options as JSON where it has any, and its files:
///
/// ```text
/// kuairec {"matrix": "small"}
/// === small_matrix.csv
/// user_id,video_id,...
/// ```
pub(crate) fn text(data: &[u8]) {
    if let Some(source) = source_of(data) {
        read(&source);
    }
}

/// The source that such bytes describe, its files written.
pub(crate) fn source_of(data: &[u8]) -> Option<Source> {
    let (mut first, mut files) = (Vec::new(), Vec::<(String, Vec<u8>)>::new());
    for line in data.split_inclusive(|b| *b == b'\n') {
        if let Some(name) = line.strip_prefix(MARK) {
            // Names of files, not of places elsewhere.
            let plain = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
            let name: String = String::from_utf8_lossy(name).chars().filter(plain).take(80).collect();
            if name.trim_matches('.').is_empty() {
                return None;
            }
            files.push((name, Vec::new()));
        } else {
            files.last_mut().map_or(&mut first, |(_, content)| content).extend_from_slice(line);
        }
    }
    let first = String::from_utf8_lossy(&first);
    let (name, options) = first.trim().split_once(' ').unwrap_or((first.trim(), "{}"));
    // What is generated takes as long as it is told to.
    if name == "synthetic" {
        return None;
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let set = write(&files);
    let mut source = Source::new(name, Some(set.clone()));
    if let Ok(Value::Object(options)) = serde_json::from_str(options) {
        source.options = options;
    }
    if let (Some((schema, _)), Some((log, _))) = (
        files.iter().find(|(name, _)| *name == "schema.toml"),
        files.iter().find(|(name, _)| *name != "schema.toml"),
    ) {
        source.path = Some(set.join(log));
        source = source.with("schema", set.join(schema).display().to_string());
    }
    Some(source)
}

/// Bytes that are packed, as a file and in a folder.
pub(crate) fn packed(data: &[u8]) {
    let set = write(&[("u.data", data)]);
    read(&Source::new("movielens", Some(set.join("u.data"))));
    let set = write(&[("set.zip", data)]);
    read(&Source::new("movielens", Some(set.clone())));
    read(&Source::new("taobao", Some(set.join("set.zip"))));
    read(&Source::new("kuaivideo", Some(set)));
}

const SCHEMA: &[u8] = b"user = 1\nitem = 2\ntime = 3\n";
const LABELLED: &[u8] =
    b"user = 'user_id'\nitem = 'item_id'\ntime = 'time'\nlabel = 'label'\ncategory = 'category'\n";

/// A parquet file, as each source reads one.
pub(crate) fn columns(data: &[u8]) {
    let set = write(&[("log.parquet", data), ("a.toml", SCHEMA), ("b.toml", LABELLED)]);
    for schema in ["a.toml", "b.toml"] {
        let schema = set.join(schema).display().to_string();
        read(&Source::new("parquet", Some(set.join("log.parquet"))).with("schema", schema));
    }
    read(&Source::new("fuxictr", Some(write(&[("train.parquet", data), ("test.parquet", data)]))));
    read(&Source::new("ebnerd", Some(write(&[("history.parquet", data), ("behaviors.parquet", data)]))));
    let parts = ["train", "valid", "test", "user_info", "item_info"].map(|n| format!("{n}.parquet"));
    let files: Vec<(&str, &[u8])> = parts.iter().map(|n| (n.as_str(), data)).collect();
    read(&Source::new("microvideo", Some(write(&files))));
}

/// The files of a small store, of a log with most of what a log can have.
pub(crate) fn whole() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let source = source_of(include_bytes!("../seeds/text/recbole")).expect("a source");
        let (log, task) = (source.load().expect("a log"), source.task().expect("a task"));
        let folder = folder().join("whole");
        Store::create(&log, &task, &folder).expect("a store");
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.expect("a file");
            let bytes = std::fs::read(entry.path()).expect("bytes");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        };
        std::fs::read_dir(&folder).expect("the store").map(read).collect()
    })
}

fn hash(bytes: impl AsRef<[u8]>) -> Value {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect::<String>().into()
}

/// A store of which one file is other than it was: the first byte says which. Hashes and sizes are those of the new file, so
/// that what comes behind them is reached; an input that is the manifest is also read as it is.
pub(crate) fn store(data: &[u8]) {
    let Some((which, content)) = data.split_first() else { return };
    let mut files = whole().clone();
    let Some(name) = files.keys().nth(usize::from(*which) % files.len()).cloned() else { return };
    files.insert(name.clone(), content.to_vec());
    try_store(&files);
    let Ok(mut manifest) = serde_json::from_slice::<Value>(&files["manifest.json"]) else { return };
    for (name, bytes) in &files {
        if let Some(size) = manifest.pointer_mut(&format!("/sizes/{name}")) {
            *size = bytes.len().into();
        }
        if let Some(stated) = manifest.pointer_mut(&format!("/files/{name}")) {
            *stated = hash(bytes);
        }
    }
    let Some(all) = manifest.as_object_mut() else { return };
    all.remove("sha256");
    let sum = hash(manifest.to_string());
    manifest["sha256"] = sum;
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    try_store(&files);
}

fn try_store(files: &BTreeMap<String, Vec<u8>>) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let set = write(&files);
    let Some(store) = accept(Store::open(&set)) else { return };
    for users in store.blocks() {
        accept(store.read(users));
    }
    if let Some(log) = accept(store.log()) {
        try_to_prepare(log, store.task());
    }
}
