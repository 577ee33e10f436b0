//! MPEG transport streams (ISO/IEC 13818-1): packets of 188 bytes, of 192 on Blu-ray discs (a time stamp in front), of
//! 204 with error correction behind.
//!
//! Owns: finding the packets, the programme tables, what tracks there are, how long it plays.
//! Leaves to others: fetching (the host), elementary streams beyond their first headers, conditional access, seeking
//! (time is found by bisection, which costs a player less than a table costs us).
//!
//! Invariant: at most the first and the last mebibyte are read, in at most four rounds.

mod packets;
mod programme;
mod stream;

use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::{Detector, Layout, READ_AHEAD, Stop, Subject};
use packets::Grid;
use programme::Programme;
use stream::Survey;

/// What a player reads to find programmes and their first pictures, and what is read here at most.
const HEAD_BYTES: u64 = 1 << 20;
/// What a player reads to find the last time stamps.
const TAIL_BYTES: u64 = 1 << 20;
/// What is enough of the tail unless the bit rate is very high.
const TAIL_GUESS: u64 = 256 << 10;
/// Longer than a time stamp of 33 bits at 90 kHz can tell.
const WRAP_90K: u64 = 1 << 33;
/// A time stamp that yields more than this many bits per second is no measure of the whole.
const MAX_BIT_RATE: u64 = 2_000_000_000;

/// The detector.
pub struct MpegTs;

container_detector!(MpegTs, "plugin.json");

impl Detector for MpegTs {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let Some(grid) = Grid::find(&subject.read(0, READ_AHEAD)?) else { return Ok(None) };
        let Some((programmes, survey)) = survey_head(subject, grid)? else { return Ok(None) };
        let mut layout = Layout::new("mpegts").media_type("video/mp2t");
        layout.tracks = programmes.iter().flat_map(|programme| programme.tracks(&survey)).collect();
        layout.need_first(0, subject.size().unwrap_or(HEAD_BYTES).min(HEAD_BYTES), "head");
        if let Some(size) = subject.size() {
            let start = size.saturating_sub(TAIL_BYTES).max(HEAD_BYTES.min(size));
            layout.need_first(start, size - start, "tail");
            layout.duration_ms = duration_ms(subject, grid, &programmes, &survey, size)?;
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
            (Some(first), Some(last)) => Some(last.wrapping_sub(first) % WRAP_90K + tail.frame_90k()),
            _ => head.first_clock.zip(tail.last_clock).map(|(first, last)| last.wrapping_sub(first) % WRAP_90K),
        };
        if let Some(ms) = ticks.map(|ticks| ticks / 90).filter(|ms| *ms > 0) {
            let plausible = u128::from(size) * 8000 / u128::from(ms) <= u128::from(MAX_BIT_RATE);
            return Ok(plausible.then_some(ms));
        }
    }
    Ok(None)
}
