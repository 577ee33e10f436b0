//! Testing plugins natively: a scripted host, and a way to run a call to its end.
//!
//! ```
//! use mediahost_plugin_sdk::{Error, Host, Request, Response, testing::run};
//!
//! let host = Host::scripted()
//!     .answer("https://example.org/feed.xml", Response::ok("<rss/>"))
//!     .fail("https://example.org/private", Error::new("refused", "not granted"))
//!     .config("quality", "1080p")
//!     .at(1_700_000_000_000);
//!
//! assert_eq!(run(host.fetch(Request::get("https://example.org/feed.xml"))).unwrap().text(), "<rss/>");
//! assert_eq!(run(host.fetch(Request::get("https://example.org/private"))).unwrap_err().code, "refused");
//! assert_eq!(run(host.fetch(Request::get("https://example.org/other"))).unwrap_err().code, "unavailable");
//! assert_eq!(host.requests().len(), 3);
//! ```

use std::collections::BTreeMap;
use std::ops::Deref;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::{Computed, Error, Host, Level, Output, Request, Response};

/// A host that answers as a test says. It is used wherever a `&Host` is.
#[derive(Default)]
pub struct Script {
    host: Host,
}

/// What a scripted host knows and has seen.
#[derive(Default)]
pub(crate) struct State {
    answers: BTreeMap<String, Result<Response, Error>>,
    requests: Vec<Request>,
    messages: Vec<String>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) kv: BTreeMap<String, Vec<u8>>,
    pub(crate) now_ms: u64,
}

impl Script {
    /// Answers each request for `url` like this.
    pub fn answer(self, url: &str, mut response: Response) -> Self {
        if response.url.is_empty() {
            response.url = url.to_owned();
        }
        self.change(|state| state.answers.insert(url.to_owned(), Ok(response)))
    }

    /// Fails each request for `url` like this.
    pub fn fail(self, url: &str, error: Error) -> Self {
        self.change(|state| state.answers.insert(url.to_owned(), Err(error)))
    }

    /// Sets a setting: a text as it is, anything else as JSON.
    pub fn config(self, key: &str, value: &str) -> Self {
        self.change(|state| state.config.insert(key.to_owned(), value.to_owned()))
    }

    /// Sets a secret.
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.change(|state| state.secrets.insert(name.to_owned(), value.to_owned()))
    }

    /// Keeps a value from before.
    pub fn kept(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.change(|state| state.kv.insert(key.to_owned(), value.into()))
    }

    /// Sets the time of day, in milliseconds since 1970.
    pub fn at(self, now_ms: u64) -> Self {
        self.change(|state| state.now_ms = now_ms)
    }

    /// The requests that were sent, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.host.state.borrow().requests.clone()
    }

    /// The messages that were written, in order, each as `level message key=value …`.
    pub fn messages(&self) -> Vec<String> {
        self.host.state.borrow().messages.clone()
    }

    fn change<T>(self, change: impl FnOnce(&mut State) -> T) -> Self {
        change(&mut self.host.state.borrow_mut());
        self
    }
}

impl Deref for Script {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl State {
    pub(crate) fn log(&mut self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        let level = format!("{level:?}").to_ascii_lowercase();
        self.messages.push(format!("{} {message}{fields}", level.trim_start_matches("level::")));
    }

    pub(crate) fn fetch(&mut self, request: Request) -> Result<Response, Error> {
        let answer = self.answers.get(&request.url).cloned();
        let nothing = || Err(Error::unavailable(format!("the script has no answer for {}", request.url)));
        let answer = answer.unwrap_or_else(nothing);
        self.requests.push(request);
        answer
    }
}

/// Runs a call to its end.
///
/// # Panics
///
/// When the call waits for something other than the scripted host, which nothing would ever wake.
pub fn run<F: Future>(call: F) -> F::Output {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the call waits for something that is not the scripted host"),
    }
}

/// The bytes that a source computes, and how it ended.
pub fn read<S: Computed>(
    host: &Host,
    state: Vec<u8>,
    segment: u32,
    offset: u64,
    length: u64,
) -> (Vec<u8>, Result<(), Error>) {
    let mut out = Output { bytes: Vec::new() };
    let ended = run(S::read(host, state, segment, offset, length, &mut out));
    (out.bytes, ended)
}
