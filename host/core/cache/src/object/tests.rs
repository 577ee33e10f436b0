use super::*;
use proptest::prelude::*;

const GRANULE: u64 = 16;

/// Small enough to read: granules of 16 bytes, spans of 2 to 8, windows of 4 to 32.
fn limits() -> Limits {
    Limits {
        max_spans: 3,
        span_min: 2 * GRANULE,
        span_max: 8 * GRANULE,
        ahead_min: 4 * GRANULE,
        ahead_max: 32 * GRANULE,
        short: 4 * GRANULE,
        skip: 4 * GRANULE,
        max_readers: 4,
        max_warm: 3,
        ..Limits::default()
    }
}

/// An object, a clock, and the outside world: what was asked for and what was delivered.
struct World {
    object: Object,
    now: Instant,
    running: BTreeMap<SpanId, (Range<u64>, u64)>,
    /// How often each byte was asked for.
    asked: Vec<u32>,
    log: Vec<String>,
    leases: Vec<(LeaseId, Range<u64>)>,
    /// Evicted, and their room not given back yet.
    leaving: Vec<Range<u64>>,
}

impl World {
    fn new(limits: Limits, total: u64) -> Self {
        let geometry = Geometry::with_granule(total, GRANULE as u32).unwrap();
        Self {
            object: Object::with_geometry(limits, geometry, []),
            now: Instant::now(),
            running: BTreeMap::new(),
            asked: vec![0; total as usize],
            log: Vec::new(),
            leases: Vec::new(),
            leaving: Vec::new(),
        }
    }

    fn send(&mut self, input: Input) {
        self.object.handle_input(self.now, input);
        for _ in 0..1000 {
            self.object.check().unwrap();
            match self.object.poll_output() {
                Output::Wait { until } => {
                    assert_eq!(until, self.object.next_deadline());
                    assert!(until.is_none_or(|at| at > self.now), "a deadline in the past");
                    return;
                }
                Output::Cancel { span } => {
                    let (range, _) = self.running.remove(&span).expect("cancels only what runs");
                    self.log.push(format!("cancel {}", words(&range)));
                }
                Output::Fetch { span, range } => {
                    assert!(!range.is_empty());
                    for (other, _) in self.running.values() {
                        assert!(range.end <= other.start || other.end <= range.start, "{range:?} over {other:?}");
                    }
                    assert_eq!(self.object.present.bytes_in(range.clone()), 0, "{range:?} is present");
                    for run in &self.leaving {
                        let bytes = self.object.geometry.range_of(run.start).start
                            ..self.object.geometry.range_of(run.end - 1).end;
                        assert!(range.end <= bytes.start || bytes.end <= range.start, "{range:?} is just leaving");
                    }
                    range.clone().for_each(|byte| self.asked[byte as usize] += 1);
                    self.log.push(format!("fetch {}", words(&range)));
                    self.running.insert(span, (range.clone(), range.start));
                }
            }
        }
        panic!("never quiet");
    }

    /// Lets bytes of a span arrive, and stores the granules that they complete.
    fn deliver(&mut self, span: SpanId, bytes: u64) {
        let Some((range, arrived)) = self.running.get_mut(&span) else { return };
        let before = *arrived;
        *arrived = (*arrived + bytes).min(range.end);
        let (end, geometry) = (*arrived, self.object.geometry());
        self.send(Input::Arrived { span, end });
        let complete = (geometry.index_at(before)..geometry.count())
            .filter(|index| geometry.range_of(*index).end <= end)
            .map(|index| Granule { index, length: geometry.length_of(index), crc: 0 });
        let granules: Vec<Granule> = complete.collect();
        self.send(Input::Stored { granules: granules.clone() });
        self.send(Input::Durable { granules });
    }

    fn finish(&mut self, span: SpanId) {
        if self.running.remove(&span).is_some() {
            self.send(Input::Finished { span });
        }
    }

    fn deliver_all(&mut self) {
        while let Some((&span, _)) = self.running.iter().next() {
            self.deliver(span, u64::MAX / 2);
            self.finish(span);
        }
    }

    fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }
}

/// Ranges in granules, which is how the cases below are written.
fn words(range: &Range<u64>) -> String {
    format!("{}-{}", range.start / GRANULE, range.end.div_ceil(GRANULE))
}

fn open(reader: u64, start: u64, end: u64) -> Input {
    Input::Open { reader: ReaderId(reader), range: start * GRANULE..end * GRANULE }
}

fn moved(reader: u64, granules: u64) -> Input {
    Input::Moved { reader: ReaderId(reader), position: granules * GRANULE }
}

/// `open`, `move`, `close`, `warm`, `lost` in granules; `all` delivers everything, `some N` one granule of the Nth
/// running span, `fail` the first running span for 100 ms, `wait` in milliseconds. After `>` what came of it.
fn check(total: u64, limits: Limits, script: &str) {
    let mut world = World::new(limits, total * GRANULE);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once('>').unwrap();
        let mut step = step.split_whitespace();
        let name = step.next().unwrap();
        let numbers: Vec<u64> = step.map(|word| word.parse().unwrap()).collect();
        let nth = |world: &World| *world.running.keys().nth(numbers.first().map_or(0, |n| *n as usize)).unwrap();
        match name {
            "open" => world.send(open(numbers[0], numbers[1], numbers[2])),
            "move" => world.send(moved(numbers[0], numbers[1])),
            "close" => world.send(Input::Close { reader: ReaderId(numbers[0]) }),
            "warm" => world.send(Input::Warm { range: numbers[0] * GRANULE..numbers[1] * GRANULE }),
            "lost" => world.send(Input::Lost { granule: numbers[0] }),
            "retry" => world.send(Input::Retry),
            "some" => world.deliver(nth(&world), GRANULE),
            "all" => world.deliver_all(),
            "fail" | "break" => {
                let span = nth(&world);
                world.running.remove(&span);
                let retry_at = (name == "fail").then(|| world.now + Duration::from_millis(100));
                world.send(Input::Failed { span, retry_at });
            }
            "wait" => {
                world.now += Duration::from_millis(numbers[0]);
                world.send(Input::Tick);
            }
            other => panic!("{other}?"),
        }
        assert_eq!(world.take_log(), expected.trim(), "after {line:?}");
    }
}

#[test]
fn one_reader_gets_its_span_and_a_window_that_grows() {
    check(
        1000,
        limits(),
        "open 1 0 1000 > fetch 0-2, fetch 2-4
         all           >
         move 1 1      >
         move 1 2      > fetch 4-6
         move 1 4      > fetch 6-8
         all           > fetch 8-10, fetch 10-12
         move 1 8      > fetch 12-14, fetch 14-16
         all           >
         move 1 16     > fetch 16-20, fetch 20-24
         all           > fetch 24-28, fetch 28-32",
    );
}

#[test]
fn a_reader_that_waits_comes_before_everything() {
    check(
        1000,
        limits(),
        "warm 100 108  > fetch 100-108
         warm 200 208  > fetch 200-208
         warm 300 301  >
         open 1 0 1000 > fetch 0-2
         all           > fetch 300-301, fetch 2-4",
    );
}

#[test]
fn an_index_read_does_not_read_ahead() {
    check(
        1000,
        limits(),
        "open 1 990 991 > fetch 990-991
         all            >
         move 1 991     >
         close 1        >
         open 2 500 501 > fetch 500-501
         all            >",
    );
}

#[test]
fn bounded_requests_in_sequence_are_one_reading() {
    check(
        1000,
        limits(),
        "open 1 0 2   > fetch 0-2
         all          >
         move 1 2     >
         close 1      >
         open 2 2 4   > fetch 2-4
         all          >
         move 2 4     >
         close 2      >
         open 3 4 6   > fetch 4-6, fetch 6-8
         all          >
         open 4 500 501 > fetch 500-501",
    );
}

#[test]
fn what_nobody_wants_ends_after_a_grace() {
    check(
        1000,
        limits(),
        "open 1 0 1000    > fetch 0-2, fetch 2-4
         some 0           >
         close 1          >
         wait 299         >
         wait 1           > cancel 0-2, cancel 2-4
         open 1 0 1000    > fetch 1-3
         close 1          >
         wait 200         >
         open 2 0 1000    >
         wait 200         >",
    );
}

#[test]
fn a_leap_inside_a_long_span_does_not_wait_for_it() {
    check(
        1000,
        limits(),
        "warm 0 8      > fetch 0-8
         open 1 3 4    >
         open 2 7 8    >
         close 1       > cancel 0-8, fetch 7-8, fetch 0-7",
    );
}

#[test]
fn a_failure_is_left_alone_until_its_time() {
    check(
        1000,
        limits(),
        "open 1 0 1000 > fetch 0-2, fetch 2-4
         some 0        >
         fail 0        >
         all           >
         wait 99       >
         wait 1        > fetch 1-2
         break 0       >
         wait 9999     >
         retry         > fetch 1-2",
    );
}

#[test]
fn a_lost_granule_is_fetched_again_when_wanted() {
    check(
        8,
        limits(),
        "warm 0 8   > fetch 0-8
         all        >
         open 1 2 3 >
         lost 7     > fetch 7-8
         lost 2     > fetch 2-3
         all        >",
    );
}

#[test]
fn says_what_failed_and_what_is_there() {
    let mut world = World::new(limits(), 10 * GRANULE + 5);
    world.send(open(1, 0, 11));
    let (first, second) = (SpanId(0), SpanId(1));
    world.deliver(first, GRANULE + 3);
    assert_eq!(world.object.readable(0), GRANULE + 3);
    assert_eq!(world.object.readable(5), GRANULE + 3);
    assert_eq!(world.object.ahead(ReaderId(1)), GRANULE + 3);
    assert_eq!(world.object.present_bytes(), GRANULE);
    assert!(world.object.is_present(0..GRANULE) && !world.object.is_present(0..GRANULE + 1));
    assert!(world.object.is_present(5000..6000) && world.object.is_present(3..3));
    world.deliver(second, GRANULE);
    assert_eq!(world.object.missing(0..1000), [GRANULE..2 * GRANULE, 3 * GRANULE..10 * GRANULE + 5]);
    world.deliver(first, GRANULE);
    assert_eq!(world.object.readable(0), 3 * GRANULE);
    world.running.remove(&second);
    world.send(Input::Failed { span: second, retry_at: None });
    assert_eq!(world.object.failed(3 * GRANULE).unwrap().range, 3 * GRANULE..4 * GRANULE);
    assert!(world.object.failed(0).is_none());
    assert_eq!(world.object.readable(10_000), 10_000);
    let picture = world.object.picture(5);
    assert_eq!(picture.len(), 5);
    assert!(picture[0].present == 1.0 && picture[4].present == 0.0, "{picture:?}");
    assert!(Object::new(limits(), 0, []).picture(2).iter().all(|bucket| bucket.present == 0.0));
}

#[test]
fn begins_with_what_was_kept() {
    let kept = [0, 1, 3, 99].map(|index| Granule { index, length: 65_536, crc: 0 });
    let mut object = Object::new(Limits::default(), 4 * 65_536, kept);
    assert_eq!((object.present_bytes(), object.durable_bytes()), (3 * 65_536, 3 * 65_536));
    object.handle_input(Instant::now(), Input::Open { reader: ReaderId(1), range: 0..u64::MAX });
    assert_eq!(object.poll_output(), Output::Fetch { span: SpanId(0), range: 131_072..196_608 });
    assert_eq!(object.poll_output(), Output::Wait { until: None });
}

#[test]
fn an_empty_object_is_complete() {
    let mut object = Object::new(Limits::default(), 0, []);
    object.handle_input(Instant::now(), Input::Open { reader: ReaderId(1), range: 0..10 });
    object.handle_input(Instant::now(), Input::Warm { range: 0..10 });
    assert!(object.is_complete());
    assert_eq!(object.poll_output(), Output::Wait { until: None });
}

#[test]
fn all_of_it_is_fetched_when_that_is_wanted_and_nobody_reads() {
    let mut world = World::new(limits(), 40 * GRANULE);
    world.send(Input::Fill);
    world.deliver_all();
    assert!(world.object.is_complete());
}

#[test]
fn fills_only_when_told_to_and_while_somebody_reads() {
    for (fill, expected) in [(false, 4), (true, 40)] {
        let mut world = World::new(Limits { fill, ..limits() }, 40 * GRANULE);
        world.send(open(1, 0, 40));
        world.deliver_all();
        assert_eq!(world.object.present_bytes(), expected * GRANULE);
    }
    let mut world = World::new(Limits { fill: true, ..limits() }, 40 * GRANULE);
    world.send(Input::Tick);
    assert!(world.running.is_empty());
}

#[test]
fn windows_grow_with_reading_and_shrink_with_leaping() {
    let limits = limits();
    let mut reader = Reader::new(0..u64::MAX, &limits);
    for granule in 1..1000 {
        reader.advance(granule * GRANULE, &limits);
    }
    assert_eq!((reader.window(), reader.span(&limits)), (limits.ahead_max, limits.span_max));
    reader.advance(10, &limits);
    assert_eq!((reader.window(), reader.span(&limits)), (limits.ahead_min, limits.span_min));
}

#[derive(Clone, Debug)]
enum Step {
    Open(u64, u64, u64),
    Read(u64, u64),
    Seek(u64, u64),
    Close(u64),
    Warm(u64, u64),
    Deliver(usize, u64),
    Finish(usize),
    Fail(usize, Option<u64>),
    Lose(u64),
    Retry,
    Wait(u64),
    /// Takes a lease of so many bytes at a place, and gives back the oldest one.
    Hold(u64, u64),
    Release,
    /// Evicts a run of granules and gives their room back at once, or with the next one.
    Evict(u64, u64, bool),
    Rate(Option<u64>),
    SpanLength(u64),
    AheadAtMost(Option<u64>),
    HoldBack(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0u64..6;
    let offset = 0u64..1200;
    prop_oneof![
        4 => (reader.clone(), offset.clone(), prop_oneof![Just(2000u64), 0u64..300])
            .prop_map(|(id, start, length)| Step::Open(id, start, start + length)),
        8 => (reader.clone(), 0u64..100).prop_map(|(id, by)| Step::Read(id, by)),
        1 => (reader.clone(), offset.clone()).prop_map(|(id, to)| Step::Seek(id, to)),
        2 => reader.prop_map(Step::Close),
        1 => (offset.clone(), 0u64..200).prop_map(|(start, length)| Step::Warm(start, start + length)),
        12 => (0usize..4, 1u64..120).prop_map(|(nth, bytes)| Step::Deliver(nth, bytes)),
        4 => (0usize..4).prop_map(Step::Finish),
        2 => (0usize..4, prop::option::of(0u64..500)).prop_map(|(nth, after)| Step::Fail(nth, after)),
        1 => (0u64..80).prop_map(Step::Lose),
        1 => Just(Step::Retry),
        3 => (0u64..400).prop_map(Step::Wait),
        2 => (offset.clone(), 1u64..100).prop_map(|(at, length)| Step::Hold(at, length)),
        1 => Just(Step::Release),
        2 => (0u64..80, 1u64..40, any::<bool>()).prop_map(|(at, count, at_once)| Step::Evict(at, count, at_once)),
        1 => prop::option::of(1u64..1000).prop_map(Step::Rate),
        1 => (0u64..300).prop_map(Step::SpanLength),
        1 => prop::option::of(0u64..300).prop_map(Step::AheadAtMost),
        1 => any::<bool>().prop_map(Step::HoldBack),
    ]
}

/// Does a step the way the service does: a reader moves only over what is readable, unless it seeks.
fn perform(world: &mut World, step: &Step) {
    let nth = |world: &World, n: usize| world.running.keys().nth(n).copied();
    match *step {
        Step::Open(id, start, end) => world.send(Input::Open { reader: ReaderId(id), range: start..end }),
        Step::Read(id, by) => read(world, ReaderId(id), by),
        Step::Seek(id, position) => world.send(Input::Moved { reader: ReaderId(id), position }),
        Step::Close(id) => world.send(Input::Close { reader: ReaderId(id) }),
        Step::Warm(start, end) => world.send(Input::Warm { range: start..end }),
        Step::Deliver(n, bytes) => nth(world, n).into_iter().for_each(|span| world.deliver(span, bytes)),
        Step::Finish(n) => nth(world, n).into_iter().for_each(|span| world.finish(span)),
        Step::Fail(n, after) => {
            if let Some(span) = nth(world, n) {
                world.running.remove(&span);
                let retry_at = after.map(|ms| world.now + Duration::from_millis(ms));
                world.send(Input::Failed { span, retry_at });
            }
        }
        Step::Lose(granule) => world.send(Input::Lost { granule }),
        Step::Retry => world.send(Input::Retry),
        Step::Wait(ms) => {
            world.now += Duration::from_millis(ms);
            world.send(Input::Tick);
        }
        Step::Hold(at, length) => {
            let end = at + length;
            let readable = world.object.readable(at) >= end;
            let lease = world.object.hold(at..end);
            assert_eq!(lease.is_some(), readable);
            world.leases.extend(lease.map(|lease| (lease, at..end)));
        }
        Step::Release => {
            if !world.leases.is_empty() {
                let (lease, _) = world.leases.remove(0);
                world.object.release(lease);
            }
        }
        Step::Evict(at, count, at_once) => evict(world, at..at + count, at_once),
        Step::Rate(bytes_per_second) => world.send(Input::Rate { bytes_per_second }),
        Step::SpanLength(bytes) => world.send(Input::SpanLength { bytes }),
        Step::AheadAtMost(bytes) => world.send(Input::AheadAtMost { bytes }),
        Step::HoldBack(held_back) => {
            world.object.hold_back(held_back);
            world.send(Input::Tick);
        }
    }
}

/// Evicts as the service does, and sees that what is leased, on its way or about to be read stays.
fn evict(world: &mut World, granules: Range<u64>, at_once: bool) {
    let standing = world.object.standing();
    let taken = world.object.evict(std::slice::from_ref(&granules));
    for index in taken.iter().cloned().flatten() {
        assert!(granules.contains(&index) && standing.present.iter().any(|run| run.contains(&index)));
        assert!(!standing.held.iter().any(|run| run.contains(&index)), "{index} is held");
        let bytes = world.object.geometry.range_of(index);
        let overlaps = |range: &Range<u64>| range.start < bytes.end && bytes.start < range.end;
        assert!(!world.leases.iter().any(|(_, range)| overlaps(range)), "{index} is leased");
        assert!(!world.running.values().any(|(range, _)| overlaps(range)), "{index} is on its way");
        // It may be fetched once more.
        bytes.for_each(|byte| world.asked[byte as usize] = 0);
    }
    let before = std::mem::replace(&mut world.leaving, taken);
    world.send(Input::Evicted { granules: before });
    if at_once {
        let granules = std::mem::take(&mut world.leaving);
        world.send(Input::Evicted { granules });
    }
}

fn read(world: &mut World, reader: ReaderId, by: u64) {
    let Some(position) = world.object.readers.get(&reader).map(|reader| reader.position) else { return };
    let position = world.object.readable(position).min(position + by);
    world.send(Input::Moved { reader, position });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold_and_readers_end(
        total in 0u64..1200, max_spans in 1usize..5, fill: bool, steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(Limits { max_spans, fill, ..limits() }, total);
        for step in &steps {
            perform(&mut world, step);
            prop_assert!(world.running.len() <= max_spans);
            prop_assert_eq!(world.object.present.bytes(), world.object.present.count_bytes());
        }
        world.send(Input::Retry);
        world.object.hold_back(false);
        let granules = std::mem::take(&mut world.leaving);
        world.send(Input::Evicted { granules });
        for _ in 0..300 {
            world.now += Duration::from_secs(1);
            world.send(Input::Tick);
            world.deliver_all();
            let readers: Vec<ReaderId> = world.object.readers.keys().copied().collect();
            readers.iter().for_each(|reader| read(&mut world, *reader, 50));
        }
        let waiting = world.object.readers.values().filter(|reader| reader.is_reading()).count();
        prop_assert_eq!(waiting, 0, "somebody waits for ever");
        let warm = world.object.warm.clone();
        prop_assert!(warm.iter().all(|range| world.object.is_present(range.clone())), "cold: {:?}", warm);
        prop_assert!(world.running.is_empty());
    }

    #[test]
    fn without_trouble_each_byte_is_fetched_once(
        total in 1u64..1200, max_spans in 1usize..5, steps in prop::collection::vec(step(), 0..120),
    ) {
        let patient = Limits { max_spans, grace: Duration::MAX / 4, skip: u64::MAX, ..limits() };
        let mut world = World::new(patient, total);
        for step in &steps {
            match step {
                Step::Fail(..) | Step::Lose(_) | Step::Finish(_) => {}
                Step::Deliver(n, _) => {
                    if let Some(span) = world.running.keys().nth(*n).copied() {
                        world.deliver(span, u64::MAX / 2);
                        world.finish(span);
                    }
                }
                step => perform(&mut world, step),
            }
        }
        world.deliver_all();
        prop_assert!(world.asked.iter().all(|times| *times <= 1), "{:?}", world.log);
    }

    #[test]
    fn getters_agree_with_a_map_of_bytes(
        total in 0u64..700, steps in prop::collection::vec(step(), 0..60), at in 0u64..800, length in 0u64..800,
    ) {
        let mut world = World::new(limits(), total);
        steps.iter().for_each(|step| perform(&mut world, step));
        let object = &world.object;
        let stored: Vec<bool> = (0..total).map(|byte| object.present.has(byte / GRANULE)).collect();
        let arrived = |byte: u64| object.in_flight().any(|span| span.range.start <= byte && byte < span.arrived);
        let readable = (at..total).take_while(|byte| stored[*byte as usize] || arrived(*byte)).count() as u64;
        prop_assert_eq!(object.readable(at), at + readable);
        let range = at..at + length;
        let holes: Vec<u64> = range.clone().filter(|byte| *byte < total && !stored[*byte as usize]).collect();
        prop_assert_eq!(object.missing(range.clone()).into_iter().flatten().collect::<Vec<_>>(), holes.clone());
        prop_assert_eq!(object.is_present(range.clone()), holes.is_empty());
        let there = range.filter(|byte| *byte < total && stored[*byte as usize]).count() as u64;
        prop_assert_eq!(object.present.bytes_in(at..at + length), there);
        let seen: f64 = object.picture(7).iter().map(|bucket| f64::from(bucket.present)).sum();
        prop_assert!((0.0..=7.0).contains(&seen));
    }
}

/// A player on a slow clock: ten milliseconds per step, an upstream with a round trip of 100 ms and 8 MB/s, shared by
/// its spans. What it stands for: the cost of a player's habits in bytes and in waiting.
struct Evening {
    object: Object,
    now: Instant,
    /// Range, how far it has arrived, and the steps until its first byte.
    running: BTreeMap<SpanId, (Range<u64>, u64, u32)>,
    /// What left the upstream, in bytes.
    upstream: u64,
    next_reader: u64,
}

const STEP_MS: u64 = 10;
const ROUND_TRIP_STEPS: u32 = 10;
const BYTES_PER_STEP: u64 = 80_000;

impl Evening {
    fn new(total: u64) -> Self {
        let object = Object::new(Limits::default(), total, []);
        Self { object, now: Instant::now(), running: BTreeMap::new(), upstream: 0, next_reader: 0 }
    }

    fn send(&mut self, input: Input) {
        self.object.handle_input(self.now, input);
        loop {
            match self.object.poll_output() {
                Output::Fetch { span, range } => {
                    self.running.insert(span, (range.clone(), range.start, ROUND_TRIP_STEPS));
                }
                Output::Cancel { span } => drop(self.running.remove(&span)),
                Output::Wait { .. } => return self.object.check().unwrap(),
            }
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(STEP_MS);
        self.send(Input::Tick);
        let flowing = self.running.values().filter(|span| span.2 == 0).count().max(1) as u64;
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            let Some((range, arrived, latency)) = self.running.get_mut(&id) else { continue };
            if *latency > 0 {
                *latency -= 1;
                continue;
            }
            let (before, end) = (*arrived, (*arrived + BYTES_PER_STEP / flowing).min(range.end));
            *arrived = end;
            let (geometry, over) = (self.object.geometry(), end == range.end);
            self.upstream += end - before;
            let complete = geometry.index_at(before)..geometry.count();
            let granules = complete.take_while(|index| geometry.range_of(*index).end <= end);
            let granules = granules.map(|index| Granule { index, length: geometry.length_of(index), crc: 0 }).collect();
            self.send(Input::Arrived { span: id, end });
            self.send(Input::Stored { granules });
            if over {
                self.running.remove(&id);
                self.send(Input::Finished { span: id });
            }
        }
    }

    /// Requests a range, reads so many bytes of it at so many per step, hangs up, and says for how many steps nothing
    /// came.
    fn request(&mut self, range: Range<u64>, read: u64, per_step: u64) -> u32 {
        let reader = ReaderId(self.next_reader);
        self.next_reader += 1;
        let (mut position, end) = (range.start, (range.start + read).min(range.end));
        self.send(Input::Open { reader, range });
        let mut starved = 0;
        while position < end {
            self.step();
            let next = self.object.readable(position).min(position + per_step).min(end);
            starved = if next == position { starved + 1 } else { starved };
            position = next;
            self.send(Input::Moved { reader, position });
            assert!(starved < 10_000, "nothing comes");
        }
        self.send(Input::Close { reader });
        starved
    }

    fn rest(&mut self) {
        while !self.running.is_empty() {
            self.step();
        }
    }
}

const FILM: u64 = 400_000_000;

/// As much as a player plays in a step, for 16 Mbit/s.
const PLAYED_PER_STEP: u64 = 20_000;

#[test]
fn an_evening_costs_what_is_watched_and_one_window() {
    let window = Limits::default().ahead_max;
    let mut evening = Evening::new(FILM);
    // The habits of a demuxer: a look at the head, the index at the end, back, a few seeks, and then the film.
    let mut watched = 300_000;
    let first = evening.request(0..FILM, 300_000, u64::MAX / 2);
    assert!(first <= ROUND_TRIP_STEPS + 2, "the first byte took {first} steps");
    evening.request(FILM - 200_000..FILM, 200_000, u64::MAX / 2);
    for (start, read) in
        [(300_000, 5_000_000), (100_000_000, 3_000_000), (50_000_000, 3_000_000), (51_000_000, 60_000_000)]
    {
        let starved = evening.request(start..FILM, read, PLAYED_PER_STEP);
        assert!(starved <= 2 * ROUND_TRIP_STEPS + 5, "at {start} nothing came for {starved} steps");
        watched += read;
    }
    evening.rest();
    let most = (watched + window) * 11 / 10;
    assert!(evening.upstream <= most, "{} bytes for {watched} watched", evening.upstream);
}

#[test]
fn requests_in_sequence_do_not_wait_each_time() {
    let mut evening = Evening::new(FILM);
    let starved: u32 =
        (0..60).map(|part| evening.request(part * 500_000..(part + 1) * 500_000, 500_000, PLAYED_PER_STEP)).sum();
    assert!(starved < 6 * ROUND_TRIP_STEPS, "nothing came for {starved} steps of 1500");
    evening.rest();
    assert!(evening.upstream < 30_000_000 * 2, "{}", evening.upstream);
}

#[test]
fn two_places_of_one_file_are_read_side_by_side() {
    let mut evening = Evening::new(FILM);
    let places = [(ReaderId(1), 0), (ReaderId(2), 200_000_000)];
    places.iter().for_each(|(reader, start)| evening.send(Input::Open { reader: *reader, range: *start..FILM }));
    let (mut read, mut starved) = ([0, 0], 0);
    while read[0] < 20_000_000 {
        evening.step();
        for (at, (reader, start)) in places.iter().enumerate() {
            let position = start + read[at];
            let next = evening.object.readable(position).min(position + PLAYED_PER_STEP);
            starved += u32::from(next == position);
            read[at] = next - start;
            evening.send(Input::Moved { reader: *reader, position: next });
        }
    }
    assert!(starved <= 4 * ROUND_TRIP_STEPS + 10, "{starved}");
    assert!(read[1] > 19_000_000);
}

#[test]
fn what_is_leased_stays_until_it_is_released() {
    let mut world = World::new(limits(), 10 * GRANULE);
    world.send(Input::Warm { range: 0..10 * GRANULE });
    world.deliver_all();
    let lease = world.object.hold(3 * GRANULE + 2..4 * GRANULE).unwrap();
    assert_eq!(world.object.evict(&[2..4, 4..6]), [2..3, 4..6]);
    assert_eq!(world.object.standing().present, [0..2, 3..4, 6..10]);
    assert_eq!(world.object.standing().unread, [0..2, 6..10], "granule 3 was handed out");
    assert!(world.object.hold(2 * GRANULE..3 * GRANULE).is_none(), "it is gone");
    world.object.release(lease);
    assert_eq!(world.object.evict(&[0..5, 5..10]), [0..2, 3..4, 6..10]);
    assert_eq!(world.object.present_bytes(), 0);
    world.take_log();
    // Nothing that is leaving is fetched.
    world.send(open(2, 2, 3));
    assert!(world.running.is_empty());
    world.send(Input::Evicted { granules: vec![2..3, 4..6] });
    assert_eq!(world.take_log(), "fetch 2-3");
}

#[test]
fn a_provisional_length_is_settled_once_it_is_known() {
    let total = 100 * GRANULE;
    let all = Limits { max_spans: 1, span_min: total, span_max: total, ahead_min: total, ahead_max: total, ..limits() };
    let mut world = World::new(all, total);
    world.send(open(1, 0, 100));
    let span = *world.running.keys().next().unwrap();
    world.deliver(span, 5 * GRANULE + 7);
    let end = 5 * GRANULE + 7;
    world.send(Input::Settled { total: end });
    world.send(Input::Stored { granules: vec![Granule { index: 5, length: 7, crc: 0 }] });
    world.finish(span);
    assert!(world.object.is_complete());
    assert_eq!((world.object.present_bytes(), world.object.readable(3)), (end, end));
    assert_eq!(world.object.readers[&ReaderId(1)].wanted(end, &world.object.limits), 0..end);
    world.send(Input::Settled { total });
    assert_eq!(world.object.geometry().total(), end, "it never grows");
}

#[test]
fn read_ahead_is_measured_in_time_of_the_media() {
    let mut limits = limits();
    limits.ahead_time = Duration::from_secs(2);
    let mut world = World::new(limits.clone(), 1000 * GRANULE);
    world.send(Input::Rate { bytes_per_second: Some(6 * GRANULE) });
    assert_eq!(world.object.limits.ahead_max, 12 * GRANULE);
    world.send(Input::AheadAtMost { bytes: Some(5 * GRANULE) });
    assert_eq!(world.object.limits.ahead_max, 5 * GRANULE);
    world.send(Input::AheadAtMost { bytes: None });
    world.send(Input::Rate { bytes_per_second: Some(1 << 40) });
    assert_eq!(world.object.limits.ahead_max, limits.ahead_max);
    world.send(Input::SpanLength { bytes: 3 * GRANULE + 5 });
    assert_eq!(world.object.limits.span_max, 3 * GRANULE);
}

#[test]
fn wishes_are_ordered_by_how_soon_they_are_needed() {
    let mut world = World::new(limits(), 200 * GRANULE);
    world.object.hold_back(true);
    world.send(Input::Warm { range: 0..GRANULE });
    assert_eq!(world.object.wish().unwrap().urgency, Urgency::Warm);
    world.send(open(1, 50, 200));
    let wish = world.object.wish().unwrap();
    assert_eq!((wish.urgency, words(&wish.range)), (Urgency::Waiting, "50-52".to_owned()));
    assert!(world.running.is_empty(), "held back");
    assert!(Urgency::Waiting < Urgency::Warm && Urgency::Warm < Urgency::Ahead(Duration::ZERO));
    assert!(Urgency::Ahead(Duration::from_secs(1)) < Urgency::Ahead(Duration::from_secs(2)));
}
