//! One session of a host: how it stands, what happens to it, its bytes.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Method;
use serde::Serialize;

use crate::error::Error;
use crate::event::{Event, Events};
use crate::host::{Host, is_gone, wrong};
use crate::info::{Info, State, Stats};
use crate::patience::Patience;
use crate::stream::{Reading, Stream};

/// Letters of an id that are shown: enough to find the session in the host's log, not enough to read it.
const SHOWN: usize = 8;

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

    /// What happens to it from now on. The first event tells how things stand.
    pub async fn events(&self) -> Result<Events, Error> {
        let what = self.host.what(&Method::GET, &format!("api/v1/sessions/{}/events", self.shown()));
        let request = self.host.api(Method::GET, &format!("sessions/{}/events", self.id), &what)?;
        Ok(Events::new(self.host.send(request, &what).await?, what))
    }

    /// Waits until what a player needs first is there. An error says why that will not be: [`Error::Failed`],
    /// [`Error::AuthRequired`] (after new credentials, wait again), [`Error::Closed`]. Sets no limit to the wait; put a
    /// timeout around it if you have one. Events that break off are asked for again.
    pub async fn ready(&self) -> Result<Info, Error> {
        let patience = Patience::default();
        let mut tried = 0;
        loop {
            let ended = match self.events().await {
                Ok(mut events) => self.verdict(&mut events).await,
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
            match patience.wait(tried, None) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    /// The verdict, or none if the events ended before there was one.
    async fn verdict(&self, events: &mut Events) -> Result<Option<Info>, Error> {
        let session = || self.shown();
        while let Some(event) = events.next().await? {
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
                Event::Stats(_) | Event::Other { .. } => {}
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
