//! What serving costs, next to nginx in the same run, and how long the first byte takes over a slow line.
//!
//! Stands for: a player that seeks in a film that is on the disk (ranges of 2 MiB), and a viewer far from the origin who
//! presses play (10 Mbit/s, 100 ms there and back). Ratios carry over to other machines; absolute numbers do not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mediahost_e2e::http::Request;
use mediahost_e2e::relay::Line;
use mediahost_e2e::{Away, Home, Host, Nginx, Random, Relay, media};

const RANGE_BYTES: u64 = 2 << 20;
/// The first argument of a client of this bench, before address and length.
const CLIENT: &str = "client";
/// Each is a process and has a connection per request.
const CLIENTS: usize = 2;
/// Requests of one client in one turn: enough for the coarse clock that counts CPU time.
const REQUESTS: u32 = 200;
/// Turns that count; the first does not.
const TURNS: usize = 12;
const COLD_STARTS: u32 = 5;
const ROUND_TRIP: Duration = Duration::from_millis(100);
const MBIT_PER_S: u64 = 10;
/// Ticks of `/proc/<pid>/stat` in a second, on every Linux.
const TICKS_PER_S: f64 = 100.0;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, mode, url, size] = &arguments[..]
        && mode == CLIENT
    {
        return client(url, size.parse().unwrap());
    }
    match Away::new() {
        Ok(away) => cached_ranges(Some(&away)),
        Err(reason) => println!("no second network, so nothing about clients on other machines: {reason}\n"),
    }
    cached_ranges(None);
    cold_start();
}

/// What one turn of one server took.
#[derive(Clone, Copy)]
struct Spent {
    gb_per_s: f64,
    cpu_s_per_gb: f64,
    /// The clients' CPU time too: over the loopback the kernel sends on whoever's time it is, the reader's as well.
    all_cpu_s_per_gb: f64,
}

/// The servers take turns, so that both meet the same moods of the machine. One nginx of one process for each client:
/// the host has threads for all processors, and against a single process it would win by that alone.
fn cached_ranges(away: Option<&Away>) {
    let address = away.map_or(Ipv4Addr::LOCALHOST.into(), Away::near);
    let nginx: [Nginx; CLIENTS] = std::array::from_fn(|_| Nginx::serve_at(address, media::folder()));
    let host = Home::new().listen(address).config("[server]\nallow_insecure = true\n").start();
    let size = media::bytes("film.mkv").len() as u64;
    let (id, _) = host.ready(&nginx[0].url("film.mkv"));
    host.whole(&id);
    let ours: [_; CLIENTS] = std::array::from_fn(|_| host.stream_url(&id));
    let theirs = nginx.each_ref().map(|nginx| nginx.url("film.mkv"));
    let pids = nginx.each_ref().map(Nginx::pid);

    let turn = |urls: &_, pids: &_| turn(away, urls, pids, size);
    let turns: Vec<_> = (0..=TURNS).map(|_| (turn(&ours, &[host.pid()]), turn(&theirs, &pids))).skip(1).collect();
    let (title, place) = match away {
        Some(_) => ("another machine, ranges of 2 MiB", "from a network namespace, over a pair of virtual lines"),
        None => ("this machine, ranges of 2 MiB", "over the loopback"),
    };
    println!("{title:<40}{:>12}{:>12}{:>12}{:>12}", "mediahost", "nginx", "ratio", "wanted");
    let row = |name: &str, of: fn(&Spent) -> f64, wanted: &str| {
        let middle = |value: &dyn Fn(&(Spent, Spent)) -> f64| median(turns.iter().map(value).collect());
        let (own, other) = (middle(&|(own, _)| of(own)), middle(&|(_, other)| of(other)));
        let ratio = middle(&|(own, other)| of(own) / of(other));
        println!("  {name:<38}{own:>12.3}{other:>12.3}{ratio:>12.2}{wanted:>12}");
    };
    row("GB/s", |spent| spent.gb_per_s, ">= 1.10");
    row("CPU seconds per GB", |spent| spent.cpu_s_per_gb, "<= 0.95");
    row("the same, clients included", |spent| spent.all_cpu_s_per_gb, "-");
    println!(
        "  Medians of {TURNS} turns of {} requests, the ratio that of turns next to each other. Random places of one film in
  memory, {place}, read by {CLIENTS} clients and thrown away; nginx with sendfile, a process
  for each client.\n",
        REQUESTS * CLIENTS as u32
    );
}

fn turn(away: Option<&Away>, urls: &[String; CLIENTS], pids: &[u32], size: u64) -> Spent {
    let server_s = || pids.iter().map(|pid| cpu_s(*pid)).sum::<f64>();
    let mut clients = urls.each_ref().map(|url| start_client(away, url, size));
    let before = server_s();
    for client in &mut clients {
        client.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let clients = clients.map(|client| {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "a client ended with {}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        [numbers.next().unwrap(), numbers.next().unwrap()]
    });
    let gb = f64::from(REQUESTS) * CLIENTS as f64 * RANGE_BYTES as f64 / 1e9;
    let server = (server_s() - before) / gb;
    let took_s = clients.iter().map(|[took_s, _]| *took_s).fold(0.0, f64::max);
    let clients_s = clients.iter().map(|[_, cpu_s]| *cpu_s).sum::<f64>() / gb;
    Spent { gb_per_s: gb / took_s, cpu_s_per_gb: server, all_cpu_s_per_gb: server + clients_s }
}

/// This program again, as a client that waits for a word.
fn start_client(away: Option<&Away>, url: &str, size: u64) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut command = away.map_or_else(|| Command::new(&own), |away| away.command(&own));
    command.args([CLIENT, url, &size.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads ranges, and prints how many seconds that took and how many of CPU time.
fn client(url: &str, size: u64) {
    io::stdin().read_line(&mut String::new()).unwrap();
    let (begin, before) = (Instant::now(), cpu_s(std::process::id()));
    let mut random = Random::new();
    let mut buffer = vec![0; 256 << 10];
    for _ in 0..REQUESTS {
        let start = random.below(size - RANGE_BYTES);
        let mut answer = Request::get(url).range(&(start..start + RANGE_BYTES)).send();
        assert_eq!(answer.status, 206);
        let mut left = RANGE_BYTES;
        while left > 0 {
            let count = answer.read(&mut buffer).unwrap();
            assert!(count > 0, "the answer is short by {left} bytes");
            left -= count as u64;
        }
    }
    println!("{} {}", begin.elapsed().as_secs_f64(), cpu_s(std::process::id()) - before);
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
        first_byte.push(begin.elapsed().as_secs_f64() * 1e3);
        host.verdict(&id);
        ready.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let transfer_ms = 65_536.0 * 8.0 / (MBIT_PER_S as f64 * 1e3);
    let wanted_ms = ROUND_TRIP.as_secs_f64() * 1e3 * 2.5 + transfer_ms;
    println!(
        "{:<40}{:>12}{:>36}",
        format!("a cold film, {MBIT_PER_S} Mbit/s, {ROUND_TRIP:?} round trip"),
        "median ms",
        "wanted"
    );
    println!("  {:<38}{:>12.0}{:>36}", "first byte", median(first_byte), format!("< {wanted_ms:.0}"));
    println!("  {:<38}{:>12.0}{:>36}", "ready, with the index at the end", median(ready), "-");
    println!(
        "  Medians of {COLD_STARTS} films, from the request that opens a session. The relay delays bytes and not the opening of a
  connection, so a real line takes one round trip more than this; what is wanted has room for it."
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
