//! Fetches files of public sets: goes on where it was interrupted, and gives a file its name when size and hash are right.
//!
//! `x.part` is what was received so far, `x.part.from` says of which address and version; `x.sha256` stays beside the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write as _},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, bail};
use md5::Md5;
use mos_data::sources::sets::{Digest, PublicFile};
use sha2::{Digest as _, Sha256};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
};

use crate::progress::Progress;

/// Tries in a row that bring nothing.
const TRIES: u32 = 4;
/// Before the second try; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(250);
/// A connection that says nothing for so long is cut.
const SILENCE: Duration = Duration::from_secs(60);

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies.
    pub path: PathBuf,
    /// Number of bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Whether it was here before.
    pub here: bool,
    /// What its hash was held against, if anything.
    pub checked: Option<&'static str>,
}

/// Why nothing more came.
enum Stop {
    /// Another try may help.
    Cut(anyhow::Error),
    /// It would not.
    Final(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error)
    }
}

/// A file under way.
struct Job<'a> {
    file: &'a PublicFile,
    url: &'a str,
    agent: Agent,
    part: PathBuf,
    from: PathBuf,
    /// The MD5 that the publisher keeps beside it.
    md5: Option<String>,
    quiet: bool,
}

/// Fetches one file from `url` into `folder`.
///
/// # Errors
/// An address that does not answer, a size or hash that is not the known one (then nothing gets the file's name), and a
/// connection that is cut again and again; what was received then waits for the next call.
pub fn fetch(file: &PublicFile, url: &str, folder: &Path, quiet: bool) -> anyhow::Result<Fetched> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(file.name());
    let beside = |ending: &str| folder.join(format!("{}.{ending}", file.name()));
    let (part, from, noted) = (beside("part"), beside("part.from"), beside("sha256"));
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE));
    let mut job = Job { file, url, agent: config.build().into(), part, from, md5: None, quiet };
    let here = path.exists();
    if !here {
        job.md5 = job.published_md5()?;
        job.receive()?;
    }
    let received = if here { &path } else { &job.part };
    let (size, sha256, md5) = hashes(received)?;
    let known = known(file, job.md5.as_deref());
    let right = known.as_ref().map(|(wanted, _)| *wanted == sha256 || *wanted == md5);
    if right == Some(false) || file.size.is_some_and(|wanted| wanted != size) {
        let wanted = known.map_or_else(String::new, |(hash, who)| format!(", hash {hash} by {who}"));
        let bytes = file.size.map_or_else(String::new, |size| format!("{size} bytes"));
        let what = format!("has {size} bytes, SHA-256 {sha256}, MD5 {md5} instead of {bytes}{wanted}");
        if here {
            bail!("{}: {what} (move it away, and fetch it again)", path.display());
        }
        job.forget()?;
        bail!(
            "{url}: {what} (nothing was kept; try again, or look at the publisher's page for a new version)"
        );
    }
    let before = fs::read_to_string(&noted).ok();
    let before = before.as_deref().and_then(|text| text.split_whitespace().next());
    if let Some(before) = before.filter(|before| *before != sha256) {
        bail!(
            "{}: its SHA-256 is {sha256}, {} says {before} (the publisher's file or this one has changed; delete {} to accept it)",
            received.display(),
            noted.display(),
            noted.display()
        );
    }
    let checked = known.map(|(_, who)| who).or(before.map(|_| "an earlier fetch"));
    if !here {
        File::open(&job.part)
            .and_then(|f| f.sync_all())
            .and_then(|()| fs::rename(&job.part, &path))
            .with_context(|| path.display().to_string())?;
        job.forget()?;
    }
    fs::write(&noted, format!("{sha256}  {}\n", file.name())).with_context(|| noted.display().to_string())?;
    Ok(Fetched { path, size, sha256, here, checked })
}

/// The hash that a file must have, and who says so.
fn known(file: &PublicFile, published: Option<&str>) -> Option<(String, &'static str)> {
    match (file.digest, published) {
        (_, Some(md5)) => Some((md5.to_owned(), "the publisher's .md5 file")),
        (Some(Digest::Sha256(hash) | Digest::Md5(hash)), None) => {
            Some((hash.to_owned(), "the table of sets"))
        }
        (None, None) => None,
    }
}

/// Number of bytes, SHA-256 and MD5 of a file.
fn hashes(path: &Path) -> anyhow::Result<(u64, String, String)> {
    let place = || path.display().to_string();
    let mut file = File::open(path).with_context(place)?;
    let (mut sha256, mut md5, mut size) = (Sha256::new(), Md5::new(), 0);
    let mut block = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut block).with_context(place)?;
        if n == 0 {
            return Ok((size, hex(&sha256.finalize()), hex(&md5.finalize())));
        }
        sha256.update(&block[..n]);
        md5.update(&block[..n]);
        size += n as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A header as text.
fn text(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// First byte and length of the whole of `bytes 5-9/10`, length alone of `bytes */10`.
fn content_range(response: &Response<Body>) -> (Option<u64>, Option<u64>) {
    let range = text(response, header::CONTENT_RANGE).and_then(|r| r.trim().strip_prefix("bytes "));
    let Some((bytes, whole)) = range.and_then(|r| r.split_once('/')) else { return (None, None) };
    (bytes.split_once('-').and_then(|(first, _)| first.parse().ok()), whole.parse().ok())
}

impl Job<'_> {
    /// Bytes received so far.
    fn have(&self) -> u64 {
        fs::metadata(&self.part).map_or(0, |m| m.len())
    }

    /// Takes away what was received and what is known of it.
    fn forget(&self) -> anyhow::Result<()> {
        for file in [&self.part, &self.from] {
            match fs::remove_file(file) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(e).with_context(|| file.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Tries until all is there.
    fn receive(&self) -> anyhow::Result<()> {
        let (mut idle, mut pause) = (0, PAUSE);
        loop {
            let before = self.have();
            let error = match self.go_on() {
                Ok(()) => return Ok(()),
                Err(Stop::Final(error)) => return Err(error.context(self.url.to_owned())),
                Err(Stop::Cut(error)) => error,
            };
            if self.have() > before {
                (idle, pause) = (0, PAUSE);
            }
            idle += 1;
            if idle == TRIES {
                let (have, part) = (self.have(), self.part.display());
                let kept = format!("{have} bytes are kept in {part}; the same command goes on there");
                return Err(error.context(format!("{}: gave up after {TRIES} tries ({kept})", self.url)));
            }
            if !self.quiet {
                eprintln!("{}: {error:#}; trying again", self.url);
            }
            sleep(pause);
            pause *= 2;
        }
    }

    /// Asks for what is missing and takes it in.
    fn go_on(&self) -> Result<(), Stop> {
        let have = self.have();
        let from = fs::read_to_string(&self.from).unwrap_or_default();
        let (url, version) = from.split_once('\n').unwrap_or_default();
        // Halves of two versions would make one file, which only a hash could tell.
        let goes_on = have > 0
            && url == self.url
            && (!version.is_empty() || known(self.file, self.md5.as_deref()).is_some());
        let mut request = self.agent.get(self.url);
        if goes_on {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            if !version.is_empty() {
                request = request.header(header::IF_RANGE, version);
            }
        }
        let response = request.call().map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Stop::Final(e.into()),
            e => Stop::Cut(e.into()),
        })?;
        let (first, whole) = content_range(&response);
        let from = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if goes_on && first == Some(have) => have,
            StatusCode::RANGE_NOT_SATISFIABLE if goes_on && whole == Some(have) => return Ok(()),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if goes_on => {
                self.forget()?;
                return Err(Stop::Cut(anyhow::anyhow!(
                    "what was received does not fit the file; it is fetched anew"
                )));
            }
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => {
                return Err(Stop::Cut(anyhow::anyhow!("the server answers {status}")));
            }
            status if status.is_server_error() => {
                return Err(Stop::Cut(anyhow::anyhow!("the server answers {status}")));
            }
            status => {
                return Err(Stop::Final(anyhow::anyhow!(
                    "the server answers {status} (has the publisher moved the file? --url names another place)"
                )));
            }
        };
        // A page that asks to sign in comes with status 200.
        if text(&response, header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(Stop::Final(anyhow::anyhow!(
                "the server sends a page instead of the file (does the publisher ask to sign in by now?)"
            )));
        }
        let length = text(&response, header::CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
        let total = whole.or_else(|| length.map(|n| from + n));
        if let (Some(total), Some(wanted)) = (total, self.file.size)
            && total != wanted
        {
            return Err(Stop::Final(anyhow::anyhow!(
                "the server has {total} bytes instead of {wanted} (has the publisher changed the file? see the page of the set)"
            )));
        }
        self.take_in(response, from, total)
    }

    fn take_in(&self, response: Response<Body>, from: u64, total: Option<u64>) -> Result<(), Stop> {
        // A weak tag does not promise the same bytes.
        let tag = text(&response, header::ETAG).filter(|tag| !tag.starts_with("W/"));
        let version = tag.or_else(|| text(&response, header::LAST_MODIFIED)).unwrap_or_default();
        let place = || self.part.display().to_string();
        let mut options = OpenOptions::new();
        let options =
            if from > 0 { options.append(true) } else { options.write(true).create(true).truncate(true) };
        let mut out = options.open(&self.part).with_context(place)?;
        fs::write(&self.from, format!("{}\n{version}", self.url)).with_context(place)?;
        let progress = Progress::new("bytes", total.unwrap_or(0), self.quiet || total.is_none());
        progress.add(from);
        let mut body = response.into_body().into_reader();
        let mut block = vec![0; 1 << 16];
        let mut have = from;
        let end = loop {
            match body.read(&mut block) {
                Ok(0) => break None,
                Ok(n) => {
                    out.write_all(&block[..n]).with_context(place)?;
                    have += n as u64;
                    progress.add(n as u64);
                    if self.file.size.is_some_and(|size| have > size) {
                        break Some(anyhow::anyhow!("more bytes came than the file has"));
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break Some(e.into()),
            }
        };
        progress.finish();
        match (end, total) {
            (Some(error), _) => Err(Stop::Cut(error.context(format!("cut after {have} bytes")))),
            (None, Some(total)) if have < total => {
                Err(Stop::Cut(anyhow::anyhow!("cut after {have} of {total} bytes")))
            }
            (None, _) => Ok(()),
        }
    }

    /// The hash in the file beside, where the publisher keeps one and no other is known; `None` where it is not there.
    fn published_md5(&self) -> anyhow::Result<Option<String>> {
        if !self.file.md5_beside || self.file.digest.is_some() {
            return Ok(None);
        }
        let url = format!("{}.md5", self.url);
        let mut response = self.agent.get(&url).call().with_context(|| url.clone())?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => {
                bail!("{url}: the server answers {status}, so that the file could not be checked; try again")
            }
        }
        let text = response.body_mut().read_to_string().with_context(|| url.clone())?;
        // `MD5 (x.zip) = 0e33...` or `0e33...  x.zip`.
        let digits = |word: &&str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
        Ok(text.split_whitespace().find(digits).map(str::to_lowercase))
    }
}
