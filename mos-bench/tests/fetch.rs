//! `data fetch` against a server on loopback: resume, checks, and what is said when they fail.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use assert_cmd::Command;
use common::bench;
use md5::{Digest as _, Md5};
use sha2::Sha256;

/// What was asked for: path, `Range` and `If-Range`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    path: String,
    range: Option<usize>,
    version: Option<String>,
}

/// What a server does with a request.
enum Answer {
    /// All of it, whatever range is asked for.
    Whole(Vec<u8>),
    /// What is asked for.
    Range(Vec<u8>),
    /// What is asked for, but the connection ends after so many bytes of it.
    Cut(Vec<u8>, usize),
    Status(&'static str),
    /// A page that asks to sign in.
    Page,
}

/// A server that answers in its own thread until the process ends.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `answer` sees the path and how many requests for it came before.
    fn new(answer: impl Fn(&str, usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/sets/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that has gone away is its own affair.
                let _ = serve(&stream.unwrap(), &answer, &seen);
            }
        });
        Self { url, asked }
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|a| a.path == path).cloned().collect()
    }
}

fn serve(
    stream: &TcpStream,
    answer: &impl Fn(&str, usize) -> Answer,
    seen: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut asked = Asked { path: path.clone(), range: None, version: None };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "range" => asked.range = value.trim_start_matches("bytes=").trim_end_matches('-').parse().ok(),
            "if-range" => asked.version = Some(value.to_owned()),
            _ => {}
        }
    }
    let range = asked.range;
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked);
        seen.iter().filter(|a| a.path == path).count() - 1
    };
    let (bytes, ranges, cut) = match answer(&path, before) {
        Answer::Whole(bytes) => (bytes, false, usize::MAX),
        Answer::Range(bytes) => (bytes, true, usize::MAX),
        Answer::Cut(bytes, after) => (bytes, true, after),
        Answer::Status(status) => {
            return write!(&*stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Answer::Page => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n";
            return write!(&*stream, "{head}Connection: close\r\n\r\n<html>");
        }
    };
    let whole = bytes.len();
    let (status, body) = match range.filter(|_| ranges) {
        Some(from) if from >= whole => {
            let status = "416 Range Not Satisfiable";
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Range: bytes */{whole}\r\nContent-Length: 0\r\n");
            return write!(&*stream, "{head}Connection: close\r\n\r\n");
        }
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1);
            (format!("206 Partial Content\r\n{range}"), &bytes[from..])
        }
        None => ("200 OK\r\n".to_owned(), &bytes[..]),
    };
    let head = format!("HTTP/1.1 {status}ETag: \"v1\"\r\nContent-Length: {}\r\n", body.len());
    (&*stream).write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    (&*stream).write_all(&body[..cut.min(body.len())])
}

/// Bytes of some blocks, no two alike.
fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 8).to_le_bytes()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn md5_file(bytes: &[u8]) -> Vec<u8> {
    format!("MD5 (ml-latest-small.zip) = {}\n", hex(&Md5::digest(bytes))).into_bytes()
}

fn fetch(folder: &Path, set: &str, server: &Server) -> Command {
    let mut command = bench(folder);
    command.args(["data", "fetch", set, "--out", "here", "--url", &server.url]);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

/// Standard output of success, standard error of failure.
fn run(command: &mut Command) -> Result<String, String> {
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match out.status.code() {
        Some(0) => Ok(text(out.stdout)),
        Some(2) => Err(text(out.stderr)),
        other => panic!("{other:?}: {}", text(out.stderr)),
    }
}

/// Names in the folder of the set.
fn files(folder: &Path) -> Vec<String> {
    let Ok(all) = std::fs::read_dir(folder.join("here")) else { return Vec::new() };
    let mut names: Vec<String> = all.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn contains(text: &str, wanted: &str) {
    wanted.split('|').for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
}

const ZIP: &str = "/sets/ml-latest-small.zip";
const MD5: &str = "/sets/ml-latest-small.zip.md5";

#[test]
fn a_set_is_fetched_checked_and_not_fetched_again() {
    let server =
        Server::new(|path, _| Answer::Range(if path == MD5 { md5_file(&content()) } else { content() }));
    let folder = tempfile::tempdir().unwrap();
    let out = run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap();
    let sha256 = hex(&Sha256::digest(content()));
    contains(&out, &format!("1200000 bytes, sha256 {sha256}: as the publisher's .md5 file says"));
    contains(&out, "terms: research use|next: mos-bench data check movielens here");
    assert_eq!(files(folder.path()), ["ml-latest-small.zip", "ml-latest-small.zip.sha256"]);
    assert_eq!(std::fs::read(folder.path().join("here/ml-latest-small.zip")).unwrap(), content());
    let noted = std::fs::read_to_string(folder.path().join("here/ml-latest-small.zip.sha256")).unwrap();
    assert_eq!(noted, format!("{sha256}  ml-latest-small.zip\n"), "as sha256sum --check reads it");
    let out = run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap();
    contains(&out, "was here already|as an earlier fetch says");
    assert_eq!(server.asked(ZIP).len(), 1);
    // A file that was changed since is noticed and left alone.
    std::fs::write(folder.path().join("here/ml-latest-small.zip"), "other").unwrap();
    let error = run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap_err();
    contains(&error, "ml-latest-small.zip: its SHA-256 is|ml-latest-small.zip.sha256 says");
    assert_eq!(std::fs::read(folder.path().join("here/ml-latest-small.zip")).unwrap(), b"other");
}

#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let server = Server::new(|path, before| match (path, before) {
        (MD5, _) => Answer::Range(md5_file(&content())),
        (_, 0) => Answer::Cut(content(), 500_000),
        (_, 1) => Answer::Cut(content(), 10_000),
        _ => Answer::Range(content()),
    });
    let folder = tempfile::tempdir().unwrap();
    run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap();
    assert_eq!(std::fs::read(folder.path().join("here/ml-latest-small.zip")).unwrap(), content());
    let ranges: Vec<_> = server.asked(ZIP).into_iter().map(|a| (a.range, a.version)).collect();
    let tag = Some("\"v1\"".to_owned());
    assert_eq!(ranges, [(None, None), (Some(500_000), tag.clone()), (Some(510_000), tag)]);
}

#[test]
fn a_later_call_goes_on_where_an_earlier_one_gave_up() {
    let server = Server::new(|path, before| match (path, before) {
        (MD5, _) => Answer::Status("404 Not Found"),
        (_, 0) => Answer::Cut(content(), 700_000),
        (_, 1..=3) => Answer::Status("503 Service Unavailable"),
        _ => Answer::Range(content()),
    });
    let folder = tempfile::tempdir().unwrap();
    let error = run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap_err();
    contains(&error, "gave up after 4 tries|700000 bytes are kept in here/ml-latest-small.zip.part|503");
    assert_eq!(files(folder.path()), ["ml-latest-small.zip.part", "ml-latest-small.zip.part.from"]);
    let out = run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap();
    contains(&out, "no hash is known; this one is kept beside the file");
    assert_eq!(std::fs::read(folder.path().join("here/ml-latest-small.zip")).unwrap(), content());
    assert_eq!(server.asked(ZIP).last().unwrap().range, Some(700_000));
    assert_eq!(files(folder.path()), ["ml-latest-small.zip", "ml-latest-small.zip.sha256"]);
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_again() {
    let server = Server::new(|path, before| match (path, before) {
        (MD5, _) => Answer::Range(md5_file(&content())),
        (_, 0) => Answer::Cut(content(), 500_000),
        _ => Answer::Whole(content()),
    });
    let folder = tempfile::tempdir().unwrap();
    run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap();
    assert_eq!(server.asked(ZIP)[1].range, Some(500_000));
    assert_eq!(std::fs::read(folder.path().join("here/ml-latest-small.zip")).unwrap(), content());
}

#[test]
fn a_wrong_checksum_renames_nothing() {
    let server =
        Server::new(|path, _| Answer::Range(if path == MD5 { md5_file(b"another") } else { content() }));
    let folder = tempfile::tempdir().unwrap();
    let error = run(&mut fetch(folder.path(), "ml-latest-small", &server)).unwrap_err();
    let (found, wanted) = (hex(&Md5::digest(content())), hex(&Md5::digest(b"another")));
    contains(
        &error,
        &format!("MD5 {found} instead of|hash {wanted} by the publisher's .md5 file|nothing was kept"),
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[test]
fn a_wrong_size_is_refused_before_the_download() {
    let server = Server::new(|_, _| Answer::Range(content()));
    let folder = tempfile::tempdir().unwrap();
    let error = run(&mut fetch(folder.path(), "ml-100k", &server)).unwrap_err();
    contains(&error, "the server has 1200000 bytes instead of 4924029");
    assert_eq!(files(folder.path()), Vec::<String>::new());
    // The right size, and other bytes: the table of sets knows the hash.
    let server = Server::new(|_, _| Answer::Range(vec![7; 4_924_029]));
    let error = run(&mut fetch(folder.path(), "ml-100k", &server)).unwrap_err();
    contains(&error, "instead of 4924029 bytes, hash 50d2a982|by the table of sets");
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[test]
fn what_is_not_there_and_what_is_done_by_hand() {
    let server = Server::new(|_, _| Answer::Status("404 Not Found"));
    let folder = tempfile::tempdir().unwrap();
    let error = run(&mut fetch(folder.path(), "gowalla", &server)).unwrap_err();
    contains(
        &error,
        "/sets/loc-gowalla_totalCheckins.txt.gz: the server answers 404 Not Found|--url names another place",
    );
    assert_eq!(server.asked("/sets/loc-gowalla_totalCheckins.txt.gz").len(), 1, "no use to try again");
    let error = run(&mut fetch(folder.path(), "gowalla", &Server::new(|_, _| Answer::Page))).unwrap_err();
    contains(&error, "sends a page instead of the file");
    assert_eq!(files(folder.path()), Vec::<String>::new());
    let out = bench(folder.path()).args(["data", "fetch", "taobao"]).assert().code(2);
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    contains(&out, "https://tianchi.aliyun.com/dataset/649|sign in|mos-bench data check taobao data/taobao");
    let error = run(bench(folder.path()).args(["data", "fetch", "ml-100"])).unwrap_err();
    contains(&error, "no such set; did you mean ml-100k?");
    contains(
        &run(bench(folder.path()).args(["data", "fetch"])).unwrap(),
        "\nkuairec |\ntaobao |by hand|CC BY-SA 4.0",
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the folder that was named");
}
