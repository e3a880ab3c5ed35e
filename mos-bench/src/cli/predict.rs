//! `mos-bench predict`: scores of raw ids by a trained model, line by line.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Write as _, stdin, stdout},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::Args;
use mos_baselines::Registry;
use mos_core::{Predictor, Request};

#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    /// Model folder, as `mos-bench train` writes it.
    model: PathBuf,
    /// Requests, one JSON object a line: `{"history":[{"item":"i7","time":5,"behaviour":"pv"}],"candidates":["i9"],"time":6}`.
    /// `-` reads standard input.
    #[arg(default_value = "-")]
    input: PathBuf,
}

/// Longest piece of a line that a message repeats.
const SHOWN: usize = 80;

/// Answers each line with a line, at once.
pub(super) fn work(args: &PredictArgs, registry: &Registry) -> anyhow::Result<()> {
    let predictor = Predictor::load(&args.model, registry)?;
    let (name, input): (String, Box<dyn BufRead>) = if args.input.as_os_str() == "-" {
        ("standard input".into(), Box::new(stdin().lock()))
    } else {
        let name = args.input.display().to_string();
        let file = File::open(&args.input).with_context(|| name.clone())?;
        (name, Box::new(BufReader::new(file)))
    };
    let mut out = stdout().lock();
    for (number, line) in input.split(b'\n').enumerate() {
        let place = || format!("{name}:{}", number + 1);
        let line = line.with_context(place)?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let shown = || {
            let text = String::from_utf8_lossy(&line);
            text.chars().take(SHOWN).collect::<String>()
        };
        let request: Request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(e) => bail!(
                "{}: {:?}: {} (`mos-bench predict --help` shows the form of a line)",
                place(),
                shown(),
                e.to_string().replace(" at line 1 column", " at column")
            ),
        };
        let answer = predictor.predict(&request).with_context(|| format!("{}: {:?}", place(), shown()))?;
        let text = serde_json::to_string(&answer)? + "\n";
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // A reader that has gone away (`| head`) is no error.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("standard output")?,
        }
    }
    Ok(())
}
