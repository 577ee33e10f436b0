//! Lets connections in one after the other, and makes room for them.
//!
//! Owns: the waiting for a place, and the handles by which a connection says what it does.
//! Leaves to others: who gets a place and who gives one up ([`crate::seats`]), and closing.
//!
//! Invariant: a place is given back when its [`Seat`] is dropped.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::seats::{Entry, Id, Seats};

/// The door of one server.
pub(crate) struct Door {
    seats: Mutex<Seats>,
    /// A place may have become free. One waits for that, the loop that accepts.
    changed: Notify,
}

impl Door {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Arc<Door> {
        Arc::new(Door { seats: Mutex::new(Seats::new(most, most_of_one)), changed: Notify::new() })
    }

    /// Waits for a place; none if this address gets no more. Nothing is lost when it is dropped before.
    pub(crate) async fn place(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let leave = Arc::new(Notify::new());
        loop {
            let entry = self.seats().enter(peer, &leave);
            match entry {
                Entry::In(id) => return Some(Seat { occupant: Occupant { door: self.clone(), id }, leave }),
                Entry::Later => self.changed.notified().await,
                Entry::Refused => return None,
            }
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken.
pub(crate) struct Seat {
    occupant: Occupant,
    leave: Arc<Notify>,
}

impl Seat {
    /// Resolves when the place is wanted by somebody else; again each time that it is. Dropped before, it has heard nothing.
    pub(crate) async fn is_wanted(&self) {
        self.leave.notified().await;
    }

    /// The handle for whatever belongs to the connection.
    pub(crate) fn occupant(&self) -> &Occupant {
        &self.occupant
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.occupant.door.seats().left(self.occupant.id);
        self.occupant.door.changed.notify_one();
    }
}

/// Says what a connection does. It may outlive the place; then nobody listens any more.
#[derive(Clone)]
pub(crate) struct Occupant {
    door: Arc<Door>,
    id: Id,
}

impl Occupant {
    /// A request has come; false if it is not to be answered, since the place was given up.
    pub(crate) fn begin(&self) -> bool {
        let begun = self.door.seats().begin(self.id);
        self.tell(begun == Some(true));
        begun.is_some()
    }

    /// An answer is over.
    pub(crate) fn end(&self) {
        let waits = self.door.seats().end(self.id);
        self.tell(waits);
    }

    /// Whether something was written that may not have been handed to the system.
    pub(crate) fn unsent(&self, unsent: bool) {
        let waits = self.door.seats().unsent(self.id, unsent);
        self.tell(waits);
    }

    /// Whether it gives up its place when asked to: if all that was answered has been handed to the system. Then no request
    /// is answered any more.
    pub(crate) fn gives_up(&self) -> bool {
        let gives_up = self.door.seats().give_up(self.id);
        self.tell(!gives_up);
        gives_up
    }

    /// It has ended, and its place is needed for a while yet.
    pub(crate) fn stay(&self) {
        self.door.seats().stay(self.id);
        self.tell(true);
    }

    fn tell(&self, changed: bool) {
        if changed {
            self.door.changed.notify_one();
        }
    }
}
