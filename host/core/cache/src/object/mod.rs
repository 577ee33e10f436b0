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

mod presence;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::granule::{Geometry, Granule};
use presence::Presence;
use reader::{Reader, Trails};

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
    /// Longest span.
    pub span_max: u64,
    /// Read-ahead of a new reader.
    pub ahead_min: u64,
    /// Read-ahead of a reader that has gone on for long.
    pub ahead_max: u64,
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
            span_max: 8 << 20,
            ahead_min: 1 << 20,
            ahead_max: 64 << 20,
            short: 1 << 20,
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
    /// A granule turned out to be damaged or was removed.
    Lost {
        /// Its index.
        granule: u64,
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
    limits: Limits,
    geometry: Geometry,
    now: Option<Instant>,
    present: Presence,
    durable: Presence,
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
            limits: sane(limits, geometry),
            geometry,
            now: None,
            present: Presence::new(geometry),
            durable: Presence::new(geometry),
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
            Input::Lost { granule } => {
                self.present.set(granule, false);
                self.durable.set(granule, false);
            }
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
        match self.next_fetch() {
            Some(range) => Output::Fetch { span: self.begin(range.clone()), range },
            None => Output::Wait { until: self.next_deadline() },
        }
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
            || (self.limits.fill && !self.readers.is_empty())
    }

    /// The next range to fetch: readers that wait, then warm ranges, then read-ahead, then the rest.
    fn next_fetch(&mut self) -> Option<Range<u64>> {
        let free = self.limits.max_spans.saturating_sub(self.spans.len());
        if free == 0 {
            return None;
        }
        if let Some(range) = self.for_waiting() {
            return Some(range);
        }
        if free == 1 && self.limits.max_spans > 1 {
            return None;
        }
        self.for_warmth().or_else(|| self.for_later()).or_else(|| self.for_the_rest())
    }

    /// For the reader that waits and was served least recently.
    fn for_waiting(&mut self) -> Option<Range<u64>> {
        let waits = |reader: &Reader| {
            let gap = self.gap_of(reader)?;
            (gap.start <= reader.position).then_some((reader.served, gap))
        };
        let waiting = self.readers.iter().filter_map(|(id, reader)| Some((waits(reader)?, *id)));
        let ((_, gap), id) = waiting.min_by_key(|((served, _), id)| (*served, *id))?;
        self.serve(id);
        Some(gap)
    }

    /// For the oldest warm range that lacks something.
    fn for_warmth(&self) -> Option<Range<u64>> {
        self.warm.iter().find_map(|range| self.gap(range, self.limits.span_max))
    }

    /// For the reader that has the least ahead. A span is only begun when it fits into the window as a whole, so that a
    /// window that moves on by a frame does not cause a request of a frame.
    fn for_later(&mut self) -> Option<Range<u64>> {
        let total = self.geometry.total();
        let lacks = |reader: &Reader| {
            let gap = self.gap_of(reader)?;
            let fits = gap.end <= self.geometry.ceil(reader.wanted(total, &self.limits).end);
            fits.then_some((gap.start.saturating_sub(reader.position), gap))
        };
        let lacking = self.readers.iter().filter_map(|(id, reader)| Some((lacks(reader)?, *id)));
        let ((_, gap), id) = lacking.min_by_key(|((ahead, _), id)| (*ahead, *id))?;
        self.serve(id);
        Some(gap)
    }

    fn for_the_rest(&self) -> Option<Range<u64>> {
        let wanted = self.limits.fill && !self.readers.is_empty();
        wanted.then(|| self.gap(&(0..self.geometry.total()), self.limits.span_max)).flatten()
    }

    /// What to fetch next for a reader, be it inside of its window or not.
    fn gap_of(&self, reader: &Reader) -> Option<Range<u64>> {
        let reach = reader.position..reader.limit(self.geometry.total(), &self.limits);
        if reader.is_reading() { self.gap(&reach, reader.span(&self.limits)) } else { None }
    }

    /// The first whole granules of a range that are neither present nor on their way, at most `longest` bytes; nothing
    /// if they failed. It does not leap over what failed: an upstream in trouble is not asked for the rest as well.
    fn gap(&self, range: &Range<u64>, longest: u64) -> Option<Range<u64>> {
        let mut at = self.present.run_end(range.start);
        // Each turn passes a span, of which there are few.
        while let Some(span) = self.span_at(at) {
            at = self.present.run_end(span.range.end);
        }
        let start = self.geometry.floor(at);
        if at >= range.end || self.failed(start).is_some() {
            return None;
        }
        let next_span = self.spans.range(start..).next().map(|(start, _)| *start);
        let next_failure = self.failures.iter().map(|failure| failure.range.start).filter(|at| *at > start).min();
        let borders = [next_span, next_failure].into_iter().flatten().chain([
            self.present.next_present(start),
            self.geometry.ceil(range.end),
            start.saturating_add(self.geometry.floor(longest)),
        ]);
        Some(start..borders.fold(self.geometry.total(), u64::min))
    }

    fn serve(&mut self, id: ReaderId) {
        if let Some(reader) = self.readers.get_mut(&id) {
            // The span that is about to begin has this number; 0 means never.
            reader.served = self.next_span + 1;
        }
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
