use super::*;
use proptest::prelude::*;

const MB: u64 = 1_000_000;
const MS: Duration = Duration::from_millis(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What an origin does with one request more than it allows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Busy(Option<Duration>),
    /// The connection is reset before any answer.
    Reset,
    /// It is served, and the oldest connection is reset.
    CutsOldest,
}

/// An origin and the line to it.
#[derive(Clone, Copy, Debug)]
struct Server {
    latency: Duration,
    /// Bytes per second of one connection.
    each: u64,
    /// Bytes per second of all together.
    line: u64,
    /// Connections that are served at once.
    places: usize,
    over: Over,
    /// Rates change by so many percent at most, and latencies are up to so many percent longer, anew every 200 ms.
    rough: u64,
}

impl Default for Server {
    fn default() -> Self {
        let most = u64::MAX / 400;
        Self { latency: 40 * MS, each: most, line: most, places: 1000, over: Over::Busy(None), rough: 0 }
    }
}

struct Run {
    id: RequestId,
    urgent: bool,
    length: u64,
    left: u64,
    /// When the answer, or what takes its place, comes.
    answer: Instant,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Served,
    Refused,
    Reset,
}

/// A client that always wants so many requests, on a clock of five milliseconds per step.
struct World {
    origin: Origin,
    server: Server,
    now: Instant,
    start: Instant,
    running: Vec<Run>,
    urgent: usize,
    background: usize,
    requests: u32,
    troubles: u32,
    bytes: u64,
    widest: u32,
    seed: u64,
    /// What the rates are worth at present, in percent.
    fair: u64,
    /// Whether the client changes its mind, as one that seeks does.
    restless: bool,
}

const STEP: Duration = Duration::from_millis(5);

impl World {
    fn new(server: Server) -> Self {
        let now = Instant::now();
        Self {
            origin: Origin::new(Limits::default()),
            server,
            now,
            start: now,
            running: Vec::new(),
            urgent: 1,
            background: 12,
            requests: 0,
            troubles: 0,
            bytes: 0,
            widest: 0,
            seed: 1,
            fair: 100,
            restless: false,
        }
    }

    /// Below `limit`; xorshift.
    fn chance(&mut self, limit: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % limit.max(1)
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            if (self.now - self.start).as_millis().is_multiple_of(200) {
                self.change();
            }
            for urgent in [true, false] {
                let wanted = if urgent { self.urgent } else { self.background };
                let running = self.running.iter().filter(|run| run.urgent == urgent).count();
                for _ in running..wanted {
                    if self.origin.admits(self.now, urgent) == Admission::Now {
                        self.begin(urgent);
                    }
                }
            }
            self.now += STEP;
            self.deliver();
            self.origin.check().unwrap();
            assert_eq!(self.origin.in_flight() as usize, self.running.len());
            self.widest = self.widest.max(self.origin.window());
        }
    }

    fn change(&mut self) {
        let rough = self.server.rough;
        self.fair = 100 - rough + self.chance(2 * rough + 1);
        if !self.restless {
            return;
        }
        (self.urgent, self.background) = (self.chance(4) as usize, self.chance(13) as usize);
        if self.chance(5) == 0 {
            let keep = self.chance(4) as usize;
            for run in self.running.drain(keep.min(self.running.len())..) {
                self.origin.end(self.now, run.id, Ended::Cancelled);
            }
        }
    }

    fn begin(&mut self, urgent: bool) {
        let id = self.origin.begin(self.now);
        let length = self.origin.span_length();
        let mut fate = Fate::Served;
        if self.running.iter().filter(|run| run.fate == Fate::Served).count() >= self.server.places {
            match self.server.over {
                Over::Busy(_) => fate = Fate::Refused,
                Over::Reset => fate = Fate::Reset,
                Over::CutsOldest => {
                    let oldest = self.running.iter_mut().find(|run| run.fate == Fate::Served).unwrap();
                    (oldest.fate, oldest.answer) = (Fate::Reset, self.now + self.server.latency / 2);
                }
            }
        }
        self.requests += 1;
        let longer = self.chance(self.server.rough + 1) as u32;
        let answer = self.now + self.server.latency * (100 + longer) / 100;
        self.running.push(Run { id, urgent, length, left: length, answer, fate });
    }

    fn deliver(&mut self) {
        let now = self.now;
        let answered: Vec<bool> = self.running.iter().map(|run| run.answer <= now).collect();
        let flowing = self.running.iter().filter(|run| run.answer <= now && run.fate == Fate::Served).count() as u64;
        let rate = self.server.each.min(self.server.line / flowing.max(1)) / 100 * self.fair;
        let piece = (u128::from(rate) * STEP.as_nanos() / 1_000_000_000) as u64;
        for (run, _) in self.running.iter_mut().zip(answered).filter(|(_, answered)| *answered) {
            match run.fate {
                Fate::Refused => {
                    let Over::Busy(retry_after) = self.server.over else { unreachable!() };
                    self.origin.end(now, run.id, Ended::Busy { retry_after });
                }
                Fate::Reset => self.origin.end(now, run.id, Ended::Broken),
                Fate::Served => {
                    let bytes = piece.min(run.left);
                    run.left -= bytes;
                    self.bytes += bytes;
                    if run.left + bytes == run.length {
                        self.origin.first_byte(now, run.id);
                    }
                    self.origin.received(now, run.id, bytes);
                    if run.left == 0 {
                        self.origin.end(now, run.id, Ended::Done);
                    }
                    continue;
                }
            }
            self.troubles += 1;
            run.left = 0;
        }
        self.running.retain(|run| run.left > 0);
    }

    fn break_all(&mut self) {
        self.running.iter_mut().for_each(|run| (run.fate, run.answer) = (Fate::Reset, self.now));
    }

    /// Bytes per second since the last time.
    fn take_rate(&mut self) -> u64 {
        let time = (self.now - self.start).as_nanos();
        self.start = self.now;
        (u128::from(std::mem::take(&mut self.bytes)) * 1_000_000_000 / time) as u64
    }
}

#[test]
fn an_origin_with_k_places_is_rarely_asked_for_more() {
    for (places, urgent) in (1..=6).flat_map(|places| [(places, 1), (places, 3)]) {
        for over in [Over::Busy(None), Over::Busy(Some(seconds(2))), Over::Reset] {
            let mut world = World::new(Server { each: MB, places, over, ..Server::default() });
            world.urgent = urgent;
            world.run(seconds(60));
            let case = format!("{places} places, {urgent} urgent, {over:?}");
            assert_eq!(world.troubles, 1, "{case}: it is found out once");
            assert_eq!(world.origin.window() as usize, places, "{case}");
            if over != Over::Busy(None) {
                continue;
            }
            world.take_rate();
            // Trials come after 60 s, then 120, then 240.
            world.run(seconds(600));
            assert!(world.troubles <= 5, "{case}: {} in eleven minutes", world.troubles);
            // One of several is kept.
            assert!(world.take_rate() > (places as u64 - 1).max(1) * MB * 85 / 100, "{case}");
        }
    }
}

#[test]
fn an_origin_that_cuts_the_oldest_connection_is_understood_too() {
    for places in 1..=4 {
        let server = Server { each: MB, places, over: Over::CutsOldest, ..Server::default() };
        let mut world = World::new(server);
        world.run(seconds(60));
        assert!(world.troubles <= 2, "{places} places: {}", world.troubles);
        assert!(world.origin.window() as usize <= places);
    }
}

#[test]
fn a_restless_client_asks_for_too_much_as_rarely() {
    for (places, seed) in [1, 2, 3, 6].into_iter().flat_map(|places| [(places, 3), (places, 7919)]) {
        for over in [Over::Busy(None), Over::Reset, Over::CutsOldest] {
            let mut world = World::new(Server { each: MB, places, over, rough: 30, ..Server::default() });
            (world.seed, world.restless) = (seed, true);
            world.run(seconds(60));
            let case = format!("{places} places, {over:?}, seed {seed}");
            assert!(world.troubles <= 3, "{case}: {} in a minute", world.troubles);
            assert!(world.origin.window() as usize <= places, "{case}: {}", world.origin.window());
            world.run(seconds(240));
            assert!(world.troubles <= 5, "{case}: {} in five minutes", world.troubles);
        }
    }
}

/// The window of each second after the first half minute, over two minutes with some seeds.
fn windows(server: Server) -> Vec<u32> {
    let of_seed = |seed: u64| {
        let mut world = World::new(server);
        world.seed = seed * 7919;
        world.run(seconds(30));
        let each_second = move |_| {
            world.run(seconds(1));
            world.origin.window()
        };
        (0..90).map(each_second)
    };
    (1..=4).flat_map(of_seed).collect()
}

#[test]
fn a_line_that_comes_and_goes_is_told_from_an_origin_that_throttles() {
    let rough = Server { rough: 30, ..Server::default() };
    for (line, latency) in [(4 * MB, 40), (12 * MB, 5), (12 * MB, 200)] {
        let windows = windows(Server { line, latency: latency * MS, ..rough });
        let mean = f64::from(windows.iter().sum::<u32>()) / windows.len() as f64;
        assert!(mean <= 5.0, "{line} B/s, {latency} ms: {mean}");
    }
    for (each, latency) in [(MB, 40), (MB / 4, 5), (4 * MB, 200)] {
        let windows = windows(Server { each, latency: latency * MS, ..rough });
        assert!(windows.iter().all(|window| *window >= 7), "{each} B/s each, {latency} ms: {windows:?}");
    }
}

#[test]
fn a_place_that_is_added_later_is_found() {
    let mut world = World::new(Server { each: MB, places: 1, ..Server::default() });
    world.run(seconds(30));
    assert_eq!(world.origin.window(), 1);
    world.server.places = 5;
    world.run(seconds(90));
    assert_eq!(world.origin.window(), 5, "what was learned before is forgotten");
    world.server.places = 1000;
    world.run(seconds(90));
    assert_eq!(world.origin.window(), 8);
}

#[test]
fn a_connection_that_breaks_alone_does_not_undo_what_was_learned() {
    let mut world = World::new(Server { each: MB, places: 1, ..Server::default() });
    world.run(seconds(10));
    assert_eq!((world.troubles, world.running.len()), (1, 1));
    world.running[0].fate = Fate::Reset;
    world.run(seconds(45));
    assert_eq!(world.troubles, 2, "none but the two");
}

#[test]
fn a_line_that_was_full_is_not_taken_for_full_for_ever() {
    let (full, throttled) = ((4 * MB, 100 * MB), (100 * MB, MB));
    let mut world = World::new(Server::default());
    for turn in 0..5 {
        (world.server.line, world.server.each) = full;
        // The change of line breaks what runs.
        world.break_all();
        world.run(seconds(60));
        assert!(world.origin.window() <= 4, "turn {turn}: {}", world.origin.window());
        (world.server.line, world.server.each) = throttled;
        world.run(seconds(60));
        assert_eq!(world.origin.window(), 8, "turn {turn}");
    }
}

#[test]
fn a_full_line_is_not_crowded() {
    for (line, latency) in [(MB, 20), (4 * MB, 40), (12 * MB, 100), (12 * MB, 5), (100 * MB, 10), (4 * MB, 400)] {
        let mut world = World::new(Server { line, latency: latency * MS, ..Server::default() });
        world.run(seconds(60));
        world.take_rate();
        world.run(seconds(60));
        let rate = world.take_rate();
        assert!(world.origin.window() <= 4, "{line} B/s, {latency} ms: {}", world.origin.window());
        assert!(rate > line * 90 / 100, "{line} B/s, {latency} ms: {rate}");
    }
}

#[test]
fn on_a_full_line_there_is_a_place_for_somebody_who_waits() {
    let mut world = World::new(Server { line: 4 * MB, ..Server::default() });
    world.urgent = 3;
    world.run(seconds(30));
    world.break_all();
    world.run(STEP);
    assert_eq!(world.origin.window(), 1);
    world.run(seconds(10));
    for _ in 0..100 {
        world.run(seconds(1));
        assert!(world.origin.window() >= 2);
    }
}

#[test]
fn an_origin_that_throttles_each_connection_gets_all_of_them() {
    for (each, latency) in [(MB / 5, 40), (MB, 20), (MB, 300), (8 * MB, 5), (2 * MB, 800)] {
        let mut world = World::new(Server { each, latency: latency * MS, ..Server::default() });
        world.run(seconds(120));
        assert_eq!(world.origin.window(), 8, "{each} B/s each, {latency} ms");
    }
}

#[test]
fn what_is_not_used_does_not_grow() {
    let mut world = World::new(Server { each: MB, ..Server::default() });
    (world.urgent, world.background) = (2, 0);
    world.run(seconds(120));
    // Two that run fill a window of three, of which one is kept.
    assert!(world.widest <= 4, "{}", world.widest);
    world.background = 12;
    world.run(seconds(30));
    assert_eq!(world.origin.window(), 8, "the time of little use is not held against it");
}

#[test]
fn requests_are_as_long_as_the_answer_is_slow() {
    let span = |latency: u32, each: u64| {
        let mut world = World::new(Server { each, latency: latency * MS, ..Server::default() });
        world.run(seconds(120));
        world.origin.span_length()
    };
    let near = |length: u64, expected: u64| {
        assert!(length.abs_diff(expected) < expected / 10, "{length} instead of {expected}");
    };
    near(span(10, 2 * MB), 2 * MB);
    near(span(200, 2 * MB), 4 * MB);
    near(span(800, 2 * MB), 8 * MB);
    assert_eq!(span(10, MB / 10), 256 << 10, "the shortest");
    assert_eq!(span(800, 40 * MB), 16 << 20, "the longest");
}

#[test]
fn an_outage_is_not_taken_for_a_number_of_places() {
    let mut world = World::new(Server { each: MB, ..Server::default() });
    world.run(seconds(30));
    assert_eq!(world.origin.window(), 8);
    world.break_all();
    (world.server.places, world.server.over) = (0, Over::Reset);
    world.run(seconds(10));
    assert!(world.origin.window() <= 2);
    world.server.places = 1000;
    world.run(seconds(20));
    assert!(world.origin.window() >= 5, "{}", world.origin.window());
}

#[test]
fn an_origin_that_is_down_with_503_is_asked_ever_more_rarely() {
    let mut world = World::new(Server { places: 0, ..Server::default() });
    world.run(seconds(300));
    // Two at first, then one after 0.5, 1, 2, 4, 8, 16 and then each 30 s.
    assert!((10..=17).contains(&world.requests), "{}", world.requests);
    world.server = Server { each: MB, ..Server::default() };
    world.run(seconds(60));
    assert!(world.origin.window() >= 5, "{}", world.origin.window());
}

/// Times in milliseconds, requests by letter: `a begin`, `a first`, `a bytes N`, `a done`, `a cancel`, `a broken`,
/// `a busy`, `a busy N` (milliseconds), `a refused`; `ask` and `ask urgent`. After `>` the admission, or else the window
/// and how many run.
fn check(limits: Limits, script: &str) {
    let (start, mut origin) = (Instant::now(), Origin::new(limits));
    let mut known: BTreeMap<&str, RequestId> = BTreeMap::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once('>').unwrap();
        let words: Vec<&str> = step.split_whitespace().collect();
        let now = start + words[0].parse::<u32>().unwrap() * MS;
        let number = words.get(3).map(|word| word.parse::<u32>().unwrap());
        let mut told = None;
        let mut end = |how| origin.end(now, known[words[1]], how);
        match (words[1], words.get(2).copied().unwrap_or_default()) {
            ("ask", urgent) => told = Some(origin.admits(now, urgent == "urgent")),
            (name, "begin") => drop(known.insert(name, origin.begin(now))),
            (name, "first") => origin.first_byte(now, known[name]),
            (name, "bytes") => origin.received(now, known[name], u64::from(number.unwrap())),
            (_, "done") => end(Ended::Done),
            (_, "cancel") => end(Ended::Cancelled),
            (_, "broken") => end(Ended::Broken),
            (_, "refused") => end(Ended::Refused),
            (_, "busy") => end(Ended::Busy { retry_after: number.map(|number| number * MS) }),
            other => panic!("{other:?}?"),
        }
        let told = match told {
            Some(Admission::Now) => "now".to_owned(),
            Some(Admission::At(at)) => format!("at {}", (at - start).as_millis()),
            Some(Admission::Full) => "full".to_owned(),
            None => format!("{}/{}", origin.in_flight(), origin.window()),
        };
        assert_eq!(told, expected.trim(), "after {line:?}");
        origin.check().unwrap();
    }
}

fn starting_with(connections_start: u32) -> Limits {
    Limits { connections_start, ..Limits::default() }
}

#[test]
fn the_last_place_is_for_somebody_who_waits() {
    check(
        starting_with(3),
        "0 a begin    > 1/3
         0 ask        > now
         0 b begin    > 2/3
         0 ask        > full
         0 ask urgent > now
         0 c begin    > 3/3
         0 ask urgent > full
         9 a refused  > 2/3
         9 ask        > full
         9 b cancel   > 1/3
         9 ask        > now",
    );
    check(starting_with(1), "0 ask > now");
}

#[test]
fn a_connection_that_breaks_alone_changes_nothing() {
    check(
        starting_with(4),
        "0 a begin   > 1/4
         5 a broken  > 0/4
         9 b begin   > 1/4
         9 ask       > now",
    );
}

#[test]
fn failures_of_one_moment_are_one_and_tell_how_many_were_borne() {
    check(
        starting_with(8),
        "0 a begin      > 1/8
         0 b begin      > 2/8
         0 c begin      > 3/8
         0 d begin      > 4/8
         50 a first     > 4/8
         50 d broken    > 3/3
         51 c broken    > 2/2
         1500 b broken  > 1/2
         1500 e begin   > 2/2
         1550 e broken  > 1/1",
    );
}

#[test]
fn what_began_before_a_halving_does_not_count_after_it() {
    check(
        starting_with(5),
        "0 a begin     > 1/5
         0 b begin     > 2/5
         0 c begin     > 3/5
         0 d begin     > 4/5
         10 a first    > 4/5
         10 b first    > 4/5
         10 c first    > 4/5
         10 d first    > 4/5
         20 d broken   > 3/2
         21 c broken   > 2/2
         900 a done    > 1/2
         900 b done    > 0/2
         900 e begin   > 1/2
         900 f begin   > 2/2
         1800 e done   > 1/2
         1800 f done   > 0/3",
    );
}

#[test]
fn two_halvings_are_apart_by_the_cooldown() {
    check(
        starting_with(8),
        "0 a begin      > 1/8
         0 b begin      > 2/8
         0 c begin      > 3/8
         0 d begin      > 4/8
         0 e begin      > 5/8
         50 e broken    > 4/4
         60 f begin     > 5/4
         1049 f broken  > 4/4
         1049 g begin   > 5/4
         1050 g broken  > 4/2",
    );
}

#[test]
fn patience_is_what_was_asked_for_or_grows() {
    check(
        starting_with(4),
        "0 a begin          > 1/4
         10 a busy 7000     > 0/2
         10 ask urgent      > at 7010
         7009 ask urgent    > at 7010
         7010 ask           > now
         7010 b begin       > 1/2
         7010 ask urgent    > full
         7020 b busy        > 0/1
         7020 ask           > at 8020
         8020 c begin       > 1/1
         8030 c busy        > 0/1
         8030 ask           > at 10030
         10030 d begin      > 1/1
         10040 d busy 0     > 0/1
         10040 ask          > at 10540
         10540 e begin      > 1/1
         10550 e first      > 1/1
         10560 e done       > 0/1
         10560 f begin      > 1/1
         10570 f busy       > 0/1
         10570 ask          > at 11070
         11070 g begin      > 1/1
         11080 g busy 900000 > 0/1
         11080 ask          > at 311080",
    );
}

#[test]
fn refusals_of_one_burst_count_once_but_the_longest_wait_holds() {
    check(
        starting_with(8),
        "0 a begin          > 1/8
         0 b begin          > 2/8
         0 c begin          > 3/8
         0 d begin          > 4/8
         10 a busy          > 3/3
         10 ask             > at 510
         11 b busy          > 2/2
         11 ask             > at 510
         12 c busy 5000     > 1/1
         13 d busy 1000     > 0/1
         13 ask             > at 5012",
    );
}

#[test]
fn an_old_answer_does_not_end_a_row_of_refusals() {
    check(
        starting_with(4),
        "0 a begin          > 1/4
         0 b begin          > 2/4
         10 b busy          > 1/1
         20 a first         > 1/1
         30 a done          > 0/1
         510 c begin        > 1/1
         520 c busy         > 0/1
         520 ask            > at 1520",
    );
}

#[test]
fn after_a_refusal_one_goes_ahead() {
    check(
        starting_with(6),
        "0 a begin          > 1/6
         0 b begin          > 2/6
         0 c begin          > 3/6
         0 d begin          > 4/6
         10 a first         > 4/6
         10 d busy          > 3/3
         11 c cancel        > 2/3
         12 b cancel        > 1/3
         510 ask            > now
         510 e begin        > 2/3
         510 ask urgent     > full
         520 e first        > 2/3
         520 ask urgent     > now",
    );
}

#[test]
fn late_is_what_three_in_a_hundred_are() {
    let limits = Limits { hedge_floor: 10 * MS, ..Limits::default() };
    let (mut now, mut origin) = (Instant::now(), Origin::new(limits));
    let mut answer = |origin: &mut Origin, after: Duration| {
        let id = origin.begin(now);
        now += after;
        origin.first_byte(now, id);
        origin.end(now, id, Ended::Done);
    };
    for sample in 1..=7 {
        answer(&mut origin, sample * MS);
        assert_eq!(origin.hedge_after(), None);
    }
    answer(&mut origin, 3 * MS);
    assert_eq!(origin.hedge_after(), Some(10 * MS), "not below the floor");
    (1..=100).for_each(|sample| answer(&mut origin, sample * MS));
    // Of the last 64, which are 37 to 100, two are later.
    assert_eq!(origin.hedge_after(), Some(99 * MS));
    (0..64).for_each(|_| answer(&mut origin, 20 * MS));
    assert_eq!(origin.hedge_after(), Some(20 * MS));
}

#[test]
fn an_answer_that_a_second_request_overtook_was_late() {
    let (mut now, mut origin) = (Instant::now(), Origin::new(Limits { hedge_floor: MS, ..Limits::default() }));
    let mut wait = |origin: &mut Origin, after: Duration, answered: bool| {
        let id = origin.begin(now);
        now += after;
        if answered {
            origin.first_byte(now, id);
        }
        origin.end(now, id, Ended::Cancelled);
    };
    (0..30).for_each(|_| wait(&mut origin, 20 * MS, true));
    (0..64).for_each(|_| wait(&mut origin, 5 * MS, false));
    assert_eq!(origin.hedge_after(), Some(20 * MS), "what was stopped early says nothing");
    wait(&mut origin, 50 * MS, false);
    assert_eq!(origin.hedge_after(), Some(50 * MS));
}

#[test]
fn no_second_request_where_a_first_one_would_not_be_admitted() {
    let now = Instant::now();
    let mut origin = Origin::new(starting_with(2));
    let (one, two) = (origin.begin(now), origin.begin(now));
    assert!(!origin.take_hedge(now), "full");
    origin.end(now, two, Ended::Refused);
    assert!(origin.take_hedge(now));
    origin.end(now, one, Ended::Busy { retry_after: None });
    assert!(!origin.take_hedge(now + 499 * MS), "quiet");
    assert!(origin.take_hedge(now + 500 * MS));
    assert!(!origin.take_hedge(now + 500 * MS), "spent");
}

#[test]
fn a_share_of_second_requests_is_at_most_all() {
    for (hedge_share, most) in [(7.0, 102), (0.05, 7), (0.0, 2), (-1.0, 2), (f64::NAN, 2)] {
        let now = Instant::now();
        let mut origin = Origin::new(Limits { hedge_share, ..Limits::default() });
        let mut second = 0;
        for _ in 0..100 {
            let id = origin.begin(now);
            second += (0..5).filter(|_| origin.take_hedge(now)).count();
            origin.end(now, id, Ended::Done);
        }
        assert_eq!(second.min(most), second, "{hedge_share}");
        assert!(second + 1 >= most, "{hedge_share}: only {second}");
    }
}

#[test]
fn a_rate_is_measured_over_half_a_second_or_64_kib() {
    let (start, mut origin) = (Instant::now(), Origin::new(Limits::default()));
    let small = origin.begin(start);
    origin.received(start + MS, small, 0);
    origin.received(start + 2 * MS, small, (64 << 10) - 1);
    origin.end(start + 2 * MS, small, Ended::Done);
    assert_eq!((origin.latency(), origin.rate()), (Some(MS), None), "bytes are an answer, but so few are no rate");
    // A megabyte per second, in lumps.
    let long = origin.begin(start);
    origin.first_byte(start, long);
    for tick in 1..=200 {
        let lump = if tick % 5 == 0 { 50_000 } else { 0 };
        origin.received(start + tick * 10 * MS, long, lump);
    }
    assert!(origin.rate().unwrap().abs_diff(MB) < MB / 10, "{:?}", origin.rate());
}

#[test]
fn more_requests_than_can_be_followed_do_no_harm() {
    let now = Instant::now();
    let mut origin = Origin::new(Limits { connections_start: 1000, connections_max: u32::MAX, ..Limits::default() });
    let ids: Vec<RequestId> = (0..MAX_IN_FLIGHT + 10).map(|_| origin.begin(now)).collect();
    assert_eq!((origin.in_flight(), origin.window()), (MAX_IN_FLIGHT, MAX_IN_FLIGHT));
    assert_eq!(origin.admits(now, true), Admission::Full);
    for id in ids {
        origin.received(now, id, 10);
        origin.end(now, id, Ended::Done);
        origin.end(now, id, Ended::Broken);
        origin.check().unwrap();
    }
    assert_eq!((origin.in_flight(), origin.window()), (0, MAX_IN_FLIGHT));
}

#[derive(Clone, Debug)]
enum Step {
    /// Begins if it is admitted, or in any case.
    Begin {
        urgent: bool,
        always: bool,
    },
    First(usize),
    Received(usize, u64),
    End(usize, Ended),
    Hedge,
    Wait(u64),
    /// The clock is told wrongly.
    Back(u64),
    /// Reports on a request that never was.
    Stranger(u64, Ended),
}

fn ended() -> impl Strategy<Value = Ended> {
    let retry_after = prop::option::of(prop_oneof![
        (0u64..20_000).prop_map(Duration::from_millis),
        Just(Duration::MAX),
        Just(Duration::ZERO),
    ]);
    prop_oneof![
        6 => Just(Ended::Done),
        2 => Just(Ended::Cancelled),
        1 => Just(Ended::Broken),
        1 => retry_after.prop_map(|retry_after| Ended::Busy { retry_after }),
        1 => Just(Ended::Refused),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![6 => 0u64..4_000_000, 1 => Just(u64::MAX)];
    let wait_us = prop_oneof![4 => 0u64..400_000, 1 => 0u64..90_000_000, 1 => Just(0)];
    prop_oneof![
        6 => (any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(urgent, always)| Step::Begin { urgent, always }),
        3 => (0usize..80).prop_map(Step::First),
        5 => ((0usize..80), bytes).prop_map(|(which, bytes)| Step::Received(which, bytes)),
        4 => ((0usize..80), ended()).prop_map(|(which, how)| Step::End(which, how)),
        2 => Just(Step::Hedge),
        5 => wait_us.prop_map(Step::Wait),
        1 => (0u64..1_000_000).prop_map(Step::Back),
        1 => (any::<u64>(), ended()).prop_map(|(id, how)| Step::Stranger(id | 1 << 40, how)),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let share = prop_oneof![Just(0.05), 0.0..1.0f64, Just(f64::NAN), Just(-1.0), Just(7.0)];
    let spans = (prop_oneof![Just(256u64 << 10), 0u64..u64::MAX], prop_oneof![Just(16u64 << 20), 0u64..u64::MAX]);
    (0u32..100, 0u32..100, spans, share, 0u64..3000).prop_map(|(start, max, (span_min, span_max), share, cooldown)| {
        Limits {
            connections_start: start,
            connections_max: max,
            span_min,
            span_max,
            hedge_share: share,
            cooldown: Duration::from_millis(cooldown),
            ..Limits::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(limits in limits(), steps in prop::collection::vec(step(), 0..400)) {
        let mut origin = Origin::new(limits.clone());
        let mut now = Instant::now();
        // What the model should be, kept in the plainest way.
        let mut running: Vec<RequestId> = Vec::new();
        let (mut quiet, mut busy) = (now, false);
        let (mut requests, mut hedges, mut halved_at) = (0u32, 0u32, None::<Instant>);
        for step in steps {
            let (window, span) = (origin.window(), origin.span_length());
            let mut completed = false;
            let pick = |which: usize| running.get(which % running.len().max(1)).copied();
            match step {
                Step::Begin { urgent, always } => {
                    let admission = origin.admits(now, urgent);
                    let alone = origin.in_flight() + u32::from(!urgent && window > 1);
                    match admission {
                        Admission::Now => prop_assert!(now >= quiet && alone < window),
                        Admission::At(at) => prop_assert!(busy && at > now && at >= quiet && at <= now + MAX_QUIET),
                        Admission::Full => prop_assert!(now >= quiet),
                    }
                    if admission == Admission::Now || always {
                        let id = origin.begin(now);
                        requests += 1;
                        if running.len() < MAX_IN_FLIGHT as usize {
                            running.push(id);
                        }
                    }
                }
                Step::First(which) => pick(which).into_iter().for_each(|id| origin.first_byte(now, id)),
                Step::Received(which, bytes) => {
                    pick(which).into_iter().for_each(|id| origin.received(now, id, bytes));
                }
                Step::End(which, how) => {
                    if let Some(id) = pick(which) {
                        running.retain(|other| *other != id);
                        origin.end(now, id, how);
                        completed = how == Ended::Done;
                        busy |= matches!(how, Ended::Busy { .. });
                        if let Ended::Busy { retry_after: Some(asked) } = how {
                            quiet = quiet.max(now + asked.min(seconds(300)));
                        }
                        match how {
                            Ended::Busy { .. } | Ended::Broken => prop_assert!(origin.window() <= window),
                            Ended::Done => prop_assert!(origin.window().abs_diff(window) <= 1),
                            _ => prop_assert_eq!(origin.window(), window),
                        }
                    }
                }
                Step::Hedge => {
                    let open = origin.admits(now, true) == Admission::Now;
                    let took = origin.take_hedge(now);
                    prop_assert!(open || !took);
                    hedges += u32::from(took);
                }
                Step::Wait(us) => now += Duration::from_micros(us),
                Step::Back(us) => {
                    let earlier = now.checked_sub(Duration::from_micros(us)).unwrap_or(now);
                    let id = origin.begin(earlier);
                    requests += 1;
                    origin.received(earlier, id, us);
                    origin.end(earlier, id, Ended::Cancelled);
                }
                Step::Stranger(id, how) => {
                    origin.received(now, RequestId(id), 1 << 20);
                    origin.end(now, RequestId(id), how);
                    prop_assert_eq!((origin.window(), origin.span_length()), (window, span));
                }
            }
            origin.check().map_err(TestCaseError::fail)?;
            prop_assert_eq!(origin.in_flight() as usize, running.len());
            let max = limits.connections_max.clamp(1, MAX_IN_FLIGHT);
            prop_assert!((1..=max).contains(&origin.window()));
            // A line that is full takes one back; what takes more back is a halving.
            if window - origin.window().min(window) > 1 {
                prop_assert!(halved_at.is_none_or(|at| now - at >= limits.cooldown), "halved again too soon");
                halved_at = Some(now);
            }
            let share = if limits.hedge_share.is_nan() { 0.0 } else { limits.hedge_share.clamp(0.0, 1.0) };
            prop_assert!(f64::from(hedges) <= share * f64::from(requests) + f64::from(HEDGE_BURST));
            let after = origin.span_length();
            prop_assert!(after <= span || completed && after <= span.saturating_mul(2), "{span} became {after}");
            prop_assert!(after >= limits.span_min.max(1) && after <= limits.span_max.max(limits.span_min).max(1));
            let four_seconds = origin.rate().unwrap_or(0).saturating_mul(4);
            prop_assert!(after <= four_seconds.max(limits.span_min).max(1));
        }
    }

    /// Two origins that differ in one thing, after the same requests.
    #[test]
    fn a_later_answer_never_makes_requests_shorter(
        rate in 50_000u64..50_000_000, latency_ms in 0u64..900, more_ms in 0u64..900, faster in 1u64..5,
    ) {
        let settled = |latency_ms: u64, rate: u64| {
            let (mut now, mut origin) = (Instant::now(), Origin::new(Limits::default()));
            for _ in 0..30 {
                let id = origin.begin(now);
                now += Duration::from_millis(latency_ms);
                origin.first_byte(now, id);
                now += seconds(1);
                origin.received(now, id, rate);
                origin.end(now, id, Ended::Done);
            }
            (origin.span_length(), origin.rate().unwrap(), origin.latency().unwrap())
        };
        let (span, measured, latency) = settled(latency_ms, rate);
        prop_assert_eq!(measured, rate);
        prop_assert!(latency.abs_diff(Duration::from_millis(latency_ms)) < MS);
        prop_assert!(settled(latency_ms + more_ms, rate).0 >= span);
        prop_assert!(settled(latency_ms, rate * faster).0 >= span);
    }
}
