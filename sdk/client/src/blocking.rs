//! The same without an executor: [`Host`], [`Session`] and [`Stream`] that block, for decoders and small programs.
//!
//! Owns: one named thread per [`Host`] on which connections live; its sessions and streams share it, and it ends with the
//! last of them.
//! Leaves to others: everything else, which is the asynchronous side's.
//!
//! In an asynchronous program, call these where blocking is allowed (`spawn_blocking`, a thread of your own); there,
//! [`Stream::on`] makes a blocking stream of an asynchronous one without another thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Error, Event, Info, Open, Reading, Segments, Stats};

/// The name of the thread on which connections live.
const THREAD: &str = "mediahost-client";

/// A host and the right to use it; [`crate::Host`] that blocks.
#[derive(Clone, Debug)]
pub struct Host {
    host: crate::Host,
    runtime: Runtime,
}

impl Host {
    /// See [`crate::Host::new`].
    pub fn new(address: &str, token: &str) -> Result<Host, Error> {
        Host::of(crate::Host::new(address, token)?)
    }

    /// See [`crate::Host::of_folder`].
    pub fn of_folder(data: &Path) -> Result<Host, Error> {
        Host::of(crate::Host::of_folder(data)?)
    }

    /// The same host, blocking.
    pub fn of(host: crate::Host) -> Result<Host, Error> {
        Ok(Host { host, runtime: Runtime::start()? })
    }

    /// The host's address.
    pub fn address(&self) -> &str {
        self.host.address()
    }

    /// See [`crate::Host::open`].
    pub fn open(&self, what: impl Into<Open>) -> Result<Session, Error> {
        let session = self.runtime.wait(self.host.open(what))?;
        Ok(Session { session, runtime: self.runtime.clone() })
    }

    /// See [`crate::Host::session`].
    pub fn session(&self, id: &str) -> Result<Session, Error> {
        Ok(Session { session: self.host.session(id)?, runtime: self.runtime.clone() })
    }
}

/// A session of a host; [`crate::Session`] that blocks.
#[derive(Clone, Debug)]
pub struct Session {
    session: crate::Session,
    runtime: Runtime,
}

impl Session {
    /// See [`crate::Session::id`].
    pub fn id(&self) -> &str {
        self.session.id()
    }

    /// See [`crate::Session::info`].
    pub fn info(&self) -> Result<Info, Error> {
        self.runtime.wait(self.session.info())
    }

    /// See [`crate::Session::stats`].
    pub fn stats(&self) -> Result<Stats, Error> {
        self.runtime.wait(self.session.stats())
    }

    /// See [`crate::Session::segments`].
    pub fn segments(&self) -> Result<Segments, Error> {
        self.runtime.wait(self.session.segments())
    }

    /// See [`crate::Session::update_auth`].
    pub fn update_auth(&self, url: Option<&str>, headers: Option<&BTreeMap<String, String>>) -> Result<Info, Error> {
        self.runtime.wait(self.session.update_auth(url, headers))
    }

    /// See [`crate::Session::close`].
    pub fn close(&self) -> Result<(), Error> {
        self.runtime.wait(self.session.close())
    }

    /// See [`crate::Session::ready`].
    pub fn ready(&self) -> Result<Info, Error> {
        self.runtime.wait(self.session.ready())
    }

    /// See [`crate::Session::events`].
    pub fn events(&self) -> Result<Events, Error> {
        let events = self.runtime.wait(self.session.events())?;
        Ok(Events { events, runtime: self.runtime.clone() })
    }

    /// See [`crate::Session::stream`].
    pub fn stream(&self) -> Result<Stream, Error> {
        self.read(Reading::default())
    }

    /// See [`crate::Session::read`].
    pub fn read(&self, how: Reading) -> Result<Stream, Error> {
        let stream = self.runtime.wait(self.session.read(how))?;
        Ok(Stream { stream: Mutex::new(stream), runtime: self.runtime.clone() })
    }
}

/// The events of a session, one after the other.
#[derive(Debug)]
pub struct Events {
    events: crate::Events,
    runtime: Runtime,
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    /// Blocks until there is one. Ends when the session is closed or the host ends.
    fn next(&mut self) -> Option<Result<Event, Error>> {
        self.runtime.wait(self.events.next()).transpose()
    }
}

/// The bytes of a session as [`Read`] and [`Seek`]; [`crate::Stream`] that blocks. `Send` and `Sync`.
#[derive(Debug)]
pub struct Stream {
    /// Locked by nobody for longer than a look; it makes the stream `Sync`.
    stream: Mutex<crate::Stream>,
    runtime: Runtime,
}

impl Stream {
    /// An asynchronous stream, blocking. Its connections live on the runtime of this handle, which must go on running.
    pub fn on(handle: Handle, stream: crate::Stream) -> Stream {
        Stream { stream: Mutex::new(stream), runtime: Runtime { handle, _thread: None } }
    }

    /// Length in bytes, once it is known.
    pub fn byte_len(&self) -> Option<u64> {
        self.look().length()
    }

    /// See [`crate::Stream::is_seekable`].
    pub fn is_seekable(&self) -> bool {
        self.look().is_seekable()
    }

    /// Where the next byte is that a read gives.
    pub fn position(&self) -> u64 {
        self.look().position()
    }

    /// Requests for bytes that it has made so far.
    pub fn requests(&self) -> u64 {
        self.look().requests()
    }

    fn look(&self) -> MutexGuard<'_, crate::Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&mut self, mut poll: impl FnMut(std::pin::Pin<&mut crate::Stream>, &mut Context<'_>) -> Poll<T>) -> T {
        let stream = self.stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.runtime.wait(std::future::poll_fn(|cx| poll(std::pin::Pin::new(stream), cx)))
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        self.with(|stream, cx| stream.poll_read(cx, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let stream = self.stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::pin::Pin::new(stream).start_seek(to)?;
        self.with(|stream, cx| stream.poll_complete(cx))
    }
}

/// Where connections live.
#[derive(Clone, Debug)]
struct Runtime {
    handle: Handle,
    /// Keeps the thread, unless the runtime is somebody else's.
    _thread: Option<Arc<Running>>,
}

impl Runtime {
    fn start() -> Result<Runtime, Error> {
        let failed = |error: io::Error| Error::Start(format!("the thread for connections: {error}"));
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name(THREAD.into())
            // Ends when the sender is dropped.
            .spawn(move || drop(runtime.block_on(stopped)))
            .map_err(failed)?;
        Ok(Runtime { handle, _thread: Some(Arc::new(Running { stop: Some(stop), thread: Some(thread) })) })
    }

    /// Drives a future on this thread, while the other one drives the connections. Unlike the runtime's own way it does not
    /// panic where somebody calls it from an asynchronous task: it blocks that, as reading a file would.
    fn wait<F: Future>(&self, future: F) -> F::Output {
        let _entered = self.handle.enter();
        let waker = Waker::from(Arc::new(Parked(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                // Woken before it parks, it does not park.
                Poll::Pending => thread::park(),
            }
        }
    }
}

#[derive(Debug)]
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only waited; there is nothing to tell.
            drop(thread.join());
        }
    }
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
