//! What HTTP is spoken over: TCP or TLS, with an eye on what was written and is not out yet.
//!
//! Owns: the choice between the two, and the knowledge that hyper and TLS hold back nothing: both flush when they have
//! handed over all.
//! Leaves to others: handshakes ([`crate::tls`]) and files ([`crate::sendfile`]).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::door::Occupant;
use crate::sendfile::Stream;
use crate::tls::Encrypted;

/// A connection's stream.
pub(crate) struct Wire {
    kind: Kind,
    occupant: Occupant,
    /// Written and not flushed.
    unsent: bool,
}

/// Plain or encrypted.
pub(crate) enum Kind {
    Plain(Stream),
    Encrypted(Box<Encrypted>),
}

impl Wire {
    pub(crate) fn new(kind: Kind, occupant: Occupant) -> Wire {
        Wire { kind, occupant, unsent: false }
    }

    fn mark(&mut self, unsent: bool) {
        if self.unsent != unsent {
            self.unsent = unsent;
            self.occupant.unsent(unsent);
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.mark(true);
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.mark(true);
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Encrypted(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        })?;
        self.mark(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Encrypted(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}
