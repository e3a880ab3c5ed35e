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
//! counted. `callgrind_annotate --threshold=100 target/tmp/instructions/ops-attend.2` tells where those of a part are (the parts
//! of a case have the numbers 1 and 2).

#![allow(missing_docs, clippy::unwrap_used)] // a bench may panic

mod common;
#[path = "../../mos-core/benches/operations/mod.rs"]
mod operations;

use std::{
    collections::BTreeMap,
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

/// Has glibc clear and copy memory by vectors: callgrind takes one `rep stosb` for as many instructions as it writes bytes.
const PLAIN_COPIES: &str =
    "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000";

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
                count(&mut || {
                    black_box(subject.train());
                });
                subject.prepare();
                count(&mut || {
                    black_box(subject.score());
                });
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

/// What the counts depend on beside the code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Environment {
    rustc: String,
    valgrind: String,
    /// What valgrind shows of the processor: AVX-512 is hidden, so that AVX2 is what is counted.
    processor: String,
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", self.rustc, self.valgrind, self.processor)
    }
}

/// What is kept from one check to the next.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    #[serde(flatten)]
    environment: Environment,
    instructions: BTreeMap<String, u64>,
}

/// The architecture, and those features that choose between kernels.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let seen = features.iter().filter(|(_, seen)| *seen).map(|(name, _)| *name);
    std::iter::once(std::env::consts::ARCH).chain(seen).collect::<Vec<_>>().join(" ")
}

/// The first line that a program says of its version.
fn version(program: &str, hint: &str) -> Result<String, String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|e| format!("{program} does not run ({e}){hint}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).ok_or_else(|| format!("{program} does not say its version"))
}

/// Runs a case under valgrind; what it says of the processor, and the instructions of each part.
fn count(case: &Case, folder: &Path) -> Result<(String, Vec<(String, u64)>), String> {
    let name = case.name();
    let out = folder.join(name.replace(['/', ':'], "-"));
    let part = |number: usize| PathBuf::from(format!("{}.{number}", out.display()));
    // What an earlier check left is not to be taken for the result of this one.
    (1..=case.parts().len()).for_each(|number| drop(std::fs::remove_file(part(number))));
    // Two patterns for one function: valgrind gives a pattern one meaning. Whole strings, so that every file can be read alone.
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no"])
        .args(["--toggle-collect=*counted_by_callgrind*", "--dump-after=*::counted_by_callgrind*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .arg(std::env::current_exe().map_err(|e| e.to_string())?)
        .args(["--case", &name])
        .output()
        .map_err(|e| format!("valgrind does not run: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let total = |(at, label): (usize, &&str)| {
        let path = part(at + 1);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok());
        let total =
            total.filter(|n| *n > 0).ok_or_else(|| format!("{}: nothing was counted", path.display()));
        Ok((format!("{name}/{label}"), total?))
    };
    let counts = case.parts().iter().enumerate().map(total).collect::<Result<_, String>>()?;
    Ok((String::from_utf8_lossy(&output.stdout).trim().to_owned(), counts))
}

/// Counts the cases that have `wanted` in their name.
fn count_all(wanted: &str) -> Result<Baseline, String> {
    let valgrind = version(
        "valgrind",
        "\nIt is a package of every Linux distribution: `apt-get install valgrind`, `dnf install valgrind`, `pacman -S valgrind`.",
    )?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| case.name().contains(wanted)).collect();
    println!("{} cases under {valgrind}; its files stay in {}", cases.len(), folder.display());
    let counts = cases.par_iter().map(|case| count(case, &folder)).collect::<Result<Vec<_>, String>>()?;
    let processor = counts.first().map(|(processor, _)| processor.clone());
    let processor = processor.ok_or_else(|| format!("no case has `{wanted}` in its name"))?;
    let environment = Environment { rustc: version("rustc", "")?, valgrind, processor };
    Ok(Baseline { environment, instructions: counts.into_iter().flat_map(|(_, parts)| parts).collect() })
}

/// Prints both beside each other; whether nothing grew too much.
fn compare(baseline: &Baseline, now: &Baseline) -> bool {
    println!("{:<44} {:>13} {:>13} {:>9}", "case", "baseline", "now", "change");
    let (mut grown, mut shrunk, mut new) = (0, 0, 0);
    for (name, count) in &now.instructions {
        let Some(before) = baseline.instructions.get(name) else {
            println!("{name:<44} {:>13} {count:>13} {:>9}", "", "new");
            new += 1;
            continue;
        };
        let change = *count as f64 / *before as f64 - 1.0;
        grown += usize::from(change > TOLERANCE);
        shrunk += usize::from(change < -TOLERANCE);
        let mark = if change > TOLERANCE { "  <- more" } else { "" };
        println!("{name:<44} {before:>13} {count:>13} {:>8.2}%{mark}", 100.0 * change);
    }
    println!(
        "{} cases; more than {}% up: {grown}, down: {shrunk}; not in the baseline: {new}",
        now.instructions.len(),
        100.0 * TOLERANCE
    );
    if baseline.environment != now.environment {
        println!(
            "The baseline is of {}, this is {}: changes may come from there. `-- --save` on the code before a change tells.",
            baseline.environment, now.environment
        );
    }
    if grown == 0 && shrunk + new > 0 {
        println!(
            "`cargo bench -p mos-baselines --bench instructions -- --save` makes these counts the baseline."
        );
    }
    grown == 0
}

/// Whether the check holds.
fn check(args: &[&str]) -> Result<bool, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json");
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    match args {
        ["--save"] => {
            let text = serde_json::to_string_pretty(&count_all("")?).map_err(|e| at(&e))?;
            std::fs::write(&path, text + "\n").map_err(|e| at(&e))?;
            println!("saved in {}", path.display());
            Ok(true)
        }
        [] | [_] if !args.iter().any(|a| a.starts_with('-')) => {
            let text = std::fs::read_to_string(&path).map_err(|e| at(&e))?;
            let baseline: Baseline = serde_json::from_str(&text).map_err(|e| at(&e))?;
            let wanted = args.first().copied().unwrap_or_default();
            let now = count_all(wanted)?;
            let gone = |name: &&String| name.contains(wanted) && !now.instructions.contains_key(*name);
            baseline
                .instructions
                .keys()
                .filter(gone)
                .for_each(|name| println!("{name} is in the baseline alone"));
            Ok(compare(&baseline, &now))
        }
        _ => Err(format!("`{}` is neither a part of a name nor `--save`", args.join(" "))),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|a| *a != "--bench").collect();
    if let ["--case", name] = args[..] {
        // The main thread is the pool: callgrind counts in the thread that called.
        rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
        println!("{}", processor());
        let case = Case::all().into_iter().find(|case| case.name() == name).unwrap();
        case.run(|work| {
            work();
            counted_by_callgrind(work);
        });
        return ExitCode::SUCCESS;
    }
    if !common::timed() {
        Case::all().iter().for_each(|case| case.run(|work| work()));
        return ExitCode::SUCCESS;
    }
    match check(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
