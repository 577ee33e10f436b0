//! MPEG transport streams (ISO/IEC 13818-1): packets of 188 bytes, of 192 on Blu-ray discs (a time stamp in front), of
//! 204 with error correction behind.
//!
//! Owns: finding the packets, the programme tables, what tracks there are, how long it plays, where it is at the time to
//! start from.
//! Leaves to others: fetching (the host), elementary streams beyond their first headers, conditional access, a table of
//! times (they are found by bisection, which costs a player less than a table costs us).
//!
//! Invariant: at most the first and the last mebibyte are read, in at most four rounds, and a few times 64 KiB where
//! playing will start.

mod packets;
mod programme;
mod stream;

use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::opening::{self, listless_bytes};
use mediahost_plugin_sdk::detect::seek::{Probes, Reach, Search};
use mediahost_plugin_sdk::detect::stamp::since;
use mediahost_plugin_sdk::detect::{Detector, Layout, READ_AHEAD, SeekPoint, Stop, Subject};
use packets::Grid;
use programme::Programme;
use stream::Survey;

/// Where programmes and their first pictures are looked for.
const HEAD_BYTES: u64 = 1 << 20;
/// Where the last time stamps are looked for.
const TAIL_BYTES: u64 = 1 << 20;
/// What is enough of the tail unless the bit rate is very high.
const TAIL_GUESS: u64 = 256 << 10;
/// A time stamp that yields more than this many bits per second is no measure of the whole.
const MAX_BIT_RATE: u64 = 2_000_000_000;
/// How the time to start from is looked for.
const PROBES: Probes = Probes { bytes: READ_AHEAD, most_bytes: READ_AHEAD };

/// The detector.
pub struct MpegTs;

container_detector!(MpegTs, "plugin.json");

impl Detector for MpegTs {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let Some(grid) = Grid::find(&subject.read(0, READ_AHEAD)?) else { return Ok(None) };
        let Some((programmes, survey)) = survey_head(subject, grid)? else { return Ok(None) };
        let mut layout = Layout::new("mpegts").media_type("video/mp2t");
        layout.tracks = programmes.iter().flat_map(|programme| programme.tracks(&survey)).collect();
        if let Some(size) = subject.size() {
            layout.duration_ms = duration_ms(subject, grid, &programmes, &survey, size)?;
        }
        let head = listless_bytes(subject.size(), layout.duration_ms);
        layout.need_first(0, head, "head");
        if let Some(size) = subject.size() {
            let start = size.saturating_sub(opening::TAIL_BYTES).max(head);
            layout.need_first(start, size - start, "tail");
            name_start(subject, &mut layout, grid, &programmes, &survey)?;
        }
        layout.estimate_bit_rate(subject.size());
        Ok(Some(layout))
    }
}

/// Reads the head until the tables and the first time stamps are there: usually the first 64 KiB, else a mebibyte.
/// None when packets that look right never carry a table.
fn survey_head(subject: &Subject, grid: Grid) -> Result<Option<(Vec<Programme>, Survey)>, Stop> {
    for length in [READ_AHEAD, HEAD_BYTES] {
        let bytes = subject.read(0, length)?;
        let Some(programmes) = programme::find(grid.packets(&bytes, 0)) else { continue };
        let survey = Survey::of(grid.packets(&bytes, 0), &programmes);
        let whole = length == HEAD_BYTES || (bytes.len() as u64) < length;
        if whole || (survey.is_complete(&programmes) && programmes.iter().all(|programme| programme.is_told)) {
            return Ok(Some((programmes, survey)));
        }
    }
    Ok(None)
}

/// From the first time stamps to the last: of streams if they have them, else of the programme clock.
fn duration_ms(
    subject: &Subject,
    grid: Grid,
    programmes: &[Programme],
    head: &Survey,
    size: u64,
) -> Result<Option<u64>, Stop> {
    let ask = |length: u64| (size.saturating_sub(length), length.min(size));
    for guess in [TAIL_GUESS, TAIL_BYTES] {
        let (start, length) = ask(guess);
        subject.want(&[(start, length)])?;
        let tail = Survey::of(grid.packets(&subject.read(start, length)?, start), programmes);
        let ticks = match (head.first_90k(), tail.last_90k()) {
            (Some(first), Some(last)) => Some(since(first, last) + tail.frame_90k()),
            _ => head.first_clock.zip(tail.last_clock).map(|(first, last)| since(first, last)),
        };
        if let Some(ms) = ticks.map(|ticks| ticks / 90).filter(|ms| *ms > 0) {
            let plausible = u128::from(size) * 8000 / u128::from(ms) <= u128::from(MAX_BIT_RATE);
            return Ok(plausible.then_some(ms));
        }
    }
    Ok(None)
}

/// Finds where playing will start by the time stamps of streams, or by the programme clock where they are hidden.
fn name_start(
    subject: &Subject,
    layout: &mut Layout,
    grid: Grid,
    programmes: &[Programme],
    head: &Survey,
) -> Result<(), Stop> {
    let (Some(start_ms), Some(size), Some(duration_ms)) = (subject.start_ms(), subject.size(), layout.duration_ms)
    else {
        return Ok(());
    };
    let end = SeekPoint { time_ms: duration_ms, offset: size };
    let Some(mut search) = Search::new(start_ms, SeekPoint { time_ms: 0, offset: 0 }, end) else { return Ok(()) };
    let reach = Reach::of(layout);
    search.narrow(subject, &PROBES, &reach, |at, bytes| {
        let here = Survey::of(grid.packets(bytes, at), programmes);
        let stop = at.saturating_add(bytes.len() as u64);
        let place = |offset, first: Option<u64>, time: Option<u64>| {
            Some(SeekPoint { offset, time_ms: since(first?, time?) / 90 })
        };
        let streams = [place(at, head.first_90k(), here.first_90k()), place(stop, head.first_90k(), here.last_90k())];
        let clock = [place(at, head.first_clock, here.first_clock), place(stop, head.first_clock, here.last_clock)];
        let told = if streams[0].is_some() { streams } else { clock };
        told.into_iter().flatten().collect()
    })?;
    search.name(layout, &reach);
    Ok(())
}
