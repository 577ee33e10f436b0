//! What happens to a session, as typed events. The text format is that of server-sent events (WHATWG HTML §9.2).

use reqwest::Response;
use serde_json::Value;

use crate::error::Error;
use crate::host::{unreachable, wrong};
use crate::info::{Info, Stats};

/// The longest event that is taken: the picture in `stats` and a list of titles fit many times.
const MOST_EVENT_BYTES: usize = 8 << 20;

/// Something that happened to a session, or how things stand.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// What a player needs first is there.
    Ready(Box<Info>),
    /// Numbers, about once a second.
    Stats(Box<Stats>),
    /// New credentials or a new link are needed: [`crate::Session::update_auth`].
    AuthRequired(Box<Info>),
    /// It cannot be played; [`Info::error`] says why.
    Failed(Box<Info>),
    /// It was ended. No event follows.
    Closed(Box<Info>),
    /// An event that this version does not know.
    Other {
        /// Its name.
        name: String,
        /// Its data, as JSON; text if it is none.
        data: Value,
    },
}

/// The events of a session as they happen. Ends with `closed`, or with the host.
#[derive(Debug)]
pub struct Events {
    response: Response,
    what: String,
    lines: Lines,
}

impl Events {
    pub(crate) fn new(response: Response, what: String) -> Events {
        Events { response, what, lines: Lines::default() }
    }

    /// The next one; none when the session is closed or the host ends. May be dropped while it waits, and asked again.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some((name, data)) = self.lines.take().map_err(|why| wrong(&self.what, why))? {
                return event(name, &data).map(Some).map_err(|error| wrong(&self.what, error));
            }
            match self.response.chunk().await.map_err(|error| unreachable(&self.what, error))? {
                Some(chunk) => self.lines.feed(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn event(name: String, data: &str) -> Result<Event, serde_json::Error> {
    Ok(match name.as_str() {
        "ready" => Event::Ready(serde_json::from_str(data)?),
        "stats" => Event::Stats(serde_json::from_str(data)?),
        "auth-required" => Event::AuthRequired(serde_json::from_str(data)?),
        "failed" => Event::Failed(serde_json::from_str(data)?),
        "closed" => Event::Closed(serde_json::from_str(data)?),
        _ => Event::Other { name, data: serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned())) },
    })
}

/// Bytes in, events out.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Up to where there is no end of a line.
    looked: usize,
    name: String,
    data: String,
    has_data: bool,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole event, or none until more bytes have come.
    fn take(&mut self) -> Result<Option<(String, String)>, &'static str> {
        while let Some(end) = self.bytes[self.looked..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=self.looked + end).collect();
            self.looked = 0;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some((name, data)));
                }
                continue;
            }
            // A line that begins with a colon is a comment that keeps the connection alive: a field without a name.
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.name = value.to_owned(),
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                _ => {}
            }
        }
        self.looked = self.bytes.len();
        if self.bytes.len() + self.data.len() > MOST_EVENT_BYTES {
            return Err("an event is longer than any that a host sends");
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        // However the text is cut, the events are the same.
        for size in [1, 2, 3, 7, text.len()] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines.feed(piece);
                while let Some(event) = lines.take().unwrap() {
                    found.push(event);
                }
            }
            let found: Vec<_> = found.iter().map(|(name, data)| (name.as_str(), data.as_str())).collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn events_come_out_however_they_are_cut() {
        check("event: ready\ndata: {}\n\n", &[("ready", "{}")]);
        check(":\n\nevent:stats\r\ndata:1\r\ndata: 2\r\n\r\nid: 4\n\ndata\n\n", &[("stats", "1\n2"), ("", "")]);
        check("event: lost\n\nevent: half\ndata: x\n", &[]);
    }

    #[test]
    fn an_event_without_end_is_an_error() {
        let mut lines = Lines::default();
        lines.feed(&vec![b'a'; MOST_EVENT_BYTES + 1]);
        assert!(lines.take().is_err());
    }

    #[test]
    fn unknown_events_are_kept() {
        let data = Value::from(vec![1, 2]);
        let expected = Event::Other { name: "ready-ranges".into(), data };
        assert_eq!(event("ready-ranges".into(), "[1,2]").unwrap(), expected);
        assert!(matches!(event("slow".into(), "no json").unwrap(), Event::Other { data: Value::String(_), .. }));
        assert!(event("ready".into(), "[").is_err());
    }
}
