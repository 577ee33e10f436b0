//! Plays an address with the engine inside this program: `embedded-player <url> [player]`.
//!
//! With a player (`mpv`, `ffplay`, …) it is started with a local address that the engine serves; with `-` the bytes go to
//! the standard output, and no port is opened at all. When a server wants credentials, they are asked for at the terminal.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, bail};
use mediahost::engine::{AuthRequest, Credentials, Engine, EngineConfig, wait};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, player @ ..] = &arguments[..] else { bail!("usage: embedded-player <url> [player | -]") };
    let to_stdout = player == ["-"];

    let folder = std::env::temp_dir().join("embedded-player");
    let engine = Engine::init(EngineConfig { http: !to_stdout, ..EngineConfig::new(folder) })?;
    engine.on_auth_required(ask);
    let session = wait(engine.create_session(url, HashMap::new(), None))?;
    wait(engine.ready(&session.session_id))?;

    let status = engine.status(&session.session_id)?;
    let length = status.length.map_or("of unknown length".to_owned(), |bytes| format!("{bytes} bytes"));
    eprintln!("{}, {length}", status.container.as_deref().unwrap_or("an unknown container"));
    show_statistics(&engine, &session.session_id)?;

    if to_stdout {
        let mut reader = engine.open(&session.session_id)?;
        io::copy(&mut reader, &mut io::stdout().lock())?;
    } else {
        let address = session.playback_url.context("an engine with HTTP has an address")?;
        match player {
            [] => println!("{address}\nEnter ends the engine."),
            [program, arguments @ ..] => {
                let status = Command::new(program).args(arguments).arg(&address).status();
                let status = status.with_context(|| format!("{program} cannot be started"))?;
                eprintln!("{program} ended with {status}");
                return Ok(());
            }
        }
        io::stdin().read_line(&mut String::new())?;
    }
    engine.dispose();
    Ok(())
}

/// Asks for a header field that the server may like better. Without a terminal there is nobody to ask.
fn ask(request: AuthRequest) -> Option<Credentials> {
    if !io::stdin().is_terminal() {
        eprintln!("{}: {}", request.url, request.message);
        return None;
    }
    eprint!("{}: {}\nAuthorization: ", request.url, request.message);
    let mut line = String::new();
    io::stdin().read_line(&mut line).ok()?;
    let headers = HashMap::from([("authorization".to_owned(), line.trim().to_owned())]);
    Some(Credentials { url: None, headers: Some(headers) })
}

/// A line that tells how it goes, once a second.
fn show_statistics(engine: &Engine, session_id: &str) -> anyhow::Result<()> {
    let mut stats = engine.watch_stats(Some(session_id))?;
    thread::spawn(move || {
        while let Some(now) = stats.next_blocking() {
            let (download, ahead) = (now.download_bps as f64 / 1e6, now.buffered_bytes_ahead >> 20);
            let hits = now.cache_hit_rate * 100.0;
            eprint!("\r{download:7.1} Mbit/s from the server, {ahead:4} MiB ahead, {hits:3.0} % from the cache ");
            drop(io::stderr().flush());
        }
    });
    Ok(())
}
