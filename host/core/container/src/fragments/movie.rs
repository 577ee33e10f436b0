//! The movie box: which tracks there are, their clocks, and what fragments leave to it (ISO/IEC 14496-12 §8.2 to §8.4,
//! §8.6, §8.8.1 to §8.8.3).
//!
//! Owns: telling a fragmented film, the choice of the track by which time is told, the defaults of samples.
//! Leaves to others: codecs, the sample tables of classic films.

use std::num::NonZeroU32;

use super::boxes::Whole;
use super::fragment::Samples;
use super::{Error, MAX_TRACKS, Media, Timescale, Track};

/// What every fragment needs to know of the movie box.
#[derive(Clone, Debug)]
pub(super) struct Movie {
    pub(super) tracks: Vec<Track>,
    /// The track by which time is told.
    pub(super) reference: Reference,
}

/// The track by which time is told: the first with pictures, else the first with sound, else the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    pub(super) track: u32,
    pub(super) timescale: Timescale,
    /// What turns a composition time into a presentation time: the edit list (§8.6.6).
    pub(super) shift: i128,
    /// The samples in the movie box itself: films that are fragmented from the second fragment on.
    pub(super) samples: Option<Samples>,
    pub(super) defaults: Defaults,
}

/// What `trex` says of samples that say nothing themselves (§8.8.3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) flags: u32,
}

impl Movie {
    /// Reads a movie box; none if it has no `mvex`, the mark of a film with fragments (§8.8.1).
    pub(super) fn parse(moov: Whole) -> Result<Option<Movie>, Error> {
        let Some(mvex) = moov.child(b"mvex")? else { return Ok(None) };
        let mut tracks: Vec<(Track, Whole)> = Vec::new();
        for trak in moov.all(b"trak") {
            let trak = trak?;
            if tracks.len() == MAX_TRACKS {
                return Err(Error::Limit { at: trak.at, kind: trak.kind, what: "tracks", most: MAX_TRACKS });
            }
            tracks.push((track(&trak)?, trak));
        }
        let first = |media| tracks.iter().find(|(track, _)| track.media == media);
        let chosen = first(Media::Video).or_else(|| first(Media::Audio)).or_else(|| tracks.first());
        let Some((track, trak)) = chosen else { return Err(moov.damaged("it has no track")) };
        let shift = shift(&moov, trak, track.timescale)?;
        let reference = Reference {
            track: track.id,
            timescale: track.timescale,
            shift,
            samples: samples(trak, shift)?,
            defaults: defaults(&mvex, track.id)?,
        };
        Ok(Some(Movie { tracks: tracks.into_iter().map(|(track, _)| track).collect(), reference }))
    }
}

/// `tkhd` (§8.3.2), `mdhd` (§8.4.2) and `hdlr` (§8.4.3) of a track.
fn track(trak: &Whole) -> Result<Track, Error> {
    let (version, _, mut numbers) = trak.need(b"tkhd", "it has no tkhd box")?.full()?;
    numbers.take(if version == 1 { 16 } else { 8 })?;
    let id = numbers.u32()?;
    let mdia = trak.need(b"mdia", "it has no mdia box")?;
    let mdhd = mdia.need(b"mdhd", "it has no mdhd box")?;
    let timescale = NonZeroU32::new(timescale(&mdhd)?).ok_or_else(|| mdhd.damaged("its timescale is zero"))?;
    let (_, _, mut numbers) = mdia.need(b"hdlr", "it has no hdlr box")?.full()?;
    numbers.take(4)?;
    let media = match numbers.take(4)? {
        b"vide" => Media::Video,
        b"soun" => Media::Audio,
        _ => Media::Other,
    };
    Ok(Track { id, media, timescale: Timescale(timescale) })
}

/// The timescale of `mvhd` (§8.2.2) and of `mdhd` (§8.4.2).
fn timescale(header: &Whole) -> Result<u32, Error> {
    let (version, _, mut numbers) = header.full()?;
    numbers.take(if version == 1 { 16 } else { 8 })?;
    numbers.u32()
}

/// By how much the edit list moves the track: empty edits delay it, and the first other one cuts its beginning off
/// (§8.6.6). What follows would need the whole list to be played and is left out.
fn shift(moov: &Whole, trak: &Whole, media: Timescale) -> Result<i128, Error> {
    let Some(edts) = trak.child(b"edts")? else { return Ok(0) };
    let Some(elst) = edts.child(b"elst")? else { return Ok(0) };
    let movie = match moov.child(b"mvhd")? {
        Some(mvhd) => NonZeroU32::new(timescale(&mvhd)?).map(Timescale),
        None => None,
    };
    let (version, _, mut numbers) = elst.full()?;
    let is_wide = version == 1;
    let empty = if is_wide { u64::MAX } else { u64::from(u32::MAX) };
    let mut delay = 0u64;
    for _ in 0..numbers.u32()? {
        let duration = numbers.wide(is_wide)?;
        let time = numbers.wide(is_wide)?;
        numbers.take(4)?;
        let delayed = movie.map_or(0, |movie| movie.convert(delay, media));
        if time != empty {
            return Ok(i128::from(delayed) - i128::from(time));
        }
        delay = delay.saturating_add(duration);
    }
    Ok(0)
}

/// What the sample tables say (§8.6.1.2, §8.6.1.3): the sum of `stts`, and the first offset of `ctts`. The first sample
/// is taken for a sync sample, and for the first to be presented.
fn samples(trak: &Whole, shift: i128) -> Result<Option<Samples>, Error> {
    let mut stbl = *trak;
    for kind in [b"mdia", b"minf", b"stbl"] {
        let Some(child) = stbl.child(kind)? else { return Ok(None) };
        stbl = child;
    }
    let Some(stts) = stbl.child(b"stts")? else { return Ok(None) };
    let (_, _, mut numbers) = stts.full()?;
    let mut sum = 0u64;
    for _ in 0..numbers.u32()? {
        sum = sum.saturating_add(u64::from(numbers.u32()?) * u64::from(numbers.u32()?));
    }
    let mut offset = 0;
    if let Some(ctts) = stbl.child(b"ctts")? {
        let (_, _, mut numbers) = ctts.full()?;
        if numbers.u32()? > 0 {
            numbers.take(4)?;
            offset = numbers.u32()?.cast_signed();
        }
    }
    Ok((sum > 0).then(|| Samples::new(i128::from(offset) + shift, sum, true, sum)))
}

/// The `trex` of a track (§8.8.3); without one the defaults are zero, and each sample has to speak for itself.
fn defaults(mvex: &Whole, track: u32) -> Result<Defaults, Error> {
    for trex in mvex.all(b"trex") {
        let (_, _, mut numbers) = trex?.full()?;
        let id = numbers.u32()?;
        let (_, duration, _, flags) = (numbers.u32()?, numbers.u32()?, numbers.u32()?, numbers.u32()?);
        if id == track {
            return Ok(Defaults { duration, flags });
        }
    }
    Ok(Defaults::default())
}
