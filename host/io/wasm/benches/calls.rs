//! What the sandbox costs: a call, a fresh instance, a look at 64 KiB, bytes that a guest computes, a start of the host.
//!
//! Stands for: opening an address, recognising a film, and serving a source that must compute its bytes. Everything goes
//! through the port as a service would, except for the rows that take a call apart: those drive the same components on
//! the same engine by hand, since the port has no call without an instance and no instance without a call.
//!
//! Ratios are against a peer of the same run, with which each row takes turns, so that both meet the same moods of the
//! machine. Where a design number is an absolute time it stands beside; on a slower machine read the ratio.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

#[allow(unsafe_code, dead_code, unused_variables, clippy::all, reason = "generated")]
#[path = "../src/bindings.rs"]
mod bindings;
#[allow(dead_code, reason = "of the host's engine only the engine itself is driven by hand")]
#[path = "../src/engine.rs"]
mod engine;

use std::future::Future;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bindings::media_source::exports::mediahost::media_source::source::OpenOptions;
use bindings::media_source::{MediaSource as GuestSource, MediaSourcePre};
use bytes::Bytes;
use engine::Engine;
use futures_util::StreamExt;
use mediahost_wasm::{Bundled, Config, Error, Host, Services};
use plugin::detect::{ContainerDetector, File, Look, Window};
use plugin::grant::FetchRules;
use plugin::host::{Fetcher, KeyValue, Request, Response};
use plugin::source::{MediaSource, Open, Opened, Origin, Plan, RawPlan, RefreshReason, Segment};
use plugin::{BoxFuture, BoxStream, Failure, Plugins};
use tokio::runtime::Runtime;
use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

const FIRST_PARTY: [&str; 10] = [
    "source-http",
    "detect-mp4",
    "detect-matroska",
    "detect-mpegts",
    "detect-mpegps",
    "detect-avi",
    "detect-flv",
    "detect-audio",
    "detect-disc",
    "detect-archive",
];
const FILM: &str = "https://cdn.example.org/films/a%20film.mp4?Expires=4102444800&Signature=abcdef&part=1";

/// Each number is the median of this many turns, after one that is not counted.
const TURNS: usize = 21;
/// Calls of one turn.
const CALLS: u32 = 500;
/// A call without an instance takes so little that it takes more of them to see it.
const SHORT_CALLS: u32 = 20_000;
const WINDOW: usize = 64 << 10;
const SPAN: u64 = 16 << 20;
const SPAN_TURNS: usize = 9;
/// What the guest writes at once; the peer writes the same.
const PIECE: u64 = 64 << 10;
/// Pieces that wait for the reader, as in the adapter.
const QUEUE: usize = 4;
const COLD_STARTS: usize = 3;
const WARM_STARTS: usize = 9;

fn main() -> ExitCode {
    let plugins = FIRST_PARTY.iter().map(|id| component("plugins", id));
    let all = plugins.chain([component("guests", "guest-computed")]);
    if let Some(missing) = all.into_iter().find(|path| !path.exists()) {
        println!("{} is missing; run `make plugins guests` first", missing.display());
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    calls(&runtime);
    looks(&runtime);
    computed(&runtime);
    starts(&runtime);
    ExitCode::SUCCESS
}

fn heading(title: &str, own: &str, peer: &str) {
    println!("\n{title:<58}{own:>12}{peer:>12}{:>10}{:>10}", "ratio", "wanted");
}

fn row(name: &str, own: String, peer: String, ratio: Option<f64>, wanted: &str) {
    let ratio =
        ratio.map_or("-".into(), |ratio| if ratio < 100.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") });
    println!("  {name:<56}{own:>12}{peer:>12}{ratio:>10}{wanted:>10}");
}

fn micros(seconds: f64) -> String {
    format!("{:.2} us", seconds * 1e6)
}

fn millis(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

/// Turn by turn, and of each column the median.
fn medians<const N: usize>(turns: usize, turn: impl FnMut() -> [f64; N]) -> [f64; N] {
    let turns: Vec<_> = std::iter::repeat_with(turn).take(turns + 1).skip(1).collect();
    std::array::from_fn(|i| median(turns.iter().map(|turn| turn[i])))
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds per call of so many calls, one after the other.
async fn per_call<T, F: Future<Output = T>>(calls: u32, call: impl Fn() -> F) -> f64 {
    let begun = Instant::now();
    for _ in 0..calls {
        black_box(call().await);
    }
    begun.elapsed().as_secs_f64() / f64::from(calls)
}

// Calls and instances.

fn calls(runtime: &Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let host = runtime.block_on(start(dir.path(), bundled()));
    let source = host.sources("https").remove(0);
    let native: Arc<dyn MediaSource> = Arc::new(Native);
    let by_hand = ByHand::new();
    let (http, bare) = (by_hand.read("plugins", "source-http"), by_hand.bare());
    let mut warm = runtime.block_on(Warm::new(&by_hand, &by_hand.read("guests", "guest-computed")));

    let mut turn = async || {
        [
            per_call(CALLS, || async { source.open(film()).await.unwrap() }).await,
            per_call(CALLS, || by_hand.instantiate(&http)).await,
            warm.per_call().await,
            per_call(CALLS, || by_hand.instantiate_bare(&bare)).await,
            per_call(SHORT_CALLS, || async { native.open(film()).await.unwrap() }).await,
        ]
    };
    let [whole, instance, warm, bare, native] = medians(TURNS, || runtime.block_on(turn()));

    heading("calls", "guest", "native");
    let against = |name, own: f64, wanted| row(name, micros(own), micros(native), Some(own / native), wanted);
    against("source-http open through the port, instance included", whole, "-");
    against("  of it: a fresh instance with WASI", instance, "< 30 us");
    against("  of it: the call and all around it", whole - instance, "-");
    against("async call of an instance that is there", warm, "< 3 us");
    against("a fresh bare instance: one memory, no imports", bare, "< 5 us");
    println!(
        "  Medians of {TURNS} turns of {CALLS} calls ({SHORT_CALLS} where they are short), one after the other. The native peer is a
  source behind the same port that answers at once with a plan of one segment: the port without a sandbox. Instances
  are a new store (with its WASI context) and `instantiate_async` from the pool, by hand on the host's engine, without
  a call and dropped again. The call of an instance that is there is `open` of guest-computed, address in and plan out,
  again and again in one store; the host never does that, its calls have an instance each."
    );
}

fn film() -> Open {
    Open { uri: FILM.into(), headers: Vec::new(), purpose: "play" }
}

/// Components on the host's engine, without the host.
struct ByHand {
    engine: Engine,
}

/// What a store carries, as in the adapter.
struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl ByHand {
    fn new() -> ByHand {
        ByHand { engine: Engine::new().unwrap() }
    }

    /// Linked to WASI; imports of the host's own would end the guest, and nothing measured by hand calls one.
    fn read(&self, folder: &str, id: &str) -> InstancePre<Guest> {
        let component = Component::from_file(&self.engine.inner, component(folder, id)).unwrap();
        let mut linker = Linker::new(&self.engine.inner);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        linker.define_unknown_imports_as_traps(&component).unwrap();
        linker.instantiate_pre(&component).unwrap()
    }

    /// A component around a module that has one page of memory.
    fn bare(&self) -> InstancePre<()> {
        const MODULE: &[u8] = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";
        const INSTANTIATE: &[u8] = b"\x02\x04\x01\0\0\0";
        let wasm = [b"\0asm\x0d\0\x01\0\x01", &[MODULE.len() as u8] as &[u8], MODULE, INSTANTIATE].concat();
        let component = Component::from_binary(&self.engine.inner, &wasm).unwrap();
        Linker::new(&self.engine.inner).instantiate_pre(&component).unwrap()
    }

    fn store(&self) -> Store<Guest> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stderr(MemoryOutputPipe::new(4096)).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let mut store = Store::new(&self.engine.inner, Guest { wasi: wasi.build(), table: ResourceTable::new() });
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    async fn instantiate(&self, pre: &InstancePre<Guest>) {
        black_box(pre.instantiate_async(&mut self.store()).await.unwrap());
    }

    async fn instantiate_bare(&self, pre: &InstancePre<()>) {
        let mut store = Store::new(&self.engine.inner, ());
        store.epoch_deadline_async_yield_and_update(1);
        black_box(pre.instantiate_async(&mut store).await.unwrap());
    }
}

/// An instance that lives for many calls.
struct Warm {
    store: Store<Guest>,
    guest: GuestSource,
}

impl Warm {
    async fn new(by_hand: &ByHand, pre: &InstancePre<Guest>) -> Warm {
        let mut store = by_hand.store();
        let guest = MediaSourcePre::new(pre.clone()).unwrap().instantiate_async(&mut store).await.unwrap();
        Warm { store, guest }
    }

    async fn per_call(&mut self) -> f64 {
        let source = self.guest.mediahost_media_source_source();
        let called = self.store.run_concurrent(async |accessor| {
            let begun = Instant::now();
            for _ in 0..SHORT_CALLS {
                let options = OpenOptions { purpose: "play".into(), extra: Vec::new() };
                let answer = source.call_open(accessor, "guest-computed:1000000".into(), Vec::new(), options).await?;
                assert!(black_box(answer).is_ok());
            }
            Ok::<_, wasmtime::Error>(begun.elapsed().as_secs_f64() / f64::from(SHORT_CALLS))
        });
        called.await.unwrap().unwrap()
    }
}

// Detectors.

fn looks(runtime: &Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let host = runtime.block_on(start(dir.path(), bundled()));
    heading("a look at the head of a file, instance included", "detector", "memcpy");
    for (id, what, head) in [
        ("detect-mp4", "moov at the end", mp4()),
        ("detect-mpegts", "null packets", mpegts()),
        ("detect-audio", "silent MP3 frames", mp3()),
    ] {
        let detector = host.detectors(&head, None).into_iter().find(|detector| detector.id() == id).unwrap();
        for size in [1 << 10, WINDOW] {
            let bytes = head.slice(..size);
            let [own, peer] = medians(TURNS, || runtime.block_on(look_and_copy(&detector, &bytes)));
            row(&format!("{id}, {what}, {} KiB", size >> 10), micros(own), micros(peer), Some(own / peer), "-");
        }
    }
    println!(
        "  Medians of {TURNS} turns of {CALLS} calls. The window is copied into the guest once, and memcpy is that copy alone. The
  difference between the two rows of a detector is the copy and the looking; the row of 1 KiB is mostly the instance."
    );
}

async fn look_and_copy(detector: &Arc<dyn ContainerDetector>, bytes: &Bytes) -> [f64; 2] {
    let own = per_call(CALLS, || async { detector.detect(look(bytes)).await.unwrap() }).await;
    let mut copy = vec![0; bytes.len()];
    let begun = Instant::now();
    for _ in 0..CALLS {
        black_box(&mut copy).copy_from_slice(black_box(bytes));
    }
    [own, begun.elapsed().as_secs_f64() / f64::from(CALLS)]
}

fn look(bytes: &Bytes) -> Look {
    Look {
        files: vec![File { size: Some(1 << 30), ..File::default() }],
        windows: vec![Window { file: 0, offset: 0, bytes: bytes.clone() }],
        start_ms: None,
    }
}

/// `ftyp`, then an `mdat` that ends before the file does.
fn mp4() -> Bytes {
    let mut head = b"\0\0\0\x18ftypisom\0\0\x02\0isommp42\x3F\0\0\0mdat".to_vec();
    head.resize(WINDOW, 0xA5);
    head.into()
}

/// ISO/IEC 13818-1 §2.4.3.2, PID 0x1FFF.
fn mpegts() -> Bytes {
    let mut packet = vec![0xFF; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
    packet.into_iter().cycle().take(WINDOW).collect()
}

/// Frames of 128 kbit/s at 44.1 kHz, 417 bytes each.
fn mp3() -> Bytes {
    let mut frame = vec![0; 417];
    frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x00]);
    frame.into_iter().cycle().take(WINDOW).collect()
}

// Computed bytes.

fn computed(runtime: &Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let wasm = std::fs::read(component("guests", "guest-computed")).unwrap();
    let host = runtime.block_on(start(dir.path(), vec![Bundled { id: "guest-computed", bytes: wasm.leak() }]));
    let guest = host.sources("guest-computed").remove(0);
    let native: Arc<dyn MediaSource> = Arc::new(Native);
    let turn = async || {
        let (own, peer) = (read(&guest).await, read(&native).await);
        assert_eq!(own.sample, peer.sample, "the guest and the native loop do not compute the same bytes");
        [own.all_s, peer.all_s, own.first_s, peer.first_s]
    };
    let [own, peer, first, first_peer] = medians(SPAN_TURNS, || runtime.block_on(turn()));
    let rate = |seconds: f64| format!("{:.0} MB/s", SPAN as f64 / 1e6 / seconds);
    heading("computed bytes, spans of 16 MiB", "guest", "native");
    row("throughput", rate(own), rate(peer), Some(peer / own), "-");
    row("first piece", micros(first), micros(first_peer), Some(first / first_peer), "-");
    println!(
        "  Medians of {SPAN_TURNS} spans through the port, read to the end and compared. The native peer computes the same bytes with
  the same loop in the same pieces of {} KiB, through a queue of the same length.",
        PIECE >> 10
    );
}

/// What reading one span came to.
struct Read {
    all_s: f64,
    first_s: f64,
    sample: u64,
}

async fn read(source: &Arc<dyn MediaSource>) -> Read {
    /// Bytes from one that is compared to the next: few enough to cost nothing beside what is measured.
    const STRIDE: u64 = 4099;
    let begun = Instant::now();
    let mut pieces = source.read(Vec::new(), 0, 0, SPAN);
    let (mut at, mut first_s, mut sample) = (0, None, 0u64);
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        first_s.get_or_insert_with(|| begun.elapsed().as_secs_f64());
        let end = at + piece.len() as u64;
        for i in (at.next_multiple_of(STRIDE)..end).step_by(STRIDE as usize) {
            sample = sample.wrapping_mul(31).wrapping_add(u64::from(piece[(i - at) as usize]));
        }
        at = end;
    }
    assert_eq!(at, SPAN);
    Read { all_s: begun.elapsed().as_secs_f64(), first_s: first_s.unwrap(), sample }
}

/// A source without a sandbox. Its bytes are those of guest-computed.
struct Native;

impl MediaSource for Native {
    fn id(&self) -> &str {
        "native"
    }

    fn root(&self, _: &str) -> Option<String> {
        None
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        Box::pin(async move {
            let origin = Origin::Http { urls: vec![request.uri], headers: Vec::new(), offset: 0 };
            let segments = vec![Segment { origin, length: None }];
            Ok(Opened::Plan(Plan::check(RawPlan { segments, ..RawPlan::default() }).unwrap()))
        })
    }

    fn refresh(&self, request: Open, _: Vec<u8>, _: RefreshReason) -> BoxFuture<'static, Result<Opened, Failure>> {
        self.open(request)
    }

    fn read(&self, _: Vec<u8>, _: u32, offset: u64, length: u64) -> BoxStream<'static, Result<Bytes, Failure>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(QUEUE);
        tokio::spawn(async move {
            for start in (offset..offset + length).step_by(PIECE as usize) {
                let end = (start + PIECE).min(offset + length);
                let piece: Vec<u8> = (start..end).map(|i| ((i % 251 * 31 + 7) % 251) as u8).collect();
                if sender.send(Ok(piece.into())).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
    }
}

// Starts.

fn starts(runtime: &Runtime) {
    let begin = |dir: &Path| {
        let begun = Instant::now();
        let host = runtime.block_on(start(dir, bundled()));
        let seconds = begun.elapsed().as_secs_f64();
        drop(host);
        seconds
    };
    let compiling = median((0..COLD_STARTS).map(|_| begin(tempfile::tempdir().unwrap().path())));
    let dir = tempfile::tempdir().unwrap();
    let [compiled] = medians(WARM_STARTS, || [begin(dir.path())]);
    heading("start with all first-party plugins", "compiled", "compiling");
    row("until each of them serves", millis(compiled), millis(compiling), Some(compiled / compiling), "< 200 ms");
    println!(
        "  Medians of {WARM_STARTS} starts with compiled plugins in their folder and {COLD_STARTS} with an empty one; {} plugins. It is what this
  crate does: engine, pool, hashing, reading or compiling and keeping, linking. The host's other parts are not in it.",
        FIRST_PARTY.len()
    );
}

// The host that is measured.

async fn start(dir: &Path, bundled: Vec<Bundled>) -> Arc<Host> {
    let expected = bundled.len();
    let config = Config {
        plugins_dir: dir.join("plugins"),
        cache_dir: dir.join("compiled"),
        bundled,
        poll: Duration::from_millis(500),
    };
    let host = Host::start(config, Services { fetcher: Arc::new(Nothing), kv: Arc::new(Nothing) }).await.unwrap();
    let serving = host.list().iter().filter(|status| status.error.is_none()).count();
    assert_eq!(serving, expected, "{:#?}", host.list());
    host
}

fn bundled() -> Vec<Bundled> {
    static BYTES: OnceLock<Vec<&'static [u8]>> = OnceLock::new();
    let read = |id: &&str| &*std::fs::read(component("plugins", id)).unwrap().leak();
    let bytes = BYTES.get_or_init(|| FIRST_PARTY.iter().map(read).collect());
    FIRST_PARTY.iter().zip(bytes).map(|(id, bytes)| Bundled { id, bytes }).collect()
}

fn component(folder: &str, id: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target").join(folder).join(format!("{id}.wasm"))
}

/// Neither a network nor a shelf: nothing that is measured asks for one.
struct Nothing;

impl Fetcher for Nothing {
    fn send(&self, _: Request, _: FetchRules) -> BoxFuture<'static, Result<Response, plugin::Error>> {
        Box::pin(async { Err(absent()) })
    }
}

impl KeyValue for Nothing {
    fn get(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, plugin::Error> {
        Err(absent())
    }

    fn set(&self, _: &str, _: &str, _: &[u8], _: u64) -> Result<(), plugin::Error> {
        Err(absent())
    }

    fn delete(&self, _: &str, _: &str) -> Result<(), plugin::Error> {
        Err(absent())
    }

    fn keys(&self, _: &str, _: &str) -> Result<Vec<String>, plugin::Error> {
        Err(absent())
    }
}

fn absent() -> plugin::Error {
    plugin::Error::new(plugin::code::INTERNAL, "the bench lends nothing")
}
