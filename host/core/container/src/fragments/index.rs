//! The walk from box to box through a file that is not there yet (ISO/IEC 14496-12 §4.2).
//!
//! Owns: which bytes are wanted, the place in the file, which boxes are read and which are passed, the end of the file.
//! Leaves to others: what a box says (`movie`, `fragment`, `segment_index`), what makes a segment (`grouping`), the
//! finished ones (`list`).
//!
//! Invariant: the buffer holds the beginning of what is wanted and nothing else, and each byte that is taken or passed
//! brings the walk forward; only a tree of indexes leads back, over a bounded number of boxes.

use std::ops::Range;

use super::boxes::{Header, MAX_HEADER, Whole};
use super::fragment;
use super::grouping::Grouping;
use super::list::List;
use super::movie::Movie;
use super::segment_index::{self, Found, Tree};
use super::{Error, Limits, MAX_IDLE_BOXES, Name, Segment, Timescale, Track, Verdict};

/// Bytes of the buffer that are kept between boxes.
const KEPT_BYTES: usize = 64 << 10;
/// Where there are too few bytes for letters.
const NO_NAME: Name = Name(*b"    ");

/// The index of one file, as far as its bytes have come.
#[derive(Clone, Debug)]
pub struct Index {
    limits: Limits,
    length: Option<u64>,
    state: State,
    /// Where the box that is looked at begins; all before it is done with.
    cursor: u64,
    /// What is there from the cursor on, as far as it was wanted.
    buffer: Vec<u8>,
    verdict: Option<Verdict>,
    movie: Option<Movie>,
    init: Option<Range<u64>>,
    /// The decode time at which the next sample of the reference track follows.
    next: u64,
    tree: Option<Tree>,
    grouping: Grouping,
    list: List,
    /// The box before the cursor that was not read.
    passed: (u64, Name),
    /// How many boxes there were since the last fragment or index.
    idle: usize,
    torn: Option<u64>,
}

/// What is to be done at the cursor.
#[derive(Clone, Debug)]
enum State {
    /// Read the header of a box.
    Header,
    /// Read the whole box, which ends there.
    Body { kind: Name, end: u64 },
    /// Wait for the length of the file: the box reaches to its end (§4.2.2).
    Endless,
    /// Nothing: all is known, or nothing is to be known.
    Done,
    /// Nothing ever again.
    Failed(Error),
}

impl Index {
    /// An index of a file of this length; none if it is not known or the file still grows, until [`Index::ended`].
    pub fn new(limits: Limits, length: Option<u64>) -> Index {
        let mut index = Index {
            limits,
            length,
            state: State::Header,
            cursor: 0,
            buffer: Vec::new(),
            verdict: None,
            movie: None,
            init: None,
            next: 0,
            tree: None,
            grouping: Grouping::default(),
            list: List::new(limits.segments),
            passed: (0, NO_NAME),
            idle: 0,
            torn: None,
        };
        // An empty file is known from the start; there is no box in it that could be wrong.
        if let Err(error) = index.run() {
            index.state = State::Failed(error);
        }
        index
    }

    /// The bytes that have to come next: the rest of a header, or of a box that is read as a whole. Where the length is
    /// not known, the range may reach beyond the end, and what there is of it is enough. None when nothing more is to
    /// be known, or only the file's length.
    pub fn wants(&self) -> Option<Range<u64>> {
        let start = self.cursor.checked_add(self.buffer.len() as u64)?;
        let end = match self.state {
            State::Header => self.cursor.saturating_add(MAX_HEADER).min(self.length.unwrap_or(u64::MAX)),
            State::Body { end, .. } => end,
            State::Endless | State::Done | State::Failed(_) => return None,
        };
        (start < end).then_some(start..end)
    }

    /// Takes what is wanted of the bytes at `offset`, and goes on as far as they reach. All others are ignored. After
    /// an error each call returns it again.
    pub fn handle(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        while let Some(piece) = self.wants().and_then(|wants| overlap(&wants, offset, bytes)) {
            self.buffer.extend_from_slice(piece);
            self.go()?;
        }
        Ok(())
    }

    /// Says how long the file is, now that it is known and the file does not grow any more. Segments behind it are
    /// taken out, even if [`Index::take_new`] gave them, and a box that reaches to the end may now be wanted. Has no
    /// effect where the length was known before.
    pub fn ended(&mut self, length: u64) -> Result<(), Error> {
        if self.length.is_none() {
            self.length = Some(length);
            self.torn = self.list.cut(length);
            return self.look_again(length);
        }
        self.handle(0, &[])
    }

    fn look_again(&mut self, length: u64) -> Result<(), Error> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        self.torn = self.torn.or(self.grouping.cut(length));
        if self.torn.is_some() {
            self.grouping = Grouping::default();
        }
        // What was begun is looked at once more, in the light of the length.
        if !matches!(self.state, State::Done) {
            self.state = State::Header;
        }
        self.go()
    }

    /// What the file is; none while that is open.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// The bytes of the init segment: `ftyp`, `moov`, and what lies between them.
    pub fn init(&self) -> Option<Range<u64>> {
        self.init.clone()
    }

    /// The tracks of a fragmented film in their order; empty until its movie box has come.
    pub fn tracks(&self) -> &[Track] {
        self.movie.as_ref().map(|movie| movie.tracks.as_slice()).unwrap_or_default()
    }

    /// The track by which time is told: the first with pictures, else the first with sound, else the first.
    pub fn reference(&self) -> Option<&Track> {
        let id = self.movie.as_ref()?.reference.track;
        self.tracks().iter().find(|track| track.id == id)
    }

    /// The timescale of all segments: that of the reference track.
    pub fn timescale(&self) -> Option<Timescale> {
        self.movie.as_ref().map(|movie| movie.reference.timescale)
    }

    /// The finished segments in the order of the file, which is that of time.
    pub fn segments(&self) -> &[Segment] {
        self.list.all()
    }

    /// The segments that were finished since the last call.
    pub fn take_new(&mut self) -> &[Segment] {
        self.list.take_new()
    }

    /// The segment behind the finished ones, as far as it is known. Only what follows it tells where it ends.
    pub fn open(&self) -> Option<Segment> {
        self.grouping.open(&self.list)
    }

    /// Whether all segments of the file are known. Never of a file without a length, and never after an error.
    pub fn complete(&self) -> bool {
        matches!(self.state, State::Done) && self.verdict == Some(Verdict::Fragmented)
    }

    /// The byte up to which the index goes: each segment that begins before it is finished and known.
    pub fn known_to(&self) -> u64 {
        match (&self.tree, self.length) {
            (_, Some(length)) if self.complete() => length,
            (Some(_), _) => {
                let init = self.init.as_ref().map_or(0, |init| init.end);
                self.list.all().last().map_or(init, |segment| segment.bytes.end)
            }
            (None, _) => self.grouping.start().unwrap_or(self.cursor),
        }
    }

    /// Where a torn tail begins: the fragment there, or the box, ends behind the end of the file. It is in no segment.
    pub fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// The finished segment at a time in ticks of [`Index::timescale`]: the last that does not begin behind it, or the
    /// first segment. None from the end of the last segment on.
    pub fn at_time(&self, ticks: u64) -> Option<&Segment> {
        self.list.at_time(ticks)
    }

    /// The finished segment that a byte of the file belongs to.
    pub fn at_byte(&self, offset: u64) -> Option<&Segment> {
        self.list.at_byte(offset)
    }

    /// Checks what always holds.
    #[cfg(test)]
    pub(super) fn holds(&self) {
        let beyond = |end: u64| self.length.is_some_and(|length| end > length);
        assert!(self.segments().len() <= self.limits.segments);
        for pair in self.segments().windows(2) {
            assert!(pair[0].bytes.end <= pair[1].bytes.start, "{pair:?}");
            assert!(pair[0].start_ticks <= pair[1].start_ticks, "{pair:?}");
        }
        for segment in self.segments() {
            assert!(!segment.bytes.is_empty() && !beyond(segment.bytes.end), "{segment:?} of {:?}", self.length);
            assert_eq!(self.at_byte(segment.bytes.start), Some(segment));
            assert!(self.at_time(segment.start_ticks).is_none_or(|found| found.start_ticks == segment.start_ticks));
        }
        if let Some(wants) = self.wants() {
            assert!(!wants.is_empty() && !beyond(wants.end), "{wants:?} of {:?}", self.length);
        }
        let most = self.limits.moov_bytes.max(self.limits.moof_bytes).max(self.limits.sidx_bytes).max(MAX_HEADER);
        assert!(self.buffer.len() as u64 <= most);
    }

    /// Does all that can be done, and remembers a failure.
    fn go(&mut self) -> Result<(), Error> {
        self.run().inspect_err(|error| {
            self.state = State::Failed(error.clone());
            self.buffer = Vec::new();
        })
    }

    /// Does all that can be done without more bytes.
    fn run(&mut self) -> Result<(), Error> {
        loop {
            match self.state {
                State::Header => {
                    if let Some(length) = self.length.filter(|length| self.cursor >= *length || self.torn.is_some()) {
                        let is_whole = self.cursor == length && self.tree.is_none() || self.torn.is_some();
                        return if is_whole { self.finish() } else { self.tear() };
                    }
                    if self.cursor == 0 && self.buffer.get(4..8).is_some_and(|kind| !Name::is_beginning(kind)) {
                        return self.decide(Verdict::NotIso);
                    }
                    let Some(header) = Header::parse(&self.buffer, self.cursor)? else {
                        let held = self.cursor.saturating_add(self.buffer.len() as u64);
                        return if self.length.is_some_and(|length| held >= length) { self.tear() } else { Ok(()) };
                    };
                    self.enter(header)?;
                }
                State::Body { kind, end } => {
                    let length = usize::try_from(end - self.cursor).unwrap_or(usize::MAX);
                    if self.buffer.len() < length {
                        return Ok(());
                    }
                    let buffer = std::mem::take(&mut self.buffer);
                    let to = self.read(kind, end, &buffer[..length])?;
                    if !matches!(self.state, State::Done) {
                        self.buffer = buffer;
                        self.hop(to);
                    }
                }
                State::Endless | State::Done | State::Failed(_) => return Ok(()),
            }
        }
    }

    /// Goes on at another byte; what is there of it stays.
    fn hop(&mut self, to: u64) {
        let passed = to.checked_sub(self.cursor).and_then(|passed| usize::try_from(passed).ok());
        match passed.filter(|passed| *passed < self.buffer.len()) {
            Some(passed) => drop(self.buffer.drain(..passed)),
            None => self.buffer.clear(),
        }
        self.buffer.shrink_to(KEPT_BYTES);
        self.cursor = to;
        self.state = State::Header;
    }

    /// Decides what to do with a box by its header.
    fn enter(&mut self, header: Header) -> Result<(), Error> {
        let Header { kind, length, .. } = header;
        let at = self.cursor;
        let damaged = |what| Error::Damaged { at, kind, what };
        if !kind.is_plausible() {
            return Err(damaged("its letters are none, so something before it has a wrong length"));
        }
        let end = match length {
            Some(length) => at.checked_add(length).ok_or_else(|| damaged("it ends beyond 64 bits"))?,
            None => match self.length {
                Some(length) => length,
                None => {
                    self.state = State::Endless;
                    return Ok(());
                }
            },
        };
        if self.tree.is_some() && kind.0 != *b"sidx" {
            return Err(damaged("a segment index refers to it as to another, which it is not"));
        }
        let most = match (&kind.0, &self.movie) {
            (b"moov", None) => self.limits.moov_bytes,
            (b"moof", None) => return self.decide(Verdict::MediaOnly),
            (b"moof", Some(_)) => self.limits.moof_bytes,
            (b"sidx", Some(_)) => self.limits.sidx_bytes,
            _ => return self.pass(kind, end),
        };
        if end - at > most {
            return Err(Error::TooLong { at, kind, bytes: end - at, most });
        }
        if self.length.is_some_and(|length| end > length) {
            return self.tear();
        }
        self.state = State::Body { kind, end };
        Ok(())
    }

    /// Goes past a box that is not read.
    fn pass(&mut self, kind: Name, end: u64) -> Result<(), Error> {
        let at = self.cursor;
        self.idle(kind)?;
        match (&kind.0, &self.movie) {
            (b"styp" | b"prft" | b"emsg" | b"ssix", Some(_)) => {
                self.grouping.lead(at, kind.0 == *b"styp", &mut self.list)?;
            }
            (b"mdat", Some(movie)) => {
                // Samples of the movie box lie in the first media behind it.
                let samples = movie.reference.samples;
                let is_first = self.list.all().is_empty() && self.grouping.start().is_none();
                if let (true, Some(samples)) = (is_first, samples) {
                    self.grouping.samples_of_the_movie(at, samples);
                }
                self.grouping.media(end);
            }
            _ => {}
        }
        if self.length.is_some_and(|length| end > length) {
            return self.tear();
        }
        self.passed = (at, kind);
        self.hop(end);
        Ok(())
    }

    /// Counts a box that tells nothing of segments.
    fn idle(&mut self, kind: Name) -> Result<(), Error> {
        self.idle += 1;
        if self.idle > MAX_IDLE_BOXES {
            let what = "boxes without a fragment";
            return Err(Error::Limit { at: self.cursor, kind, what, most: MAX_IDLE_BOXES });
        }
        Ok(())
    }

    /// Reads a box that is there as a whole; where to go on.
    fn read(&mut self, kind: Name, end: u64, bytes: &[u8]) -> Result<u64, Error> {
        let at = self.cursor;
        let Some(whole) = Whole::parse(bytes, at)? else { return Ok(end) };
        match (&kind.0, &self.movie) {
            (b"moov", _) => {
                self.movie = Movie::parse(whole)?;
                if let Some(movie) = &self.movie {
                    self.verdict = Some(Verdict::Fragmented);
                    self.init = Some(0..end);
                    self.next = movie.reference.samples.map_or(0, |samples| samples.next);
                } else {
                    self.decide(Verdict::Classic)?;
                }
            }
            (b"moof", Some(movie)) => {
                let samples = fragment::samples(whole, &movie.reference, self.next)?;
                self.next = samples.map_or(self.next, |samples| samples.next);
                self.grouping.fragment(at..end, samples, &mut self.list)?;
                self.idle = 0;
            }
            (b"sidx", Some(_)) => return self.read_index(whole, at..end),
            _ => {}
        }
        Ok(end)
    }

    /// Reads a segment index, and takes what it says; where to go on.
    fn read_index(&mut self, sidx: Whole, bytes: Range<u64>) -> Result<u64, Error> {
        let Some(movie) = &self.movie else { return Ok(bytes.end) };
        let reference = movie.reference;
        let mut tree = match self.tree.take() {
            Some(tree) => tree,
            None if segment_index::track(&sidx)? != reference.track => {
                self.idle(sidx.kind)?;
                self.grouping.lead(bytes.start, false, &mut self.list)?;
                return Ok(bytes.end);
            }
            None => {
                self.grouping.finish(&mut self.list)?;
                Tree::new(reference.timescale)
            }
        };
        let walked = tree.enter(&sidx, &bytes).and_then(|()| self.walk(&mut tree, &sidx, &bytes));
        self.tree = Some(tree).filter(|tree| !tree.is_at_end());
        walked
    }

    /// Takes the segments of a tree up to the next index that has to be read; where to go on.
    fn walk(&mut self, tree: &mut Tree, sidx: &Whole, bytes: &Range<u64>) -> Result<u64, Error> {
        loop {
            match tree.step(|what| sidx.damaged(what))? {
                Found::Segment(segment) if self.length.is_some_and(|length| segment.bytes.end > length) => {
                    self.torn = Some(segment.bytes.start);
                    return self.finish().map(|()| bytes.end);
                }
                Found::Segment(segment) => self.list.push(segment, sidx.at, sidx.kind)?,
                Found::Index(at) => return Ok(at),
                Found::End(at) => {
                    match at > bytes.end {
                        true => self.idle = 0,
                        false => self.idle(sidx.kind)?,
                    }
                    // Fragments behind it may have no decode time of their own.
                    let shift = self.movie.as_ref().map_or(0, |movie| movie.reference.shift);
                    let next = i128::from(self.list.next_ticks()) - shift;
                    self.next = u64::try_from(next.max(0)).unwrap_or(u64::MAX);
                    return Ok(at);
                }
            }
        }
    }

    /// The file ends within the box at the cursor, or within the one before it.
    fn tear(&mut self) -> Result<(), Error> {
        let header = Header::parse(&self.buffer, self.cursor)?.map_or(NO_NAME, |header| header.kind);
        let is_passed = self.length.is_some_and(|length| self.cursor > length) && self.tree.is_none();
        let (at, kind) = if is_passed { self.passed } else { (self.cursor, header) };
        self.cursor = at;
        if self.verdict.is_none() && at == 0 && kind == NO_NAME {
            return self.decide(Verdict::NotIso);
        }
        if self.verdict.is_none() {
            let what = "the file ends before it does, and without a movie box";
            return Err(Error::Damaged { at, kind, what });
        }
        let fragment = self.grouping.tear(kind.0 == *b"mdat", &mut self.list)?;
        self.torn = fragment.or(Some(if self.tree.is_some() { self.known_to() } else { at }));
        self.finish()
    }

    /// The file is at its end.
    fn finish(&mut self) -> Result<(), Error> {
        let bare = self.grouping.tear(false, &mut self.list)?;
        self.torn = self.torn.or(bare);
        self.grouping.finish(&mut self.list)?;
        let verdict = if self.cursor == 0 { Verdict::NotIso } else { Verdict::Classic };
        self.decide(self.verdict.unwrap_or(verdict))
    }

    /// Nothing more is to be known.
    fn decide(&mut self, verdict: Verdict) -> Result<(), Error> {
        self.verdict = Some(verdict);
        self.state = State::Done;
        self.buffer = Vec::new();
        Ok(())
    }
}

/// What of the bytes at `offset` is at the beginning of what is wanted.
fn overlap<'a>(wants: &Range<u64>, offset: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let from = usize::try_from(wants.start.checked_sub(offset)?).ok()?;
    let rest = bytes.get(from..)?;
    let most = usize::try_from(wants.end - wants.start).unwrap_or(usize::MAX);
    rest.get(..rest.len().min(most)).filter(|piece| !piece.is_empty())
}
