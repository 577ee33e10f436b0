//! Finding where a file is at a time, by looking at few places of it.
//!
//! Between two places of known time the rate is taken to be constant; what is seen there brings the two closer together,
//! until the place is known well enough to name what a player reads when it starts at that time.
//!
//! Owns: which places are looked at and how many, what is named of the file around the place.
//! Leaves to others: reading times out of bytes (the plugins), fetching (the host).
//!
//! Invariant: at most [`MAX_PROBES`] places are looked at, each between the two of known time that are closest so far.

use super::{Layout, SeekPoint, Stop, Subject};

/// Places that one search looks at, at most: each costs a round.
pub const MAX_PROBES: u32 = 6;
/// A place this close in front of the time is good.
pub const NEAR_MS: u64 = 1_000;
/// What a player wants to have before it begins, from the place on.
const AHEAD_MS: u64 = 2_000;
/// In front of the place so much is named whatever it takes, as far as the bounds allow, and more of it only up to so many
/// bytes: most films of high rates have a key frame every other second.
const SURE_LEAD_MS: u64 = 3_000;
const CHEAP_LEAD_BYTES: u64 = 1 << 20;
/// The name of the range.
const WHAT: &str = "start";

/// How a search looks.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// Bytes of a look.
    pub bytes: u64,
    /// Bytes of a look right behind others that found no time, at most: it is four times the one before.
    pub most_bytes: u64,
}

/// What is named around the place.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// How much in front of the place, in milliseconds: players look for a picture that needs no other. Where that is
    /// many bytes it is less.
    pub lead_ms: u64,
    /// How far the place may be from where it seems to be, in bytes.
    pub slack: u64,
    /// Bytes in all, at least and at most. Between places that are closer together than the least nothing more is looked
    /// for: everything there is named.
    pub least: u64,
    pub most: u64,
}

impl Reach {
    /// For sound, of which two seconds are few bytes.
    pub const SOUND: Reach = Reach { lead_ms: NEAR_MS, slack: 0, least: 128 << 10, most: 1 << 20 };
    /// For pictures, of which one in ten seconds needs no other, if not more.
    pub const PICTURES: Reach = Reach { lead_ms: 10_000, slack: 0, least: 1 << 20, most: 6 << 20 };

    /// For the tracks of a layout.
    pub fn of(layout: &Layout) -> Reach {
        if layout.track_of("video").is_some() { Reach::PICTURES } else { Reach::SOUND }
    }
}

/// A time that is looked for, and the places around it.
#[derive(Clone, Debug)]
pub struct Search {
    time_ms: u64,
    low: SeekPoint,
    high: SeekPoint,
    /// Where the media begin and end.
    first: u64,
    end: u64,
    /// Of the whole, and as far as it is known around the place.
    bytes_per_second: u64,
    bytes_per_second_here: u64,
    /// Looking at places did not find the one.
    is_lost: bool,
}

impl Search {
    /// A time between where the media begin and where they end; one beyond the end stands for what is there last. None
    /// when nothing is between the two.
    pub fn new(time_ms: u64, first: SeekPoint, end: SeekPoint) -> Option<Search> {
        let span_ms = end.time_ms.checked_sub(first.time_ms).filter(|span| *span > 0)?;
        let bytes = end.offset.checked_sub(first.offset).filter(|bytes| *bytes > 0)?;
        Some(Search {
            time_ms: time_ms.clamp(first.time_ms, end.time_ms - NEAR_MS.min(span_ms)),
            low: first,
            high: end,
            first: first.offset,
            end: end.offset,
            bytes_per_second: scaled(bytes, 1000, span_ms),
            bytes_per_second_here: 0,
            is_lost: false,
        })
    }

    /// Takes the places into account that lie between those that are known. Returns whether there was one.
    pub fn learn(&mut self, places: &[SeekPoint]) -> bool {
        let mut any = false;
        for place in places {
            let times = self.low.time_ms..=self.high.time_ms;
            if !times.contains(&place.time_ms) || !(self.low.offset..self.high.offset).contains(&place.offset) {
                continue;
            }
            any = true;
            *(if place.time_ms <= self.time_ms { &mut self.low } else { &mut self.high }) = *place;
        }
        let span_ms = self.high.time_ms - self.low.time_ms;
        if any && span_ms >= NEAR_MS {
            self.bytes_per_second_here = scaled(self.high.offset - self.low.offset, 1000, span_ms);
        }
        any
    }

    /// Looks at places until the one is found. `look` is given bytes and their offset, and returns the places in them
    /// of which it can tell the time, in their order.
    pub fn narrow(
        &mut self,
        subject: &Subject,
        probes: &Probes,
        reach: &Reach,
        mut look: impl FnMut(u64, &[u8]) -> Vec<SeekPoint>,
    ) -> Result<(), Stop> {
        // What comes behind a look that found no time, and where such looks began.
        let (mut behind, mut void) = (None, u64::MAX);
        // Where the last look was not worth a halving, what was known before it.
        let mut crept = None;
        for _ in 0..MAX_PROBES {
            if self.is_found(reach.least) {
                break;
            }
            let next = behind.or_else(|| Some((self.aim(crept.take(), void, probes.bytes)?, probes.bytes)));
            let Some((at, length)) = next.filter(|(at, _)| *at < self.high.offset) else { break };
            let before = (self.low, self.high);
            let length = length.min(self.high.offset - at);
            subject.want(&[(at, length)])?;
            let places = look(at, &subject.read(at, length)?);
            if self.learn(&places) {
                let halved = self.high.offset - self.low.offset <= (before.1.offset - before.0.offset) / 2;
                crept = Some(before).filter(|_| !halved);
                behind = None;
            } else {
                void = if behind.is_none() { at } else { void };
                let stop = at.saturating_add(length);
                // A time that does not fit is one of streams that are not quite in step, or of a clock that was set anew.
                let goes_on = places.is_empty() && stop < self.high.offset;
                behind = goes_on.then_some((stop, length.saturating_mul(4).min(probes.most_bytes)));
            }
        }
        self.is_lost = !self.is_found(reach.least);
        Ok(())
    }

    /// Names what a player reads when it starts there.
    pub fn name(&self, layout: &mut Layout, reach: &Reach) {
        // Everything between the two places, if that is little, or all that could be found out.
        let near_bytes = if self.is_lost { reach.most - reach.most / 4 } else { reach.least };
        let is_narrow = self.high.offset - self.low.offset <= near_bytes;
        let at = if self.is_found(near_bytes) { self.low.offset } else { self.between(self.time_ms) };
        let slack = reach.slack.min(reach.most / 2);
        let bytes = |ms: u64| scaled(self.bytes_per_second.max(self.bytes_per_second_here), ms, 1000);
        let sure = bytes(reach.lead_ms.min(SURE_LEAD_MS));
        let most_lead = if self.is_lost { reach.most / 4 } else { reach.most - reach.most / 3 };
        let lead = bytes(reach.lead_ms).min(sure.max(CHEAP_LEAD_BYTES)).min(most_lead).saturating_add(slack);
        // What was found may lie so much in front.
        let late = self.time_ms - if at == self.low.offset { self.low.time_ms } else { self.time_ms };
        let ahead = bytes(AHEAD_MS.saturating_add(late.min(NEAR_MS))).saturating_add(slack);
        let offset = at.saturating_sub(lead).max(self.first);
        let stop = at.saturating_add(ahead).max(if is_narrow { self.high.offset } else { 0 });
        let length = (stop - offset).clamp(reach.least, reach.most);
        layout.need_first(offset, length.min(self.end - offset), WHAT);
    }

    fn is_found(&self, near_bytes: u64) -> bool {
        self.high.offset - self.low.offset <= near_bytes || self.time_ms - self.low.time_ms <= NEAR_MS
    }

    /// Where to look next: a little in front of the place, so that what is seen there is in front of it, too; not where
    /// no times are. Where the rate changes, leaping keeps this from creeping up on the place from one side.
    fn aim(&self, crept: Option<(SeekPoint, SeekPoint)>, void: u64, bytes: u64) -> Option<u64> {
        let at = match crept {
            Some(before) => self.leap(before),
            None => self.between(self.time_ms.saturating_sub(NEAR_MS / 2).max(self.low.time_ms)),
        };
        // What reaches to the end of what is looked at tells more than a part of it.
        let at = at.min(self.high.offset.saturating_sub(bytes)).max(self.low.offset);
        if at < void { Some(at) } else { void.checked_sub(bytes).filter(|at| *at > self.low.offset) }
    }

    /// Over the place to its other side: half as far again as it is at the rate of what was left behind, and not beyond
    /// the middle.
    fn leap(&self, before: (SeekPoint, SeekPoint)) -> u64 {
        let (low, high) = (self.low, self.high);
        let middle = low.offset.midpoint(high.offset);
        let far = |bytes, span_ms, left_ms: u64| scaled(bytes, left_ms.saturating_add(left_ms / 2 + NEAR_MS), span_ms);
        let (risen, fallen) = (low.offset - before.0.offset, before.1.offset - high.offset);
        if risen >= fallen {
            let far = far(risen, low.time_ms - before.0.time_ms, self.time_ms - low.time_ms);
            low.offset.saturating_add(far).min(middle)
        } else {
            let far = far(fallen, before.1.time_ms - high.time_ms, high.time_ms - self.time_ms);
            high.offset.saturating_sub(far).max(middle)
        }
    }

    /// The offset at a time between the two places.
    fn between(&self, ms: u64) -> u64 {
        let (bytes, span_ms) = (self.high.offset - self.low.offset, self.high.time_ms - self.low.time_ms);
        let past = scaled(bytes, ms.saturating_sub(self.low.time_ms), span_ms.max(1));
        self.low.offset + past.min(bytes.saturating_sub(1))
    }
}

/// `value × times ÷ by`, as far as it fits.
fn scaled(value: u64, times: u64, by: u64) -> u64 {
    let product = u128::from(value) * u128::from(times) / u128::from(by.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{DetectOptions, File, Window};
    use super::*;

    const PROBES: Probes = Probes { bytes: 100, most_bytes: 1600 };
    const REACH: Reach = Reach { lead_ms: 1_000, slack: 0, least: 50, most: 1_000 };

    fn place(offset: u64, time_ms: u64) -> SeekPoint {
        SeekPoint { time_ms, offset }
    }

    /// Searches a file whose every byte has a time, except where it has none.
    fn search(size: u64, time_ms: u64, time_of: impl Fn(u64) -> Option<u64>) -> (Search, u32) {
        let end_ms = time_of(size).unwrap();
        let windows = vec![Window { file: 0, offset: 0, bytes: vec![0; size as usize] }];
        let options = DetectOptions { start_ms: None, extra: Vec::new() };
        let subject = Subject::new(vec![File::of_size(Some(size))], windows, options);
        let mut search = Search::new(time_ms, place(0, 0), place(size, end_ms)).unwrap();
        let mut looks = 0;
        let look = |at: u64, bytes: &[u8]| {
            looks += 1;
            let times = (at..at + bytes.len() as u64).filter_map(|at| Some(place(at, time_of(at)?)));
            times.collect()
        };
        search.narrow(&subject, &PROBES, &REACH, look).unwrap();
        (search, looks)
    }

    #[test]
    fn steady_rates_cost_one_look() {
        for time_ms in [0, 700, 5_000, 500_000, 999_000, u64::MAX] {
            let (search, looks) = search(100_000, time_ms, |at| Some(at * 10));
            let expected = time_ms.min(999_000);
            assert!(looks <= 1 && expected - search.low.time_ms <= NEAR_MS, "{time_ms}: {looks} looks, {search:?}");
        }
    }

    #[test]
    fn rates_that_change_cost_a_few() {
        // Three quarters of the time in a quarter of the bytes.
        let time_of = |at: u64| Some(if at < 25_000 { at * 30 } else { 750_000 + (at - 25_000) * 10 / 3 });
        for time_ms in [10_000, 300_000, 600_000, 740_000, 760_000, 990_000] {
            let (search, looks) = search(100_000, time_ms, time_of);
            let (low, high) = (time_of(search.low.offset), time_of(search.high.offset));
            assert_eq!((low, high), (Some(search.low.time_ms), Some(search.high.time_ms)), "{time_ms}");
            assert!((search.low.time_ms..=search.high.time_ms).contains(&time_ms), "{time_ms}: {search:?}");
            let left = search.high.offset - search.low.offset;
            let is_found = search.is_found(REACH.least) || (search.is_lost && left < 100_000 / 8);
            assert!(is_found && looks <= MAX_PROBES, "{time_ms}: {looks} looks, {search:?}");
        }
    }

    #[test]
    fn looks_that_find_no_time_go_on_behind() {
        // The place is in the middle of what has no times.
        let (found, looks) = search(100_000, 500_000, |at| (!(49_900..50_050).contains(&at)).then_some(at * 10));
        assert_eq!((looks, found.low.offset, found.high.offset), (3, 49_899, 50_050), "{found:?}");
        let (lost, looks) = search(100_000, 500_000, |at| (at == 100_000).then_some(1_000_000));
        assert_eq!((looks, lost.low, lost.high), (MAX_PROBES, place(0, 0), place(100_000, 1_000_000)));
        // A clock that was set anew on the way.
        let anew = search(100_000, 500_000, |at| Some(if at == 100_000 { 1_000_000 } else { 9_000_000 })).0;
        assert_eq!((anew.low, anew.high), (lost.low, lost.high));
    }

    #[test]
    fn what_is_named() {
        let reach = Reach { least: 200, ..REACH };
        let named = |time_ms, places: &[SeekPoint], reach: &Reach| {
            let mut search = Search::new(time_ms, place(50, 0), place(10_050, 100_000)).unwrap();
            search.learn(places);
            let mut layout = Layout::new("x");
            search.name(&mut layout, reach);
            let range = layout.first.pop().unwrap();
            (range.offset, range.length)
        };
        assert_eq!(named(0, &[], &reach), (50, 200));
        assert_eq!(named(50_000, &[], &reach), (4_950, 300));
        assert_eq!(named(u64::MAX, &[], &reach), (9_850, 200));
        assert_eq!(named(50_000, &[], &Reach { slack: 100, ..reach }), (4_850, 500));
        assert_eq!(named(50_000, &[], &Reach { slack: u64::MAX, ..reach }), (4_450, 1_000));
        assert_eq!(named(50_000, &[place(6_000, 49_500)], &reach), (5_900, 350));
        // Ten seconds are 1000 bytes at this rate, and no more than two thirds of all are in front.
        assert_eq!(named(50_000, &[], &Reach { lead_ms: 10_000, most: 3_000, ..reach }), (4_050, 1_200));
        assert_eq!(named(50_000, &[], &Reach { lead_ms: 10_000, ..reach }), (4_383, 867));
        // What does not fit is not believed.
        assert_eq!(named(50_000, &[place(6_000, 200_000), place(20_000, 50_000)], &reach), (4_950, 300));
    }

    /// Ten seconds if they are cheap, else three, as far as the bounds go.
    #[test]
    fn the_lead_depends_on_the_rate() {
        for (bytes_per_second, lead) in
            [(10_000, 100_000), (100_000, 1_000_000), (200_000, 1 << 20), (500_000, 1_500_000), (5_000_000, 4 << 20)]
        {
            let end = place(bytes_per_second * 1_000, 1_000_000);
            let search = Search::new(500_000, place(0, 0), end).unwrap();
            let mut layout = Layout::new("x");
            search.name(&mut layout, &Reach::PICTURES);
            assert_eq!(bytes_per_second * 500 - layout.first[0].offset, lead, "{bytes_per_second} bytes per second");
        }
    }

    #[test]
    fn nothing_between() {
        assert!(Search::new(0, place(5, 0), place(5, 10)).is_none());
        assert!(Search::new(0, place(5, 10), place(50, 10)).is_none());
        let mut layout = Layout::new("x");
        let search = Search::new(u64::MAX, place(0, 0), place(u64::MAX, u64::MAX)).unwrap();
        search.name(&mut layout, &Reach::PICTURES);
        assert_eq!(layout.first.len(), 1);
    }
}
