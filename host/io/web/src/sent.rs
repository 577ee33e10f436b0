//! What one connection has handed to the system, until the peer has it.
//!
//! Owns: the pieces of answers whose pages the kernel may still read, and the socket of an ended connection for as long as
//! there are such pieces, or the peer has not heard the end.
//! Leaves to others: what is sent which way ([`crate::sendfile`]), and what keeping a piece protects it from: its owner
//! knows, who learns that it is over when the piece is dropped.
//!
//! Invariant: a piece is dropped only after the peer has confirmed its last byte, or after the socket was reset and the
//! kernel has thrown away what it had queued.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::sendfile::WORTHWHILE;

/// Pieces that one connection keeps; when they are as many, it copies until some were confirmed. A piece that is kept had
/// at least [`WORTHWHILE`] bytes, so that is 16 MiB, more than a socket holds unless somebody has raised its bound.
const MAX_KEPT: usize = 512;
/// How often it is looked at: soon, then less often.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Shared by the stream, by the pieces of its answers, and by whoever ends the connection. Positions count the bytes that
/// the system has taken on this connection.
#[derive(Default)]
pub(crate) struct Sent {
    written: AtomicU64,
    /// Behind the place where something was last sent from a file; 0 before the first time.
    from_file: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pieces, and the position when each was done.
    kept: VecDeque<(u64, Bytes)>,
    /// Of a connection that has ended.
    socket: Option<TcpStream>,
}

impl Sent {
    /// The position now, for a piece of so many bytes that is about to be sent; none if it will be copied anyway.
    pub(crate) fn begin(&self, length: usize) -> Option<u64> {
        (length >= WORTHWHILE).then(|| self.written.load(Ordering::Relaxed))
    }

    /// Takes over a piece that is done, or was given up midway, and was begun at this position.
    pub(crate) fn end(&self, began: u64, piece: Bytes) {
        if self.from_file.load(Ordering::Relaxed) > began {
            let written = self.written.load(Ordering::Relaxed);
            self.state().kept.push_back((written, piece));
        }
    }

    /// So many bytes more were taken by the system, of which the last so many from a file. Called before their pieces are
    /// done.
    pub(crate) fn wrote(&self, count: usize, from_file: usize) {
        let before = self.written.fetch_add(count as u64, Ordering::Relaxed);
        if from_file > 0 {
            self.from_file.store(before + count as u64, Ordering::Relaxed);
        }
    }

    /// Whether more may be sent from files now.
    pub(crate) fn has_room(&self) -> bool {
        !self.was_used() || self.state().kept.len() < MAX_KEPT
    }

    fn was_used(&self) -> bool {
        self.from_file.load(Ordering::Relaxed) > 0
    }

    /// Looks what the peer has confirmed, and drops that.
    pub(crate) fn let_go(&self, socket: &TcpStream) {
        if !self.was_used() || self.state().kept.is_empty() {
            return;
        }
        let confirmed = self.confirmed(socket);
        let mut gone = Vec::new();
        {
            let kept = &mut self.state().kept;
            while let Some(piece) = kept.pop_front_if(|(end, _)| *end <= confirmed) {
                gone.push(piece);
            }
        }
        // Outside of the lock: their owner may have something to do.
        drop(gone);
    }

    /// The position up to which the peer has confirmed; 0 where the system does not tell.
    fn confirmed(&self, socket: &TcpStream) -> u64 {
        unconfirmed(socket).map_or(0, |count| self.written.load(Ordering::Relaxed).saturating_sub(count))
    }

    /// The connection has ended, by the peer's will or by ours. Its socket stays if there is something to wait for: pieces
    /// from files, which may still come, or a peer that has been told something and may be in the middle of a word.
    pub(crate) fn leave(&self, socket: TcpStream, by_peer: bool) {
        let was_told = self.written.load(Ordering::Relaxed) > 0;
        if self.was_used() || was_told && !by_peer {
            self.state().socket = Some(socket);
        }
    }

    /// Whether the peer has confirmed all that came from files.
    pub(crate) fn is_settled(&self) -> bool {
        self.state().socket.as_ref().is_none_or(|socket| self.is_confirmed(socket))
    }

    /// Waits until the peer has confirmed all that came from files, for so long at most; then resets the connection.
    /// At once when it has. A piece that is ended only later, by a task that has not noticed yet, is confirmed by then.
    pub(crate) async fn settle(&self, limit: Duration) {
        let Some(mut socket) = self.state().socket.take() else { return };
        let mut is_there = true;
        if !self.is_confirmed(&socket) {
            // The peer learns now that no more will come. It fails when the connection is no more, and its queue with it.
            is_there = socket.shutdown().await.is_ok();
            let end = Instant::now() + limit;
            let mut look = FIRST_LOOK;
            while is_there && Instant::now() < end && !self.is_confirmed(&socket) {
                sleep(look).await;
                look = (look * 2).min(LAST_LOOK);
                self.let_go(&socket);
                is_there = socket.peer_addr().is_ok();
            }
            if !self.is_confirmed(&socket) {
                reset(&socket);
                is_there = false;
            }
        }
        let kept = {
            let mut state = self.state();
            // Closed before its pieces go.
            state.socket = Some(socket).filter(|_| is_there);
            std::mem::take(&mut state.kept)
        };
        drop(kept);
    }

    /// Says that no more will come, and listens to nothing in particular until the peer has heard that, for so long at most.
    /// A socket that is closed with something unread, or written to after it was closed, is reset instead, and what the
    /// peer has not read by then may be lost to it (RFC 9112 §9.6).
    pub(crate) async fn part(&self, limit: Duration) {
        let Some(mut socket) = self.state().socket.take() else { return };
        let last_words = async {
            socket.shutdown().await?;
            let mut unheard = vec![0; 4096];
            while socket.read(&mut unheard).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        if !matches!(timeout(limit, last_words).await, Ok(Ok(()))) {
            tracing::debug!("a peer did not close its side");
        }
    }

    fn is_confirmed(&self, socket: &TcpStream) -> bool {
        self.confirmed(socket) >= self.from_file.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where nobody waits, nothing is sent any more.
impl Drop for Sent {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = state.socket.take()
            && !self.is_confirmed(&socket)
        {
            reset(&socket);
        }
    }
}

/// Makes closing throw away what is queued.
fn reset(socket: &TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(%error, "a connection could not be reset");
    }
}

/// Bytes that were written to a socket and that its peer has not confirmed; none when the system does not tell.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe call asks a socket for its queue")]
fn unconfirmed(socket: &TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd;

    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as the reference; the request, SIOCOUTQ of tcp(7) under its older name, writes
    // one int and `count` is one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result == 0 { u64::try_from(count).ok() } else { None }
}

/// Elsewhere nothing is sent from files.
#[cfg(not(target_os = "linux"))]
fn unconfirmed(_: &TcpStream) -> Option<u64> {
    None
}
