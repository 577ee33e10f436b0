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
use mediahost_plugin_sdk::detect::{Detector, Layout, READ_AHEAD, Stop, Subject};
use packs::Pack;
use stream::Survey;

/// What may stand in front of the first pack.
const MAX_JUNK: u64 = 4096;
/// What a player reads to find streams and their first pictures, and what is read here at most.
const HEAD_BYTES: u64 = 1 << 20;
/// What a player reads to find the last time stamps.
const TAIL_BYTES: u64 = 1 << 20;
/// What is enough of the tail unless the bit rate is very high.
const TAIL_GUESS: u64 = 256 << 10;
/// A time stamp that yields more than this many bits per second is no measure of the whole.
const MAX_BIT_RATE: u64 = 2_000_000_000;
/// Longer than a time stamp of 33 bits at 90 kHz can tell.
const WRAP_90K: u64 = 1 << 33;
/// Times that are further apart went backwards: the clock was set anew on the way.
const HALF_90K: u64 = WRAP_90K / 2;
/// Where the time to start from is looked for, at most.
const MAX_PROBES: u32 = 6;
/// What is seen of each of these places.
const PROBE_BYTES: u64 = READ_AHEAD;
/// A place this close in front of the time to start from is good.
const NEAR_MS: u64 = 1_000;
/// What is named there: it begins in front, since players look for the picture that needs no other.
const START_BYTES: u64 = 3 << 20;
const START_LEAD: u64 = 1 << 20;

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
        layout.need_first(0, subject.size().unwrap_or(HEAD_BYTES).min(HEAD_BYTES), "head");
        if let Some(size) = subject.size() {
            layout.duration_ms = duration_ms(subject, &survey, size)?;
            name_start(subject, &mut layout, &survey, size)?;
            let start = size.saturating_sub(TAIL_BYTES).max(HEAD_BYTES.min(size));
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

/// Ticks from one time to a later one, over an overflow if need be.
fn since(first: u64, last: u64) -> u64 {
    last.wrapping_sub(first) % WRAP_90K
}

/// Finds where playing will start: between places of known time the rate is taken to be constant.
fn name_start(subject: &Subject, layout: &mut Layout, head: &Survey, size: u64) -> Result<(), Stop> {
    let (Some(start_ms), Some(duration_ms)) = (subject.start_ms(), layout.duration_ms) else { return Ok(()) };
    let start_ms = start_ms.min(duration_ms);
    let (mut low, mut high) = ((0, 0), (size, duration_ms));
    let is_found = |low: (u64, u64), high: (u64, u64)| high.0 - low.0 <= START_BYTES || start_ms - low.1 <= NEAR_MS;
    for probe in 0..MAX_PROBES {
        if is_found(low, high) {
            break;
        }
        // Where the rate changes, halving keeps this from creeping up on the place from one side.
        let at = if probe % 2 == 0 { between(low, high, start_ms) } else { low.0.midpoint(high.0) };
        if at <= low.0 || at >= high.0 {
            break;
        }
        let here = Survey::of(&subject.read(at, PROBE_BYTES)?);
        // Streams tell time better: writers that fall behind let the packs' clock run away.
        let streams = head.first_90k().zip(here.first_90k());
        match streams.or(head.first_clock.zip(here.first_clock)).map(|(first, time)| since(first, time) / 90) {
            Some(ms) if ms < low.1 || ms > high.1 => break,
            Some(ms) if ms <= start_ms => low = (at, ms),
            Some(ms) => high = (at, ms),
            None => break,
        }
    }
    let near = if is_found(low, high) { low.0 } else { between(low, high, start_ms) };
    let offset = near.saturating_sub(START_LEAD);
    layout.need_first(offset, START_BYTES.min(size - offset), "start");
    Ok(())
}

/// The offset at a time between two places.
fn between(low: (u64, u64), high: (u64, u64), ms: u64) -> u64 {
    let (bytes, span) = (high.0.saturating_sub(low.0), high.1.saturating_sub(low.1).max(1));
    let past = u128::from(bytes) * u128::from(ms.saturating_sub(low.1)) / u128::from(span);
    low.0.saturating_add(u64::try_from(past).unwrap_or(bytes).min(bytes.saturating_sub(1)))
}
