//! How many instructions the small cases take: every operation, every encoder and every mixture, counted by callgrind and held
//! against `instructions.json`. Unlike times, counts hardly differ from run to run.
//!
//! ```text
//! cargo bench -p mos-baselines --bench instructions             # all; fails where a case grew by more than 2 %
//! cargo bench -p mos-baselines --bench instructions -- twin     # cases whose name has this in it
//! cargo bench -p mos-baselines --bench instructions -- --save   # writes instructions.json
//! ```
//!
//! Each case is a process of its own under valgrind, of one thread; what it does to get ready, and a first round, are not
//! counted.

#![allow(missing_docs, clippy::unwrap_used)] // a bench may panic

mod common;
#[path = "../../mos-core/benches/operations/mod.rs"]
mod operations;

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use common::Subject;
use mos_baselines::{Registry, Spec};
use operations::{Given, OPERATIONS, Operation};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A case fails that grew by more than this share.
const TOLERANCE: f64 = 0.02;

/// What is counted in one process.
#[derive(Debug)]
enum Case {
    Operation(&'static Operation),
    Model(Spec),
}

impl Case {
    fn all() -> Vec<Self> {
        let models = common::cells(&Registry::default()).into_iter().map(Self::Model);
        OPERATIONS.iter().map(Self::Operation).chain(models).collect()
    }

    fn name(&self) -> String {
        match self {
            Self::Operation(operation) => format!("ops/{}", operation.name),
            Self::Model(spec) => format!("models/{}", common::name(spec)),
        }
    }

    /// What [`Self::run`] has counted, in order.
    fn parts(&self) -> &'static [&'static str] {
        match self {
            Self::Operation(operation) if operation.is_taped() => &["forward", "both"],
            Self::Operation(_) => &["forward"],
            Self::Model(_) => &["train", "score"],
        }
    }

    /// Gets ready and gives each part to `count`.
    fn run(&self, count: fn(&mut dyn FnMut())) {
        match self {
            Self::Operation(operation) => {
                let given = Given::new(operations::SMALL);
                let inputs = given.inputs(operation);
                count(&mut || operation.forward(&inputs, &given));
                if operation.is_taped() {
                    count(&mut || operation.both(&inputs, &given));
                }
            }
            Self::Model(spec) => {
                let mut subject = Subject::new(&Registry::default(), spec, common::SMALL);
                count(&mut || drop(black_box(subject.train())));
                subject.prepare();
                count(&mut || drop(black_box(subject.score())));
            }
        }
    }
}

/// callgrind counts inside this function alone, found by its name.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// What counts depend on beside the code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Environment {
    rustc: String,
    valgrind: String,
    /// Of the processor that valgrind shows to programs. It hides AVX-512.
    features: String,
}

impl Environment {
    fn here(features: String) -> Result<Self, String> {
        let first_line = |program| -> Result<String, String> { version(program).ok_or(format!("{program} does not run")) };
        Ok(Self { rustc: first_line("rustc")?, valgrind: first_line("valgrind")?, features })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    environment: Environment,
    instructions: BTreeMap<String, u64>,
}

fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The features that change which code runs.
fn features() -> String {
    #[cfg(target_arch = "x86_64")]
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let all = [(std::env::consts::ARCH, true)];
    let seen: Vec<&str> = all.into_iter().filter(|(_, seen)| *seen).map(|(name, _)| name).collect();
    seen.join(" ")
}

/// Runs a case under valgrind: its features, and the instructions of each part.
fn count(case: &Case, folder: &Path) -> Result<(String, Vec<(String, u64)>), String> {
    let name = case.name();
    let out = folder.join(name.replace(['/', ':'], "-"));
    // What an earlier run left would be taken for this one's.
    let part = |number: usize| PathBuf::from(format!("{}.{number}", out.display()));
    (1..=case.parts().len()).for_each(|number| drop(std::fs::remove_file(part(number))));
    let function = "*counted_by_callgrind*";
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={function}"))
        .arg(format!("--dump-after={function}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().map_err(|e| e.to_string())?)
        .args(["--case", &name])
        .output()
        .map_err(|e| format!("valgrind does not run: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let counts = case.parts().iter().enumerate().map(|(at, label)| {
        let path = part(at + 1);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ")).and_then(|n| n.trim().parse().ok());
        match total {
            Some(total) if total > 0 => Ok((format!("{name}/{label}"), total)),
            _ => Err(format!("{}: no instructions were counted", path.display())),
        }
    });
    Ok((String::from_utf8_lossy(&output.stdout).trim().to_owned(), counts.collect::<Result<_, String>>()?))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let t = std::time::Instant::now();
    if args.first().map(String::as_str) == Some("--case") {
        rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
        println!("{}", features());
        let cases = Case::all();
        let case = cases.iter().find(|c| c.name() == args[1]).unwrap();
        case.run(|work| { work(); counted_by_callgrind(work) });
        return ExitCode::SUCCESS;
    }
    let cases = Case::all();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let all: Vec<_> = cases.par_iter().filter(|c| c.name().contains(args.first().map_or("", |s| s))).map(|c| {let t = std::time::Instant::now(); let r = count(c, folder).unwrap(); (r, t.elapsed())}).collect();
    for ((f, r), time) in all { for (n, c) in r { println!("{n} {c} {:.2} {f}", time.as_secs_f64()); } }
    println!("{:?}", t.elapsed());
    ExitCode::SUCCESS
}
