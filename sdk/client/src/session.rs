//! One session of a host: how it stands, what happens to it, its bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};

use reqwest::Method;
use serde::Serialize;

use crate::error::Error;
use crate::event::{Event, Events};
use crate::host::{Host, is_gone, wrong};
use crate::info::{Info, Segments, State, Stats};
use crate::patience::Patience;
use crate::stream::{Reading, Stream};

/// Letters of an id that are shown: enough to find the session in the host's log, not enough to read it.
const SHOWN: usize = 8;

/// The events that [`Session::ready`] waits for.
const VERDICTS: [&str; 4] = ["ready", "failed", "auth-required", "closed"];

/// A session of a host. Cheap to clone. Dropping it ends nothing: the host keeps a session until it expires, so that it can
/// be read elsewhere; [`Session::close`] ends it.
#[derive(Clone)]
pub struct Session {
    host: Host,
    id: String,
}

impl fmt::Debug for Session {
    /// With the beginning of the id alone: the whole opens the stream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.shown()).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(host: Host, id: String) -> Result<Session, Error> {
        // It becomes part of a path.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(wrong(&host.what(&Method::POST, "api/v1/sessions"), "what should be a session's id is none"));
        }
        Ok(Session { host, id })
    }

    /// Its id. Who knows it may read the session's bytes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host that it is one of.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// How it stands.
    pub async fn info(&self) -> Result<Info, Error> {
        self.call(Method::GET, "", None::<&()>).await
    }

    /// Its numbers.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.call(Method::GET, "/stats", None::<&()>).await
    }

    /// The segments of a fragmented MP4 file, as far as they are known by now; none of another file.
    /// [`Event::Segments`] tells when there are more.
    pub async fn segments(&self) -> Result<Segments, Error> {
        self.call(Method::GET, "/segments", None::<&()>).await
    }

    /// Gives it new credentials or a new address of the same bytes; what is none stays as it is. Readers that wait go on.
    pub async fn update_auth(
        &self,
        url: Option<&str>,
        headers: Option<&BTreeMap<String, String>>,
    ) -> Result<Info, Error> {
        #[derive(Serialize)]
        struct Renewed<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            url: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            headers: Option<&'a BTreeMap<String, String>>,
        }
        self.call(Method::PUT, "/auth", Some(&Renewed { url, headers })).await
    }

    /// Ends it; its readers too. What was fetched stays in the host's cache. One that is gone already is closed as well.
    pub async fn close(&self) -> Result<(), Error> {
        match self.call(Method::DELETE, "", None::<&()>).await {
            Err(Error::Refused { problem, .. }) if is_gone(&problem) => Ok(()),
            answer => answer,
        }
    }

    /// What happens to it from now on. The first events tell how things stand.
    pub async fn events(&self) -> Result<Events, Error> {
        let what = self.host.what(&Method::GET, &format!("api/v1/sessions/{}/events", self.shown()));
        let request = self.host.api(Method::GET, &format!("sessions/{}/events", self.id), &what)?;
        Ok(Events::new(self.host.send(request, &what).await?, what))
    }

    /// Waits until what a player needs first is there. An error says why that will not be: [`Error::Failed`],
    /// [`Error::AuthRequired`] (after new credentials, wait again), [`Error::Closed`]. Sets no limit to the wait; put a
    /// timeout around it if you have one. Events that break off are asked for again, as [`Patience`] has it by default.
    pub async fn ready(&self) -> Result<Info, Error> {
        self.ready_with(Patience::default()).await
    }

    /// The same with other patience. Tries count from the last connection that lived for longer than its beginning.
    pub(crate) async fn ready_with(&self, patience: Patience) -> Result<Info, Error> {
        let mut tried = 0;
        loop {
            let ended = match self.events().await {
                Ok(mut events) => self.verdict(&mut events, &mut tried).await,
                Err(error) => Err(error),
            };
            let error = match ended {
                Ok(Some(info)) => return Ok(info),
                // The host ends, and may start again: sessions survive that.
                Ok(None) => wrong(&format!("session {}", self.shown()), "the host ended its events"),
                Err(error) if error.may_pass() => error,
                Err(error) => return Err(error),
            };
            tried += 1;
            match patience.wait(tried, error.asked_wait()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    /// The verdict, or none if the events ended before there was one. Sets the count of tries back when events go on.
    async fn verdict(&self, events: &mut Events, tried: &mut u32) -> Result<Option<Info>, Error> {
        let session = || self.shown();
        // A host tells how things stand when a connection begins, each kind of event once. Only what comes after that
        // shows that the connection lives: one that always breaks after its beginning must not be tried without end.
        let mut told: Vec<Discriminant<Event>> = Vec::new();
        while let Some(event) = events.next().await? {
            let kind = discriminant(&event);
            match event {
                // There may be several kinds of them.
                Event::Other { .. } => {}
                _ if told.contains(&kind) => *tried = 0,
                _ => told.push(kind),
            }
            match event {
                Event::Ready(info) => return Ok(Some(*info)),
                Event::Failed(info) => {
                    return Err(Error::Failed { session: session(), failure: info.error.unwrap_or_default() });
                }
                Event::AuthRequired(info) => {
                    return Err(Error::AuthRequired { session: session(), failure: info.error.unwrap_or_default() });
                }
                Event::Closed(_) => return Err(Error::Closed { session: session() }),
                Event::Stats(stats) if stats.state == State::Closed => {
                    return Err(Error::Closed { session: session() });
                }
                // Nothing else will come to wait for.
                Event::Other { name, .. } if VERDICTS.contains(&name.as_str()) => {
                    let why = format!("its event `{name}` is not one of a session");
                    return Err(wrong(&format!("session {}", self.shown()), why));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Its bytes from the first one on. Returns when the host has answered, which it does as soon as there is something to
    /// read; [`Session::ready`] is not needed before.
    pub async fn stream(&self) -> Result<Stream, Error> {
        self.read(Reading::default()).await
    }

    /// Its bytes in another way than usual: from an offset, of another title, with other patience.
    pub async fn read(&self, how: Reading) -> Result<Stream, Error> {
        let mut url = self.host.url(&format!("stream/{}", self.id))?;
        if let Some(title) = &how.title {
            url.query_pairs_mut().append_pair("title", title);
        }
        let shown = format!("stream/{}", self.shown());
        Stream::open(self.host.clone(), url, shown, how).await
    }

    fn shown(&self) -> String {
        self.id.get(..SHOWN).map_or_else(|| self.id.clone(), |begin| format!("{begin}…"))
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        tail: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let (path, shown) = (format!("sessions/{}{tail}", self.id), format!("sessions/{}{tail}", self.shown()));
        self.host.call(method, &path, &shown, body).await
    }
}
