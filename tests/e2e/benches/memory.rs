//! What the host takes up in memory and on the disk while a film of 50 GiB is read, straight on and in leaps.
//!
//! Stands for: an evening with a disc image whose end nobody sees. The origin makes up its bytes, so only what is fetched
//! lies on the disk: about 5 GiB in the build folder, gone at the end.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use mediahost_e2e::http::Response;
use mediahost_e2e::{Home, Host, Memory, Random, Server, allocated, root, synthetic, until};

const FILE_BYTES: u64 = 50 << 30;
const SEQUENTIAL_BYTES: u64 = 3 << 30;
const LEAPS: u64 = 512;
const LEAP_BYTES: u64 = 2 << 20;
/// Bytes read between two looks at the memory.
const LOOK_EVERY: usize = 1 << 20;
/// From the end of a session to the end of its mapping.
const GIVEN_BACK: Duration = Duration::from_secs(20);
/// Mapped files without a session: the program itself.
const LEFT_BYTES: u64 = 128 << 20;
/// What the design allows to a host with nothing to do.
const IDLE_WANTED_MIB: u64 = 80;

fn main() {
    let cache = tempfile::TempDir::with_prefix_in("bench-memory-", root().join("target")).unwrap();
    let host = Home::new().config(&format!("[cache]\ndir = {:?}\n", cache.path())).start();
    let origin = synthetic::serve(FILE_BYTES);
    let mut table = Table { host: &host, origin: &origin, cache: cache.path(), most: 0 };
    println!(
        "{:<34}{:>12}{:>12}{:>14}{:>14}{:>12}{:>12}",
        "MiB", "anonymous", "the most", "mapped files", "peak of both", "fetched", "on disk"
    );
    table.row("idle");
    let (id, _) = host.ready(&origin.url("disc.iso"));
    table.row("a session of 50 GiB");

    let start = FILE_BYTES / 3;
    let mut answer = host.stream(&id).header("Range", &format!("bytes={start}-")).send();
    table.read(&mut answer, SEQUENTIAL_BYTES);
    drop(answer);
    table.row(&format!("{} GiB read straight on", SEQUENTIAL_BYTES >> 30));

    let mut random = Random::new();
    for _ in 0..LEAPS {
        let from = random.below(FILE_BYTES - LEAP_BYTES);
        table.read(&mut host.stream(&id).range(&(from..from + LEAP_BYTES)).send(), LEAP_BYTES);
    }
    table.row(&format!("{LEAPS} ranges of {} MiB anywhere", LEAP_BYTES >> 20));

    host.api("DELETE", &format!("/sessions/{id}")).send();
    until("the mapping to be given back", GIVEN_BACK, || (Memory::of(host.pid()).files < LEFT_BYTES).then_some(()));
    table.row("the session deleted");
    println!(
        "  Wanted: less than {IDLE_WANTED_MIB} anonymous when idle, and flat after that. Mapped files are the system's page cache, which
  others may have whenever they need it; the peak counts them."
    );
}

struct Table<'a> {
    host: &'a Host,
    origin: &'a Server,
    cache: &'a Path,
    /// The most anonymous memory that was seen since the last row.
    most: u64,
}

impl Table<'_> {
    fn read(&mut self, answer: &mut Response, bytes: u64) {
        assert_eq!(answer.status, 206);
        let mut piece = vec![0; LOOK_EVERY];
        for _ in 0..bytes / LOOK_EVERY as u64 {
            answer.read_exact(&mut piece).unwrap();
            self.look();
        }
    }

    fn look(&mut self) -> Memory {
        let now = Memory::of(self.host.pid());
        self.most = self.most.max(now.anonymous);
        now
    }

    fn row(&mut self, name: &str) {
        let now = self.look();
        let disk = allocated(self.cache);
        let numbers =
            [now.anonymous, self.most, now.files, now.peak, self.origin.sent(), disk].map(|bytes| bytes >> 20);
        let [anonymous, most, files, peak, fetched, disk] = numbers;
        println!("  {name:<32}{anonymous:>12}{most:>12}{files:>14}{peak:>14}{fetched:>12}{disk:>12}");
        self.most = 0;
    }
}
