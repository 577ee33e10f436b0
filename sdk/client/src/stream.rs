//! The bytes of a session as an asynchronous reader.
//!
//! Owns: the one open body, the position, trying again, when a seek is a new request.
//! Leaves to others: what an answer means ([`crate::judge`]).
//!
//! Nothing runs beside the reader: a body is asked for more only when somebody reads and nothing is in hand. What the reader
//! does not take waits in the host, by the flow control of the connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{Method, Response, Url};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf, SeekFrom};
use tokio::time::Sleep;

use crate::error::Error;
use crate::host::{Host, refused, unreachable, wrong};
use crate::judge::{Asked, Follows, Head, Objection, Version, judge};
use crate::patience::Patience;

/// The most that waits in a stream: what the HTTP library takes from a connection at once, whose buffer grows to about
/// 400 KiB, and nothing besides. The system's socket buffers come on top.
pub const MOST_BUFFERED_BYTES: usize = 512 << 10;
/// So far forward a seek is read through instead of asked for anew. On a local connection this costs as much as a request,
/// and the host fetches in pieces of about this size anyway.
const READ_THROUGH_BYTES: u64 = 128 << 10;

/// How a stream is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The first byte to read.
    pub offset: u64,
    /// A title of a disc image or an archive by its id, in place of the session's own; `whole` for the file as it is.
    pub title: Option<String>,
    /// So far forward a seek is read through instead of asked for anew.
    pub read_through_bytes: u64,
    /// How often and how long a request is tried again.
    pub patience: Patience,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { offset: 0, title: None, read_through_bytes: READ_THROUGH_BYTES, patience: Patience::default() }
    }
}

/// The bytes of a session. See the head of this crate for how it reads.
///
/// Reading at or behind the end gives no bytes. Seeking behind the end is allowed, as in a file. Dropping the stream ends
/// its request.
pub struct Stream {
    source: Source,
    how: Reading,
    /// Where the next byte is that the reader gets.
    position: u64,
    /// What the first answer said; none before it.
    version: Option<Version>,
    state: State,
    /// Tries since the last byte.
    tried: u32,
    /// A seek from the end, while the length is asked for.
    seeking: Option<(i64, BoxFuture<Result<Follows, Error>>)>,
    requests: u64,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum State {
    /// Nothing is open.
    Idle,
    /// An answer from this offset on is awaited.
    Asking(u64, BoxFuture<Result<(Follows, reqwest::Body), Error>>),
    Open(Body),
    /// Before it is tried again.
    Waiting(Pin<Box<Sleep>>),
}

/// An answer that is being read.
struct Body {
    body: reqwest::Body,
    /// The last piece of it, which is kept until the next one comes.
    piece: Bytes,
    /// Offset of the first byte of the piece.
    at: u64,
    /// Offset behind the last byte, as far as known.
    to: Option<u64>,
    /// Whether another request could begin elsewhere.
    ranged: bool,
}

impl Body {
    fn next(&self) -> u64 {
        self.at + self.piece.len() as u64
    }

    /// Whether reading on leads to this place well enough.
    fn leads_to(&self, position: u64, read_through_bytes: u64) -> bool {
        // A new request would begin at the first byte.
        let far = if self.ranged { self.next().saturating_add(read_through_bytes) } else { u64::MAX };
        (self.at..=far).contains(&position)
    }
}

impl Stream {
    pub(crate) async fn open(host: Host, url: Url, shown: String, how: Reading) -> Result<Stream, Error> {
        let source = Source { host, url, shown };
        let position = how.offset;
        let mut stream =
            Stream { source, how, position, version: None, state: State::Idle, tried: 0, seeking: None, requests: 0 };
        std::future::poll_fn(|cx| stream.poll_answer(cx)).await?;
        Ok(stream)
    }

    /// Where the next byte is that a read gives.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Length in bytes, once it is known.
    pub fn length(&self) -> Option<u64> {
        self.version.as_ref()?.length
    }

    /// Whether a seek is more than reading through: the length is known, and the host gives ranges.
    pub fn is_seekable(&self) -> bool {
        self.length().is_some() && !matches!(&self.state, State::Open(Body { ranged: false, .. }))
    }

    /// The entity tag of the version that this stream reads.
    pub fn etag(&self) -> Option<&str> {
        self.version.as_ref()?.etag.as_deref()
    }

    /// Requests for bytes that it has made so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Bytes that came and are still kept, read ones among them; at most [`MOST_BUFFERED_BYTES`].
    pub fn buffered_bytes(&self) -> usize {
        match &self.state {
            State::Open(body) => body.piece.len(),
            _ => 0,
        }
    }

    fn is_at_end(&self) -> bool {
        self.length().is_some_and(|length| self.position >= length)
    }

    /// Until there is an answer to the request for what comes next.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let is_at_end = self.is_at_end();
            match &mut self.state {
                State::Open(_) => return Poll::Ready(Ok(())),
                _ if is_at_end => return Poll::Ready(Ok(())),
                State::Idle => {
                    let asked = Asked { position: self.position, version: self.version.clone() };
                    self.requests += 1;
                    self.state = State::Asking(self.position, Box::pin(self.source.clone().ask(asked)));
                }
                State::Asking(_, asking) => match ready!(asking.as_mut().poll(cx)) {
                    Ok((follows, body)) => {
                        let Follows { from, to, ranged, version } = follows;
                        self.version = Some(version);
                        self.state = State::Open(Body { body, piece: Bytes::new(), at: from, to, ranged });
                    }
                    Err(error) => self.again(error)?,
                },
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::Idle;
                }
            }
        }
    }

    /// What is in hand at the position; nothing at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        loop {
            let far = self.how.read_through_bytes;
            let leads = match &self.state {
                State::Open(body) => body.leads_to(self.position, far),
                // A reader that gave up waiting and went elsewhere does not wait for the old place.
                State::Asking(from, _) => (*from..=from.saturating_add(far)).contains(&self.position),
                State::Idle | State::Waiting(_) => true,
            };
            if !leads {
                self.state = State::Idle;
            }
            if self.is_at_end() {
                return Poll::Ready(Ok(Bytes::new()));
            }
            ready!(self.poll_answer(cx))?;
            let State::Open(body) = &mut self.state else { continue };
            if !body.leads_to(self.position, far) {
                continue;
            }
            if self.position < body.next() {
                // In range: the position lies between the piece's first byte and its end.
                let skip = usize::try_from(self.position - body.at).unwrap_or(usize::MAX).min(body.piece.len());
                self.tried = 0;
                return Poll::Ready(Ok(body.piece.slice(skip..)));
            }
            match ready!(Pin::new(&mut body.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    body.at = body.next();
                    body.piece = piece;
                    if body.to.is_some_and(|to| body.next() > to) {
                        self.state = State::Idle;
                        return Poll::Ready(Err(wrong(&self.source.what(), "it gives more bytes than it said")));
                    }
                }
                Some(Err(error)) => self.again(unreachable(&self.source.what(), error))?,
                None => {
                    let (came, to) = (body.next(), body.to);
                    self.state = State::Idle;
                    self.ended(came, to)?;
                }
            }
        }
    }

    /// A body ended in an orderly way.
    fn ended(&mut self, came: u64, to: Option<u64>) -> Result<(), Error> {
        let version = self.version.get_or_insert_default();
        let expected = to.or(version.length);
        match expected {
            // There is more: the next request asks for it. Or it was the end.
            Some(expected) if came == expected => Ok(()),
            None => {
                version.length = Some(came);
                Ok(())
            }
            Some(expected) => {
                let why = format!("the answer ended at byte {came} in place of {expected}");
                self.again(Error::Unreachable { what: self.source.what(), why })
            }
        }
    }

    /// Waits and tries again, or gives up.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        self.state = State::Idle;
        if !error.may_pass() {
            return Err(error);
        }
        self.tried += 1;
        match self.how.patience.wait(self.tried, error.asked_wait()) {
            Some(wait) => {
                self.state = State::Waiting(Box::pin(tokio::time::sleep(wait)));
                Ok(())
            }
            None => {
                let tries = std::mem::take(&mut self.tried);
                Err(Error::GaveUp { at: self.position, tries, last: Box::new(error) })
            }
        }
    }

    /// The place that a seek leads to, from a known one.
    fn place(from: u64, by: i64) -> Result<u64, Error> {
        from.checked_add_signed(by).ok_or_else(|| Error::BadSeek(format!("{by} from byte {from}")))
    }

    fn poll_seek(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, Error>> {
        if let Some((by, asking)) = &mut self.seeking {
            let by = *by;
            let answer = ready!(asking.as_mut().poll(cx));
            self.seeking = None;
            self.version = Some(answer?.version);
            let length = self.length().ok_or(Error::LengthUnknown)?;
            self.position = Stream::place(length, by)?;
        }
        Poll::Ready(Ok(self.position))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let piece = ready!(self.poll_piece(cx))?;
        let count = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..count]);
        self.position += count as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Stream {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        self.seeking = None;
        self.position = match (to, self.length()) {
            (SeekFrom::Start(position), _) => position,
            (SeekFrom::Current(by), _) => Stream::place(self.position, by)?,
            (SeekFrom::End(by), Some(length)) => Stream::place(length, by)?,
            (SeekFrom::End(by), None) => {
                let asked = Asked { position: 0, version: self.version.clone() };
                self.seeking = Some((by, Box::pin(self.source.clone().find_length(asked, self.how.patience))));
                self.position
            }
        };
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(ready!(self.poll_seek(cx))?))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("source", &self.source.shown)
            .field("position", &self.position)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Where the bytes are.
#[derive(Clone)]
struct Source {
    host: Host,
    url: Url,
    /// The path without what opens it.
    shown: String,
}

impl Source {
    fn what(&self) -> String {
        self.host.what(&Method::GET, &self.shown)
    }

    /// Asks for everything from a position on.
    async fn ask(self, asked: Asked) -> Result<(Follows, reqwest::Body), Error> {
        let what = self.what();
        let mut request = self.host.plain(Method::GET, self.url.clone());
        request = request.header(RANGE, format!("bytes={}-", asked.position)).header(ACCEPT_ENCODING, "identity");
        if let Some(etag) = asked.version.as_ref().and_then(|version| version.etag.as_ref()) {
            request = request.header(IF_RANGE, etag);
        }
        let response = request.send().await.map_err(|error| unreachable(&what, error))?;
        answered(&asked, response, &what).await
    }

    /// Asks how long it is by now, again and again if need be. Its tries are its own: what is being read goes on after
    /// it.
    async fn find_length(self, asked: Asked, patience: Patience) -> Result<Follows, Error> {
        let mut tried = 0;
        loop {
            let error = match self.look(&asked).await {
                Err(error) if error.may_pass() => error,
                answer => return answer,
            };
            tried += 1;
            match patience.wait(tried, error.asked_wait()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(Error::GaveUp { at: asked.position, tries: tried, last: Box::new(error) }),
            }
        }
    }

    /// Asks once, by the first byte alone: its range says the length if that is known.
    async fn look(&self, asked: &Asked) -> Result<Follows, Error> {
        let what = self.what();
        let request = self.host.plain(Method::GET, self.url.clone());
        let request = request.header(RANGE, "bytes=0-0").header(ACCEPT_ENCODING, "identity");
        let response = request.send().await.map_err(|error| unreachable(&what, error))?;
        answered(asked, response, &what).await.map(|(follows, _)| follows)
    }
}

/// What follows, or why nothing does.
async fn answered(asked: &Asked, response: Response, what: &str) -> Result<(Follows, reqwest::Body), Error> {
    let status = response.status().as_u16();
    if !matches!(status, 200 | 206 | 416) {
        return Err(refused(response, what).await);
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let head = Head {
        status,
        etag: text(ETAG),
        content_range: text(CONTENT_RANGE),
        content_length: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    };
    match judge(asked, &head) {
        Ok(follows) => Ok((follows, reqwest::Body::from(response))),
        Err(Objection::Changed { was, now }) => Err(Error::Changed { at: asked.position, was, now }),
        Err(Objection::Nonsense(why)) => Err(wrong(what, why)),
    }
}
