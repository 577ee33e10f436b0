//! The machine that decides what of one object is fetched next.
//!
//! Owns: which bytes are there, which are on their way, who waits for what, the order of fetches, and when a running one
//! is not worth going on with.
//! Leaves to others: connections, files, the pause after a failure, and the bytes themselves.
//!
//! Invariant: spans in flight never overlap, begin at a granule, are never more than `max_spans`, and at their beginning
//! cover nothing that is present. So without failures, cancels and losses every byte is fetched once.
//!
//! After each [`Object::handle_input`] call [`Object::poll_output`] until it says [`Output::Wait`].

mod leave;
mod presence;
mod reader;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::granule::{Geometry, Granule};
use leave::Leaving;
use presence::Presence;
use reader::{Reader, Trails};

pub use leave::{LeaseId, Standing};
pub use wish::{Urgency, Wish};

/// Failed parts that are remembered at once. The oldest is forgotten first, which only means that it is tried again.
const MAX_FAILURES: usize = 64;

/// Who reads; chosen by the caller and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(pub u64);

/// What is being fetched; chosen by the machine and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub u64);

/// Bounds of one object. All lengths are bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Spans in flight at once, at least 1. If there is more than one, the last is kept for readers that wait.
    pub max_spans: usize,
    /// Shortest span that is worth a request, unless less than that is missing.
    pub span_min: u64,
    /// Longest span; [`Input::SpanLength`] may ask for shorter ones.
    pub span_max: u64,
    /// Read-ahead of a new reader.
    pub ahead_min: u64,
    /// Read-ahead of a reader that has gone on for long.
    pub ahead_max: u64,
    /// The same in seconds of the media, once its rate is known. The smaller of the two counts.
    pub ahead_time: Duration,
    /// Readers of a bounded range get nothing behind it until they have read this much in sequence.
    pub short: u64,
    /// A reader this far ahead of what has arrived of a span does not wait for the rest of it: the span is cut there.
    pub skip: u64,
    /// How long a span that nobody wants goes on.
    pub grace: Duration,
    /// Whether everything is fetched in the end while somebody reads.
    pub fill: bool,
    /// Readers at once. Opening more is ignored; see [`Object::has_room`].
    pub max_readers: usize,
    /// Warm ranges at once. More are ignored.
    pub max_warm: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_spans: 6,
            span_min: 256 << 10,
            span_max: 16 << 20,
            ahead_min: 512 << 10,
            ahead_max: 64 << 20,
            ahead_time: Duration::from_secs(120),
            short: 2 << 20,
            skip: 2 << 20,
            grace: Duration::from_millis(300),
            fill: false,
            max_readers: 256,
            max_warm: 64,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody wants to read these bytes, from the first one on. What lies beyond the object is ignored.
    Open {
        /// Who.
        reader: ReaderId,
        /// Which bytes.
        range: Range<u64>,
    },
    /// A reader wants the byte at `position` next.
    Moved {
        /// Who.
        reader: ReaderId,
        /// Offset in the object.
        position: u64,
    },
    /// A reader is gone.
    Close {
        /// Who.
        reader: ReaderId,
    },
    /// These bytes are wanted although nobody reads them yet.
    Warm {
        /// Which bytes.
        range: Range<u64>,
    },
    /// All that is missing is wanted from now on, though nobody reads it.
    Fill,
    /// The bytes of a span before `end` can be read.
    Arrived {
        /// Which span.
        span: SpanId,
        /// Offset in the object.
        end: u64,
    },
    /// Complete granules with their checksums can be read. Comes before the [`Input::Finished`] of their span.
    Stored {
        /// Which ones.
        granules: Vec<Granule>,
    },
    /// Granules will be there after a crash.
    Durable {
        /// Which ones.
        granules: Vec<Granule>,
    },
    /// A span is over, in full or not; what is missing of it may be asked for again at once.
    Finished {
        /// Which one.
        span: SpanId,
    },
    /// A span is over. What is missing of it is not asked for before `retry_at`, or, without it, before
    /// [`Input::Retry`].
    Failed {
        /// Which one.
        span: SpanId,
        /// When to try again.
        retry_at: Option<Instant>,
    },
    /// All failures are forgotten: the address was renewed.
    Retry,
    /// A granule turned out to be damaged.
    Lost {
        /// Its index.
        granule: u64,
    },
    /// The room of granules that [`Object::evict`] took has been given back: they may be fetched again.
    Evicted {
        /// Runs of granule indices, as `evict` answered them.
        granules: Vec<Range<u64>>,
    },
    /// How fast the media plays.
    Rate {
        /// Bytes per second; `None` if it is not known.
        bytes_per_second: Option<u64>,
    },
    /// How long spans should be for the upstream that serves now.
    SpanLength {
        /// Bytes; brought within the limits.
        bytes: u64,
    },
    /// How much may lie ahead of a reader at most, for want of room; no more than the limits say in any case.
    AheadAtMost {
        /// Bytes; `None` for as much as the limits allow.
        bytes: Option<u64>,
    },
    /// The length was provisional, and this is what it is. Ignored if it is more. What lies beyond is gone.
    Settled {
        /// Bytes.
        total: u64,
    },
    /// Time went by.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Fetch these bytes and report on them as `span`.
    Fetch {
        /// Its name.
        span: SpanId,
        /// Whole granules; the last one ends with the object.
        range: Range<u64>,
    },
    /// Stop fetching. The span is over; later reports on it are ignored, except for granules that are complete.
    Cancel {
        /// Which one.
        span: SpanId,
    },
    /// Nothing to do until the next input, or until then.
    Wait {
        /// When to send [`Input::Tick`].
        until: Option<Instant>,
    },
}

/// A span in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub id: SpanId,
    /// What it will bring.
    pub range: Range<u64>,
    /// Where the part of it that can be read ends.
    pub arrived: u64,
    /// Since when nobody wants the rest of it.
    unwanted_since: Option<Instant>,
}

/// A part that could not be fetched and is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which bytes.
    pub range: Range<u64>,
    /// When it is tried again; `None` until [`Input::Retry`].
    pub retry_at: Option<Instant>,
}

/// One column of a picture of the object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// How much of it is there, 0 to 1.
    pub present: f32,
    /// Whether some of it is on its way.
    pub in_flight: bool,
}

/// The machine. See the head of this module.
pub struct Object {
    /// As they were given.
    given: Limits,
    /// What nobody reads is wanted too.
    filled: bool,
    /// As they are now, with what was learned of the media, the upstream and the room.
    limits: Limits,
    rate: Option<u64>,
    span_length: Option<u64>,
    ahead_at_most: Option<u64>,
    /// Whether to begin nothing for now.
    held_back: bool,
    geometry: Geometry,
    now: Option<Instant>,
    present: Presence,
    durable: Presence,
    /// Handed to somebody since they came.
    handed: Presence,
    leaving: Leaving,
    /// By where they begin.
    spans: BTreeMap<u64, Span>,
    cancels: VecDeque<SpanId>,
    readers: BTreeMap<ReaderId, Reader>,
    trails: Trails,
    warm: VecDeque<Range<u64>>,
    failures: VecDeque<Failure>,
    next_span: u64,
}

impl Object {
    /// An object of `total` bytes (at most [`crate::granule::MAX_TOTAL`]; what lies beyond does not exist here) of which
    /// these granules are durable. Granules that do not fit are ignored.
    pub fn new(limits: Limits, total: u64, present: impl IntoIterator<Item = Granule>) -> Self {
        Self::with_geometry(limits, Geometry::of(total), present)
    }

    /// The same for an object that was cut before.
    pub fn with_geometry(limits: Limits, geometry: Geometry, present: impl IntoIterator<Item = Granule>) -> Self {
        let mut object = Self {
            limits: sane(limits.clone(), geometry),
            given: limits,
            filled: false,
            rate: None,
            span_length: None,
            ahead_at_most: None,
            held_back: false,
            geometry,
            now: None,
            present: Presence::new(geometry),
            durable: Presence::new(geometry),
            handed: Presence::new(geometry),
            leaving: Leaving::default(),
            spans: BTreeMap::new(),
            cancels: VecDeque::new(),
            readers: BTreeMap::new(),
            trails: Trails::default(),
            warm: VecDeque::new(),
            failures: VecDeque::new(),
            next_span: 0,
        };
        for granule in present.into_iter().filter(|granule| geometry.admits(granule)) {
            object.present.set(granule.index, true);
            object.durable.set(granule.index, true);
            object.handed.set(granule.index, true);
        }
        object
    }

    /// Takes note of what happened. Reports on readers and spans that are not known are ignored.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = Some(self.now.map_or(now, |before| before.max(now)));
        match input {
            Input::Open { reader, range } => self.open(reader, range),
            Input::Moved { reader, position } => {
                if let Some(reader) = self.readers.get_mut(&reader) {
                    reader.advance(position.min(self.geometry.total()), &self.limits);
                }
            }
            Input::Close { reader } => {
                if let Some(reader) = self.readers.remove(&reader) {
                    self.trails.leave(&reader);
                }
            }
            Input::Warm { range } => self.warm_up(range),
            Input::Arrived { span, end } => {
                if let Some(span) = self.spans.values_mut().find(|known| known.id == span) {
                    span.arrived = end.clamp(span.arrived, span.range.end);
                }
            }
            Input::Stored { granules } => self.store(&granules, false),
            Input::Durable { granules } => self.store(&granules, true),
            Input::Finished { span } => drop(self.end(span)),
            Input::Failed { span, retry_at } => self.fail(span, retry_at),
            Input::Retry => self.failures.clear(),
            Input::Fill => self.filled = true,
            Input::Lost { granule } => self.lose(granule),
            Input::Evicted { granules } => self.leaving.gone(&granules),
            Input::Rate { bytes_per_second } => {
                self.rate = bytes_per_second.filter(|rate| *rate > 0);
                self.adapt();
            }
            Input::SpanLength { bytes } => {
                self.span_length = Some(bytes);
                self.adapt();
            }
            Input::AheadAtMost { bytes } => {
                self.ahead_at_most = bytes;
                self.adapt();
            }
            Input::Settled { total } => self.settle(total),
            Input::Tick => {}
        }
        let now = self.now.unwrap_or(now);
        self.failures.retain(|failure| failure.retry_at.is_none_or(|at| at > now));
        self.judge_spans();
    }

    /// What to do next; the same answer again once it is [`Output::Wait`].
    pub fn poll_output(&mut self) -> Output {
        if let Some(span) = self.cancels.pop_front() {
            return Output::Cancel { span };
        }
        match if self.held_back { None } else { self.wish() } {
            Some(wish) => {
                if let Some(reader) = wish.reader {
                    self.serve(reader);
                }
                Output::Fetch { span: self.begin(wish.range.clone()), range: wish.range }
            }
            None => Output::Wait { until: self.next_deadline() },
        }
    }

    /// Whether to begin nothing, since the upstream has no room for what [`Object::wish`] names. Stays so until it is
    /// said otherwise.
    pub fn hold_back(&mut self, held_back: bool) {
        self.held_back = held_back;
    }

    /// When time alone changes something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let graces = self.spans.values().filter_map(|span| span.unwanted_since?.checked_add(self.limits.grace));
        graces.chain(self.failures.iter().filter_map(|failure| failure.retry_at)).min()
    }

    /// How the object is cut.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether another reader may be opened.
    pub fn has_room(&self) -> bool {
        self.readers.len() < self.limits.max_readers
    }

    /// How many readers are open.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Where the run of readable bytes that begins at `offset` ends; `offset` itself if nothing is readable there.
    pub fn readable(&self, offset: u64) -> u64 {
        let mut end = offset;
        loop {
            let arrived = self.span_at(end).map_or(end, |span| span.arrived.max(end));
            let next = self.present.run_end(arrived);
            if next == end {
                return end;
            }
            end = next;
        }
    }

    /// The failure that keeps the byte at `offset` from being fetched.
    pub fn failed(&self, offset: u64) -> Option<&Failure> {
        self.failures.iter().find(|failure| failure.range.contains(&offset))
    }

    /// Whether all these bytes are stored. The arrived part of a span does not count; see [`Object::readable`].
    pub fn is_present(&self, range: Range<u64>) -> bool {
        let end = range.end.min(self.geometry.total());
        range.start >= end || self.present.run_end(range.start) >= end
    }

    /// How many bytes are stored.
    pub fn present_bytes(&self) -> u64 {
        self.present.bytes()
    }

    /// How many bytes will be there after a crash.
    pub fn durable_bytes(&self) -> u64 {
        self.durable.bytes()
    }

    /// Whether every byte is stored.
    pub fn is_complete(&self) -> bool {
        self.present.bytes() == self.geometry.total()
    }

    /// What is on its way, by offset.
    pub fn in_flight(&self) -> impl Iterator<Item = &Span> {
        self.spans.values()
    }

    /// Whether anybody reads it.
    pub fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// The first byte that a reader waits for.
    pub fn waiting_at(&self) -> Option<u64> {
        let waits = |reader: &&Reader| reader.is_reading() && self.readable(reader.position) == reader.position;
        self.readers.values().filter(waits).map(|reader| reader.position).min()
    }

    /// Whether a reader waits for bytes of a span.
    pub fn is_awaited(&self, span: SpanId) -> bool {
        let Some(span) = self.spans.values().find(|known| known.id == span) else { return false };
        let missing = span.arrived..span.range.end;
        let waits = |at: u64| missing.contains(&at) && self.readable(at) == at;
        self.readers.values().any(|reader| reader.is_reading() && waits(reader.position))
    }

    /// How many bytes a reader could read without waiting; 0 if it is not known.
    pub fn ahead(&self, reader: ReaderId) -> u64 {
        self.readers.get(&reader).map_or(0, |reader| self.readable(reader.position) - reader.position)
    }

    /// The parts of a range that are not stored, in order. What is on its way is missing until it is stored.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let end = range.end.min(self.geometry.total());
        let mut holes = Vec::new();
        let mut at = self.present.run_end(range.start);
        while at < end {
            let until = self.present.next_present(at).min(end);
            holes.push(at..until);
            at = self.present.run_end(until);
        }
        holes
    }

    /// The object in so many columns of equal width, from its head to its end.
    pub fn picture(&self, buckets: usize) -> Vec<Bucket> {
        let border = |at: usize| (u128::from(self.geometry.total()) * at as u128 / buckets as u128) as u64;
        let bucket = |at: usize| {
            let range = border(at)..border(at + 1);
            let length = range.end - range.start;
            let present = self.present.bytes_in(range.clone());
            let in_flight = self.spans.values().any(|span| span.arrived < range.end && range.start < span.range.end);
            Bucket { present: if length == 0 { 0.0 } else { present as f32 / length as f32 }, in_flight }
        };
        (0..buckets).map(bucket).collect()
    }

    fn open(&mut self, id: ReaderId, range: Range<u64>) {
        if !self.has_room() {
            return;
        }
        let end = range.end.min(self.geometry.total());
        let mut reader = Reader::new(range.start.min(end)..end, &self.limits);
        self.trails.follow(&mut reader, &self.limits);
        self.readers.insert(id, reader);
    }

    fn warm_up(&mut self, range: Range<u64>) {
        let total = self.geometry.total();
        let range = self.geometry.floor(range.start.min(total))..self.geometry.ceil(range.end.min(total));
        self.warm.retain(|range| self.present.run_end(range.start) < range.end);
        if !range.is_empty() && self.warm.len() < self.limits.max_warm {
            self.warm.push_back(range);
        }
    }

    fn store(&mut self, granules: &[Granule], durable: bool) {
        for granule in granules.iter().filter(|granule| self.geometry.admits(granule)) {
            match durable {
                // What was lost between the write and the report is not there.
                true => self.durable.set(granule.index, self.present.has(granule.index)),
                false => self.present.set(granule.index, true),
            }
        }
    }

    fn lose(&mut self, granule: u64) {
        for map in [&mut self.present, &mut self.durable, &mut self.handed] {
            map.set(granule, false);
        }
    }

    /// Brings the limits in line with what is known now.
    fn adapt(&mut self) {
        let by_time = |rate: u64| {
            let bytes = u128::from(rate) * self.given.ahead_time.as_millis() / 1000;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        let ahead = [self.rate.map(by_time), self.ahead_at_most].into_iter().flatten().min().unwrap_or(u64::MAX);
        let limits = Limits {
            ahead_max: self.given.ahead_max.min(ahead),
            span_max: self.given.span_max.min(self.span_length.unwrap_or(u64::MAX)),
            ..self.given.clone()
        };
        self.limits = sane(limits, self.geometry);
        for reader in self.readers.values_mut() {
            reader.narrow(&self.limits);
        }
    }

    fn settle(&mut self, total: u64) {
        let Some(geometry) = Geometry::with_granule(total, self.geometry.granule()) else { return };
        if total > self.geometry.total() {
            return;
        }
        self.geometry = geometry;
        for map in [&mut self.present, &mut self.durable, &mut self.handed] {
            map.shorten(geometry);
        }
        let cut = |range: &mut Range<u64>| *range = range.start.min(total)..range.end.min(total);
        self.readers.values_mut().for_each(|reader| reader.shorten(total));
        self.warm.iter_mut().for_each(cut);
        self.failures.iter_mut().for_each(|failure| cut(&mut failure.range));
        self.warm.retain(|range| !range.is_empty());
        self.failures.retain(|failure| !failure.range.is_empty());
        for span in self.spans.values_mut() {
            span.range.end = span.range.end.min(total);
            span.arrived = span.arrived.min(total);
        }
        let beyond: Vec<SpanId> = self
            .spans
            .values()
            .filter(|span| span.range.is_empty() || span.range.start >= total)
            .map(|span| span.id)
            .collect();
        for id in beyond {
            if self.end(id).is_some() {
                self.cancels.push_back(id);
            }
        }
        self.given = Limits { span_min: self.given.span_min.min(total), ..self.given.clone() };
        self.adapt();
    }

    fn begin(&mut self, range: Range<u64>) -> SpanId {
        let id = SpanId(self.next_span);
        self.next_span += 1;
        let span = Span { id, arrived: range.start, range, unwanted_since: None };
        self.spans.insert(span.range.start, span);
        id
    }

    fn end(&mut self, id: SpanId) -> Option<Span> {
        let start = self.spans.values().find(|span| span.id == id)?.range.start;
        self.spans.remove(&start)
    }

    fn fail(&mut self, id: SpanId, retry_at: Option<Instant>) {
        let Some(span) = self.end(id) else { return };
        let range = self.geometry.floor(span.arrived)..span.range.end;
        if range.is_empty() {
            return;
        }
        if self.failures.len() == MAX_FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back(Failure { range, retry_at });
    }

    /// Cuts spans that a waiting reader would wait for too long, and those that nobody has wanted for the time of grace.
    fn judge_spans(&mut self) {
        let Some(now) = self.now else { return };
        let skipped: Vec<SpanId> = self.readers.values().filter_map(|reader| self.skipped_by(reader)).collect();
        let unwanted: Vec<SpanId> =
            self.spans.values().filter(|span| !self.is_wanted(span)).map(|span| span.id).collect();
        let mut over = skipped;
        for span in self.spans.values_mut() {
            if !unwanted.contains(&span.id) {
                span.unwanted_since = None;
            } else if now.saturating_duration_since(*span.unwanted_since.get_or_insert(now)) >= self.limits.grace {
                over.push(span.id);
            }
        }
        for id in over {
            if self.end(id).is_some() {
                self.cancels.push_back(id);
            }
        }
    }

    /// The span in which a reader waits for bytes that are far from arriving, unless another reader waits before it.
    fn skipped_by(&self, reader: &Reader) -> Option<SpanId> {
        let span = self.span_at(reader.position).filter(|_| reader.is_reading())?;
        let far = self.geometry.floor(reader.position).saturating_sub(span.arrived) > self.limits.skip;
        let between = |other: &Reader| {
            let wanted = other.wanted(self.geometry.total(), &self.limits);
            other.is_reading() && wanted.start < reader.position && span.arrived < wanted.end
        };
        (far && !self.present.has(self.geometry.index_at(reader.position)) && !self.readers.values().any(between))
            .then_some(span.id)
    }

    /// Whether a reader's window or a warm range reaches into the part of a span that has not arrived.
    fn is_wanted(&self, span: &Span) -> bool {
        let total = self.geometry.total();
        let touches = |range: &Range<u64>| range.start < span.range.end && span.arrived < range.end;
        let by_reader = |reader: &Reader| reader.is_reading() && touches(&reader.wanted(total, &self.limits));
        span.arrived == span.range.end
            || self.readers.values().any(by_reader)
            || self.warm.iter().any(touches)
            || self.wants_the_rest()
    }

    fn span_at(&self, offset: u64) -> Option<&Span> {
        let (_, span) = self.spans.range(..=offset).next_back()?;
        span.range.contains(&offset).then_some(span)
    }

    /// Says which of the promises in the head of this module is broken, for tests.
    pub fn check(&self) -> Result<(), String> {
        let mut end_before = 0;
        for (start, span) in &self.spans {
            let range = &span.range;
            let aligned = self.geometry.floor(range.start) == range.start && self.geometry.ceil(range.end) == range.end;
            if *start != range.start || !aligned || range.is_empty() {
                return Err(format!("{span:?} is not whole granules"));
            }
            if range.start < end_before {
                return Err(format!("{span:?} overlaps the one before it"));
            }
            if span.arrived < range.start || span.arrived > range.end {
                return Err(format!("{span:?} arrived outside of itself"));
            }
            end_before = range.end;
        }
        let bounded = self.spans.len() <= self.limits.max_spans
            && self.readers.len() <= self.limits.max_readers
            && self.warm.len() <= self.limits.max_warm
            && self.failures.len() <= MAX_FAILURES;
        let counted = self.durable.bytes() <= self.present.bytes() && self.present.bytes() <= self.geometry.total();
        match (bounded, counted) {
            (false, _) => Err("a table is longer than its bound".to_owned()),
            (_, false) => Err("more is durable than present, or more is present than there is".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Limits with which the machine makes progress whatever was configured: spans are whole granules, and two of the
/// shortest fit into the smallest window.
fn sane(limits: Limits, geometry: Geometry) -> Limits {
    let granule = u64::from(geometry.granule());
    let span_min = limits.span_min.max(1).div_ceil(granule).saturating_mul(granule);
    let ahead_min = limits.ahead_min.max(span_min.saturating_mul(2));
    Limits {
        max_spans: limits.max_spans.max(1),
        span_min,
        span_max: (limits.span_max - limits.span_max % granule).max(span_min),
        ahead_min,
        ahead_max: limits.ahead_max.max(ahead_min),
        ..limits
    }
}
