//! What was heard, for people and for programs.

use std::fmt;

use mediahost_client::Stats;
use serde::Serialize;

use crate::levels::{Levels, meter};

/// Letters of a meter.
const METER: usize = 24;

/// How much of the file the host had.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Arrived {
    /// Bytes in its cache, or on their way into it.
    pub bytes: u64,
    /// Bytes of the file, once that is known.
    pub length: Option<u64>,
}

impl Arrived {
    pub fn of(stats: &Stats) -> Arrived {
        // What came from the upstream is counted at once, what is in the cache once it is safe there.
        Arrived { bytes: stats.upstream_bytes.max(stats.cached_bytes), length: stats.length }
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(length) if length > 0 => {
                write!(f, "{} of {length} bytes ({:.0} %)", self.bytes, 100.0 * self.bytes as f64 / length as f64)
            }
            _ => write!(f, "{} bytes", self.bytes),
        }
    }
}

/// How far playing is.
pub struct Progress {
    pub at_s: f64,
    pub duration_s: Option<f64>,
    pub level_db: f64,
    pub arrived: Arrived,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.duration_s.map_or("?".into(), clock);
        let bar = meter(self.level_db, METER);
        write!(f, "{} / {whole}  {bar} {:6.1} dB  arrived {}", clock(self.at_s), self.level_db, self.arrived)
    }
}

/// One way through the song.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// The second that was asked for; none for the beginning.
    pub from_s: Option<f64>,
    /// Samples per channel.
    pub samples: u64,
    pub duration_s: f64,
    /// Packets that could not be decoded.
    pub damaged: u64,
    /// In decibels of full scale.
    pub peak_db: f64,
    pub rms_db: f64,
    /// See [`Levels::checksum`].
    pub checksum: String,
}

impl Segment {
    pub fn new(from_s: Option<f64>, samples: u64, rate: u32, damaged: u64, levels: &Levels) -> Segment {
        Segment {
            from_s,
            samples,
            duration_s: samples as f64 / f64::from(rate),
            damaged,
            peak_db: levels.peak_db(),
            rms_db: levels.rms_db(),
            checksum: format!("{:016x}", levels.checksum()),
        }
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub codec: String,
    pub container: String,
    pub sample_rate: u32,
    pub channels: usize,
    /// What the host says about the same file.
    pub host_container: Option<String>,
    pub host_duration_ms: Option<u64>,
    pub length: Option<u64>,
    pub at_first_sample: Arrived,
    pub segments: Vec<Segment>,
}

impl Report {
    pub fn json(&self) -> String {
        // Numbers and texts cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { codec, container, sample_rate, channels, .. } = self;
        writeln!(f, "{codec} in {container}, {sample_rate} Hz, {channels} channels")?;
        writeln!(f, "first sample after {}", self.at_first_sample)?;
        for segment in &self.segments {
            let Segment { samples, peak_db, rms_db, checksum, damaged, .. } = segment;
            writeln!(
                f,
                "from {}  {} ({samples} samples)  peak {peak_db:.1} dB  rms {rms_db:.1} dB  {}  {checksum}",
                clock(segment.from_s.unwrap_or(0.0)),
                clock(segment.duration_s),
                meter(*rms_db, METER),
            )?;
            if *damaged > 0 {
                writeln!(f, "  {damaged} packets could not be decoded")?;
            }
        }
        Ok(())
    }
}

fn clock(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut levels = Levels::default();
        levels.add(&[0.5, -0.5]);
        Report {
            codec: "flac".into(),
            container: "flac".into(),
            sample_rate: 44_100,
            channels: 2,
            host_container: Some("flac".into()),
            host_duration_ms: Some(40_000),
            length: Some(1000),
            at_first_sample: Arrived { bytes: 250, length: Some(1000) },
            segments: vec![Segment::new(Some(75.04), 44_100, 44_100, 1, &levels)],
        }
    }

    #[test]
    fn people_read_it() {
        let text = report().to_string();
        for part in ["250 of 1000 bytes (25 %)", "from 01:15.0", "00:01.0 (44100 samples)", "-6.0 dB", "1 packets"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn programs_read_it() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["at_first_sample"]["bytes"], 250);
        assert_eq!(json["segments"][0]["samples"], 44_100);
        assert_eq!(json["segments"][0]["from_s"], 75.04);
    }
}
