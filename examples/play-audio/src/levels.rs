//! How loud samples are, and a number by which to tell two decodings apart.

/// What is below this is silence, in decibels of full scale.
pub const SILENCE_DB: f64 = -96.0;

/// FNV-1a, 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Counts samples from -1 to 1.
#[derive(Clone, Debug)]
pub struct Levels {
    samples: u64,
    peak: f32,
    squares: f64,
    checksum: u64,
}

impl Default for Levels {
    fn default() -> Levels {
        Levels { samples: 0, peak: 0.0, squares: 0.0, checksum: FNV_BASIS }
    }
}

impl Levels {
    pub fn add(&mut self, samples: &[f32]) {
        self.samples += samples.len() as u64;
        for &sample in samples {
            self.peak = self.peak.max(sample.abs());
            self.squares += f64::from(sample) * f64::from(sample);
            for byte in as_16_bit(sample).to_le_bytes() {
                self.checksum = (self.checksum ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
            }
        }
    }

    /// The loudest sample, in decibels of full scale.
    pub fn peak_db(&self) -> f64 {
        decibels(f64::from(self.peak))
    }

    /// The root of the mean square, in decibels of full scale.
    pub fn rms_db(&self) -> f64 {
        decibels((self.squares / self.samples.max(1) as f64).sqrt())
    }

    /// FNV-1a of the samples as 16-bit little-endian integers, interleaved: the checksum of what
    /// `ffmpeg -f s16le` writes, if the codec is lossless and has no more bits.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }
}

fn as_16_bit(sample: f32) -> i16 {
    // Out of range it becomes the nearest that there is.
    (sample * 32768.0).round() as i16
}

fn decibels(amplitude: f64) -> f64 {
    (20.0 * amplitude.log10()).max(SILENCE_DB)
}

/// A bar as long as a level is high.
pub fn meter(db: f64, width: usize) -> String {
    const RANGE_DB: f64 = 48.0;
    let filled = ((1.0 + db / RANGE_DB).clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("{}{}", "█".repeat(filled), "·".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_wave_is_as_loud_as_its_peak() {
        let mut levels = Levels::default();
        levels.add(&[0.5, -0.5, 0.5, -0.5]);
        assert!((levels.peak_db() + 6.02).abs() < 0.01 && (levels.rms_db() + 6.02).abs() < 0.01, "{levels:?}");
        let nothing = Levels::default();
        assert_eq!((nothing.peak_db(), nothing.rms_db()), (SILENCE_DB, SILENCE_DB));
    }

    #[test]
    fn the_checksum_is_that_of_16_bit_samples() {
        let (mut whole, mut parts) = (Levels::default(), Levels::default());
        whole.add(&[0.0, 1.0, -1.0]);
        parts.add(&[0.0]);
        parts.add(&[1.0, -1.0]);
        assert_eq!(whole.checksum(), parts.checksum());
        let bytes = [0x00_u8, 0x00, 0xff, 0x7f, 0x00, 0x80];
        let expected = bytes.iter().fold(FNV_BASIS, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
        assert_eq!(whole.checksum(), expected);
    }

    #[test]
    fn a_meter_has_its_width() {
        for (db, filled) in [(0.0, 8), (-24.0, 4), (-48.0, 0), (SILENCE_DB, 0), (3.0, 8)] {
            let bar = meter(db, 8);
            assert_eq!((bar.chars().count(), bar.matches('█').count()), (8, filled), "{db}");
        }
    }
}
