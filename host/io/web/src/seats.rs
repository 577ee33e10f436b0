//! Decides who gets one of the places for connections, and who gives one up.
//!
//! Owns: the count of connections, of all and of each address; the order in which they have been waiting for a request.
//! Leaves to others: sockets, and closing: whoever is asked to leave does so, or says that it stays.
//!
//! Invariants: there are never more than `most` connections; none gives up its place while an answer of it is under way;
//! while one is asked to leave, no other is.
//!
//! Who waits is whoever has not sent the whole head of its first request, or has got all its answers and not asked again:
//! the difference between someone who is slow and someone who only takes up room cannot be seen, so the one that has
//! waited longest goes. A client has to reckon with that in any case (RFC 9112 §9.5), and asks again.
//!
//! One address gets at most `most_of_one`, and makes room among its own when it wants more, so that one stranger who opens
//! connections takes none from others. All that reaches a network through one translator, or us through one reverse proxy,
//! is one address to us: the bound is half of all, which is still hundreds of answers at once. Of IPv6 the first 64 bits
//! count, since a single host has the rest to choose from. The loopback is not bounded: it is this machine's user, or a
//! reverse proxy with everyone behind it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::Notify;

/// A connection. Numbers are not used again.
pub(crate) type Id = u64;

/// What became of somebody at the door.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It has a place.
    In(Id),
    /// There is none now. To be tried again when something has changed; perhaps somebody was asked to leave.
    Later,
    /// Its address has all it may have, and each of these has an answer under way.
    Refused,
}

/// The places. Its tables have as many rows as there are connections.
pub(crate) struct Seats {
    most: usize,
    most_of_one: usize,
    taken: HashMap<Id, Seat>,
    /// Those who wait, the longest first.
    waiting: BTreeMap<Since, Id>,
    addresses: HashMap<IpAddr, Address>,
    leaving: usize,
    last_id: Id,
    last_since: Since,
}

/// When somebody began to wait, in the order of such events.
type Since = u64;

struct Seat {
    /// None if it does not count.
    address: Option<IpAddr>,
    answers: usize,
    /// Something of an answer may not have been handed to the system.
    unsent: bool,
    state: State,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting(Since),
    Busy,
    /// It has not answered yet; a request that comes now is an answer too.
    Asked,
    /// It has given up its place and will have left soon.
    Leaving,
}

#[derive(Default)]
struct Address {
    count: usize,
    leaving: usize,
    waiting: BTreeSet<Since>,
}

impl Seats {
    /// Places for so many connections, and for so many of one address; at least one each.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Seats {
        Seats {
            most: most.max(1),
            most_of_one: most_of_one.max(1),
            taken: HashMap::new(),
            waiting: BTreeMap::new(),
            addresses: HashMap::new(),
            leaving: 0,
            last_id: 0,
            last_since: 0,
        }
    }

    /// Somebody wants in. If a place has to be made, the one who shall leave is notified through what it came in with.
    pub(crate) fn enter(&mut self, peer: IpAddr, leave: &Arc<Notify>) -> Entry {
        let address = counted(peer);
        if let Some(group) = address.and_then(|address| self.addresses.get(&address))
            && group.count >= self.most_of_one
        {
            let longest = group.waiting.first().and_then(|since| self.waiting.get(since)).copied();
            return match longest {
                _ if group.leaving > 0 => Entry::Later,
                Some(id) => self.ask_to_leave(id),
                None => Entry::Refused,
            };
        }
        if self.taken.len() >= self.most {
            return match self.waiting.first_key_value() {
                Some((_, id)) if self.leaving == 0 => self.ask_to_leave(*id),
                _ => Entry::Later,
            };
        }
        self.last_id += 1;
        let seat = Seat { address, answers: 0, unsent: false, state: State::Busy, leave: leave.clone() };
        self.taken.insert(self.last_id, seat);
        if let Some(address) = address {
            self.addresses.entry(address).or_default().count += 1;
        }
        self.waits(self.last_id);
        Entry::In(self.last_id)
    }

    /// A request has come. None if its connection has given up its place; then there will be no answer. True if it was
    /// asked to leave and stays.
    pub(crate) fn begin(&mut self, id: Id) -> Option<bool> {
        let seat = self.taken.get_mut(&id).filter(|seat| seat.state != State::Leaving)?;
        seat.answers += 1;
        let stays = seat.state == State::Asked;
        self.set(id, State::Busy);
        Some(stays)
    }

    /// An answer is over. True if somebody waits now who did not before.
    pub(crate) fn end(&mut self, id: Id) -> bool {
        self.seat(id, |seat| seat.answers = seat.answers.saturating_sub(1));
        self.waits(id)
    }

    /// Whether something was written that may not have been handed to the system. True if somebody waits now who did not
    /// before.
    pub(crate) fn unsent(&mut self, id: Id, unsent: bool) -> bool {
        self.seat(id, |seat| seat.unsent = unsent);
        self.waits(id)
    }

    /// What somebody who was asked to leave does: it gives up its place for good if all that it was answered has been
    /// handed to the system. True if it does; else it stays, and is busy until its next answer is over.
    pub(crate) fn give_up(&mut self, id: Id) -> bool {
        let Some(seat) = self.taken.get(&id).filter(|seat| seat.state == State::Asked) else { return false };
        let leaves = seat.answers == 0 && !seat.unsent;
        self.set(id, if leaves { State::Leaving } else { State::Busy });
        leaves
    }

    /// Somebody will have left, but not soon. It is busy until then, be it asked to leave or not.
    pub(crate) fn stay(&mut self, id: Id) {
        if self.taken.contains_key(&id) {
            self.set(id, State::Busy);
        }
    }

    /// Somebody has left.
    pub(crate) fn left(&mut self, id: Id) {
        if !self.taken.contains_key(&id) {
            return;
        }
        self.set(id, State::Busy);
        let Some(address) = self.taken.remove(&id).and_then(|seat| seat.address) else { return };
        if let Some(group) = self.addresses.get_mut(&address) {
            group.count -= 1;
            if group.count == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    fn ask_to_leave(&mut self, id: Id) -> Entry {
        self.set(id, State::Asked);
        if let Some(seat) = self.taken.get(&id) {
            seat.leave.notify_one();
        }
        Entry::Later
    }

    /// Puts a busy one who has nothing under way at the end of those who wait. True if there was something to do.
    fn waits(&mut self, id: Id) -> bool {
        let idle = |seat: &Seat| seat.state == State::Busy && seat.answers == 0 && !seat.unsent;
        let idle = self.taken.get(&id).is_some_and(idle);
        if idle {
            self.last_since += 1;
            self.set(id, State::Waiting(self.last_since));
        }
        idle
    }

    fn seat(&mut self, id: Id, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.taken.get_mut(&id) {
            change(seat);
        }
    }

    /// Changes a state and what is listed of it.
    fn set(&mut self, id: Id, state: State) {
        let Some(seat) = self.taken.get_mut(&id) else { return };
        let mut group = seat.address.and_then(|address| self.addresses.get_mut(&address));
        match seat.state {
            State::Waiting(since) => {
                self.waiting.remove(&since);
                if let Some(group) = &mut group {
                    group.waiting.remove(&since);
                }
            }
            State::Asked | State::Leaving => {
                self.leaving -= 1;
                if let Some(group) = &mut group {
                    group.leaving -= 1;
                }
            }
            State::Busy => {}
        }
        match state {
            State::Waiting(since) => {
                self.waiting.insert(since, id);
                if let Some(group) = &mut group {
                    group.waiting.insert(since);
                }
            }
            State::Asked | State::Leaving => {
                self.leaving += 1;
                if let Some(group) = &mut group {
                    group.leaving += 1;
                }
            }
            State::Busy => {}
        }
        seat.state = state;
    }
}

/// What counts as one address; none for the loopback.
fn counted(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Some(IpAddr::V6(Ipv6Addr::from(network)))
        }
    }
}

#[cfg(test)]
mod tests;
