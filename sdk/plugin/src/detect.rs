//! Writing a container detector as if the whole file were at hand.
//!
//! The host shows a detector some windows of a file and asks again with more when the detector needs more. [`Subject`]
//! hides that: a read that misses ends the look with [`Stop::Need`], which `?` hands to the host, and the next look
//! begins anew with the missing bytes there. So a detector is a plain function from bytes to a [`Layout`].
//!
//! Owns: the windows, the asking, pleasant constructors for the contract's records, small readers of bytes and bits.
//! Leaves to others: formats (the plugins), the component glue (`container_detector!`).
//!
//! Invariant: a look neither panics nor asks for bytes that it was shown. Offsets are `u64`: a guest's `usize` has 32
//! bits.
//!
//! ```
//! use mediahost_plugin_sdk::detect::{Detector, Layout, Stop, Subject};
//!
//! struct Sun;
//!
//! impl Detector for Sun {
//!     fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
//!         if *subject.read(0, 4)? != *b".snd" {
//!             return Ok(None);
//!         }
//!         Ok(Some(Layout::new("au").media_type("audio/basic")))
//!     }
//! }
//! ```

use std::borrow::Cow;

pub use crate::bindings::container_detector::mediahost::container_detector::types::{
    Answer, ByteRange, DetectOptions, Extent, ExtentOrigin, File, IndexRange, Layout, Needs, SeekPoint, Title, Track,
    Window,
};
pub use crate::bindings::media_source::mediahost::host::types::Error;

pub mod bytes;
pub mod codec;
pub mod opening;
pub mod seek;
pub mod stamp;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

/// What a miss asks for at least: a request costs a round trip, and 64 KiB hardly more than one byte.
pub const READ_AHEAD: u64 = 64 * 1024;
/// Index ranges of one layout, at most.
pub const MAX_FIRST: usize = 256;
/// The longest duration that is believed, in milliseconds: ten years.
pub const MAX_DURATION_MS: u64 = 10 * 366 * 24 * 3600 * 1000;
/// Seek points of one layout, at most.
pub const MAX_SEEK: usize = 65_536;
/// Pictures per second that are believed; some screen recordings count in milliseconds.
const MAX_FRAME_RATE: f64 = 1000.0;

/// Recognises one family of formats.
pub trait Detector {
    /// Looks at a file. `None` means that it is not of this detector's formats.
    ///
    /// Called anew in every round with everything seen so far, so it keeps nothing and always asks in the same order.
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop>;
}

/// Why a look ends early.
#[derive(Clone, Debug)]
pub enum Stop {
    /// More must be seen first.
    Need(Needs),
    /// The bytes cannot be used.
    Failed(Error),
}

impl Stop {
    /// The bytes are of this format and contradict themselves beyond use.
    pub fn damaged(message: impl Into<String>) -> Stop {
        Stop::failed("damaged", message)
    }

    /// The bytes are understood, and playing them is not something that is done: compressed members, lost volumes.
    pub fn unsupported(message: impl Into<String>) -> Stop {
        Stop::failed("unsupported", message)
    }

    /// The bytes are encrypted.
    pub fn encrypted(message: impl Into<String>) -> Stop {
        Stop::failed("encrypted", message)
    }

    fn failed(code: &str, message: impl Into<String>) -> Stop {
        Stop::Failed(Error { code: code.into(), message: message.into(), retry_after_ms: None })
    }
}

/// One look, as the contract's `detect` wants it answered. What a layout may hold is enforced here.
pub fn answer<D: Detector>(files: Vec<File>, windows: Vec<Window>, options: DetectOptions) -> Result<Answer, Error> {
    match D::detect(&Subject::new(files, windows, options)) {
        Ok(Some(layout)) => Ok(Answer::Found(layout.bounded())),
        Ok(None) => Ok(Answer::Unknown),
        Err(Stop::Need(needs)) => Ok(Answer::Need(needs)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The file that is looked at, as far as the host has fetched it.
pub struct Subject {
    files: Vec<File>,
    /// Sorted by file and offset.
    windows: Vec<Window>,
    options: DetectOptions,
}

impl Subject {
    pub fn new(files: Vec<File>, mut windows: Vec<Window>, options: DetectOptions) -> Subject {
        windows.sort_by_key(|window| (window.file, window.offset));
        Subject { files, windows, options }
    }

    /// The file's name without folders.
    pub fn name(&self) -> Option<&str> {
        self.files.first()?.name.as_deref()
    }

    /// What the file's source says it is. A hint: bytes win.
    pub fn media_type(&self) -> Option<&str> {
        self.files.first()?.media_type.as_deref()
    }

    /// The file's length in bytes. When the host does not know it, an empty window behind others tells where the file
    /// ends.
    pub fn size(&self) -> Option<u64> {
        self.file_size(0)
    }

    /// Where the player will start, in milliseconds of media time.
    pub fn start_ms(&self) -> Option<u64> {
        self.options.start_ms
    }

    /// The bytes from `offset` on: `length` of them, fewer only where the file ends.
    pub fn read(&self, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, Stop> {
        self.read_in(0, offset, length)
    }

    /// The same of a sibling, in the order in which siblings were asked for, the file itself being 0.
    pub fn read_in(&self, file: u32, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, Stop> {
        let end = self.clip(file, offset.saturating_add(length));
        if end <= offset {
            return Ok(Cow::Borrowed(&[]));
        }
        if let Some(gap) = self.first_gap(file, offset, end) {
            // The end of a file of unknown length shows as an empty window.
            let stop = self.clip(file, gap.saturating_add(READ_AHEAD.max(end - gap)));
            return Err(Stop::Need(Needs {
                ranges: vec![ByteRange { file, offset: gap, length: stop - gap }],
                siblings: Vec::new(),
            }));
        }
        Ok(self.gather(file, offset, end))
    }

    /// Exactly these bytes; a file that ends before them is damaged.
    pub fn exact(&self, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, Stop> {
        let bytes = self.read(offset, length)?;
        if bytes.len() as u64 != length {
            let got = bytes.len();
            return Err(Stop::damaged(format!("the file ends {got} bytes into the {length} at offset {offset}")));
        }
        Ok(bytes)
    }

    /// Asks for several ranges in one round, for those that are not there yet. What reaches beyond the end of the file
    /// is cut. Ranges are asked for as they are: nothing is read ahead.
    pub fn want(&self, ranges: &[(u64, u64)]) -> Result<(), Stop> {
        self.want_in(0, ranges)
    }

    /// The same of a sibling, in the order in which siblings were asked for, the file itself being 0.
    pub fn want_in(&self, file: u32, ranges: &[(u64, u64)]) -> Result<(), Stop> {
        self.want_all(ranges.iter().map(|&(offset, length)| ByteRange { file, offset, length }))
    }

    /// The same of several files in one round.
    pub fn want_all(&self, ranges: impl IntoIterator<Item = ByteRange>) -> Result<(), Stop> {
        let missing: Vec<ByteRange> = ranges
            .into_iter()
            .filter_map(|ByteRange { file, offset, length }| {
                let end = self.clip(file, offset.saturating_add(length));
                let gap = self.first_gap(file, offset, end)?;
                Some(ByteRange { file, offset: gap, length: end - gap })
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Stop::Need(Needs { ranges: missing, siblings: Vec::new() }))
    }

    /// The number of a file beside this one, for [`Subject::read_in`]; asks the host for it when it is not there yet.
    /// `known` are the siblings that were asked for before, in order, this one last.
    pub fn sibling(&self, known: &[&str]) -> Result<u32, Stop> {
        if self.files.len() > known.len() {
            return Ok(known.len() as u32);
        }
        let siblings = known[self.files.len().saturating_sub(1)..].iter().map(|name| name.to_string()).collect();
        Err(Stop::Need(Needs { ranges: Vec::new(), siblings }))
    }

    /// Length of any file; `None` when it does not exist or its end is not known yet.
    pub fn file_size(&self, file: u32) -> Option<u64> {
        let known = self.files.get(file as usize)?.size;
        known.or_else(|| self.most(file).filter(|end| *end == 0 || self.first_gap(file, end - 1, *end).is_none()))
    }

    /// A length that the file does not exceed: nothing was found there.
    fn most(&self, file: u32) -> Option<u64> {
        let known = self.files.get(file as usize)?.size;
        known.or_else(|| self.windows.iter().filter(|w| w.file == file && w.bytes.is_empty()).map(|w| w.offset).min())
    }

    fn clip(&self, file: u32, end: u64) -> u64 {
        self.most(file).map_or(end, |most| end.min(most))
    }

    /// The first offset in `start..end` that no window covers.
    fn first_gap(&self, file: u32, start: u64, end: u64) -> Option<u64> {
        let mut at = start;
        for window in self.windows.iter().filter(|window| window.file == file) {
            if window.offset > at {
                break;
            }
            at = at.max(window.offset.saturating_add(window.bytes.len() as u64));
        }
        (at < end).then_some(at)
    }

    /// The bytes `start..end`, which windows cover.
    fn gather(&self, file: u32, start: u64, end: u64) -> Cow<'_, [u8]> {
        let mut gathered = Vec::new();
        let mut at = start;
        for window in self.windows.iter().filter(|window| window.file == file) {
            let stop = window.offset.saturating_add(window.bytes.len() as u64);
            if window.offset > at || stop <= at {
                continue;
            }
            let piece = &window.bytes[(at - window.offset) as usize..(end.min(stop) - window.offset) as usize];
            if at == start && stop >= end {
                return Cow::Borrowed(piece);
            }
            gathered.extend_from_slice(piece);
            at = end.min(stop);
            if at == end {
                break;
            }
        }
        Cow::Owned(gathered)
    }
}

impl Layout {
    /// A layout of this format, in FFmpeg's words, of which nothing else is known yet.
    pub fn new(format: &str) -> Layout {
        Layout {
            format: format.into(),
            media_type: None,
            duration_ms: None,
            bit_rate: None,
            tracks: Vec::new(),
            first: Vec::new(),
            seek: Vec::new(),
            titles: Vec::new(),
            extra: Vec::new(),
        }
    }

    pub fn media_type(mut self, media_type: &str) -> Layout {
        self.media_type = Some(media_type.into());
        self
    }

    /// Names bytes that a player needs first; nothing when `length` is 0.
    pub fn need_first(&mut self, offset: u64, length: u64, what: &str) {
        if length > 0 {
            self.first.push(IndexRange { offset, length, what: what.into() });
        }
    }

    /// The first track of a kind.
    pub fn track_of(&self, kind: &str) -> Option<&Track> {
        self.tracks.iter().find(|track| track.kind == kind)
    }

    /// The last seek point that is not after a time.
    pub fn seek_before(&self, time_ms: u64) -> Option<&SeekPoint> {
        self.seek[..self.seek.partition_point(|point| point.time_ms <= time_ms)].last()
    }

    /// Bits per second of the whole from its size and duration.
    pub fn estimate_bit_rate(&mut self, size: Option<u64>) {
        if let (None, Some(size), Some(ms @ 1..)) = (self.bit_rate, size, self.duration_ms) {
            self.bit_rate = u64::try_from(u128::from(size) * 8000 / u128::from(ms)).ok();
        }
    }

    /// Sorts and thins what is longer than the contract allows.
    fn bounded(mut self) -> Layout {
        self.first.truncate(MAX_FIRST);
        self.seek.sort_by_key(|point| (point.time_ms, point.offset));
        self.seek.dedup_by_key(|point| point.time_ms);
        thin_out(&mut self.seek, MAX_SEEK);
        // A damaged field says more than anybody would play.
        self.duration_ms = self.duration_ms.filter(|ms| *ms <= MAX_DURATION_MS);
        for title in &mut self.titles {
            title.duration_ms = title.duration_ms.filter(|ms| *ms <= MAX_DURATION_MS);
        }
        self
    }
}

/// Keeps at most `most` of the items, evenly spread, the first among them.
pub fn thin_out<T>(items: &mut Vec<T>, most: usize) {
    if items.len() <= most {
        return;
    }
    let (total, mut index, mut kept) = (items.len() as u64, 0u64, 0u64);
    items.retain(|_| {
        let keep = index * most as u64 >= kept * total;
        index += 1;
        kept += u64::from(keep);
        keep
    });
}

impl Track {
    /// A track of `video`, `audio`, `subtitle`, `data` or `attachment`, its codec in FFmpeg's words.
    pub fn new(id: u64, kind: &str, codec: &str) -> Track {
        Track {
            id,
            kind: kind.into(),
            codec: codec.into(),
            language: None,
            title: None,
            width: None,
            height: None,
            frame_rate: None,
            sample_rate: None,
            channels: None,
            bit_rate: None,
            default: false,
            extra: Vec::new(),
        }
    }

    /// Sets samples per second and channels; 0 means unknown.
    pub fn sound(&mut self, sample_rate: u32, channels: u32) {
        self.sample_rate = (sample_rate > 0).then_some(sample_rate).or(self.sample_rate);
        self.channels = (channels > 0).then_some(channels).or(self.channels);
    }

    /// Sets the picture size in pixels; 0 means unknown.
    pub fn picture(&mut self, width: u32, height: u32) {
        if width > 0 && height > 0 {
            (self.width, self.height) = (Some(width), Some(height));
        }
    }

    /// Sets pictures per second; what no film has is unknown.
    pub fn pictures_per_second(&mut self, rate: f64) {
        if rate > 0.0 && rate <= MAX_FRAME_RATE {
            self.frame_rate = Some(rate);
        }
    }
}

impl Extent {
    /// Bytes of a file, the file itself being 0; `length` is at least 1.
    pub fn of_file(file: u32, offset: u64, length: u64) -> Extent {
        Extent { origin: ExtentOrigin::File((file, offset)), length }
    }
}

impl Title {
    /// A title of which only its id and its bytes are known.
    pub fn new(id: impl Into<String>, extents: Vec<Extent>) -> Title {
        Title {
            id: id.into(),
            name: None,
            media_type: None,
            duration_ms: None,
            main: false,
            extents,
            extra: Vec::new(),
        }
    }
}

impl File {
    /// A file of which only the length is known.
    pub fn of_size(size: Option<u64>) -> File {
        File { name: None, media_type: None, size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(size: Option<u64>, windows: &[(u64, &[u8])]) -> Subject {
        let windows =
            windows.iter().map(|(offset, bytes)| Window { file: 0, offset: *offset, bytes: bytes.to_vec() }).collect();
        Subject::new(vec![File::of_size(size)], windows, DetectOptions { start_ms: None, extra: Vec::new() })
    }

    fn needs<T>(result: Result<T, Stop>) -> Vec<(u64, u64)> {
        match result {
            Err(Stop::Need(needs)) => needs.ranges.iter().map(|range| (range.offset, range.length)).collect(),
            _ => panic!("nothing was asked for"),
        }
    }

    #[test]
    fn reads_span_windows_and_stop_at_the_end() {
        let subject = subject(Some(10), &[(4, b"ef"), (0, b"abcde"), (6, b"ghij")]);
        for (offset, length, expected) in
            [(0, 3, "abc"), (2, 4, "cdef"), (4, 100, "efghij"), (9, 1, "j"), (10, 5, ""), (u64::MAX, u64::MAX, "")]
        {
            assert_eq!(subject.read(offset, length).unwrap(), expected.as_bytes(), "{offset}+{length}");
        }
        assert!(matches!(subject.read(0, 5).unwrap(), Cow::Borrowed(_)));
        assert!(matches!(subject.exact(8, 5), Err(Stop::Failed(error)) if error.message.contains("offset 8")));
    }

    #[test]
    fn a_miss_asks_for_the_gap_and_something_beyond() {
        let subject = subject(Some(1 << 40), &[(0, b"abcd"), (8, b"ijkl")]);
        assert_eq!(needs(subject.read(2, 4)), [(4, READ_AHEAD)]);
        assert_eq!(needs(subject.read(0, 1 << 20)), [(4, (1 << 20) - 4)]);
        assert_eq!(needs(subject.read((1 << 40) - 5, 3)), [((1 << 40) - 5, 5)]);
        assert_eq!(needs(subject.want(&[(0, 4), (6, 4), (100, 7)])), [(6, 4), (100, 7)]);
        assert!(subject.want(&[(0, 4), (9, 2), (1 << 41, 5)]).is_ok());
    }

    #[test]
    fn siblings_are_asked_for_and_wanted_together() {
        let window = |file, bytes: &[u8]| Window { file, offset: 0, bytes: bytes.to_vec() };
        let known = |sizes: &[Option<u64>]| {
            let files = sizes.iter().map(|size| File::of_size(*size)).collect();
            let windows = vec![window(1, b"ABCD"), window(0, b"abcd")];
            Subject::new(files, windows, DetectOptions { start_ms: None, extra: Vec::new() })
        };
        let names = ["b", "c", "d"];
        match known(&[Some(9), Some(8)]).sibling(&names) {
            Err(Stop::Need(needs)) => {
                assert_eq!((needs.siblings, needs.ranges.len()), (vec!["c".into(), "d".into()], 0))
            }
            other => panic!("{other:?}"),
        }
        let subject = known(&[Some(9), Some(8), None, Some(7)]);
        assert_eq!(subject.sibling(&names).unwrap(), 3);
        assert_eq!([1, 2, 3, 4].map(|file| subject.file_size(file)), [Some(8), None, Some(7), None]);
        assert_eq!(needs(subject.want_in(1, &[(0, 4), (2, 100), (8, 1)])), [(4, 4)]);
        let range = |file, offset, length| ByteRange { file, offset, length };
        match subject.want_all([range(0, 2, 4), range(1, 0, 4), range(3, 5, 9)]) {
            Err(Stop::Need(needs)) => {
                let asked: Vec<_> = needs.ranges.iter().map(|range| (range.file, range.offset, range.length)).collect();
                assert_eq!(asked, [(0, 4, 2), (3, 5, 2)]);
            }
            other => panic!("{other:?}"),
        }
        assert!(subject.want_all([range(0, 0, 4), range(1, 1, 3)]).is_ok());
        assert_eq!(*subject.read_in(1, 1, 2).unwrap(), *b"BC");
    }

    #[test]
    fn an_empty_window_tells_where_the_file_ends() {
        assert_eq!(needs(subject(None, &[(0, b"abcd")]).read(0, 8)), [(4, READ_AHEAD)]);
        let known = subject(None, &[(0, b"abcd"), (4, b"")]);
        assert_eq!((known.size(), known.read(0, 8).unwrap()), (Some(4), Cow::Borrowed(&b"abcd"[..])));
        let beyond = subject(None, &[(0, b"abcd"), (9, b"")]);
        assert_eq!((beyond.size(), beyond.read(9, 8).unwrap()), (None, Cow::Borrowed(&b""[..])));
        assert_eq!(needs(beyond.read(0, 100)), [(4, 5)]);
    }

    #[test]
    fn thinning_is_even_and_keeps_the_first() {
        for (total, most, expected) in [(3, 5, vec![0, 1, 2]), (10, 5, vec![0, 2, 4, 6, 8]), (7, 3, vec![0, 3, 5])] {
            let mut items: Vec<i32> = (0..total).collect();
            thin_out(&mut items, most);
            assert_eq!(items, expected);
        }
    }
}
