//! ISO base media files: MP4, QuickTime, 3GPP, fragmented MP4 (ISO/IEC 14496-12).
//!
//! Owns: finding the movie box wherever it is by hopping from box to box, what it says of tracks, the byte positions
//! of key frames, segment indexes of fragmented files, which media a player reads before it shows a picture.
//! Leaves to others: fetching (the host), samples, decryption, pictures such as HEIF and AVIF.
//!
//! Invariant: the media itself is never asked for; a whole film costs at most three rounds when its movie box lies at
//! the head or at the tail.

mod boxes;
mod fragment;
mod movie;
mod sample_entry;
mod sample_table;

use boxes::Header;
use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::{Detector, Layout, MAX_SEEK, READ_AHEAD, SeekPoint, Stop, Subject, thin_out};
use movie::Movie;

/// Boxes at the top level that are looked at before the movie box or the first fragment, at most.
const MAX_BOXES: usize = 1024;
/// Hops that each cost a round; the host allows 32 and the indexes need some.
const MAX_HOPS: u32 = 20;
/// What is asked for where the movie box is expected behind the media: usually all of it.
const TAIL_GUESS: u64 = 1 << 20;
/// A movie box that is longer is named and not read: it would not fit beside itself in a guest's memory.
const MAX_MOOV: u64 = 24 << 20;
/// Segment indexes of one file, at most, and the bytes of one.
const MAX_SIDX: usize = 16;
const MAX_SIDX_BYTES: u64 = 1 << 20;
/// The random access table at the end of a fragmented file is read up to here.
const MAX_MFRA: u64 = 4 << 20;
/// The box of a fragment is read up to here.
const MAX_MOOF: u64 = 1 << 20;
/// Where the last fragment of a file without an index is looked for: the second time for one of large pictures.
const TAILS: [u64; 2] = [READ_AHEAD, 2 << 20];
/// What is named for each place that a player reads from, at most: a film of a high rate may have more since its last key
/// frame.
const MAX_SPAN_BYTES: u64 = 4 << 20;
/// Places that are closer together are one: a request more takes longer than these bytes.
const NEAR_BYTES: u64 = 64 << 10;
/// Places to read from at one time, at most.
const MAX_SPANS: usize = 16;
/// What is named of a fragment at the position where the player will start, at least and at most.
const FRAGMENT_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=1 << 20;
/// What is named at the end of the fragment before, where the sound of the first picture's time may be.
const SOUND_BYTES: u64 = 256 << 10;

/// FFmpeg's name for the family.
const FORMAT: &str = "mov,mp4,m4a,3gp,3g2,mj2";
/// Boxes with which a file of this family begins.
const STARTS: [&[u8; 4]; 11] =
    [b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"mdat", b"free", b"skip", b"wide", b"pnot", b"emsg"];
/// Brands of pictures, which are none of our business.
const PICTURE_BRANDS: [&[u8; 4]; 8] = [b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"];

/// The detector.
pub struct Mp4;

container_detector!(Mp4, "plugin.json");

impl Detector for Mp4 {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let Some(file) = File::walk(subject)? else { return Ok(None) };
        let mut layout = Layout::new(FORMAT);
        if let Some(ftyp) = file.ftyp {
            layout.need_first(0, ftyp.length, "ftyp");
        }
        match file.moov {
            Some(moov) => describe_movie(subject, &file, moov, &mut layout)?,
            None => describe_segment(subject, &file, &mut layout)?,
        }
        thin_out(&mut layout.seek, MAX_SEEK);
        layout.media_type = Some(media_type(&file, &layout).into());
        layout.estimate_bit_rate(subject.size());
        Ok(Some(layout))
    }
}

/// A box at the top level.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    /// Header and content, as far as the file reaches.
    length: u64,
    head: u64,
}

/// The boxes at the top level that matter.
#[derive(Default)]
struct File {
    brand: Option<[u8; 4]>,
    ftyp: Option<Place>,
    moov: Option<Place>,
    sidx: Vec<Place>,
    /// The first one.
    fragment: Option<Place>,
}

impl File {
    /// Hops over the top level until there is a movie box and, after it, media or a fragment.
    fn walk(subject: &Subject) -> Result<Option<File>, Stop> {
        let mut file = File::default();
        let (mut at, mut hops, mut shown) = (0u64, 0, READ_AHEAD);
        let mut last = *b"\0\0\0\0";
        for index in 0..MAX_BOXES {
            if at.saturating_add(boxes::MAX_HEAD) > shown {
                (hops, shown) = (hops + 1, at.saturating_add(READ_AHEAD));
            }
            if hops > MAX_HOPS {
                break;
            }
            if last == *b"mdat" && file.moov.is_none() {
                subject.want(&[(at, TAIL_GUESS)])?;
            }
            let Some(header) = Header::parse(&subject.read(at, boxes::MAX_HEAD)?) else { break };
            if index == 0 && !STARTS.contains(&&header.kind) {
                return Ok(None);
            }
            let end = header.length.map_or(u64::MAX, |length| at.saturating_add(length));
            let length = end.min(subject.size().unwrap_or(end)).saturating_sub(at);
            let place = Place { offset: at, length, head: header.head };
            match &header.kind {
                b"ftyp" if file.ftyp.is_none() => {
                    file.brand = subject.read(at + header.head, 4)?.as_ref().try_into().ok();
                    file.ftyp = Some(place).filter(|_| index == 0);
                }
                b"moov" if file.moov.is_none() => file.moov = Some(place),
                b"sidx" if file.sidx.len() < MAX_SIDX => file.sidx.push(place),
                b"moof" => file.fragment = Some(place),
                _ => {}
            }
            let media = matches!(&header.kind, b"moof" | b"mdat");
            if file.fragment.is_some() || (media && file.moov.is_some()) || end == u64::MAX {
                break;
            }
            (at, last) = (end, header.kind);
        }
        file.verdict(subject, at)
    }

    /// Whether what was found is worth describing.
    fn verdict(self, subject: &Subject, reached: u64) -> Result<Option<File>, Stop> {
        if self.moov.is_some() || self.fragment.is_some() || !self.sidx.is_empty() {
            return Ok(Some(self));
        }
        let Some(brand) = self.brand.filter(|brand| !PICTURE_BRANDS.contains(&brand)) else { return Ok(None) };
        let end = subject.size().map_or_else(|| "unknown".into(), |size| size.to_string());
        let brand = String::from_utf8_lossy(&brand).into_owned();
        Err(Stop::damaged(format!(
            "there is no moov box: the boxes of this {brand:?} file were followed to offset {reached}, its length is {end}"
        )))
    }
}

/// A whole film: its tracks from the movie box, its index from the sample tables or from the fragments.
fn describe_movie(subject: &Subject, file: &File, moov: Place, layout: &mut Layout) -> Result<(), Stop> {
    layout.need_first(moov.offset, moov.length, "moov");
    if moov.length > MAX_MOOV {
        return Ok(());
    }
    let bytes = subject.read(moov.offset, moov.length)?;
    let movie = Movie::parse(bytes.get(moov.head as usize..).unwrap_or_default());
    layout.tracks = movie.tracks.iter().map(|track| track.describe(&movie)).collect();
    layout.duration_ms = movie.duration_ms();
    if movie.fragmented {
        return describe_fragments(subject, file, &movie, layout);
    }
    if let Some(track) = movie.leading() {
        layout.seek = track.points(MAX_SEEK);
    }
    name_spans(subject, movie.opening(0), "media", layout);
    if let Some(start_ms) = subject.start_ms() {
        name_spans(subject, movie.opening(start_ms), "start", layout);
    }
    layout.seek.retain(|point| subject.size().is_none_or(|size| point.offset < size));
    Ok(())
}

/// Names places from where they begin to where they end; tracks that lie apart are read apart.
fn name_spans(subject: &Subject, mut spans: Vec<(u64, u64)>, what: &str, layout: &mut Layout) {
    let size = subject.size().unwrap_or(u64::MAX);
    spans.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in spans {
        let end = end.min(start.saturating_add(MAX_SPAN_BYTES)).min(size);
        match joined.last_mut().filter(|(_, last)| start <= last.saturating_add(NEAR_BYTES)) {
            Some((_, last)) => *last = end.max(*last),
            None => joined.push((start, end)),
        }
    }
    for (start, end) in joined.into_iter().take(MAX_SPANS) {
        layout.need_first(start, end.saturating_sub(start).min(MAX_SPAN_BYTES), what);
    }
}

/// A fragmented film: the index is a `sidx` at the head or an `mfra` at the tail.
fn describe_fragments(subject: &Subject, file: &File, movie: &Movie, layout: &mut Layout) -> Result<(), Stop> {
    let leading = movie.leading().map(|track| track.id);
    read_sidx(subject, file, leading, layout)?;
    if file.sidx.is_empty() {
        read_mfra(subject, movie, layout)?;
    }
    if let Some(place) = file.fragment.filter(|place| place.length <= MAX_MOOF) {
        let bytes = subject.read(place.offset, place.length)?;
        let content = bytes.get(place.head as usize..).unwrap_or_default();
        let mut spans = fragment::opening(content, place.offset, movie);
        spans.push((place.offset, place.offset + place.length));
        name_spans(subject, spans, "media", layout);
    }
    if let Some(start_ms) = subject.start_ms() {
        let spans = around(&layout.seek, start_ms);
        name_spans(subject, spans, "start", layout);
    }
    Ok(())
}

/// What is read of the fragments at a time: the one of that time, and the one before for its sound. Fragments begin with
/// key frames, and sound is cut where one of its frames ends.
fn around(fragments: &[SeekPoint], time_ms: u64) -> Vec<(u64, u64)> {
    let index = fragments.partition_point(|point| point.time_ms <= time_ms).saturating_sub(1);
    let Some(point) = fragments.get(index) else { return Vec::new() };
    let next = fragments.get(index + 1).map_or(u64::MAX, |next| next.offset);
    let length = next.saturating_sub(point.offset).clamp(*FRAGMENT_BYTES.start(), *FRAGMENT_BYTES.end());
    let mut spans = vec![(point.offset, point.offset.saturating_add(length))];
    let before = index.checked_sub(1).map(|before| fragments[before].offset);
    match before.and_then(|before| Some((before, point.offset.checked_sub(before)?))) {
        Some((before, length)) if length <= *FRAGMENT_BYTES.end() => spans.push((before, point.offset)),
        Some((before, _)) => {
            spans.push((before, before.saturating_add(READ_AHEAD)));
            spans.push((point.offset - SOUND_BYTES, point.offset));
        }
        None => {}
    }
    spans
}

fn read_sidx(subject: &Subject, file: &File, leading: Option<u64>, layout: &mut Layout) -> Result<(), Stop> {
    let readable = || file.sidx.iter().filter(|place| place.length <= MAX_SIDX_BYTES);
    subject.want(&readable().map(|place| (place.offset, place.length)).collect::<Vec<_>>())?;
    let mut duration_ms = 0;
    for place in readable() {
        layout.need_first(place.offset, place.length, "sidx");
        let bytes = subject.read(place.offset, place.length)?;
        let content = bytes.get(place.head as usize..).unwrap_or_default();
        let Some(index) = fragment::segment_index(content, place.offset + place.length) else { continue };
        duration_ms = duration_ms.max(index.duration_ms);
        if layout.seek.is_empty() || Some(u64::from(index.track)) == leading {
            layout.seek = index.points;
        }
    }
    layout.seek.retain(|point| subject.size().is_none_or(|size| point.offset < size));
    layout.duration_ms = layout.duration_ms.or((duration_ms > 0).then_some(duration_ms));
    Ok(())
}

fn read_mfra(subject: &Subject, movie: &Movie, layout: &mut Layout) -> Result<(), Stop> {
    let Some(size @ 16..) = subject.size() else { return Ok(()) };
    subject.want(&[(size.saturating_sub(READ_AHEAD), READ_AHEAD)])?;
    let Some(length) = fragment::mfra_length(&subject.exact(size - 16, 16)?).filter(|length| *length <= size) else {
        return read_last_fragment(subject, movie, size, layout);
    };
    if length > MAX_MFRA {
        return Ok(());
    }
    let start = size - length;
    let bytes = subject.exact(start, length)?;
    let Some(header) = Header::parse(&bytes).filter(|header| &header.kind == b"mfra") else { return Ok(()) };
    layout.need_first(start, length, "mfra");
    let tables = fragment::random_access(bytes.get(header.head as usize..).unwrap_or_default(), movie);
    layout.seek = tables.points;
    layout.seek.retain(|point| point.offset < start);
    // The last fragment tells how long the film is.
    if let (None, Some(last)) = (layout.duration_ms, tables.last_fragment.filter(|last| *last < start)) {
        let head = subject.read(last, boxes::MAX_HEAD)?;
        let Some(header) = Header::parse(&head).filter(|header| &header.kind == b"moof") else { return Ok(()) };
        let length = header.length.unwrap_or(0).min(start - last).min(READ_AHEAD);
        let bytes = subject.read(last, length)?;
        read_end(bytes.get(header.head as usize..).unwrap_or_default(), movie, layout);
    }
    Ok(())
}

/// A file without an index ends with a fragment; that is looked for only where nothing else tells how long the film is.
fn read_last_fragment(subject: &Subject, movie: &Movie, size: u64, layout: &mut Layout) -> Result<(), Stop> {
    // A player looks for an index there, too.
    let look = READ_AHEAD.min(size);
    layout.need_first(size - look, look, "tail");
    for length in TAILS.into_iter().filter(|_| layout.duration_ms.is_none()) {
        let start = size.saturating_sub(length);
        subject.want(&[(start, length)])?;
        let tail = subject.read(start, length)?;
        if let Some(moof) = fragment::last_fragment(&tail) {
            read_end(moof, movie, layout);
            break;
        }
    }
    Ok(())
}

/// The content of the last fragment's box tells how long the film is.
fn read_end(moof: &[u8], movie: &Movie, layout: &mut Layout) {
    let end = fragment::end(moof, movie);
    layout.duration_ms = end.duration_ms;
    let video = layout.tracks.iter_mut().find(|track| track.kind == "video" && track.frame_rate.is_none());
    if let (Some(track), Some(rate)) = (video, end.frame_rate) {
        track.pictures_per_second(rate);
    }
}

/// Fragments without a movie box, as a player gets them beside an initialisation segment.
fn describe_segment(subject: &Subject, file: &File, layout: &mut Layout) -> Result<(), Stop> {
    read_sidx(subject, file, None, layout)
}

fn media_type(file: &File, layout: &Layout) -> &'static str {
    let quicktime = file.brand.is_none_or(|brand| &brand == b"qt  ") && file.moov.is_some();
    match (quicktime, layout.track_of("video"), layout.track_of("audio")) {
        (true, ..) => "video/quicktime",
        (false, None, Some(_)) => "audio/mp4",
        _ => "video/mp4",
    }
}
