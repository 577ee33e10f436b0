//! The command line: one file per command, and what they share.
//!
//! Results go to stdout, everything said to a person on the way goes to stderr. With `--json` a result is JSON, and so
//! is an error. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

mod args;
mod client;
mod config;
mod link;
mod play;
mod plugin;
mod scaffold;
mod serve;
mod signals;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use serde_json::{Value, json};

use crate::config::{Config, Inputs, Raw};
use args::{Args, Command, Shared};

/// The code of a command that failed.
const FAILED: u8 = 1;
/// The code of a command that was used or configured wrongly.
const USAGE: u8 = 2;

/// Wrong usage that only shows after the arguments were read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the program with the arguments it was given.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let json = args.shared.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.context("the asynchronous runtime cannot start").and_then(|runtime| runtime.block_on(run(args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, json);
            ExitCode::from(code(&error))
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let shared = args.shared;
    match args.command {
        Command::Serve => serve::run(&shared).await,
        Command::Play(play) => play::run(&shared, play).await,
        Command::Plugin(command) => plugin::run(&shared, command).await,
        Command::Config(what) => config::run(&shared, &what),
        Command::Link => link::run(&shared).await,
    }
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() || error.chain().any(|cause| cause.is::<crate::config::Error>()) { USAGE } else { FAILED }
}

fn report(error: &anyhow::Error, json: bool) {
    let sentence = sentence(error);
    let line = if json { json!({"error": sentence}).to_string() } else { format!("mediahost: {sentence}") };
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The error and its causes. Many errors end with the words of their cause already; those are not said twice.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said {
        said if said.is_empty() => cause,
        said if said.contains(&cause) => said,
        said => format!("{said}: {cause}"),
    })
}

/// Writes a result: one line of JSON, or text. A reader that is gone is no error.
fn print(shared: &Shared, json: &Value, text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = if shared.json { writeln!(out, "{json}") } else { writeln!(out, "{}", text.trim_end()) };
    let _ = out.flush();
}

/// The configuration that the shared flags, the environment and the file give.
fn configuration(shared: &Shared) -> Result<(Config, Raw, Inputs), crate::config::Error> {
    let inputs = shared.inputs();
    let (config, raw) = crate::config::load(&inputs)?;
    Ok((config, raw, inputs))
}
