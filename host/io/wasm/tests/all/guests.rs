//! One guest per limit and capability. Each fails as its row says, and the host answers others meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use plugin::detect::{File, Look, Window};
use plugin::source::Opened;
use plugin::{Failure, Fault, Plugins};

use crate::{Platform, root};

/// What opening an address comes to.
enum Expect {
    Fault(fn(&Fault) -> bool),
    Answer(&'static str),
    Inline(&'static str),
}
use Expect::{Answer, Fault as Faulty, Inline};

fn contract(fault: &Fault, words: &str) -> bool {
    matches!(fault, Fault::Contract(why) if why.contains(words))
}

const OPENS: &[(&str, &str, Expect)] = &[
    ("guest-loop", "guest-loop:", Faulty(|fault| matches!(fault, Fault::Cpu { .. }))),
    ("guest-memory", "guest-memory:", Faulty(|fault| matches!(fault, Fault::Memory { .. }))),
    (
        "guest-trap",
        "guest-trap:x",
        Faulty(|fault| matches!(fault, Fault::Trap(why) if why.contains("this guest panics"))),
    ),
    ("guest-slow", "guest-slow:http://silent.example/", Faulty(|fault| matches!(fault, Fault::Wall { .. }))),
    ("guest-big-answer", "guest-big-answer:", Faulty(|fault| matches!(fault, Fault::Output(_) | Fault::Memory { .. }))),
    ("guest-plan-garbage", "guest-plan-garbage:empty", Faulty(|fault| contract(fault, "no segments"))),
    (
        "guest-plan-garbage",
        "guest-plan-garbage:open-inside",
        Faulty(|fault| contract(fault, "segment 0 has no length")),
    ),
    ("guest-plan-garbage", "guest-plan-garbage:other", Faulty(|fault| contract(fault, "\"tape\""))),
    ("guest-plan-garbage", "guest-plan-garbage:zero", Faulty(|fault| contract(fault, "length 0"))),
    ("guest-plan-garbage", "guest-plan-garbage:overflow", Faulty(|fault| contract(fault, "2^63"))),
    ("guest-plan-garbage", "guest-plan-garbage:inline-length", Faulty(|fault| contract(fault, "inline"))),
    ("guest-plan-garbage", "guest-plan-garbage:no-parent", Faulty(|fault| contract(fault, "parent 7 of 0"))),
    ("guest-plan-garbage", "guest-plan-garbage:not-http", Faulty(|fault| contract(fault, "not http"))),
    ("guest-plan-garbage", "guest-plan-garbage:?", Answer("bad-address")),
    ("guest-log-flood", "guest-log-flood:", Inline("dry again")),
    ("guest-kv-probe", "guest-kv-probe:set/a/b", Inline("ok")),
    ("guest-kv-probe", "guest-kv-probe:get/zzz", Inline("none")),
    ("guest-fetch-probe", "guest-fetch-probe:http://answers.example/", Inline("hello")),
    ("guest-sync", "guest-sync:http://answers.example/", Inline("hello")),
];

/// Guests whose misbehaviour shows elsewhere than in `open`: in the tests below, and in the end-to-end suite.
const ELSEWHERE: &[&str] =
    &["guest-computed", "guest-wrong-length", "guest-detect-loop", "guest-detect-need-forever", "guest-plan-past-end"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_ends_as_its_row_says() {
    for (id, uri, expect) in OPENS {
        let platform = Platform::of_guest(id).await;
        match (platform.open(uri).await, expect) {
            (Err(Failure::Fault { plugin, fault, generation: 1 }), Faulty(right)) if plugin == *id && right(&fault) => {
            }
            (Err(Failure::Answer { plugin, error }), Answer(code)) if plugin == *id && error.code == *code => {}
            (Ok(Opened::Plan(plan)), Inline(text)) => {
                let inline = plugin::source::Origin::Inline(text.as_bytes().into());
                assert_eq!(plan.segments()[0].origin, inline, "{uri}");
            }
            (found, _) => panic!("{uri}: {found:?}"),
        }
    }
}

#[test]
fn every_guest_has_a_test() {
    let guests: BTreeSet<String> = std::fs::read_dir(root().join("tests/guests"))
        .unwrap()
        .map(|entry| format!("guest-{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    let tested = OPENS.iter().map(|(id, ..)| *id).chain(ELSEWHERE.iter().copied());
    assert_eq!(guests, tested.map(str::to_owned).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_guest_keeps_nobody_waiting() {
    let files =
        [("guest-loop.wasm", crate::guest("guest-loop")), ("source-http.wasm", crate::first_party("source-http"))];
    let platform = Platform::with(&files, Vec::new()).await;
    // Twice as many as there are threads to run them.
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let source = platform.source("guest-loop");
            let open = plugin::source::Open { uri: "guest-loop:".into(), headers: Vec::new(), purpose: "check" };
            tokio::spawn(async move { source.open(open).await })
        })
        .collect();
    let mut served = 0;
    while !busy.iter().all(|task| task.is_finished()) {
        platform.open("http://example.org/film.mp4").await.unwrap();
        served += 1;
    }
    assert!(served > 10, "only {served} calls came through while others were busy");
    for task in busy {
        let failure = task.await.unwrap().unwrap_err();
        assert!(matches!(failure, Failure::Fault { fault: Fault::Cpu { .. }, .. }), "{failure:?}");
    }
}

async fn collect(
    platform: &Platform,
    scheme: &str,
    state: &[u8],
    offset: u64,
    length: u64,
) -> (Vec<u8>, Option<Failure>) {
    let mut stream = platform.source(scheme).read(state.to_vec(), 0, offset, length);
    let (mut bytes, mut failure) = (Vec::new(), None);
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => failure = Some(error),
        }
    }
    (bytes, failure)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computed_bytes_come_whole_and_in_order() {
    // The interpreter computes fewer within the same CPU time.
    let many = if cfg!(feature = "interpreter") { 2 << 20 } else { 16 << 20 };
    let platform = Platform::of_guest("guest-computed").await;
    for (offset, length) in [(0, 1), (0, 65_536), (1234, 1_000_000), (5 << 30, many)] {
        let (bytes, failure) = collect(&platform, "guest-computed", b"", offset, length).await;
        assert_eq!((bytes.len() as u64, &failure), (length, &None), "{offset}+{length}");
        let right = bytes.iter().zip(offset..).all(|(byte, i)| u64::from(*byte) == (i % 251 * 31 + 7) % 251);
        assert!(right, "{offset}+{length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_world_without_async_functions_is_the_same_to_callers() {
    let platform = Platform::of_guest("guest-sync").await;
    for (offset, length) in [(0, 1), (99_999, 2), (1234, 1_000_000), (5 << 30, 3 << 20)] {
        let (bytes, failure) = collect(&platform, "guest-sync", b"", offset, length).await;
        assert_eq!((bytes.len() as u64, &failure), (length, &None), "{offset}+{length}");
        assert!(bytes.iter().zip(offset..).all(|(byte, i)| u64::from(*byte) == (i % 251 * 31 + 7) % 251));
    }
    let (_, failure) = collect(&platform, "guest-sync", b"stuck", 0, 10).await;
    let failure = failure.unwrap();
    assert!(matches!(&failure, Failure::Fault { fault, .. } if contract(fault, "10 bytes and gave 0")), "{failure:?}");
    let open = plugin::source::Open { uri: "guest-sync:5".into(), headers: Vec::new(), purpose: "check" };
    let reason = plugin::source::RefreshReason { code: "denied", status: Some(403), segment: None };
    let refused = platform.source("guest-sync").refresh(open, Vec::new(), reason).await.unwrap_err();
    assert!(
        matches!(&refused, Failure::Answer { error, .. } if error.message == "asked because of denied"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_ends_the_call() {
    let platform = Platform::of_guest("guest-computed").await;
    for _ in 0..200 {
        let mut stream = platform.source("guest-computed").read(Vec::new(), 0, 0, 16 << 20);
        assert!(stream.next().await.unwrap().is_ok());
    }
    // Had the calls gone on, there would be no place left for this one.
    let (bytes, failure) = collect(&platform, "guest-computed", b"", 0, 100).await;
    assert_eq!((bytes.len(), failure), (100, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_lengths_are_named() {
    let platform = Platform::of_guest("guest-wrong-length").await;
    let (bytes, failure) = collect(&platform, "guest-wrong-length", b"short", 0, 1000).await;
    assert_eq!(bytes.len(), 500);
    let failure = failure.unwrap();
    assert!(
        matches!(&failure, Failure::Fault { fault, .. } if contract(fault, "1000 bytes and gave 500")),
        "{failure:?}"
    );
    let (bytes, failure) = collect(&platform, "guest-wrong-length", b"long", 0, 1000).await;
    assert_eq!(bytes.len(), 1000, "what is beyond the span is nobody's");
    let failure = failure.unwrap();
    assert!(
        matches!(&failure, Failure::Fault { fault, .. } if contract(fault, "1000 bytes and gave more")),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detector_that_loops_is_stopped() {
    let platform = Platform::of_guest("guest-detect-loop").await;
    let detectors = platform.host.detectors(b"anything", Some("film.loopy"));
    let window = Window { file: 0, offset: 0, bytes: (&b"anything"[..]).into() };
    let look = Look { files: vec![File::default()], windows: vec![window], start_ms: None };
    let begun = Instant::now();
    let failure = detectors[0].detect(look).await.unwrap_err();
    assert!(matches!(failure, Failure::Fault { fault: Fault::Cpu { .. }, .. }), "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(platform.host.detectors(b"anything", Some("film.mp4")).is_empty());
}
