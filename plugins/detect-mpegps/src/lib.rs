//! MPEG program streams (ISO/IEC 13818-1, and the system layer of 11172-1): files of recorders, DVD, Video CD.
//!
//! Owns: finding the packs, which streams there are, how long it plays, where it is at the time to start from.
//! Leaves to others: fetching (the host), elementary streams beyond their first headers, menus and cells of discs,
//! scrambled content.
//!
//! Invariant: at most the first and the last mebibyte are read, and a few times 64 KiB where playing will start.

mod packs;
mod stream;

use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::opening::{self, listless_bytes};
use mediahost_plugin_sdk::detect::seek::{Probes, Reach, Search};
use mediahost_plugin_sdk::detect::stamp::{WRAP, since};
use mediahost_plugin_sdk::detect::{Detector, Layout, READ_AHEAD, SeekPoint, Stop, Subject};
use packs::Pack;
use stream::Survey;

/// What may stand in front of the first pack.
const MAX_JUNK: u64 = 4096;
/// Where streams and their first pictures are looked for.
const HEAD_BYTES: u64 = 1 << 20;
/// Where the last time stamps are looked for.
const TAIL_BYTES: u64 = 1 << 20;
/// What is enough of the tail unless the bit rate is very high.
const TAIL_GUESS: u64 = 256 << 10;
/// A time stamp that yields more than this many bits per second is no measure of the whole.
const MAX_BIT_RATE: u64 = 2_000_000_000;
/// Times that are further apart went backwards: the clock was set anew on the way.
const HALF_90K: u64 = WRAP / 2;
/// How the time to start from is looked for.
const PROBES: Probes = Probes { bytes: READ_AHEAD, most_bytes: READ_AHEAD };

/// The detector.
pub struct MpegPs;

container_detector!(MpegPs, "plugin.json");

impl Detector for MpegPs {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let head = subject.read(0, READ_AHEAD)?;
        if Pack::find_first(&head, MAX_JUNK as usize).is_none() {
            return Ok(None);
        }
        // Streams are not listed anywhere: the whole head tells which there are.
        let tail = subject.size().map(|size| (size.saturating_sub(TAIL_GUESS), TAIL_GUESS));
        subject.want(&[Some((0, HEAD_BYTES)), tail].into_iter().flatten().collect::<Vec<_>>())?;
        let survey = Survey::of(&subject.read(0, HEAD_BYTES)?);
        let mut layout = Layout::new("mpeg").media_type("video/mpeg");
        layout.tracks = survey.tracks();
        if let Some(size) = subject.size() {
            layout.duration_ms = duration_ms(subject, &survey, size)?;
        }
        let head = listless_bytes(subject.size(), layout.duration_ms);
        layout.need_first(0, head, "head");
        if let Some(size) = subject.size() {
            name_start(subject, &mut layout, &survey, size)?;
            let start = size.saturating_sub(opening::TAIL_BYTES).max(head);
            layout.need_first(start, size - start, "tail");
        }
        layout.estimate_bit_rate(subject.size());
        Ok(Some(layout))
    }
}

/// From the first time stamps to the last: of streams if they have them, else of the packs' clock.
fn duration_ms(subject: &Subject, head: &Survey, size: u64) -> Result<Option<u64>, Stop> {
    for guess in [TAIL_GUESS, TAIL_BYTES] {
        let start = size.saturating_sub(guess);
        subject.want(&[(start, guess)])?;
        let tail = Survey::of(&subject.read(start, guess)?);
        let ticks = match (head.first_90k(), tail.last_90k()) {
            (Some(first), Some(last)) => Some(since(first, last) + head.frame_90k()),
            _ => head.first_clock.zip(tail.last_clock).map(|(first, last)| since(first, last)),
        };
        if let Some(ms) = ticks.filter(|ticks| *ticks < HALF_90K).map(|ticks| ticks / 90).filter(|ms| *ms > 0) {
            let plausible = u128::from(size) * 8000 / u128::from(ms) <= u128::from(MAX_BIT_RATE);
            return Ok(plausible.then_some(ms));
        }
    }
    Ok(None)
}

/// Finds where playing will start. Streams tell time better: writers that fall behind let the packs' clock run away.
fn name_start(subject: &Subject, layout: &mut Layout, head: &Survey, size: u64) -> Result<(), Stop> {
    let (Some(start_ms), Some(duration_ms)) = (subject.start_ms(), layout.duration_ms) else { return Ok(()) };
    let end = SeekPoint { time_ms: duration_ms, offset: size };
    let Some(mut search) = Search::new(start_ms, SeekPoint { time_ms: 0, offset: 0 }, end) else { return Ok(()) };
    let reach = Reach::of(layout);
    search.narrow(subject, &PROBES, &reach, |at, bytes| {
        let here = Survey::of(bytes);
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
