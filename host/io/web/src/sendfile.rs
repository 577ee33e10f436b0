//! A TCP stream that sends what lies in a file from that file: the kernel hands its own pages to the socket, and nobody
//! copies them.
//!
//! Owns: the choice between writing and `sendfile`, the way back where `sendfile` is refused, and the pieces of answers that
//! the kernel may still read ([`Sent`]).
//! Leaves to others: which memory stands for which file (a [`Locate`] says so), and that the pages are in memory before
//! they are sent, since `sendfile` waits for the disk as a write of them would.
//!
//! Invariants: what goes out are the bytes of the slices, in order and once each, whichever way they take. Bytes that go
//! the way of the file are not read by this process. A piece that went this way is let go of only when the peer has
//! confirmed it.
//!
//! The last one is needed because the kernel keeps pages and not a copy of them until then, and sends again from them what
//! was lost. Where a hole is made in the file meanwhile, or other bytes are written in their place, the peer gets zeros or
//! those bytes. To a peer on this machine not even its confirmation helps: what it has confirmed and not yet read lies in
//! its queue as the same pages. For such peers a copy is also cheaper, the peer's work included, so they get one.

use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::sent::Sent;

/// Says which file a piece of memory stands for, and at which offset in bytes the piece begins there; none for memory
/// that is no file's. It is asked on each write, so it has to be quick, and it must not read the memory.
pub type Locate = Arc<dyn Fn(&[u8]) -> Option<(Arc<File>, u64)> + Send + Sync>;

/// Bytes from which on the file is worth a system call of its own; less is copied with what comes before and after.
pub(crate) const WORTHWHILE: usize = 32 * 1024;
/// Slices that are looked at for a file. hyper hands over 64 at most, and a file that comes later has its turn when
/// those before it are gone.
const MAX_SLICES: usize = 64;

/// A TCP stream with a way for files.
pub(crate) struct Stream {
    /// None only while it is dropped.
    tcp: Option<TcpStream>,
    /// None where nothing is sent from files, or no longer.
    files: Option<Locate>,
    sent: Arc<Sent>,
    /// The peer has closed its side, or the connection has failed.
    ended: bool,
    /// `mediahost_sendfile_bytes_total`.
    count: metrics::Counter,
}

impl Stream {
    /// Without files it is the stream as it was. What it has sent is known to `sent`.
    pub(crate) fn new(tcp: TcpStream, files: Option<Locate>, sent: Arc<Sent>) -> Stream {
        let files = files.filter(|_| system::CAN);
        Stream { tcp: Some(tcp), files, sent, ended: false, count: metrics::counter!("mediahost_sendfile_bytes_total") }
    }

    fn tcp(&self) -> &TcpStream {
        self.tcp.as_ref().expect("it is taken in drop alone")
    }

    fn tcp_mut(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.tcp.as_mut().expect("it is taken in drop alone"))
    }

    /// The first slice that is worth it and lies in a file.
    fn find(&self, slices: &[IoSlice<'_>]) -> Option<Piece> {
        let locate = self.files.as_ref().filter(|_| self.sent.has_room())?;
        let mut large = slices.iter().take(MAX_SLICES).enumerate().filter(|(_, slice)| slice.len() >= WORTHWHILE);
        large.find_map(|(at, slice)| {
            let (file, offset) = locate(slice)?;
            Some(Piece { at, file, offset, length: slice.len() })
        })
    }

    /// Sends what comes before the piece, then the piece, as far as the socket takes it.
    fn poll_send(&self, cx: &mut Context<'_>, before: &[IoSlice<'_>], piece: &Piece) -> Poll<io::Result<Done>> {
        loop {
            ready!(self.tcp().poll_write_ready(cx))?;
            match self.tcp().try_io(Interest::WRITABLE, || self.send(before, piece)) {
                // The readiness is gone with it, so that the next turn waits for the socket.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn send(&self, before: &[IoSlice<'_>], piece: &Piece) -> io::Result<Done> {
        let length: usize = before.iter().map(|slice| slice.len()).sum();
        let written = if length > 0 { system::send_more(self.tcp(), before)? } else { 0 };
        if written < length {
            return Ok(Done { written, from_file: 0, refused: false });
        }
        match system::send_file(self.tcp(), &piece.file, piece.offset, piece.length) {
            // A file that is shorter than the memory which stands for it.
            Ok(0) => Ok(Done { written, from_file: 0, refused: true }),
            Ok(from_file) => Ok(Done { written, from_file, refused: false }),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                if written > 0 { Ok(Done { written, from_file: 0, refused: false }) } else { Err(error) }
            }
            // Whatever it is, a plain write knows whether the connection itself has failed.
            Err(error) => {
                tracing::debug!(%error, "sendfile was refused");
                Ok(Done { written, from_file: 0, refused: true })
            }
        }
    }
}

/// A slice that lies in a file.
struct Piece {
    /// Its place among the slices.
    at: usize,
    file: Arc<File>,
    offset: u64,
    length: usize,
}

/// What one attempt has done.
struct Done {
    /// Bytes of the slices before the file.
    written: usize,
    from_file: usize,
    /// The file cannot be sent this way.
    refused: bool,
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(piece) = this.find(slices) {
            let Done { written, from_file, refused } = ready!(this.poll_send(cx, &slices[..piece.at], &piece))?;
            if refused {
                this.files = None;
            }
            if written + from_file > 0 {
                this.count.increment(from_file as u64);
                this.sent.wrote(written + from_file, from_file);
                return Poll::Ready(Ok(written + from_file));
            }
        }
        let written = ready!(this.tcp_mut().poll_write_vectored(cx, slices))?;
        this.sent.wrote(written, 0);
        Poll::Ready(Ok(written))
    }

    /// Without it hyper would copy what it is given into one buffer, and no slice would be a file's any more.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp_mut().poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    /// Each poll of a connection reads, also when it writes or waits, so this is where to see what was confirmed.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.sent.let_go(this.tcp());
        let before = buffer.remaining();
        let result = ready!(this.tcp_mut().poll_read(cx, buffer));
        this.ended |= result.is_err() || before > 0 && buffer.remaining() == before;
        Poll::Ready(result)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(tcp) = self.tcp.take() {
            self.sent.leave(tcp, self.ended);
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io::{self, IoSlice};

    use rustix::net::{SendAncillaryBuffer, SendFlags};
    use tokio::net::TcpStream;

    /// Whether this system has `sendfile` as it is meant here.
    pub const CAN: bool = true;

    /// Writes, and says that more follows at once: the head of an answer goes into one segment with the first bytes of
    /// the file, though the socket does not wait for full segments otherwise.
    pub fn send_more(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    pub fn send_file(socket: &TcpStream, file: &File, offset: u64, length: usize) -> io::Result<usize> {
        let mut offset = offset;
        Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), length)?)
    }
}

/// Other systems write.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io::{self, IoSlice};

    use tokio::net::TcpStream;

    pub const CAN: bool = false;

    pub fn send_more(_: &TcpStream, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn send_file(_: &TcpStream, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests;
