//! What tests of sources share.

use std::path::PathBuf;

/// The folder of a real sample, or a message that it is missing.
pub(crate) fn samples(set: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(set);
    if !path.exists() {
        eprintln!("skipped: the sample {set} is not at hand");
        return None;
    }
    Some(path)
}
