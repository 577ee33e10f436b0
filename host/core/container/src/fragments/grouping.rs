//! Fragments into segments (ISO/IEC 14496-12 §8.8.4, §8.16.2).
//!
//! Owns: where a segment begins and ends when no index says it.
//! Leaves to others: reading boxes, the list of finished segments.
//!
//! Where a `styp` box stands before the first fragment, the writer marks its segments, and each `styp` begins one. In
//! all other files a fragment that starts with a sync sample of the reference track does, and a `styp` that turns up
//! later does so too. A fragment without samples of the reference track belongs to the segment before it; the first
//! ones, to the segment that they open.
//!
//! A segment begins at the first `styp`, `prft`, `emsg`, `sidx` or `ssix` box before its first fragment, and ends with
//! the last `mdat` of its last one. `free` and other boxes belong to a segment only if they lie within it.
//!
//! Invariant: a fragment counts when the next box has been seen behind it, so a torn one never does.

use std::ops::Range;

use super::fragment::Samples;
use super::list::List;
use super::{Error, Name, Segment};

/// What was seen of the segments that are not finished.
#[derive(Clone, Debug, Default)]
pub(super) struct Grouping {
    /// Whether the writer marks segments with `styp`, from the first fragment on.
    by_styp: Option<bool>,
    /// The boxes before the next fragment.
    lead: Option<Lead>,
    /// The last fragment, whose media may go on.
    pending: Option<Fragment>,
    /// The segment that fragments are added to.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Lead {
    at: u64,
    has_styp: bool,
}

#[derive(Clone, Debug)]
struct Fragment {
    bytes: Range<u64>,
    has_styp: bool,
    /// Whether an `mdat` was seen behind it.
    has_media: bool,
    samples: Option<Samples>,
}

#[derive(Clone, Debug)]
struct Open {
    bytes: Range<u64>,
    /// From the first fragment with samples of the reference track on.
    samples: Option<Samples>,
    duration: u64,
}

impl Grouping {
    /// A box that belongs to the fragment behind it.
    pub(super) fn lead(&mut self, at: u64, is_styp: bool, list: &mut List) -> Result<(), Error> {
        self.settle(list)?;
        if is_styp {
            self.close(list)?;
        }
        let lead = self.lead.get_or_insert(Lead { at, has_styp: false });
        lead.has_styp |= is_styp;
        Ok(())
    }

    /// A fragment, up to the end of its `moof` box.
    pub(super) fn fragment(
        &mut self,
        bytes: Range<u64>,
        samples: Option<Samples>,
        list: &mut List,
    ) -> Result<(), Error> {
        self.settle(list)?;
        let lead = self.lead.take();
        let has_styp = lead.is_some_and(|lead| lead.has_styp);
        self.by_styp.get_or_insert(has_styp);
        let bytes = lead.map_or(bytes.start, |lead| lead.at)..bytes.end;
        self.pending = Some(Fragment { bytes, has_styp, has_media: false, samples });
        Ok(())
    }

    /// The samples of the movie box itself, whose media begins here.
    pub(super) fn samples_of_the_movie(&mut self, at: u64, samples: Samples) {
        self.pending = Some(Fragment { bytes: at..at, has_styp: false, has_media: true, samples: Some(samples) });
    }

    /// Media of the last fragment.
    pub(super) fn media(&mut self, end: u64) {
        if let Some(fragment) = &mut self.pending {
            fragment.bytes.end = end;
            fragment.has_media = true;
        }
    }

    /// The first byte that is in no finished segment and will be in one.
    pub(super) fn start(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.bytes.start).or_else(|| self.unsettled())
    }

    /// The file ends within or behind a box. Forgets the last fragment if it has no media, or is torn in it; where it
    /// begins.
    pub(super) fn tear(&mut self, in_media: bool, list: &mut List) -> Result<Option<u64>, Error> {
        if !in_media && self.pending.as_ref().is_some_and(|fragment| fragment.has_media) {
            self.settle(list)?;
        }
        let torn = self.unsettled();
        (self.pending, self.lead) = (None, None);
        Ok(torn)
    }

    /// Where the segment that fragments are added to begins, if it ends behind the end of the file.
    pub(super) fn cut(&self, length: u64) -> Option<u64> {
        self.open.as_ref().filter(|open| open.bytes.end > length).map(|open| open.bytes.start)
    }

    fn unsettled(&self) -> Option<u64> {
        self.pending.as_ref().map(|fragment| fragment.bytes.start).or(self.lead.map(|lead| lead.at))
    }

    /// Finishes what is there, at the end of the file or where an index takes over.
    pub(super) fn finish(&mut self, list: &mut List) -> Result<(), Error> {
        self.settle(list)?;
        self.lead = None;
        self.close(list)
    }

    /// The segment that fragments are added to, as far as it is known.
    pub(super) fn open(&self, list: &List) -> Option<Segment> {
        self.open.as_ref().map(|open| list.placed(open.segment(list)))
    }

    /// Counts the last fragment.
    fn settle(&mut self, list: &mut List) -> Result<(), Error> {
        let Some(fragment) = self.pending.take() else { return Ok(()) };
        if self.begins(&fragment) {
            self.close(list)?;
        }
        let start = fragment.bytes.start;
        let open = self.open.get_or_insert(Open { bytes: start..start, samples: None, duration: 0 });
        open.bytes.end = fragment.bytes.end;
        if let Some(samples) = fragment.samples {
            open.samples.get_or_insert(samples);
            open.duration = open.duration.saturating_add(samples.duration);
        }
        Ok(())
    }

    fn begins(&self, fragment: &Fragment) -> bool {
        let is_marked = self.by_styp == Some(true);
        let is_told = self.open.as_ref().is_some_and(|open| open.samples.is_some());
        fragment.has_styp || !is_marked && is_told && fragment.samples.is_some_and(|samples| samples.is_sync)
    }

    fn close(&mut self, list: &mut List) -> Result<(), Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        list.push(open.segment(list), open.bytes.start, Name(*b"moof"))
    }
}

impl Open {
    fn segment(&self, list: &List) -> Segment {
        Segment {
            bytes: self.bytes.clone(),
            start_ticks: self.samples.map_or_else(|| list.next_ticks(), |samples| samples.start),
            duration_ticks: self.duration,
            is_sync: self.samples.is_some_and(|samples| samples.is_sync),
        }
    }
}
