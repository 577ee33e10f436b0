//! Ogg (RFC 3533): pages of logical streams; what each is stands in its first page, how long it is in its last. Each tells
//! how far its stream has come at its end.

use mediahost_plugin_sdk::detect::bytes::{be_at, find, le_at};
use mediahost_plugin_sdk::detect::codec::flac_info;
use mediahost_plugin_sdk::detect::seek::Reach;
use mediahost_plugin_sdk::detect::{Layout, READ_AHEAD, SeekPoint, Stop, Subject, Track};

use crate::{PROBES, search};

/// Logical streams of one file, at most.
const MAX_STREAMS: usize = 16;
/// Pages of headers that are looked at, at most.
const MAX_PAGES: usize = 512;
/// Headers hold comments and cover pictures; beyond this they are not followed.
const MAX_HEADERS: u64 = 4 << 20;
/// A page has at most 65 307 bytes, so that the last one begins in here.
const TAIL_BYTES: u64 = 64 << 10;
/// In place of a position: no packet ends on this page (§6).
const NO_POSITION: u64 = u64::MAX;

/// The header of a page.
#[derive(Clone, Copy)]
struct Page {
    first: bool,
    position: u64,
    serial: u64,
    /// Bytes of the header with its segment table, and of the whole.
    head: usize,
    length: usize,
}

impl Page {
    fn parse(bytes: &[u8]) -> Option<Page> {
        if bytes.get(..5)? != b"OggS\0" {
            return None;
        }
        let segments = usize::from(*bytes.get(26)?);
        let content: usize = bytes.get(27..27 + segments)?.iter().map(|length| usize::from(*length)).sum();
        Some(Page {
            first: bytes[5] & 2 != 0,
            position: le_at(bytes, 6, 8)?,
            serial: le_at(bytes, 14, 4)?,
            head: 27 + segments,
            length: 27 + segments + content,
        })
    }
}

/// A logical stream.
struct Stream {
    serial: u64,
    track: Track,
    clock: Clock,
}

/// How positions count.
#[derive(Clone, Copy)]
enum Clock {
    /// Samples at a rate, of which the first are not heard.
    Samples {
        rate: u64,
        skip: u64,
    },
    /// Pictures: key frames above, the ones since below (Theora specification §A.2.3).
    Pictures {
        over: u64,
        under: u64,
        shift: u32,
    },
    Unknown,
}

impl Clock {
    fn millis(self, position: u64) -> Option<u64> {
        let (ticks, over, under) = match self {
            Clock::Samples { rate, skip } => (position.saturating_sub(skip), rate, 1),
            Clock::Pictures { over, under, shift } => {
                let keys = position.checked_shr(shift)?;
                (keys.saturating_add(position - (keys << shift)), over, under)
            }
            Clock::Unknown => return None,
        };
        let ms = (u128::from(ticks) * 1000 * u128::from(under)).checked_div(u128::from(over))?;
        u64::try_from(ms).ok()
    }
}

pub fn read(subject: &Subject, start: u64) -> Result<Option<Layout>, Stop> {
    let (streams, headers_end) = read_headers(subject, start)?;
    if streams.is_empty() {
        return Err(Stop::damaged(format!("the Ogg page at offset {start} begins no stream")));
    }
    let mut layout = Layout::new("ogg");
    let end = headers_end.min(subject.size().unwrap_or(headers_end));
    layout.need_first(start, end.saturating_sub(start), "headers");
    if let Some(size) = subject.size() {
        let tail = size.saturating_sub(TAIL_BYTES).max(start);
        subject.want(&[(tail, TAIL_BYTES)])?;
        layout.duration_ms = last_millis(&subject.read(tail, TAIL_BYTES)?, &streams);
        let tail = tail.max(end);
        layout.need_first(tail, size - tail, "tail");
    }
    layout.tracks = streams.iter().map(|stream| stream.track.clone()).collect();
    name_start(subject, &mut layout, &streams, end)?;
    let has_pictures = layout.track_of("video").is_some();
    layout.media_type = Some(if has_pictures { "video/ogg" } else { "audio/ogg" }.into());
    Ok(Some(layout))
}

/// The streams that begin, and where the first page with something to play does.
fn read_headers(subject: &Subject, start: u64) -> Result<(Vec<Stream>, u64), Stop> {
    let mut streams: Vec<Stream> = Vec::new();
    let mut at = start;
    for _ in 0..MAX_PAGES {
        if at - start > MAX_HEADERS {
            break;
        }
        // The longest page at once, so that headers of many pages cost a round for each 64 KiB.
        let bytes = subject.read(at, READ_AHEAD)?;
        let Some(page) = Page::parse(&bytes) else { break };
        if page.first && streams.len() < MAX_STREAMS {
            let packet = bytes.get(page.head..page.length.min(bytes.len())).unwrap_or_default();
            let (track, clock) = identify(streams.len() as u64, packet);
            streams.push(Stream { serial: page.serial, track, clock });
        } else if page.position != 0 && page.position != NO_POSITION {
            break;
        }
        at += page.length as u64;
    }
    Ok((streams, at))
}

/// What the first packet of a stream says.
fn identify(id: u64, packet: &[u8]) -> (Track, Clock) {
    let sound = |codec, rate: Option<u64>, channels: Option<u64>, skip| {
        let mut track = Track::new(id, "audio", codec);
        track.sound(rate.unwrap_or(0) as u32, channels.unwrap_or(0) as u32);
        (track, Clock::Samples { rate: rate.unwrap_or(0), skip })
    };
    if packet.starts_with(b"\x01vorbis") {
        let mut found = sound("vorbis", le_at(packet, 12, 4), le_at(packet, 11, 1), 0);
        found.0.bit_rate = le_at(packet, 20, 4).filter(|rate| (1..i32::MAX as u64).contains(rate));
        return found;
    }
    if packet.starts_with(b"OpusHead") {
        return sound("opus", Some(48_000), le_at(packet, 9, 1), le_at(packet, 10, 2).unwrap_or(0));
    }
    if packet.starts_with(b"\x7FFLAC") {
        let info = packet.get(17..).and_then(flac_info).map(|info| info.sound);
        return sound("flac", info.map(|sound| sound.sample_rate.into()), info.map(|sound| sound.channels.into()), 0);
    }
    if packet.starts_with(b"Speex   ") {
        return sound("speex", le_at(packet, 36, 4), le_at(packet, 48, 4).filter(|channels| *channels <= 2), 0);
    }
    if packet.starts_with(b"\x80theora") {
        return theora(id, packet);
    }
    let (kind, codec) = if packet.starts_with(b"fishead\0") { ("data", "skeleton") } else { ("data", "unknown") };
    (Track::new(id, kind, codec), Clock::Unknown)
}

fn theora(id: u64, packet: &[u8]) -> (Track, Clock) {
    let number = |at, length| be_at(packet, at, length).unwrap_or(0);
    let mut track = Track::new(id, "video", "theora");
    track.picture(number(14, 3) as u32, number(17, 3) as u32);
    let (over, under) = (number(22, 4), number(26, 4));
    track.pictures_per_second(over as f64 / under as f64);
    // Six bits of quality, then five of the shift.
    let shift = (number(40, 2) >> 5 & 31) as u32;
    (track, Clock::Pictures { over, under, shift })
}

/// Finds where playing will start by the positions of pages.
fn name_start(subject: &Subject, layout: &mut Layout, streams: &[Stream], first: u64) -> Result<(), Stop> {
    let Some(mut search) = search(subject, layout, first, None) else { return Ok(()) };
    let reach = Reach::of(layout);
    search.narrow(subject, &PROBES, &reach, |at, bytes| {
        let place = |(stop, time_ms)| SeekPoint { time_ms, offset: at.saturating_add(stop as u64) };
        positions(bytes, streams).map(place).collect()
    })?;
    search.name(layout, &reach);
    Ok(())
}

/// The latest position of any stream in the tail.
fn last_millis(tail: &[u8], streams: &[Stream]) -> Option<u64> {
    positions(tail, streams).map(|(_, ms)| ms).filter(|ms| *ms > 0).max()
}

/// Where pages end, and how many milliseconds their streams have come to there.
fn positions(bytes: &[u8], streams: &[Stream]) -> impl Iterator<Item = (usize, u64)> {
    let mut from = 0;
    let pages = std::iter::from_fn(move || {
        let at = find(bytes, b"OggS", from)?;
        from = at + 4;
        Some((at, Page::parse(&bytes[at..])))
    });
    pages.filter_map(|(at, page)| {
        let page = page.filter(|page| page.position != NO_POSITION)?;
        let stream = streams.iter().find(|stream| stream.serial == page.serial)?;
        Some((at + page.length, stream.clock.millis(page.position)?))
    })
}
