//! The body of an answer as hyper gets it, which knows when it has gone out.
//!
//! Owns: the moment when an answer is over: its handler has returned, and each piece of its body was handed to the system or
//! thrown away. hyper takes pieces earlier than it sends them, HTTP/2 by far, so the end of the body is not that moment.
//! Leaves to others: what follows from it ([`crate::door`], [`crate::sent`]).
//!
//! Invariant: an [`Underway`] lives from the request to that moment.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Buf, Frame, SizeHint};

use crate::door::Occupant;
use crate::sent::Sent;

/// An answer that is under way.
pub(crate) struct Underway {
    occupant: Occupant,
    sent: Arc<Sent>,
}

impl Underway {
    /// None when the connection is being closed; then the request is not looked at, and its client may send it again.
    pub(crate) fn begin(occupant: &Occupant, sent: &Arc<Sent>) -> Option<Arc<Underway>> {
        occupant.begin().then(|| Arc::new(Underway { occupant: occupant.clone(), sent: sent.clone() }))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.occupant.end();
    }
}

/// The body.
pub(crate) struct Answer {
    body: Body,
    underway: Arc<Underway>,
}

impl Answer {
    pub(crate) fn new(body: Body, underway: Arc<Underway>) -> Answer {
        Answer { body, underway }
    }
}

impl hyper::body::Body for Answer {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(|bytes| Piece::new(bytes, &self.underway)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of the body.
pub(crate) struct Piece {
    bytes: Bytes,
    /// Where it began, if it may be sent from a file.
    began: Option<u64>,
    underway: Arc<Underway>,
}

impl Piece {
    fn new(bytes: Bytes, underway: &Arc<Underway>) -> Piece {
        Piece { began: underway.sent.begin(bytes.len()), bytes, underway: underway.clone() }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            // What has been consumed of it is kept alive by what is left, be it empty.
            self.underway.sent.end(began, std::mem::take(&mut self.bytes));
        }
    }
}
