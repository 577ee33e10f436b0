//! Sessions outlive the process: one small record each, readable by the owner alone, since it holds credentials.

use std::sync::Arc;

use plugin::Header;
use serde::{Deserialize, Serialize};
use store::Records;

use crate::presentation::seal::{Secret, new_secret};
use crate::session::Restored;
use crate::{Config, NewSession, Proxy, Session, SessionId, now_ms};

#[derive(Serialize, Deserialize)]
struct Record {
    url: String,
    headers: Vec<Header>,
    file_key: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    start_ms: Option<u64>,
    #[serde(default)]
    fill: bool,
    created_ms: u64,
    /// What links are sealed with, in hexadecimal; a record of a version before links has none.
    #[serde(default)]
    secret: String,
}

/// Sessions of an earlier run that are not over. A record that cannot be read is left out and said so.
pub fn load(records: &Records, config: &Config, now_ms: u64) -> Vec<Session> {
    let names = records.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the sessions of the last run cannot be read");
        Vec::new()
    });
    let mut sessions = Vec::new();
    for name in names {
        match read(records, &name, config) {
            Ok(session) if !session.is_over(now_ms) => sessions.push(session),
            Ok(_) => drop(records.delete(&name)),
            Err(why) => {
                tracing::warn!(record = %name, %why, "a session of the last run cannot be read and is left out")
            }
        }
    }
    sessions
}

fn read(records: &Records, name: &str, config: &Config) -> Result<Session, String> {
    let id: SessionId = name.parse().map_err(|()| "its name is not an id".to_owned())?;
    let bytes = records.get(name).map_err(|error| error.to_string())?.ok_or("it is gone")?;
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let new = NewSession {
        url: record.url,
        headers: record.headers,
        file_key: record.file_key,
        title: record.title,
        start_ms: record.start_ms,
        fill: record.fill,
        bus: None,
    };
    // Being taken up counts as use: how long the process was down says nothing about who wants the session.
    let kept = Restored {
        id,
        secret: secret_of(&record.secret).unwrap_or_else(new_secret),
        created_ms: record.created_ms,
        used_ms: now_ms(),
    };
    Ok(Session::restored(kept, new, config))
}

fn secret_of(text: &str) -> Option<Secret> {
    let mut secret = Secret::default();
    if text.len() != 2 * secret.len() || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(secret)
}

async fn save(proxy: &Arc<Proxy>, session: &Session) -> Result<(), store::Error> {
    let request = session.request();
    let record = Record {
        url: request.url,
        headers: request.headers,
        file_key: request.file_key,
        title: request.title,
        start_ms: request.start_ms,
        fill: request.fill,
        created_ms: session.created_ms(),
        secret: session.secret().iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let (proxy, name) = (proxy.clone(), session.id().to_string());
    // Text and numbers: writing them as JSON cannot fail.
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    blocking(move || proxy.records.put(&name, &bytes)).await
}

/// A session that cannot be written down works all the same, until the end of this run.
pub async fn save_or_warn(proxy: &Arc<Proxy>, session: &Session) {
    if let Err(error) = save(proxy, session).await {
        tracing::warn!(session = ?session.id(), %error, "a session cannot be written down and ends with this run");
    }
}

pub async fn forget(proxy: &Proxy, id: SessionId) {
    // Deleting one small file; not worth a thread.
    if let Err(error) = proxy.records.delete(&id.to_string()) {
        tracing::warn!(session = ?id, %error, "the record of a session could not be deleted");
    }
}

/// Runs work that waits for the disk where waiting is allowed.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is ending, and whoever asked ends with it.
        Err(_) => std::future::pending().await,
    }
}
