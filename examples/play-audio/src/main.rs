//! Plays a song through a mediahost while it is still arriving: opens a session, decodes it, seeks, and says what it heard.
//!
//! There is no sound card in it, so that it runs anywhere: [`play::Player::segment`] shows the place where samples would go
//! to one.

mod arguments;
mod levels;
mod opus;
mod play;
mod report;
mod source;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;

use mediahost_client::{Open, blocking::Host, data_folder, read_token};

use crate::arguments::{Arguments, DEFAULT_HOST, USAGE};
use crate::report::Report;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("play-audio: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(report) if arguments.json => println!("{}", report.json()),
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("play-audio: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let host = host(arguments)?;
    let session = host.open(Open::new(&arguments.url))?;
    let shown = !arguments.json && std::io::stderr().is_terminal();
    let report = play::play(&session, arguments, |progress| {
        if shown {
            eprint!("\r{progress}");
        }
    });
    if shown {
        eprintln!();
    }
    // The host keeps what it fetched, and nobody else reads this session.
    session.close()?;
    report
}

/// The host of this machine, unless another one is named.
fn host(arguments: &Arguments) -> Result<Host, Box<dyn Error>> {
    let folder = data_folder().ok_or("this system has no data folder; say --host and --token-file");
    if arguments.host.is_none() && arguments.token_file.is_none() {
        return Ok(Host::of_folder(&folder?)?);
    }
    let token = match &arguments.token_file {
        Some(file) => read_token(file)?,
        None => read_token(&folder?.join("admin.token"))?,
    };
    Ok(Host::new(arguments.host.as_deref().unwrap_or(DEFAULT_HOST), &token)?)
}
