//! What happens to a session, as typed events. The text format is that of server-sent events (WHATWG HTML §9.2).

use std::ops::Range;

use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::host::{unreachable, wrong};
use crate::info::{Info, MediaInfo, Phase, Stats, ranges};

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
    /// How far the file has come.
    Phase(Phase),
    /// Bytes of the file have come or gone.
    Progress(Progress),
    /// What kind of media it is; once for each version of the file.
    MediaInfo(MediaInfo),
    /// The upstream calls it something else than what it is.
    Mismatch {
        /// The media type that the upstream says.
        declared: String,
        /// The one that was recognised, which is the one that counts.
        sniffed: String,
    },
    /// Further segments of a fragmented MP4 file are known: [`crate::Session::segments`].
    Segments {
        /// How many, in all.
        known: u64,
        /// Whether these are all.
        complete: bool,
    },
    /// A reader waits, and nothing has come.
    Slow {
        /// For so long, in milliseconds.
        waited_ms: u64,
        /// For the byte at this offset.
        position: u64,
    },
    /// Events were lost, because they were not taken as fast as they came. How things stand is told anew after it.
    Missed {
        /// How many.
        events: u64,
    },
    /// An event that this version does not know, or whose data are not what it knows.
    Other {
        /// Its name.
        name: String,
        /// Its data, as JSON; text if it is none.
        data: Value,
    },
}

/// What of a file is in the host's cache.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of it that are there.
    pub present_bytes: u64,
    /// Bytes in all, once that is known.
    pub length: Option<u64>,
    /// Ranges of it that can be read without waiting, in order; of very many only the first ones.
    #[serde(deserialize_with = "ranges")]
    pub ready: Vec<Range<u64>>,
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
                return Ok(Some(event(name, &data)));
            }
            match self.response.chunk().await.map_err(|error| unreachable(&self.what, error))? {
                Some(chunk) => self.lines.feed(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// An event from its name and data. What does not fit is kept as it is: a listener loses no other event for it.
fn event(name: String, data: &str) -> Event {
    typed(&name, data).unwrap_or_else(|| {
        let data = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()));
        Event::Other { name, data }
    })
}

/// The event, if it is one that this version knows.
fn typed(name: &str, data: &str) -> Option<Event> {
    fn read<T: DeserializeOwned>(data: &str) -> Option<T> {
        serde_json::from_str(data).ok()
    }
    Some(match name {
        "ready" => Event::Ready(read(data)?),
        "stats" => Event::Stats(read(data)?),
        "auth-required" => Event::AuthRequired(read(data)?),
        "failed" => Event::Failed(read(data)?),
        "closed" => Event::Closed(read(data)?),
        "phase" => {
            let wire::Phase { phase } = read(data)?;
            Event::Phase(phase)
        }
        "progress" => Event::Progress(read(data)?),
        "media-info" => Event::MediaInfo(read(data)?),
        "mismatch" => {
            let wire::Mismatch { declared, sniffed } = read(data)?;
            Event::Mismatch { declared, sniffed }
        }
        "segments" => {
            let wire::Segments { known, complete } = read(data)?;
            Event::Segments { known, complete }
        }
        "slow" => {
            let wire::Slow { waited_ms, position } = read(data)?;
            Event::Slow { waited_ms, position }
        }
        "missed" => {
            let wire::Missed { events } = read(data)?;
            Event::Missed { events }
        }
        _ => return None,
    })
}

/// The data of events whose fields stand in [`Event`] itself.
mod wire {
    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Phase {
        pub phase: crate::info::Phase,
    }

    #[derive(Deserialize)]
    pub(super) struct Mismatch {
        pub declared: String,
        pub sniffed: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Segments {
        pub known: u64,
        pub complete: bool,
    }

    #[derive(Deserialize)]
    pub(super) struct Slow {
        pub waited_ms: u64,
        pub position: u64,
    }

    #[derive(Deserialize)]
    pub(super) struct Missed {
        pub events: u64,
    }
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
    fn events_about_the_file_are_typed() {
        let read = |name: &str, data: &str| event(name.into(), data);
        assert_eq!(read("phase", r#"{"phase": "complete"}"#), Event::Phase(Phase::Complete));
        assert_eq!(read("phase", r#"{"phase": "warm"}"#), Event::Phase(Phase::Unknown));
        assert_eq!(
            read("progress", r#"{"present_bytes": 7, "length": null, "ready": [[0, 4], [6, 9]], "more": 1}"#),
            Event::Progress(Progress { present_bytes: 7, length: None, ready: vec![0..4, 6..9] })
        );
        let info = MediaInfo { container: Some("flac".into()), sniffed: true, ..MediaInfo::default() };
        assert_eq!(
            read("media-info", r#"{"container": "flac", "media_type": null, "codecs": [], "sniffed": true}"#),
            Event::MediaInfo(info)
        );
        assert_eq!(
            read("mismatch", r#"{"declared": "text/html", "sniffed": "audio/flac"}"#),
            Event::Mismatch { declared: "text/html".into(), sniffed: "audio/flac".into() }
        );
        let segments = Event::Segments { known: 3, complete: false };
        assert_eq!(read("segments", r#"{"known": 3, "complete": false}"#), segments);
        let slow = Event::Slow { waited_ms: 2000, position: u64::MAX };
        assert_eq!(read("slow", r#"{"waited_ms": 2000, "position": 18446744073709551615}"#), slow);
        assert_eq!(read("missed", r#"{"events": 6}"#), Event::Missed { events: 6 });
    }

    #[test]
    fn what_is_not_known_or_does_not_fit_is_kept() {
        for (name, data) in [
            ("ready-ranges", "[1,2]"),
            ("ready", "[1]"),
            ("stats", r#"{"cached_bytes":"many"}"#),
            ("closed", "null"),
            ("phase", r#"{"phase":1}"#),
            ("phase", "{}"),
            ("progress", r#"{"present_bytes":7,"length":9}"#),
            ("progress", r#"{"present_bytes":7,"length":9,"ready":[[4,0]]}"#),
            ("media-info", "3"),
            ("mismatch", r#"{"declared":null,"sniffed":"audio/flac"}"#),
            ("segments", r#"{"known":-1,"complete":false}"#),
            ("slow", r#"{"waited_ms":2000}"#),
            ("missed", "{}"),
        ] {
            let expected = Event::Other { name: name.into(), data: serde_json::from_str(data).unwrap() };
            assert_eq!(event(name.into(), data), expected);
        }
        let expected = Event::Other { name: "slow".into(), data: "no json".into() };
        assert_eq!(event("slow".into(), "no json"), expected);
    }
}
