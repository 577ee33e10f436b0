//! How much memory the host takes for a file that is larger than any memory.
//!
//! Heap and stacks belong to the whole process: only there do buffers, tables and the engine of the plugins add up.

use std::io::Read;
use std::time::Duration;

use mediahost_e2e::{Host, Memory, Random, allocated, synthetic, until};

/// A disc image of the largest kind.
const FILE_BYTES: u64 = 50 << 30;
/// What the host may take before anybody has asked for anything.
const IDLE_BYTES: u64 = 80 << 20;
/// By how much that may grow while [`SEQUENTIAL_BYTES`] and [`LEAPS`] are read.
const GROWTH_BYTES: u64 = 64 << 20;
const SEQUENTIAL_BYTES: u64 = 640 << 20;
const LEAPS: u64 = 192;
const LEAP_BYTES: u64 = 2 << 20;
/// What the cache may occupy beyond the bytes that came: its journal, its records, and blocks of the file system.
const OVERHEAD_BYTES: u64 = 8 << 20;
/// From the end of a session to the end of its mapping.
const GIVEN_BACK: Duration = Duration::from_secs(20);
/// Mapped files without a session: the program itself.
const LEFT_BYTES: u64 = 128 << 20;

#[test]
fn a_huge_file_takes_little_memory_and_no_more_disk_than_was_read() {
    let mut host = Host::start();
    let idle = Memory::of(host.pid()).anonymous;
    assert!(idle < IDLE_BYTES, "{idle} bytes with nothing to do");

    let origin = synthetic::serve(FILE_BYTES);
    let (id, session) = host.ready(&origin.url("disc.iso"));
    assert_eq!(session["length"], FILE_BYTES, "{session}");
    let mut most = idle;
    let mut look = |what: &str| {
        most = most.max(Memory::of(host.pid()).anonymous);
        assert!(most < idle + GROWTH_BYTES, "{most} bytes after {idle} at the beginning: {what}");
    };

    let start = FILE_BYTES / 3;
    let mut reader = host.stream(&id).header("Range", &format!("bytes={start}-")).send();
    let mut piece = vec![0; 1 << 20];
    for at in (start..start + SEQUENTIAL_BYTES).step_by(piece.len()) {
        reader.read_exact(&mut piece).unwrap();
        assert_eq!(synthetic::difference(at, &piece), None, "another byte");
        look("reading on and on");
    }
    drop(reader);

    let mut random = Random::new();
    for _ in 0..LEAPS {
        let from = random.below(FILE_BYTES - LEAP_BYTES);
        assert_eq!(synthetic::difference(from, &host.part(&id, &(from..from + LEAP_BYTES))), None, "another byte");
        look("leaping");
    }

    let (occupied, sent) = (allocated(&host.home().data()), origin.sent());
    assert!(occupied <= sent + OVERHEAD_BYTES, "{occupied} bytes of the disk for {sent} that came");

    host.api("DELETE", &format!("/sessions/{id}")).send();
    until("the mapping to be given back", GIVEN_BACK, || (Memory::of(host.pid()).files < LEFT_BYTES).then_some(()));
    host.assert_alive();
}
