//! Real players, from the first frame to the last and with leaps between, over a slow line.
//!
//! Only a real player asks as players do: an open-ended range that it drops, the tail of the file, the head again, and
//! somewhere else whenever the viewer likes. What that costs upstream shows in the whole program alone.

mod browser;
mod curl;
mod ffmpeg;
mod mpv;
mod vlc;

use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::tap::{Delivery, distinct};
use mediahost_e2e::{Home, Host, Nginx, Relay, Tap, media, until};

/// `proxy.read_ahead_bytes`: as little as it can be, so that a waste of it would show.
const READ_AHEAD: u64 = 1 << 20;
/// What may come from upstream for each byte that a player was given, or would have been given next wherever it read.
const FAIR: f64 = 1.1;
/// The part of a film that may come for nothing: heads of answers, and what was on the line when a request was given up
/// because the player went elsewhere.
const WASTE: f64 = 0.05;
/// From the end of a player to the end of what was fetched for it.
const QUIET: Duration = Duration::from_secs(30);
/// From a command to what it causes; a slow line and a busy machine are in it.
const ANSWER: Duration = Duration::from_secs(60);

/// A film on its way to a player: origin, slow line, host, tap.
struct Stage {
    tap: Tap,
    host: Host,
    relay: Relay,
    _origin: Nginx,
    film: &'static str,
    id: String,
}

impl Stage {
    /// A film that nobody has fetched yet.
    fn of(film: &'static str) -> Stage {
        Stage::with(film, "")
    }

    /// The same with more lines of configuration in front.
    fn with(film: &'static str, config: &str) -> Stage {
        let origin = Nginx::serve(media::folder());
        let relay = Relay::start(origin.address(), Line::of(100, Duration::from_millis(40)));
        let host = Home::new().config(&format!("{config}\n[proxy]\nread_ahead_bytes = {READ_AHEAD}\n")).start();
        let id = host.open(&relay.url(film));
        Stage { tap: Tap::start(host.address()), host, relay, _origin: origin, film, id }
    }

    /// What a player is given to play.
    fn url(&self) -> String {
        self.tap.url(&format!("stream/{}/{}", self.id, self.film))
    }

    /// What it has cost so far. Every player must have ended.
    fn bill(&self) -> Bill {
        let deliveries = self.tap.deliveries();
        until("the end of all fetching", QUIET, || {
            let stats = self.host.api("GET", &format!("/sessions/{}/stats", self.id)).send().expect(200);
            (stats["active_workers"] == 0).then_some(())
        });
        let mut last = None;
        let upstream = until("the end of what is on the line", QUIET, || {
            let now = self.relay.count().down;
            (last.replace(now) == Some(now)).then_some(now)
        });
        Bill { film_bytes: media::bytes(self.film).len() as u64, upstream, deliveries }
    }
}

/// A player's process. It ends when this is dropped, and so do those that it started.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Running {
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        let process = command.process_group(0).spawn();
        Running(process.unwrap_or_else(|error| panic!("{command:?}: {error}; `make tools` installs what is missing")))
    }

    /// Waits until it ends by itself.
    fn end(&mut self, limit: Duration) -> ExitStatus {
        until("the end of a player", limit, || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).stderr(Stdio::null()).status());
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What was delivered and what it cost.
struct Bill {
    film_bytes: u64,
    /// Bytes from the origin, heads of answers included.
    upstream: u64,
    deliveries: Vec<Delivery>,
}

impl Bill {
    /// Different bytes that the player was given.
    fn delivered(&self) -> u64 {
        distinct(self.deliveries.iter().map(|delivery| delivery.range.clone()))
    }

    /// The same, and behind each place where it stopped what it would have been given next.
    fn in_reach(&self) -> u64 {
        let read = self.deliveries.iter().map(|delivery| &delivery.range).filter(|range| !range.is_empty());
        distinct(read.map(|range| range.start..(range.end + READ_AHEAD).min(self.film_bytes)))
    }

    /// No answer of the host was an error, no byte came twice, and little came that the player was not about to read.
    fn check(&self) {
        assert!(self.deliveries.iter().all(|delivery| matches!(delivery.status, 200 | 204 | 206 | 304)), "{self}");
        let (upstream, film) = (self.upstream as f64, self.film_bytes as f64);
        assert!(upstream <= film * (1.0 + WASTE), "more than the film was fetched: {self}");
        assert!(upstream <= FAIR * self.in_reach() as f64, "much was fetched that nobody was about to read: {self}");
    }

    /// The same, and the player has had every byte of the film.
    fn check_whole(&self) {
        self.check();
        assert_eq!(self.delivered(), self.film_bytes, "{self}");
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bill { film_bytes, upstream, deliveries } = self;
        let (delivered, in_reach) = (self.delivered(), self.in_reach());
        write!(f, "{upstream} bytes of {film_bytes} for {delivered} delivered, {in_reach} with what was next")?;
        deliveries.iter().try_for_each(|Delivery { asked, status, range }| {
            write!(f, "\n  {asked} gave {status} with {} bytes from {}", range.end - range.start, range.start)
        })
    }
}
