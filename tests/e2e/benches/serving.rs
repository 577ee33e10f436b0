//! What serving costs, next to nginx in the same run, and how long the first byte takes over a slow line.
//!
//! Stands for: a player that seeks in a film that is on the disk (ranges of 2 MiB), and a viewer far from the origin who
//! presses play (10 Mbit/s, 100 ms there and back). Ratios carry over to other machines; absolute numbers do not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::fs;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use mediahost_e2e::http::Request;
use mediahost_e2e::relay::Line;
use mediahost_e2e::{Host, Nginx, Random, Relay, media};

const RANGE_BYTES: u64 = 2 << 20;
/// Requests of one turn, by two clients; the servers take turns so that both meet the same moods of the machine.
const REQUESTS: u32 = 200;
const TURNS: u32 = 8;
const COLD_STARTS: u32 = 5;
const ROUND_TRIP: Duration = Duration::from_millis(100);
const MBIT_PER_S: u64 = 10;
/// Ticks of `/proc/<pid>/stat` in a second, on every Linux.
const TICKS_PER_S: f64 = 100.0;

#[derive(Default)]
struct Spent {
    wall_s: f64,
    cpu_s: f64,
    bytes: u64,
}

fn main() {
    cached_ranges();
    cold_start();
}

fn cached_ranges() {
    let nginx = Nginx::serve(media::folder());
    let host = Host::start();
    let size = media::bytes("film.mkv").len() as u64;
    let (id, _) = host.ready(&nginx.url("film.mkv"));
    host.whole(&id);
    let (ours, theirs) = (host.stream_url(&id), nginx.url("film.mkv"));

    let (mut own, mut other) = (Spent::default(), Spent::default());
    for _ in 0..TURNS {
        turn(&ours, host.pid(), size, &mut own);
        turn(&theirs, nginx.pid(), size, &mut other);
    }
    let throughput = |spent: &Spent| spent.bytes as f64 / 1e9 / spent.wall_s;
    let cost = |spent: &Spent| spent.cpu_s / (spent.bytes as f64 / 1e9);
    println!(
        "cached ranges of 2 MiB, two clients    {:>12}{:>12}{:>12}{:>12}",
        "mediahost", "nginx", "ratio", "wanted"
    );
    let row = |name: &str, own: f64, other: f64, wanted: &str| {
        println!("  {name:<37}{own:>12.3}{other:>12.3}{:>12.2}{wanted:>12}", own / other);
    };
    row("GB/s", throughput(&own), throughput(&other), ">= 1.10");
    row("CPU seconds per GB", cost(&own), cost(&other), "<= 0.95");
}

fn turn(url: &str, pid: u32, size: u64, spent: &mut Spent) {
    let (begin, cpu) = (Instant::now(), cpu_s(pid));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut random = Random::new();
                let mut buffer = vec![0; 256 << 10];
                for _ in 0..REQUESTS / 2 {
                    let start = random.below(size - RANGE_BYTES);
                    let mut answer = Request::get(url).range(&(start..start + RANGE_BYTES)).send();
                    assert_eq!(answer.status, 206);
                    while answer.read(&mut buffer).unwrap() > 0 {}
                }
            });
        }
    });
    spent.wall_s += begin.elapsed().as_secs_f64();
    spent.cpu_s += cpu_s(pid) - cpu;
    spent.bytes += u64::from(REQUESTS) * RANGE_BYTES;
}

/// User and system time of a process so far (`proc_pid_stat(5)`, fields 14 and 15).
fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / TICKS_PER_S
}

fn cold_start() {
    let origin = Nginx::serve(media::folder());
    let host = Host::start();
    let line = Line::of(MBIT_PER_S, ROUND_TRIP);
    let mut first_byte = Vec::new();
    let mut ready = Vec::new();
    for turn in 0..COLD_STARTS {
        // A relay of its own each time: a new address, a new connection, nothing cached.
        let relay = Relay::start(origin.address(), line);
        let begin = Instant::now();
        let id = host.open(&relay.url(&format!("film.mp4?turn={turn}")));
        let mut answer = host.stream(&id).range(&(0..65_536)).send();
        answer.read_exact(&mut [0]).unwrap();
        first_byte.push(begin.elapsed());
        host.verdict(&id);
        ready.push(begin.elapsed());
    }
    let transfer = Duration::from_secs_f64(65_536.0 * 8.0 / (MBIT_PER_S as f64 * 1e6));
    let wanted = ROUND_TRIP * 5 / 2 + transfer;
    println!(
        "\na cold film, moov at the end, {MBIT_PER_S} Mbit/s and {ROUND_TRIP:?}  {:>12}{:>12}",
        "median ms", "wanted ms"
    );
    println!("  {:<46}{:>12}{:>12}", "first byte", median(first_byte), format!("< {}", wanted.as_millis()));
    println!("  {:<46}{:>12}{:>12}", "ready, with the index", median(ready), "-");
}

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2].as_millis()
}
