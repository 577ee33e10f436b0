//! The table against a simple model of it, then its rules one by one.

use std::collections::BTreeMap;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether somebody was told to leave since this was asked last.
fn is_told(leave: &Notify) -> bool {
    let mut notified = Box::pin(leave.notified());
    notified.as_mut().enable()
}

struct Room {
    seats: Seats,
    leave: BTreeMap<Id, Arc<Notify>>,
}

impl Room {
    fn new(most: usize, most_of_one: usize) -> Room {
        Room { seats: Seats::new(most, most_of_one), leave: BTreeMap::new() }
    }

    fn enter(&mut self, peer: &str) -> Entry {
        let leave = Arc::new(Notify::new());
        let entry = self.seats.enter(ip(peer), &leave);
        if let Entry::In(id) = entry {
            self.leave.insert(id, leave);
        }
        entry
    }

    fn enters(&mut self, peer: &str) -> Id {
        match self.enter(peer) {
            Entry::In(id) => id,
            other => panic!("{peer}: {other:?}"),
        }
    }

    fn told(&self) -> Vec<Id> {
        self.leave.iter().filter(|(_, leave)| is_told(leave)).map(|(id, _)| *id).collect()
    }
}

#[test]
fn the_one_that_waits_longest_makes_room() {
    let mut room = Room::new(3, 3);
    let ids = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|peer| room.enters(peer));
    assert_eq!(room.seats.begin(ids[0]), Some(false));
    assert!(room.seats.end(ids[0]), "it waits again, now behind the others");
    assert_eq!((room.enter("192.0.2.4"), room.told()), (Entry::Later, vec![ids[1]]));
    assert_eq!((room.enter("192.0.2.4"), room.told()), (Entry::Later, vec![]), "one at a time");
    assert!(room.seats.give_up(ids[1]));
    assert_eq!(room.seats.begin(ids[1]), None, "it is too late for a request");
    assert_eq!((room.enter("192.0.2.4"), room.told()), (Entry::Later, vec![]));
    room.seats.left(ids[1]);
    let fourth = room.enters("192.0.2.4");
    assert_eq!((room.enter("192.0.2.5"), room.told()), (Entry::Later, vec![ids[2]]));
    room.seats.left(ids[2]);
    room.enters("192.0.2.5");
    assert_eq!((room.enter("192.0.2.6"), room.told()), (Entry::Later, vec![ids[0]]));
    assert!(room.seats.begin(fourth).is_some());
}

#[test]
fn who_has_an_answer_under_way_stays() {
    let mut room = Room::new(2, 2);
    let ids = ["192.0.2.1", "192.0.2.2"].map(|peer| room.enters(peer));
    assert!(ids.iter().all(|id| room.seats.begin(*id).is_some()));
    assert!(room.seats.begin(ids[0]).is_some(), "a second one of HTTP/2");
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![]));
    assert!(!room.seats.end(ids[0]));
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![]));
    assert!(!room.seats.unsent(ids[0], true));
    assert!(!room.seats.end(ids[0]), "its tail is not out yet");
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![]));
    assert!(room.seats.unsent(ids[0], false), "now it is");
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[0]]));
}

#[test]
fn who_does_not_leave_is_not_waited_for() {
    let mut room = Room::new(2, 2);
    let ids = ["192.0.2.1", "192.0.2.2"].map(|peer| room.enters(peer));
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[0]]));
    room.seats.unsent(ids[0], true);
    assert!(!room.seats.give_up(ids[0]));
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[1]]));
    assert!(room.seats.give_up(ids[1]));
    room.seats.left(ids[1]);
    assert_eq!(room.seats.begin(ids[0]), Some(false), "it is as any other");
    room.enters("192.0.2.3");
}

#[test]
fn who_asks_for_something_after_all_stays() {
    let mut room = Room::new(2, 2);
    let ids = ["192.0.2.1", "192.0.2.2"].map(|peer| room.enters(peer));
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[0]]));
    assert_eq!(room.seats.begin(ids[0]), Some(true), "somebody else has to make room");
    assert!(!room.seats.give_up(ids[0]));
    assert!(room.seats.end(ids[0]));
    assert!(!room.seats.give_up(ids[0]), "it is not asked any more");
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[1]]));
    assert!(room.seats.give_up(ids[1]));
    room.seats.stay(ids[1]);
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[0]]), "it takes too long");
}

#[test]
fn what_an_idle_connection_writes_does_not_make_it_younger() {
    let mut room = Room::new(2, 2);
    let ids = ["192.0.2.1", "192.0.2.2"].map(|peer| room.enters(peer));
    // As for the pings of an HTTP/2 client.
    assert!(!room.seats.unsent(ids[0], true) && !room.seats.unsent(ids[0], false));
    assert_eq!((room.enter("192.0.2.3"), room.told()), (Entry::Later, vec![ids[0]]));
}

#[test]
fn one_address_makes_room_among_its_own() {
    let mut room = Room::new(8, 2);
    let other = room.enters("198.51.100.1");
    let ids = [room.enters("192.0.2.1"), room.enters("::ffff:192.0.2.1")];
    assert_eq!((room.enter("192.0.2.1"), room.told()), (Entry::Later, vec![ids[0]]));
    assert_eq!((room.enter("192.0.2.1"), room.told()), (Entry::Later, vec![]));
    room.seats.left(ids[0]);
    let third = room.enters("192.0.2.1");
    assert!(room.seats.begin(ids[1]).is_some() && room.seats.begin(third).is_some());
    assert_eq!((room.enter("192.0.2.1"), room.told()), (Entry::Refused, vec![]));
    assert!(room.seats.begin(other).is_some());
    room.seats.left(third);
    room.enters("192.0.2.1");
}

#[test]
fn what_one_address_is() {
    let check = |peers: &[&str], last: Entry| {
        let mut room = Room::new(100, 2);
        let (end, others) = peers.split_last().unwrap();
        for peer in others {
            let id = room.enters(peer);
            room.seats.begin(id);
        }
        let entry = match room.enter(end) {
            Entry::In(_) => Entry::In(0),
            entry => entry,
        };
        assert_eq!(entry, last, "{peers:?}");
    };
    check(&["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1:2:3"], Entry::Refused);
    check(&["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], Entry::In(0));
    check(&["192.0.2.1", "192.0.2.1", "192.0.2.2"], Entry::In(0));
    check(&["::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"], Entry::Refused);
    check(&["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.9.9.9"], Entry::In(0));
    check(&["::1", "::1", "::1", "::ffff:127.0.0.1"], Entry::In(0));
}

#[test]
fn handles_of_those_who_left_do_nothing() {
    let mut room = Room::new(1, 1);
    let id = room.enters("192.0.2.1");
    room.seats.left(id);
    let now = room.enters("192.0.2.2");
    room.seats.left(id);
    assert_eq!(room.seats.begin(id), None);
    assert!(!room.seats.end(id) && !room.seats.unsent(id, false) && !room.seats.give_up(id));
    room.seats.stay(id);
    assert!(room.seats.begin(now).is_some());
    assert_eq!(room.enter("192.0.2.3"), Entry::Later, "there is one place and it is taken");
}

/// One connection as the model sees it.
#[derive(Clone, Debug)]
struct Row {
    address: Option<u8>,
    answers: usize,
    unsent: bool,
    /// When it began to wait.
    since: Option<u64>,
    asked: bool,
    leaving: bool,
}

/// Whatever happens in whatever order, the rules of the head hold, and the table keeps no rows of those who left.
#[test]
fn any_order_of_events_keeps_the_rules() {
    for seed in 0..300u64 {
        let mut state = seed;
        let mut below = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        let (most, most_of_one) = (1 + below(6) as usize, 1 + below(4) as usize);
        let mut room = Room::new(most, most_of_one);
        let mut model: BTreeMap<Id, Row> = BTreeMap::new();
        let mut clock = 0;
        for step in 0..400 {
            let place = || format!("seed {seed}, step {step}");
            clock += 1;
            let kind = below(12);
            if kind < 4 {
                let number = below(4) as u8;
                let (address, peer) = match number {
                    0 => (None, "127.0.0.1".to_owned()),
                    number => (Some(number), format!("192.0.2.{number}")),
                };
                let entry = room.enter(&peer);
                let own = |row: &&Row| address.is_some() && row.address == address;
                let crowded = address.is_some() && model.values().filter(own).count() >= most_of_one;
                let group: Vec<Id> = model.iter().filter(|(_, row)| !crowded || own(row)).map(|(id, _)| *id).collect();
                let longest = group.iter().filter_map(|id| Some((model[id].since?, *id))).min();
                let one_leaves = group.iter().any(|id| model[id].asked || model[id].leaving);
                let (expected, told) = match longest {
                    _ if !crowded && model.len() < most => (None, None),
                    _ if one_leaves => (Some(Entry::Later), None),
                    Some((_, id)) => (Some(Entry::Later), Some(id)),
                    None if crowded => (Some(Entry::Refused), None),
                    None => (Some(Entry::Later), None),
                };
                assert_eq!(room.told(), Vec::from_iter(told), "{}", place());
                if let Some(told) = told {
                    let row = model.get_mut(&told).unwrap();
                    (row.since, row.asked) = (None, true);
                }
                match (entry, expected) {
                    (Entry::In(id), None) => {
                        let row = Row {
                            address,
                            answers: 0,
                            unsent: false,
                            since: Some(clock),
                            asked: false,
                            leaving: false,
                        };
                        assert!(model.insert(id, row).is_none(), "{}", place());
                    }
                    (entry, expected) => assert_eq!(Some(entry), expected, "{}", place()),
                }
            } else if let Some((&id, row)) = model.iter_mut().nth(below(most as u64) as usize) {
                match kind {
                    4 | 5 => {
                        let expected = (!row.leaving).then_some(row.asked);
                        assert_eq!(room.seats.begin(id), expected, "{}", place());
                        if !row.leaving {
                            (row.answers, row.since, row.asked) = (row.answers + 1, None, false);
                        }
                    }
                    6 | 7 if row.answers > 0 => {
                        row.answers -= 1;
                        room.seats.end(id);
                    }
                    8 | 9 => {
                        row.unsent = kind == 8;
                        room.seats.unsent(id, row.unsent);
                    }
                    10 => {
                        let leaves = row.asked && row.answers == 0 && !row.unsent;
                        assert_eq!(room.seats.give_up(id), leaves, "{}", place());
                        (row.leaving, row.asked) = (row.leaving || leaves, false);
                    }
                    11 => {
                        room.seats.left(id);
                        room.leave.remove(&id);
                        model.remove(&id);
                        continue;
                    }
                    _ => continue,
                }
                if matches!(kind, 6..=9)
                    && row.answers == 0
                    && !row.unsent
                    && !row.leaving
                    && !row.asked
                    && row.since.is_none()
                {
                    row.since = Some(clock);
                }
            }
            assert!(model.len() <= most, "{}", place());
            let addresses: BTreeSet<u8> = model.values().filter_map(|row| row.address).collect();
            assert_eq!((room.seats.taken.len(), room.seats.addresses.len()), (model.len(), addresses.len()));
            let waiting = model.values().filter(|row| row.since.is_some()).count();
            assert_eq!(room.seats.waiting.len(), waiting, "{}", place());
        }
    }
}
