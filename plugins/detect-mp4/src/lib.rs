//! ISO base media files: MP4, QuickTime, 3GPP, fragmented MP4 (ISO/IEC 14496-12).
//!
//! Owns: finding the movie box wherever it is by hopping from box to box, what it says of tracks, the byte positions
//! of key frames, segment indexes of fragmented files.
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
/// What is named around the position where the player will start, for each place it has to read from.
const START_BYTES: u64 = 1 << 20;
/// Places to read from at the start, at most.
const MAX_STARTS: usize = 16;

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
    fragments: bool,
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
                b"moof" => file.fragments = true,
                _ => {}
            }
            let media = matches!(&header.kind, b"moof" | b"mdat");
            if file.fragments || (media && file.moov.is_some()) || end == u64::MAX {
                break;
            }
            (at, last) = (end, header.kind);
        }
        file.verdict(subject, at)
    }

    /// Whether what was found is worth describing.
    fn verdict(self, subject: &Subject, reached: u64) -> Result<Option<File>, Stop> {
        if self.moov.is_some() || self.fragments || !self.sidx.is_empty() {
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
    name_start(subject, &movie, layout);
    layout.seek.retain(|point| subject.size().is_none_or(|size| point.offset < size));
    Ok(())
}

/// Names the bytes around the position where the player will start: tracks that lie apart are read apart.
fn name_start(subject: &Subject, movie: &Movie, layout: &mut Layout) {
    let Some(start_ms) = subject.start_ms() else { return };
    let mut offsets: Vec<u64> = movie
        .tracks
        .iter()
        .filter(|track| track.is_media())
        .filter_map(|track| before(&track.points(MAX_SEEK), start_ms))
        .collect();
    offsets.sort_unstable();
    offsets.dedup_by(|next, kept| *next - *kept < START_BYTES);
    for offset in offsets.into_iter().take(MAX_STARTS) {
        let end = subject.size().unwrap_or(u64::MAX).min(offset.saturating_add(START_BYTES));
        layout.need_first(offset, end.saturating_sub(offset), "start");
    }
}

fn before(points: &[SeekPoint], time_ms: u64) -> Option<u64> {
    points[..points.partition_point(|point| point.time_ms <= time_ms)].last().or(points.first()).map(|p| p.offset)
}

/// A fragmented film: the index is a `sidx` at the head or an `mfra` at the tail.
fn describe_fragments(subject: &Subject, file: &File, movie: &Movie, layout: &mut Layout) -> Result<(), Stop> {
    let leading = movie.leading().map(|track| track.id);
    read_sidx(subject, file, leading, layout)?;
    if file.sidx.is_empty() {
        read_mfra(subject, movie, layout)?;
    }
    if let (Some(start_ms), Some(size)) = (subject.start_ms(), subject.size())
        && let Some(offset) = before(&layout.seek, start_ms)
    {
        layout.need_first(offset, START_BYTES.min(size.saturating_sub(offset)), "start");
    }
    Ok(())
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
        return Ok(());
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
        let end = fragment::end(bytes.get(header.head as usize..).unwrap_or_default(), movie);
        layout.duration_ms = end.duration_ms;
        let video = layout.tracks.iter_mut().find(|track| track.kind == "video" && track.frame_rate.is_none());
        if let (Some(track), Some(rate)) = (video, end.frame_rate) {
            track.pictures_per_second(rate);
        }
    }
    Ok(())
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
