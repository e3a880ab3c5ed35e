//! Where the bytes of a published set lie: a file, a folder or a zip archive; each file plain or gzip.

use std::{
    fs::File,
    io::{BufRead, BufReader, Error as IoError, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use flate2::{CrcReader, read::DeflateDecoder, read::MultiGzDecoder};
use zip::{CompressionMethod, ZipArchive};

use crate::{Error, Result};

/// Bytes of a file that is unpacked into memory, at most.
const MOST: u64 = 1 << 32;

/// A published set on disk.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    /// Every file: its name below the root, and its place.
    members: Vec<(String, Place)>,
    /// Whether the root is one file, which then has whatever name is asked for.
    single: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Disk(PathBuf),
    Zip { archive: PathBuf, start: u64, packed: u64, size: u64, crc: u32, deflated: bool },
}

/// One file of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its path; for a member of an archive that of the archive, a slash, and its name inside.
    pub path: PathBuf,
    place: Place,
}

impl Files {
    /// Lists what is there.
    ///
    /// # Errors
    /// [`Error::File`] for a path that cannot be read and a damaged archive.
    pub fn open(root: &Path) -> Result<Self> {
        let refuse = |e: IoError| Error::file(root, e, "check the path and its permissions");
        let mut members = Vec::new();
        let mut single = false;
        if root.is_dir() {
            walk(root, "", 0, &mut members).map_err(refuse)?;
            // Archives as they were downloaded count with what is in them.
            let archives: Vec<PathBuf> = members
                .iter()
                .filter(|(name, _)| {
                    Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"))
                })
                .map(|(name, _)| root.join(name))
                .collect();
            for archive in archives {
                // What was unpacked beside its archive is there once.
                let packed = unzip(&archive)?;
                let new: Vec<_> = packed.into_iter().filter(|member| !unpacked(member, &members)).collect();
                members.extend(new);
            }
        } else {
            let mut start = [0; 4];
            let read = File::open(root).and_then(|mut f| f.read(&mut start)).map_err(refuse)?;
            if start[..read].starts_with(b"PK\x03\x04") {
                members = unzip(root)?;
            } else {
                let name = root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                members.push((name, Place::Disk(root.to_owned())));
                single = true;
            }
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { root: root.to_owned(), members, single })
    }

    /// What was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Name of the set where its files do not say: the folder, or the file without its endings.
    pub fn name(&self) -> String {
        let name = self.root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if self.root.is_dir() { name } else { name.split('.').next().unwrap_or_default().to_owned() }
    }

    /// The main file: the root where that is a file, else the first of `names` that is there, plain or `.gz`.
    ///
    /// # Errors
    /// [`Error::File`] where none is.
    pub fn main(&self, names: &[&str]) -> Result<Member> {
        if let ([(_, place)], true) = (&self.members[..], self.single) {
            return Ok(Member { path: self.root.clone(), place: place.clone() });
        }
        self.find(names).ok_or_else(|| {
            Error::file(
                &self.root,
                "none of the expected files is here",
                format!("expected {}", names.join(" or ")),
            )
        })
    }

    /// A side file: the first of `names` that is there, plain or `.gz`; beside the root where that is a file.
    pub fn find(&self, names: &[&str]) -> Option<Member> {
        names.iter().flat_map(|n| [(*n).to_owned(), format!("{n}.gz")]).find_map(|name| self.named(&name))
    }

    /// Every file whose name (without folders) satisfies `wanted`, by name; of `x` and `x.gz` the plain one.
    pub fn matching(&self, wanted: impl Fn(&str) -> bool) -> Vec<Member> {
        let plain = |name: &str| {
            name.strip_suffix(".gz").is_some_and(|plain| self.members.iter().any(|(known, _)| known == plain))
        };
        let named = self.members.iter().filter(|(name, _)| !plain(name) && wanted(base(name)));
        named.map(|(name, place)| self.member(name, place)).collect()
    }

    fn named(&self, name: &str) -> Option<Member> {
        if self.single {
            let path = self.root.parent().unwrap_or(Path::new(".")).join(name);
            return path.is_file().then(|| Member { place: Place::Disk(path.clone()), path });
        }
        let ends = |member: &str| member == name || member.ends_with(&format!("/{name}"));
        let shallow =
            self.members.iter().filter(|(m, _)| ends(m)).min_by_key(|(m, _)| m.matches('/').count());
        shallow.map(|(name, place)| self.member(name, place))
    }

    fn member(&self, name: &str, place: &Place) -> Member {
        let path = match place {
            Place::Disk(path) => path.clone(),
            // Not joined: the name of a member may begin with a slash.
            Place::Zip { archive, .. } => {
                let mut path = archive.clone().into_os_string();
                path.push("/");
                path.push(name);
                path.into()
            }
        };
        debug_assert!(self.single || path.starts_with(&self.root));
        Member { path, place: place.clone() }
    }
}

/// A name without folders.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Whether a member of an archive lies among `known` unpacked: a file of its name and size.
fn unpacked((name, place): &(String, Place), known: &[(String, Place)]) -> bool {
    let Place::Zip { size, .. } = place else { return false };
    let same = |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.len() == *size);
    known.iter().any(|(other, at)| base(other) == base(name) && matches!(at, Place::Disk(path) if same(path)))
}

/// Files below `folder`, two folders deep: published archives unpack into one or two.
fn walk(folder: &Path, prefix: &str, depth: usize, out: &mut Vec<(String, Place)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_file() {
            out.push((name, Place::Disk(path)));
        } else if path.is_dir() && depth < 2 {
            walk(&path, &format!("{name}/"), depth + 1, out)?;
        }
    }
    Ok(())
}

fn unzip(archive: &Path) -> Result<Vec<(String, Place)>> {
    let refuse = |e: &dyn std::fmt::Display| Error::file(archive, e, "is the archive whole? fetch it again");
    let file = File::open(archive).map_err(|e| refuse(&e))?;
    let mut zip = ZipArchive::new(file).map_err(|e| refuse(&e))?;
    let mut out = Vec::new();
    for i in 0..zip.len() {
        let member = zip.by_index_raw(i).map_err(|e| refuse(&e))?;
        if member.is_dir() {
            continue;
        }
        let name = member.name().map_err(|e| refuse(&e))?.into_owned();
        let deflated = match member.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => return Err(refuse(&format!("{name} is packed by {other}"))),
        };
        if member.encrypted() {
            return Err(refuse(&format!("{name} is encrypted")));
        }
        let start = member.data_start().ok_or_else(|| refuse(&"a member has no place"))?;
        let (packed, size, crc) = (member.compressed_size(), member.size(), member.crc32());
        let place = Place::Zip { archive: archive.to_owned(), start, packed, size, crc, deflated };
        out.push((name, place));
    }
    Ok(out)
}

impl Member {
    /// Name without folders and without `.gz`.
    pub fn name(&self) -> String {
        let name = self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_suffix(".gz").map_or(name.clone(), str::to_owned)
    }

    /// Its bytes, unpacked while they are read.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be opened. A damaged file fails while it is read.
    pub fn open(&self) -> Result<Box<dyn Read + Send>> {
        let refuse = |e: IoError| Error::file(&self.path, e, "check the path and its permissions");
        let stored: Box<dyn Read + Send> = match &self.place {
            Place::Disk(path) => Box::new(File::open(path).map_err(refuse)?),
            Place::Zip { archive, start, packed, size, crc, deflated } => {
                let mut file = File::open(archive).map_err(refuse)?;
                file.seek(SeekFrom::Start(*start)).map_err(refuse)?;
                let packed = BufReader::new(file).take(*packed);
                let bytes: Box<dyn Read + Send> =
                    if *deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
                Box::new(Checked { bytes: CrcReader::new(bytes), left: *size, crc: *crc })
            }
        };
        let mut input = BufReader::with_capacity(1 << 16, stored);
        let gzip = input.fill_buf().map_err(refuse)?.starts_with(&[0x1f, 0x8b]);
        Ok(if gzip { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) })
    }

    /// All of its bytes, unpacked, for formats that are not read from front to back; at most 4 GiB.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let read = self.open()?.take(MOST + 1).read_to_end(&mut out);
        read.map_err(|e| Error::file(&self.path, e, "is the file whole? fetch it again"))?;
        if out.len() as u64 > MOST {
            return Err(Error::file(
                &self.path,
                "is more than 4 GiB unpacked, which is too much for memory",
                "unpack it: a file that lies on disk by itself is read where it lies",
            ));
        }
        Ok(out)
    }

    /// Its size, where that is known without unpacking and true whatever a header says.
    pub fn plain_size(&self) -> Option<u64> {
        let path = self.on_disk()?;
        let mut start = [0; 2];
        File::open(path).and_then(|mut file| file.read_exact(&mut start)).ok()?;
        (start != [0x1f, 0x8b]).then(|| std::fs::metadata(path).ok())?.map(|file| file.len())
    }

    /// The file itself, where it is one of its own on disk and can be read in any order.
    pub fn on_disk(&self) -> Option<&Path> {
        match &self.place {
            Place::Disk(path) => Some(path),
            Place::Zip { .. } => None,
        }
    }
}

/// Fails at the end of a member whose bytes are not those that were packed.
struct Checked {
    bytes: CrcReader<Box<dyn Read + Send>>,
    left: u64,
    crc: u32,
}

impl Read for Checked {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.bytes.read(out)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| IoError::other("the member is longer than its archive says"))?;
        if n == 0 && !out.is_empty() && (self.left > 0 || self.bytes.crc().sum() != self.crc) {
            return Err(IoError::other("the member of the archive is damaged"));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_lie_in_their_archive_whatever_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("set.zip");
        // Its one member is named `/test.parquet.gz`.
        std::fs::write(&archive, include_bytes!("../../../fuzz/seeds/packed/zip-absolute")).unwrap();
        let member = Files::open(&archive).unwrap().find(&["test.parquet"]).unwrap();
        assert!(member.path.starts_with(&archive), "{}", member.path.display());
    }
}
