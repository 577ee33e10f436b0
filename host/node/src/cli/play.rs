//! `mediahost play`: an address in, a URL for a player out.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::args::{Play, Shared};
use super::client::Client;
use super::{Usage, signals};
use crate::config::Origin;
use crate::{Host, Settings, logging};

/// How often the session is looked at.
const POLL: Duration = Duration::from_millis(200);

pub async fn run(shared: &Shared, play: Play) -> anyhow::Result<()> {
    let headers = headers(&play.header)?;
    let settings = Settings::load(shared.inputs())?;
    let mut ends = signals::Ends::new()?;
    let (client, own) = match Client::find(&settings.config).await? {
        Some(client) => (client, None),
        None => start_own(settings).await.map(|(client, own)| (client, Some(own)))?,
    };
    let stays = own.is_some();
    let watching = watch(shared, &play, &client, headers, stays);
    let done = tokio::select! {
        done = watching => done,
        () = ends.next() => Ok(()),
    };
    if let Some(own) = own {
        own.end().await;
    }
    done
}

/// A host within this command.
struct Own {
    end: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Own {
    /// Lets it end well.
    async fn end(self) {
        let _ = self.end.send(());
        let _ = self.running.await;
    }
}

async fn start_own(mut settings: Settings) -> anyhow::Result<(Client, Own)> {
    let written = |key: &str| settings.raw.values.get(key).map(|given| &given.origin);
    if !matches!(written("server.listen"), Some(Origin::Flag(_))) {
        settings.config.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    }
    if written("log.level").is_none() {
        // A person looks at this terminal, and what goes well is shown by the bar.
        settings.config.log.level = "warn".to_owned();
    }
    settings.log = Some(logging::start(&settings.config.log));
    let config = settings.config.clone();
    let host = Host::start(settings).await?;
    let client = Client::new(host.address(), &config)?;
    let (end, ended) = oneshot::channel();
    let running = tokio::spawn(host.run_until(async {
        let _ = ended.await;
    }));
    Ok((client, Own { end, running }))
}

async fn watch(
    shared: &Shared,
    play: &Play,
    client: &Client,
    headers: Map<String, Value>,
    stays: bool,
) -> anyhow::Result<()> {
    let session = client.post("/api/v1/sessions", Some(&json!({"url": play.uri, "headers": headers}))).await?;
    let (Some(id), Some(playback)) = (session["session_id"].as_str(), session["playback_url"].as_str()) else {
        bail!("the host answered without a session; is it of the same version?");
    };
    super::print(shared, &session, playback);
    let mut player = play.open.as_deref().map(|command| start_player(command, playback)).transpose()?;
    let bar = Bar::new(shared.json);
    let path = format!("/api/v1/sessions/{id}");
    until_warm(shared, client, &path, &bar).await?;
    match (&mut player, stays) {
        (Some(player), _) => follow(client, &path, &bar, wait_for(player)).await,
        (None, true) => {
            bar.say("serving until Ctrl-C");
            follow(client, &path, &bar, std::future::pending()).await
        }
        (None, false) => Ok(()),
    }
}

/// Waits until what a player needs first is there. A link that fails here fails the command.
async fn until_warm(shared: &Shared, client: &Client, path: &str, bar: &Bar) -> anyhow::Result<()> {
    loop {
        let session = client.get(path).await?;
        match session["state"].as_str().unwrap_or_default() {
            "opening" => bar.show(&session, &client.get(&format!("{path}/stats")).await?),
            "ready" => {
                bar.ready(&session);
                if shared.json {
                    super::print(shared, &session, "");
                }
                return Ok(());
            }
            state => {
                bar.clear();
                let why = session["error"]["message"].as_str().unwrap_or("it gives no reason");
                let code = session["error"]["code"].as_str().unwrap_or(state);
                bail!("the address cannot be played: {why} ({code})");
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Shows what is going on until `end`.
async fn follow(
    client: &Client,
    path: &str,
    bar: &Bar,
    end: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let showing = async {
        loop {
            tokio::time::sleep(POLL).await;
            let (session, stats) = (client.get(path).await?, client.get(&format!("{path}/stats")).await?);
            bar.show(&session, &stats);
        }
    };
    let done = tokio::select! {
        done = end => done,
        done = showing => done,
    };
    bar.clear();
    done
}

/// The player, which ends with this command.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_player(command: &str, playback: &str) -> anyhow::Result<Player> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Usage("--open needs the name of a program".to_owned()))?;
    let mut player = Command::new(program);
    player.args(words).arg(playback).stdin(Stdio::null()).stdout(Stdio::null());
    player.spawn().map(Player).with_context(|| format!("the player {program:?} cannot be started"))
}

async fn wait_for(player: &mut Player) -> anyhow::Result<()> {
    loop {
        match player.0.try_wait().context("the player cannot be waited for")? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("the player ended with {status}"),
            None => tokio::time::sleep(POLL).await,
        }
    }
}

/// `Name: value` lines as the fields of an object.
fn headers(lines: &[String]) -> Result<Map<String, Value>, Usage> {
    let field = |line: &String| match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().into())),
        _ => Err(Usage(format!("{line:?} is not a header field; write it like 'Name: value'"))),
    };
    lines.iter().map(field).collect()
}

/// The bar on stderr; nothing where nobody looks.
struct Bar(ProgressBar);

impl Bar {
    fn new(json: bool) -> Bar {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = "{spinner} [{bar:30}] {bytes}/{total_bytes} {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is one of ours").progress_chars("=> "));
        Bar(bar)
    }

    /// How much of the file is here, and what is going on.
    fn show(&self, session: &Value, stats: &Value) {
        if let Some(length) = session["length"].as_u64() {
            self.0.set_length(length);
        }
        self.0.set_position(stats["cached_bytes"].as_u64().unwrap_or(0));
        let speed = stats["download_bps"].as_f64().unwrap_or(0.0) / 8.0;
        let waiting = session["waiting_for"].as_str().map(|what| format!("waiting for {what}"));
        self.0.set_message(waiting.unwrap_or_else(|| format!("{}/s", indicatif::HumanBytes(speed as u64))));
        self.0.tick();
    }

    fn ready(&self, session: &Value) {
        let container = session["container"].as_str().unwrap_or("unknown container");
        let took =
            session["ready_at"].as_u64().zip(session["created_at"].as_u64()).map(|(to, from)| to.saturating_sub(from));
        let took = took.map(|ms| format!(" after {ms} ms")).unwrap_or_default();
        self.say(&format!("ready{took} ({container})"));
    }

    /// A line above the bar. Whether the bar is hidden is asked first: within `suspend` the bar is locked.
    fn say(&self, sentence: &str) {
        if !self.0.is_hidden() {
            self.0.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{sentence}");
            });
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_become_fields_or_are_refused() {
        let good = headers(&["Authorization: Basic a:b".into(), "X-Empty:".into()]).unwrap();
        assert_eq!(Value::Object(good), json!({"Authorization": "Basic a:b", "X-Empty": ""}));
        for bad in ["", "no colon", ": value"] {
            assert!(headers(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
