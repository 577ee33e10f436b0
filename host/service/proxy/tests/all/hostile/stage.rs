//! A proxy on its own, and what is tried with it: for each [`Expect`] the requests that show whether it is met.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use plugin::Plugins;
use plugin::detect::ContainerDetector;
use plugin::source::MediaSource;
use proxy::{Config, NewSession, Patience, Proxy, Session, State};
use store::{Bounds, Records, Store};
use tempfile::TempDir;
use web::Router;
use web::body::Body;
use web::http::{Request, StatusCode};

use super::Expect;
use super::film::{Film, MAGICS};
use super::judge::{Got, Verdict, judge};
use crate::raw::RawOrigin;
use crate::{Fixed, proxy};

/// How often something is tried again where the origin was bad before: a connection that it has spoilt may be used once more.
const TRIES: usize = 5;

/// A proxy, and the film that it is to play.
pub struct Stage {
    proxy: Arc<Proxy>,
    routes: Router,
    pub film: Film,
    other: Film,
    _dir: TempDir,
}

impl Stage {
    pub async fn new(film: Film, other: Film, silence: Duration, private: &[&str]) -> Stage {
        // A new store is synced to the disk; where all do that at once, nobody else is kept from running by it.
        let open = || {
            let dir = tempfile::tempdir().unwrap();
            let bounds = Bounds { max_bytes: 1 << 20, max_count: 10_000 };
            let store = Store::open(&dir.path().join("cache")).unwrap();
            (Arc::new(store), Records::open(&dir.path().join("sessions"), bounds).unwrap(), dir)
        };
        let (store, records, dir) = tokio::task::spawn_blocking(open).await.unwrap();
        let config = fetch::Config {
            connect_timeout: silence.min(Duration::from_secs(2)),
            read_timeout: silence,
            allow_private: private.iter().map(|block| block.parse().unwrap()).collect(),
            ..fetch::Config::default()
        };
        let client = fetch::Client::new(config).unwrap();
        // Somebody who waits for what will not come waits long enough to see that.
        let patience = Patience { credentials: Duration::from_secs(1), outage: Duration::from_millis(200) };
        let proxy =
            Proxy::start(Config { patience, ..Config::default() }, Arc::new(Wary::default()), client, store, records);
        let routes = Router::new()
            .nest("/api/v1", proxy::routes::api(proxy.clone()))
            .merge(proxy::routes::stream_routes(proxy.clone()));
        Stage { proxy, routes, film, other, _dir: dir }
    }

    pub async fn play(&self, origin: &RawOrigin, expect: &Expect) -> Result<(), String> {
        let url = origin.url("/film.bin");
        let session = self.open(&url).await;
        match expect {
            Expect::Plays => {
                origin.turn();
                self.plays(&session, &url).await
            }
            Expect::Fails(codes) => self.fails(&session, &url, codes).await,
            Expect::Breaks(codes) => self.breaks(&session, codes).await,
            Expect::PlaysOr(codes) => {
                origin.turn();
                match session.state() {
                    State::Ready => self.plays(&session, &url).await,
                    _ => self.fails(&session, &url, codes).await,
                }
            }
            Expect::Recovers => {
                ready(&session)?;
                origin.turn();
                let rescued = self.whole_or_rescue(&session, origin).await?;
                if !rescued {
                    origin.turn();
                }
                self.settles(&session, &url, 0).await
            }
            Expect::Changes => {
                ready(&session)?;
                origin.turn();
                self.judged(&session, None).await?;
                self.settles(&session, &url, 1).await
            }
            Expect::Mixed => {
                ready(&session)?;
                origin.turn();
                self.mixed(&session).await
            }
            Expect::Clean(codes) => self.clean(&session, &url, codes).await,
        }
    }

    /// How all sessions are, for whoever has to find out what went wrong.
    pub fn sessions(&self) -> String {
        let sessions = self.proxy.list();
        sessions.iter().map(|session| state(session)).collect::<Vec<_>>().join("\n    ")
    }

    pub async fn session(&self, url: &str, headers: Vec<plugin::Header>) -> Arc<Session> {
        let new = NewSession { url: url.into(), headers, file_key: None, ..NewSession::default() };
        self.proxy.create(new).await.unwrap()
    }

    /// A session that has ended its opening in one way or the other.
    pub async fn open(&self, url: &str) -> Arc<Session> {
        let session = self.session(url, Vec::new()).await;
        while session.state() == State::Opening {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        session
    }

    /// A part before the whole, so that it has to be fetched; and both again; and a second session.
    async fn plays(&self, session: &Arc<Session>, url: &str) -> Result<(), String> {
        ready(session)?;
        let middle = Some(self.middle());
        self.exact(session, middle.clone(), 0).await.map_err(in_step("the middle"))?;
        self.exact(session, None, 0).await.map_err(in_step("the whole"))?;
        self.exact(session, middle, 0).await.map_err(in_step("the middle again"))?;
        self.exact(session, None, 0).await.map_err(in_step("the whole again"))?;
        let second = self.open(url).await;
        ready(&second).map_err(in_step("a second session"))?;
        self.exact(&second, None, 0).await.map_err(in_step("the whole of a second session"))
    }

    async fn fails(&self, session: &Arc<Session>, url: &str, codes: &[&str]) -> Result<(), String> {
        failed(session, codes)?;
        for asked in [None, Some(self.middle()), None] {
            match self.judged(session, asked.clone()).await? {
                Verdict::Refused(code) if codes.contains(&code.as_str()) => {}
                // There was a beginning at least. Each further reader has it tried again, which takes its time.
                Verdict::Short(_) => return Ok(()),
                other => return Err(format!("after it failed, {asked:?} gave {other:?}")),
            }
        }
        failed(&*self.open(url).await, codes).map_err(in_step("a second session"))
    }

    async fn breaks(&self, session: &Arc<Session>, codes: &[&str]) -> Result<(), String> {
        match self.judged(session, None).await? {
            Verdict::Refused(code) if codes.contains(&code.as_str()) => Ok(()),
            Verdict::Short(_) => Ok(()),
            other => Err(format!("got {other:?}")),
        }
    }

    /// Reads the whole. Whenever someone is asked for credentials meanwhile, the origin has turned and they are given; the
    /// answer is whether that was so.
    async fn whole_or_rescue(&self, session: &Arc<Session>, origin: &RawOrigin) -> Result<bool, String> {
        let mut read = std::pin::pin!(self.judged(session, None));
        for rescues in 0..=TRIES {
            let wanted = async {
                while session.state() != State::AuthRequired {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            match select(read, std::pin::pin!(wanted)).await {
                Either::Left((verdict, _)) if rescues == 0 => return verdict.map(|_| false),
                Either::Left((Ok(Verdict::Exact(0)), _)) => return Ok(true),
                Either::Left((other, _)) => {
                    return Err(format!("a reader that was to wait for credentials got {other:?}"));
                }
                Either::Right(((), on)) => {
                    if rescues == 0 {
                        origin.turn();
                    }
                    self.renew(session, "{}").await?;
                    read = on;
                }
            }
        }
        Err("credentials were asked for again and again".into())
    }

    /// New credentials.
    pub async fn renew(&self, session: &Session, body: &str) -> Result<(), String> {
        let path = format!("/api/v1/sessions/{}/auth", session.id());
        let answer = self.ask("PUT", &path, &[("content-type", "application/json")], body).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("the renewal was refused with {}", answer.status)) }
    }

    /// After a few failures at most, everything is exact and of one version; a new session finds the same.
    async fn settles(&self, session: &Arc<Session>, url: &str, version: usize) -> Result<(), String> {
        let mut verdicts = Vec::new();
        while verdicts.len() < TRIES && verdicts.last() != Some(&Verdict::Exact(version)) {
            verdicts.push(self.judged(session, None).await?);
        }
        if verdicts.last() != Some(&Verdict::Exact(version)) {
            return Err(format!("it does not settle: {verdicts:?}"));
        }
        self.exact(session, Some(self.middle()), version).await.map_err(in_step("the middle at last"))?;
        let mut second = self.open(url).await;
        for _ in 1..TRIES {
            if second.state() != State::Ready {
                second = self.open(url).await;
            }
        }
        ready(&second).map_err(in_step("a second session"))?;
        self.exact(&second, None, version).await.map_err(in_step("the whole of a second session"))
    }

    async fn mixed(&self, session: &Arc<Session>) -> Result<(), String> {
        let [first, again] = [self.read(session, None).await, self.read(session, None).await];
        let (old, new) = (&self.film.bytes, &self.other.bytes);
        for got in [&first, &again] {
            if judge(got, None, &[old, new]).is_ok() {
                continue;
            }
            let known = |(i, byte): (usize, &u8)| old.get(i) == Some(byte) || new.get(i) == Some(byte);
            let length = got.bytes.len();
            if got.status != 200 || got.short || length != old.len() || !got.bytes.iter().enumerate().all(known) {
                return Err(format!("{}, {length} bytes, some of which neither version has", got.status));
            }
        }
        let both = first.bytes.len().min(again.bytes.len());
        let media = first.status.is_success() && again.status.is_success();
        match media && first.bytes[..both] != again.bytes[..both] {
            true => Err("what was read once is something else now".into()),
            false => Ok(()),
        }
    }

    async fn clean(&self, session: &Arc<Session>, url: &str, codes: &[&str]) -> Result<(), String> {
        for session in [session.clone(), self.open(url).await] {
            for asked in [None, Some(self.middle())] {
                self.judged(&session, asked).await?;
            }
            if session.state() != State::Ready && session.state() != State::Opening {
                failed(&session, codes)?;
            }
        }
        Ok(())
    }

    pub async fn exact(&self, session: &Session, asked: Option<Range<u64>>, version: usize) -> Result<(), String> {
        match self.judged(session, asked).await? {
            Verdict::Exact(got) if got == version => Ok(()),
            other => Err(format!("got {other:?}")),
        }
    }

    pub async fn judged(&self, session: &Session, asked: Option<Range<u64>>) -> Result<Verdict, String> {
        let answer = self.read(session, asked.clone()).await;
        judge(&answer, asked, &[&self.film.bytes, &self.other.bytes])
    }

    pub async fn read(&self, session: &Session, asked: Option<Range<u64>>) -> Got {
        let range = asked.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let headers: Vec<_> = range.iter().map(|range| ("range", range.as_str())).collect();
        self.ask("GET", &format!("/stream/{}", session.id()), &headers, "").await
    }

    pub async fn delete(&self, session: &Session) -> StatusCode {
        self.ask("DELETE", &format!("/api/v1/sessions/{}", session.id()), &[], "").await.status
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (parts, body) = tower::ServiceExt::oneshot(self.routes.clone(), request).await.unwrap().into_parts();
        let mut stream = body.into_data_stream();
        let mut got = Got { status: parts.status, headers: parts.headers, bytes: Vec::new(), short: false };
        while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
            match piece {
                Ok(piece) => got.bytes.extend_from_slice(&piece),
                Err(_) => got.short = true,
            }
        }
        got
    }

    /// A part that neither begins nor ends with a granule, and that no opening asks for in a film of some length.
    pub fn middle(&self) -> Range<u64> {
        let length = self.film.bytes.len() as u64;
        length / 3 + 1..(length / 3 + 100_001).min(length)
    }
}

pub fn ready(session: &Session) -> Result<(), String> {
    if session.state() == State::Ready { Ok(()) } else { Err(format!("it is not ready: {}", state(session))) }
}

pub fn failed(session: &Session, codes: &[&str]) -> Result<(), String> {
    let code = session.error().map(|fault| fault.code);
    let known = code.is_some_and(|code| codes.contains(&code.as_str()));
    let over = matches!(session.state(), State::Failed | State::AuthRequired);
    if over && known { Ok(()) } else { Err(format!("it did not fail with one of {codes:?}: {}", state(session))) }
}

fn state(session: &Session) -> String {
    format!("the session is {:?}, {:?}", session.state(), session.error())
}

pub fn in_step(step: &'static str) -> impl Fn(String) -> String {
    move |why| format!("{step}: {why}")
}

/// Knows a film by its first bytes, as a real detector does; so that a page under the name of a film is not one.
#[derive(Default)]
struct Wary(Fixed);

impl Plugins for Wary {
    fn sources(&self, scheme: &str) -> Vec<Arc<dyn MediaSource>> {
        self.0.sources(scheme)
    }

    fn detectors(&self, head: &[u8], name: Option<&str>) -> Vec<Arc<dyn ContainerDetector>> {
        match MAGICS.iter().any(|magic| head.starts_with(magic)) {
            true => self.0.detectors(head, name),
            false => Vec::new(),
        }
    }

    fn schemes(&self) -> Vec<String> {
        self.0.schemes()
    }
}
