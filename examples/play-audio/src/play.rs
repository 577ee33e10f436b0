//! Decoding a session, from the first byte that is there.

use std::error::Error;
use std::time::{Duration, Instant};

use mediahost_client::blocking::Session;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error as Damage;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::{Time, TimeBase, Timestamp};

use crate::arguments::Arguments;
use crate::levels::Levels;
use crate::opus;
use crate::report::{Arrived, Progress, Report, Segment};
use crate::source::Source;

/// How often people see how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Decodes everything, then again from each place that was asked for.
pub fn play(
    session: &Session,
    arguments: &Arguments,
    mut tell: impl FnMut(&Progress),
) -> Result<Report, Box<dyn Error>> {
    let mut player = Player::open(session, &arguments.url)?;
    let mut segments = vec![player.segment(None, &mut tell)?];
    let report = player.report()?;
    for &seconds in &arguments.seeks {
        // Of its own, since Symphonia 0.6 does not seek in MP4 once it has come to the end.
        segments.push(Player::open(session, &arguments.url)?.segment(Some(seconds), &mut tell)?);
    }
    Ok(Report { segments, ..report })
}

/// A decoder with what it needs.
pub struct Player<'a> {
    session: &'a Session,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    time_base: TimeBase,
    duration_s: Option<f64>,
    rate: u32,
    channels: usize,
    /// How much had arrived when the first sample came out.
    at_first_sample: Option<Arrived>,
}

impl<'a> Player<'a> {
    /// Nobody waits for the session to be ready: the stream gives what there is.
    fn open(session: &'a Session, url: &str) -> Result<Player<'a>, Box<dyn Error>> {
        let source = Source(session.stream()?);
        let mut hint = Hint::new();
        if let Some((_, extension)) = url.split(['?', '#']).next().and_then(|path| path.rsplit_once('.')) {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(Box::new(source), Default::default());
        let format = symphonia::default::get_probe().probe(
            &hint,
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )?;
        let track = format.default_track(TrackType::Audio).ok_or("there is no sound in it")?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio()).ok_or("its codec is unknown")?;
        let rate = params.sample_rate.ok_or("its sample rate is unknown")?;
        let time_base = track.time_base.or(TimeBase::try_from_recip(rate)).ok_or("its clock is unknown")?;
        let duration = track.duration.and_then(|duration| time_base.calc_duration(duration));
        Ok(Player {
            session,
            decoder: decoder(params)?,
            track: track.id,
            time_base,
            duration_s: duration.map(|time| time.as_secs_f64()),
            rate,
            channels: params.channels.as_ref().map_or(0, |channels| channels.count()),
            at_first_sample: None,
            format,
        })
    }

    /// Decodes from a second, or from the beginning, to the end.
    fn segment(&mut self, from_s: Option<f64>, tell: &mut impl FnMut(&Progress)) -> Result<Segment, Box<dyn Error>> {
        let wanted = from_s.map(|seconds| self.seek(seconds)).transpose()?;
        let (mut whole, mut recent) = (Levels::default(), Levels::default());
        let (mut frames, mut damaged) = (0, 0);
        let mut samples: Vec<f32> = Vec::new();
        let mut told = Instant::now();
        while let Some(packet) = self.format.next_packet()? {
            if packet.track_id != self.track {
                continue;
            }
            let sound = match self.decoder.decode(&packet) {
                Ok(sound) => sound,
                // One packet is lost; the next ones may be good.
                Err(Damage::DecodeError(_)) => {
                    damaged += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            (self.rate, self.channels) = (sound.spec().rate(), sound.spec().channels().count());
            sound.copy_to_vec_interleaved(&mut samples);
            // Seeking leads to the packet before.
            let early = wanted.map_or(0, |wanted| self.frames_between(packet.pts, wanted));
            let heard = &samples[samples.len().min(early * self.channels)..];
            if heard.is_empty() {
                continue;
            }
            if self.at_first_sample.is_none() {
                self.at_first_sample = Some(Arrived::of(&self.session.stats()?));
            }
            // Here the samples would go to a sound card.
            whole.add(heard);
            recent.add(heard);
            frames += (heard.len() / self.channels.max(1)) as u64;
            if told.elapsed() >= TELL_EVERY {
                let at_s = self.time_base.calc_time(packet.pts).map_or(0.0, |time| time.as_secs_f64());
                let arrived = Arrived::of(&self.session.stats()?);
                tell(&Progress { at_s, duration_s: self.duration_s, level_db: recent.peak_db(), arrived });
                (told, recent) = (Instant::now(), Levels::default());
            }
        }
        Ok(Segment::new(from_s, frames, self.rate, damaged, &whole))
    }

    /// Leads to a second or to a little before it; the answer is what was wanted.
    fn seek(&mut self, seconds: f64) -> Result<Timestamp, Box<dyn Error>> {
        let time = Time::try_from_secs_f64(seconds).ok_or("there is no such second")?;
        let to = SeekTo::Time { time, track_id: Some(self.track) };
        let found = self.format.seek(SeekMode::Accurate, to)?;
        self.decoder.reset();
        Ok(found.required_ts)
    }

    fn frames_between(&self, from: Timestamp, to: Timestamp) -> usize {
        let seconds = |at| self.time_base.calc_time(at).map_or(0.0, |time| time.as_secs_f64());
        ((seconds(to) - seconds(from)).max(0.0) * f64::from(self.rate)).round() as usize
    }

    fn report(self) -> Result<Report, Box<dyn Error>> {
        let info = self.session.info()?;
        Ok(Report {
            codec: self.decoder.codec_info().short_name.into(),
            container: self.format.format_info().short_name.into(),
            sample_rate: self.rate,
            channels: self.channels,
            host_container: info.container,
            host_duration_ms: info.duration_ms,
            length: info.length,
            at_first_sample: self.at_first_sample.ok_or("not a single sample could be decoded")?,
            segments: Vec::new(),
        })
    }
}

/// Symphonia's decoders and the one for Opus.
fn decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Damage> {
    let mut codecs = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<opus::Decoder>();
    codecs.make_audio_decoder(params, &AudioDecoderOptions::default())
}
