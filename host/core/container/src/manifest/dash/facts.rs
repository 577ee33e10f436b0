//! What a DASH manifest says of its presentation.

use std::time::Duration;

use crate::manifest::{ByteRange, Freshness, seconds};

/// What the manifest says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Whether it is live (`type="dynamic"`).
    pub is_dynamic: bool,
    /// `mediaPresentationDuration`, or the sum of the periods where each says its own.
    pub duration: Option<Duration>,
    /// After this long there may be a new manifest; none: this one holds for the whole presentation.
    pub minimum_update_period: Option<Duration>,
    /// No segment is longer.
    pub max_segment_duration: Option<Duration>,
    /// How far back a live presentation reaches.
    pub time_shift_buffer_depth: Option<Duration>,
    /// How many periods it has.
    pub periods: usize,
    /// Whether some period or set stands elsewhere (`xlink:href`), so that what is here is not all.
    pub is_partial: bool,
    /// In the order of the manifest, periods one after the other.
    pub representations: Vec<Representation>,
}

/// One representation; what it does not say itself is its adaptation set's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Representation {
    /// Unique within its period.
    pub id: String,
    /// The period it is in, from 0.
    pub period: usize,
    /// Bits per second.
    pub bandwidth: Option<u64>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// As written: names of RFC 6381 with commas.
    pub codecs: Option<String>,
    /// The media type.
    pub mime: Option<String>,
    /// A language tag of RFC 5646.
    pub language: Option<String>,
}

impl Facts {
    /// Half the least time after which there may be a new manifest, while it is live: whoever asks again after that
    /// time has to be able to find it.
    pub fn freshness(&self) -> Freshness {
        match self.minimum_update_period {
            Some(period) if self.is_dynamic => Freshness::For(period / 2),
            _ => Freshness::Fixed,
        }
    }
}

/// A duration of XML Schema, such as `PT1H2M3.5S`. A year has 365 days and a month 30: manifests use neither.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim().strip_prefix('P')?;
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    if date.is_empty() && time.is_none() {
        return None;
    }
    let days = sum(date, &[('Y', 365 * DAY), ('M', 30 * DAY), ('D', DAY)])?;
    let rest = sum(time.unwrap_or_default(), &[('H', 3600), ('M', 60), ('S', 1)])?;
    days.checked_add(rest)
}

/// Seconds of a day.
const DAY: u32 = 24 * 3600;

/// The sum of numbers with these units, which come in their order.
fn sum(mut text: &str, units: &[(char, u32)]) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for (unit, unit_s) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            sum = sum.checked_add(seconds(number)?.checked_mul(*unit_s)?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

/// A range of bytes with both ends, `500-999`.
pub(super) fn range(text: &str) -> Option<ByteRange> {
    let (first, last) = text.trim().split_once('-')?;
    let start = first.parse().ok()?;
    if last.is_empty() {
        return Some(ByteRange { start, length: None });
    }
    let last: u64 = last.parse().ok()?;
    Some(ByteRange { start, length: Some(last.checked_sub(start)?.checked_add(1)?) })
}
