//! One movie fragment: when it is, how long, and whether it can be started at (ISO/IEC 14496-12 §8.8.4 to §8.8.12).
//!
//! Owns: the samples of the reference track, as far as time and the first one's flags go.
//! Leaves to others: where the samples lie (the `mdat` boxes that follow), all other tracks.
//!
//! Composition offsets count as signed in both versions of `trun`, though §8.8.8.3 has version 0 unsigned: writers put
//! negative ones there, and an offset of half of the range or more has no other meaning.

use super::boxes::Whole;
use super::movie::{Defaults, Reference};
use super::{Error, Name};

/// `sample_is_non_sync_sample` in the flags of a sample (§8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// The samples of the reference track in a fragment; times in its timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Samples {
    /// The earliest presentation time of a sample, or the decode time where there is none.
    pub(super) start: u64,
    /// How much of the presentation it is: the durations of the samples, less what the edit list cuts off.
    pub(super) duration: u64,
    /// Whether the first sample is a sync sample.
    pub(super) is_sync: bool,
    /// The decode time at which the next sample follows.
    pub(super) next: u64,
}

impl Samples {
    /// Samples that begin at a presentation time, before which the edit list cuts.
    pub(super) fn new(earliest: i128, duration: u64, is_sync: bool, next: u64) -> Samples {
        let cut = u64::try_from(-earliest).unwrap_or(0);
        let start = u64::try_from(earliest.max(0)).unwrap_or(u64::MAX);
        Samples { start, duration: duration.saturating_sub(cut), is_sync, next }
    }
}

/// Reads a `moof` box. `next` is the decode time at its beginning if it has none of its own (§8.8.12). None if it has
/// nothing of the reference track.
pub(super) fn samples(moof: Whole, reference: &Reference, next: u64) -> Result<Option<Samples>, Error> {
    let mut count = Count { first: None, earliest: None, first_flags: None, now: next };
    for traf in moof.all(b"traf") {
        track_fragment(&traf?, reference, &mut count)?;
    }
    let Some(first) = count.first else { return Ok(None) };
    let earliest = count.earliest.unwrap_or(i128::from(first)) + reference.shift;
    let is_sync = count.first_flags.is_some_and(|flags| flags & NON_SYNC == 0);
    Ok(Some(Samples::new(earliest, count.now.saturating_sub(first), is_sync, count.now)))
}

/// A count through the samples.
struct Count {
    /// The decode time at which the fragment begins, from the first `traf` of the track on.
    first: Option<u64>,
    earliest: Option<i128>,
    first_flags: Option<u32>,
    /// The decode time of the next sample.
    now: u64,
}

/// Reads a `traf` box (§8.8.6), if it is of the reference track.
fn track_fragment(traf: &Whole, reference: &Reference, count: &mut Count) -> Result<(), Error> {
    let tfhd = traf.need(b"tfhd", "it has no tfhd box")?;
    let (_, flags, mut numbers) = tfhd.full()?;
    if numbers.u32()? != reference.track {
        return Ok(());
    }
    numbers.take(if flags & 0x1 != 0 { 8 } else { 0 } + if flags & 0x2 != 0 { 4 } else { 0 })?;
    let duration = numbers.u32_if(flags & 0x8 != 0)?.unwrap_or(reference.defaults.duration);
    numbers.u32_if(flags & 0x10 != 0)?;
    let sample = numbers.u32_if(flags & 0x20 != 0)?.unwrap_or(reference.defaults.flags);
    if let Some(tfdt) = traf.child(b"tfdt")? {
        let (version, _, mut numbers) = tfdt.full()?;
        count.now = numbers.wide(version == 1)?;
    }
    count.first.get_or_insert(count.now);
    // Duration-is-empty: there are no samples for this long (§8.8.7).
    if flags & 0x01_0000 != 0 {
        count.pass(u64::from(duration), tfhd.at, tfhd.kind)?;
    }
    for trun in traf.all(b"trun") {
        run(&trun?, Defaults { duration, flags: sample }, count)?;
    }
    Ok(())
}

/// Reads a `trun` box (§8.8.8).
fn run(trun: &Whole, defaults: Defaults, count: &mut Count) -> Result<(), Error> {
    let (_, flags, mut numbers) = trun.full()?;
    let samples = numbers.u32()?;
    numbers.u32_if(flags & 0x1 != 0)?;
    let first_flags = numbers.u32_if(flags & 0x4 != 0)?;
    if flags & 0xF00 == 0 {
        if samples > 0 {
            count.sample(0, first_flags.unwrap_or(defaults.flags));
        }
        return count.pass(u64::from(samples) * u64::from(defaults.duration), trun.at, trun.kind);
    }
    for sample in 0..samples {
        let duration = numbers.u32_if(flags & 0x100 != 0)?.unwrap_or(defaults.duration);
        numbers.u32_if(flags & 0x200 != 0)?;
        let own_flags = numbers.u32_if(flags & 0x400 != 0)?;
        let offset = numbers.u32_if(flags & 0x800 != 0)?.unwrap_or(0);
        let first_flags = first_flags.filter(|_| sample == 0);
        count.sample(offset.cast_signed(), first_flags.or(own_flags).unwrap_or(defaults.flags));
        count.pass(u64::from(duration), trun.at, trun.kind)?;
    }
    Ok(())
}

impl Count {
    fn sample(&mut self, offset: i32, flags: u32) {
        let time = i128::from(self.now) + i128::from(offset);
        self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        self.first_flags.get_or_insert(flags);
    }

    fn pass(&mut self, duration: u64, at: u64, kind: Name) -> Result<(), Error> {
        let overflow = Error::Damaged { at, kind, what: "its times are beyond 64 bits" };
        self.now = self.now.checked_add(duration).ok_or(overflow)?;
        Ok(())
    }
}
