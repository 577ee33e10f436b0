//! Matroska and WebM (RFC 9559).
//!
//! Owns: finding Info, Tracks, Cues and Attachments wherever they are, by hopping and through chains of SeekHeads; what
//! they say; the duration of files that were never finished; where the time to start from is.
//! Leaves to others: fetching (the host), blocks, lacing, encryption, what is in the attachments.
//!
//! Invariant: clusters are not read, except for the first few KiB, at the tail of a file that does not tell how long it is,
//! and in few places where playing will start when there are no Cues.

mod ebml;
mod opening;
mod tail;
mod tracks;

use ebml::{Header, MAX_HEAD, child, children, float, text, uint, uint_of};
use mediahost_plugin_sdk::container_detector;
use mediahost_plugin_sdk::detect::opening::{TOLD_PICTURES, UNTOLD_PICTURES, from_key_frame, pictures_bytes};
use mediahost_plugin_sdk::detect::seek::{Probes, Reach, Search};
use mediahost_plugin_sdk::detect::{Detector, Layout, MAX_SEEK, READ_AHEAD, SeekPoint, Stop, Subject, thin_out};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114D_9B74;
const INFO: u32 = 0x1549_A966;
const TRACKS: u32 = 0x1654_AE6B;
const CUES: u32 = 0x1C53_BB6B;
const CLUSTER: u32 = 0x1F43_B675;
const ATTACHMENTS: u32 = 0x1941_A469;
const VOID: u32 = 0xEC;

/// Bytes of the header in front of everything; usually 40.
const MAX_EBML_BYTES: u64 = 4096;
/// Elements in front of the first cluster that are looked at, at most.
const MAX_ELEMENTS: usize = 256;
/// Hops in front of the first cluster that each cost a round.
const MAX_HOPS: u32 = 8;
/// SeekHeads that are followed, at most.
const MAX_SEEK_HEADS: usize = 4;
/// What SeekHeads name, at most.
const MAX_SEEKS: usize = 256;
/// Cues that are longer are named and not read; so are Tracks, which may hold long private data, and all others.
const MAX_CUES: u64 = 16 << 20;
const MAX_TRACKS: u64 = 4 << 20;
const MAX_OTHER: u64 = 256 << 10;
/// Points of the Cues that are held, at most; of more every second one will do, or every third.
const MAX_POINTS: usize = 4 * MAX_SEEK;
/// From here on a duration is none: it is written as a floating-point number, or the last cluster's time is damaged.
const MAX_DURATION_MS: f64 = 1e15;
/// What is asked for where the Cues are expected: usually all of them.
const CUES_GUESS: u64 = 256 << 10;
/// Where Cues or the last cluster are looked for when nothing points to them.
const TAIL_BYTES: u64 = 256 << 10;
/// Bytes of the first cluster that are looked at: where it begins the host has shown more in most files.
const FIRST_LOOK: u64 = 4096;
/// What is named of the first clusters, at most.
const MAX_OPENING: u64 = 4 << 20;
/// How that is looked for without Cues: clusters of good pictures are megabytes long, and only their heads tell the time.
const PROBES: Probes = Probes { bytes: READ_AHEAD, most_bytes: 1 << 20 };

/// FFmpeg's name for the family.
const FORMAT: &str = "matroska,webm";

/// The detector.
pub struct Matroska;

container_detector!(Matroska, "plugin.json");

impl Detector for Matroska {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        let Some((doc_type, segment_at)) = read_head(subject)? else { return Ok(None) };
        let mut segment = Segment::open(subject, segment_at)?;
        segment.walk()?;
        segment.follow_seek_heads()?;
        let mut layout = Layout::new(FORMAT);
        let scale = segment.describe(&mut layout)?;
        segment.read_cues(&mut layout, scale)?;
        segment.name_fonts(&mut layout);
        segment.read_tail(&mut layout, scale)?;
        segment.name_opening(&mut layout)?;
        segment.name_start(&mut layout, scale)?;
        thin_out(&mut layout.seek, MAX_SEEK);
        layout.media_type = Some(media_type(&doc_type, &layout).into());
        layout.estimate_bit_rate(subject.size());
        Ok(Some(layout))
    }
}

/// The document type and where the segment begins.
fn read_head(subject: &Subject) -> Result<Option<(String, u64)>, Stop> {
    let Some(header) = Header::parse(&subject.read(0, MAX_HEAD)?).filter(|header| header.id == EBML) else {
        return Ok(None);
    };
    let Some(length) = header.content.filter(|length| *length <= MAX_EBML_BYTES) else { return Ok(None) };
    let bytes = subject.read(header.head, length)?;
    let doc_type = child(&bytes, 0x4282).and_then(text).unwrap_or_default();
    Ok(["matroska", "webm"].contains(&doc_type).then(|| (doc_type.to_string(), header.head + length)))
}

/// An element: where its header begins, how long header and content are.
#[derive(Clone, Copy)]
struct Place {
    id: u32,
    offset: u64,
    head: u64,
    length: u64,
}

/// The segment, as far as it is known.
struct Segment<'a> {
    subject: &'a Subject,
    /// Positions count from here.
    data: u64,
    end: u64,
    places: Vec<Place>,
    /// What SeekHeads say: ids and offsets.
    seeks: Vec<(u32, u64)>,
    /// How far the head reaches: to the first cluster, or to the last element that was seen.
    head_end: u64,
    /// The file ends, or stops making sense, in front of the first cluster.
    no_cluster: bool,
}

impl<'a> Segment<'a> {
    fn open(subject: &'a Subject, at: u64) -> Result<Segment<'a>, Stop> {
        let header = Header::parse(&subject.read(at, MAX_HEAD)?).filter(|header| header.id == SEGMENT);
        let header = header.ok_or_else(|| Stop::damaged(format!("there is no Segment at offset {at}")))?;
        let data = at + header.head;
        let end = header.content.map_or(u64::MAX, |length| data.saturating_add(length));
        let end = end.min(subject.size().unwrap_or(u64::MAX));
        Ok(Segment { subject, data, end, places: Vec::new(), seeks: Vec::new(), head_end: data, no_cluster: true })
    }

    /// The header of an element at an offset within the segment.
    fn place(&self, offset: u64) -> Result<Option<Place>, Stop> {
        if offset < self.data || offset >= self.end {
            return Ok(None);
        }
        let Some(header) = Header::parse(&self.subject.read(offset, MAX_HEAD)?) else { return Ok(None) };
        let length = header.content.map_or(u64::MAX, |content| content.saturating_add(header.head));
        let length = length.min(self.end - offset);
        Ok((length >= header.head).then_some(Place { id: header.id, offset, head: header.head, length }))
    }

    /// The content of an element that is not too long to be read.
    fn content(&self, place: Place) -> Result<Option<std::borrow::Cow<'a, [u8]>>, Stop> {
        let most = match place.id {
            CUES => MAX_CUES,
            TRACKS => MAX_TRACKS,
            _ => MAX_OTHER,
        };
        if place.length > most {
            return Ok(None);
        }
        let content = self.subject.read(place.offset + place.head, place.length - place.head)?;
        Ok(Some(content))
    }

    fn find(&self, id: u32) -> Option<Place> {
        self.places.iter().find(|place| place.id == id).copied()
    }

    /// Hops from element to element up to the first cluster.
    fn walk(&mut self) -> Result<(), Stop> {
        let (mut at, mut hops, mut shown) = (self.data, 0, READ_AHEAD);
        for _ in 0..MAX_ELEMENTS {
            if at.saturating_add(MAX_HEAD) > shown {
                (hops, shown) = (hops + 1, at.saturating_add(READ_AHEAD));
            }
            if hops > MAX_HOPS {
                break;
            }
            let Some(place) = self.place(at)? else { break };
            if place.id == CLUSTER {
                self.no_cluster = false;
                break;
            }
            self.places.push(place);
            at += place.length;
            self.head_end = at;
        }
        self.head_end = self.head_end.min(self.end);
        Ok(())
    }

    /// Reads the SeekHeads, those they point to as well, and finds what they name in one round for each link.
    fn follow_seek_heads(&mut self) -> Result<(), Stop> {
        for read in 0..MAX_SEEK_HEADS {
            let Some(place) = self.places.iter().filter(|place| place.id == SEEK_HEAD).nth(read).copied() else {
                break;
            };
            let Some(content) = self.content(place)? else { continue };
            for (_, seek) in children(&content).filter(|(id, _)| *id == 0x4DBB).take(MAX_SEEKS) {
                let (Some(id), Some(position)) = (uint_of(seek, 0x53AB), uint_of(seek, 0x53AC)) else { continue };
                self.seeks.push((id as u32, self.data.saturating_add(position)));
            }
            self.resolve_seeks()?;
        }
        Ok(())
    }

    fn resolve_seeks(&mut self) -> Result<(), Stop> {
        let wanted = [SEEK_HEAD, INFO, TRACKS, CUES, ATTACHMENTS];
        let known = |offset| self.places.iter().any(|place| place.offset == offset);
        let new: Vec<(u32, u64)> = self
            .seeks
            .iter()
            .filter(|(id, offset)| wanted.contains(id) && !known(*offset) && *offset < self.end)
            .take(MAX_SEEK_HEADS + wanted.len())
            .copied()
            .collect();
        let guess = |id| match id {
            CUES => CUES_GUESS,
            ATTACHMENTS => MAX_HEAD,
            _ => READ_AHEAD,
        };
        self.subject.want(&new.iter().map(|(id, offset)| (*offset, guess(*id))).collect::<Vec<_>>())?;
        for (id, offset) in new {
            if let Some(place) = self.place(offset)?.filter(|place| place.id == id) {
                self.places.push(place);
            }
        }
        self.seeks.clear();
        Ok(())
    }

    /// Info, Tracks and what of the file must be there first. Returns the nanoseconds of a tick.
    fn describe(&self, layout: &mut Layout) -> Result<u64, Stop> {
        let info = self.find(INFO).map(|place| self.content(place)).transpose()?.flatten();
        let info = info.as_deref().unwrap_or_default();
        let scale = uint_of(info, 0x2AD7B1).filter(|scale| *scale > 0).unwrap_or(1_000_000);
        let ticks = child(info, 0x4489).and_then(float).filter(|ticks| *ticks > 0.0);
        layout.duration_ms = ticks.and_then(|ticks| believed(ticks * scale as f64 / 1e6));
        let Some(place) = self.find(TRACKS) else {
            return Err(Stop::damaged(format!("there are no Tracks up to offset {}", self.head_end)));
        };
        if let Some(content) = self.content(place)? {
            layout.tracks = tracks::read(&content);
        }
        self.name_head(layout);
        Ok(scale)
    }

    /// The head without what is free in it. Attachments count: players read what is in front of the clusters as it comes.
    fn name_head(&self, layout: &mut Layout) {
        let dispensable = |place: &&Place| place.length > READ_AHEAD && place.id == VOID;
        let mut at = 0;
        for place in self.places.iter().filter(dispensable).filter(|place| place.offset < self.head_end) {
            layout.need_first(at, place.offset.saturating_sub(at), "head");
            at = place.offset + place.length;
        }
        layout.need_first(at, self.head_end.saturating_sub(at), "head");
        let behind = |id| self.find(id).filter(|place| place.offset >= self.head_end);
        for (id, what) in [(TRACKS, "tracks"), (INFO, "info")] {
            behind(id).into_iter().for_each(|place| layout.need_first(place.offset, place.length, what));
        }
    }

    /// Fonts behind the head, when subtitles are drawn with them.
    fn name_fonts(&self, layout: &mut Layout) {
        let behind = self.find(ATTACHMENTS).filter(|place| place.offset >= self.head_end);
        if let Some(place) = behind.filter(|_| has_styled_subtitles(layout)) {
            layout.need_first(place.offset, place.length, "attachments");
        }
    }

    /// The index: where clusters of the leading track begin.
    fn read_cues(&mut self, layout: &mut Layout, scale: u64) -> Result<(), Stop> {
        if let (None, Some(size)) = (self.find(CUES), self.subject.size()) {
            let start = size.saturating_sub(TAIL_BYTES).max(self.head_end);
            self.subject.want(&[(start, TAIL_BYTES)])?;
            let found = tail::find_cues(&self.subject.read(start, TAIL_BYTES)?);
            if let Some(place) = found.map(|at| self.place(start + at as u64)).transpose()?.flatten() {
                self.places.push(place);
            }
        }
        let Some(place) = self.find(CUES) else { return Ok(()) };
        layout.need_first(place.offset, place.length, "cues");
        let Some(content) = self.content(place)? else { return Ok(()) };
        let leading = layout.track_of("video").or(layout.track_of("audio")).map(|track| track.id);
        let has_leading = cue_points(&content).any(|point| Some(point.track) == leading);
        let points = || cue_points(&content).filter(|point| !has_leading || Some(point.track) == leading);
        // They are sorted before they are thinned out, and a million of them would be too much to hold.
        let step = points().count().div_ceil(MAX_POINTS).max(1);
        for point in points().step_by(step) {
            let time_ms = u128::from(point.ticks) * u128::from(scale) / 1_000_000;
            let offset = self.data.saturating_add(point.position);
            if let (Ok(time_ms), true) = (u64::try_from(time_ms), offset < self.end) {
                layout.seek.push(SeekPoint { time_ms, offset });
            }
        }
        layout.seek.sort_by_key(|point| (point.time_ms, point.offset));
        layout.seek.dedup_by_key(|point| point.time_ms);
        Ok(())
    }

    /// A file that was never finished: the last cluster tells how long it is.
    fn read_tail(&self, layout: &mut Layout, scale: u64) -> Result<(), Stop> {
        let (None, Some(size), false) = (layout.duration_ms, self.subject.size(), self.no_cluster) else {
            return Ok(());
        };
        let start = size.saturating_sub(TAIL_BYTES).max(self.head_end);
        self.subject.want(&[(start, TAIL_BYTES)])?;
        let bytes = self.subject.read(start, TAIL_BYTES)?;
        layout.need_first(start, bytes.len() as u64, "tail");
        let ticks = tail::last_timestamp(&bytes);
        let ms = ticks.map(|ticks| u128::from(ticks) * u128::from(scale) / 1_000_000);
        layout.duration_ms = ms.and_then(|ms| believed(ms as f64)).filter(|ms| *ms > 0);
        Ok(())
    }

    /// What a player reads of the first clusters before it shows a picture: the first one, and as many as it looks at to
    /// know how often they come.
    fn name_opening(&self, layout: &mut Layout) -> Result<(), Stop> {
        if self.no_cluster {
            return Ok(());
        }
        let is_told = layout.track_of("video").is_none_or(|track| track.frame_rate.is_some());
        let more = pictures_bytes(layout, self.subject.size(), if is_told { TOLD_PICTURES } else { UNTOLD_PICTURES });
        let leading = layout.track_of("video").map(|track| track.id);
        // What follows the head is at hand where the head is short.
        let at_hand = self.subject.read(self.head_end, FIRST_LOOK.min(self.end - self.head_end))?;
        let first = leading.and_then(|track| opening::block_end(&at_hand, track)).unwrap_or(0);
        let length = first.saturating_add(more).min(MAX_OPENING).min(self.end - self.head_end);
        layout.need_first(self.head_end, length, "media");
        Ok(())
    }

    /// Where playing will start: at what the Cues point to, else where clusters of about that time are found.
    fn name_start(&self, layout: &mut Layout, scale: u64) -> Result<(), Stop> {
        let Some(start_ms) = self.subject.start_ms() else { return Ok(()) };
        if let Some((offset, length)) = from_key_frame(layout, self.subject.size(), start_ms) {
            layout.need_first(offset, length.min(self.end - offset), "start");
            return Ok(());
        }
        let may_look = layout.seek.is_empty() && !self.no_cluster && self.subject.size().is_some();
        let Some(duration_ms) = layout.duration_ms.filter(|_| may_look) else { return Ok(()) };
        let first = SeekPoint { time_ms: 0, offset: self.head_end };
        let end = SeekPoint { time_ms: duration_ms, offset: self.end };
        let Some(mut search) = Search::new(start_ms, first, end) else { return Ok(()) };
        let reach = Reach::of(layout);
        search.narrow(self.subject, &PROBES, &reach, |at, bytes| {
            let place = |(from, ticks): (usize, u64)| SeekPoint {
                time_ms: u64::try_from(u128::from(ticks) * u128::from(scale) / 1_000_000).unwrap_or(u64::MAX),
                offset: at + from as u64,
            };
            tail::clusters(bytes).into_iter().map(place).collect()
        })?;
        search.name(layout, &reach);
        Ok(())
    }
}

struct CuePoint {
    ticks: u64,
    track: u64,
    /// From the first byte of the segment's content.
    position: u64,
}

/// RFC 9559 §5.1.5.
fn cue_points(cues: &[u8]) -> impl Iterator<Item = CuePoint> {
    children(cues).filter(|(id, _)| *id == 0xBB).flat_map(|(_, cue)| {
        let ticks = uint_of(cue, 0xB3);
        children(cue).filter(|(id, _)| *id == 0xB7).filter_map(move |(_, place)| {
            let position = child(place, 0xF1).and_then(uint)?;
            Some(CuePoint { ticks: ticks?, track: uint_of(place, 0xF7)?, position })
        })
    })
}

/// Whole milliseconds that something may last.
fn believed(ms: f64) -> Option<u64> {
    (0.0..MAX_DURATION_MS).contains(&ms).then(|| ms.round() as u64)
}

fn has_styled_subtitles(layout: &Layout) -> bool {
    layout.tracks.iter().any(|track| track.codec == "ass")
}

fn media_type(doc_type: &str, layout: &Layout) -> &'static str {
    let only_sound = layout.track_of("video").is_none() && layout.track_of("audio").is_some();
    match (doc_type, only_sound) {
        ("webm", true) => "audio/webm",
        ("webm", false) => "video/webm",
        (_, true) => "audio/x-matroska",
        (_, false) => "video/x-matroska",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_are_none() {
        for (ms, expected) in [
            (0.4, Some(0)),
            (2_000.5, Some(2_001)),
            (u64::MAX as f64, None),
            (f64::INFINITY, None),
            (f64::NAN, None),
            (-1.0, None),
        ] {
            assert_eq!(believed(ms), expected, "{ms}");
        }
    }

    #[test]
    fn cue_points_of_all_tracks() {
        let point = [
            0xBB, 0x92, 0xB3, 0x81, 7, 0xB7, 0x86, 0xF7, 0x81, 1, 0xF1, 0x81, 40, 0xB7, 0x85, 0xF7, 0x81, 2, 0xF1, 0x80,
        ];
        let without_time = [0xBB, 0x88, 0xB7, 0x86, 0xF7, 0x81, 1, 0xF1, 0x81, 40];
        let found: Vec<_> = cue_points(&[&without_time[..], &point].concat())
            .map(|point| (point.ticks, point.track, point.position))
            .collect();
        assert_eq!(found, [(7, 1, 40), (7, 2, 0)]);
    }
}
