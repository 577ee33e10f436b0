//! Opus for Symphonia, which finds it in Ogg and does not decode it: the crate `ruopus` behind Symphonia's trait.

use ruopus::OpusDecoder;
use symphonia::core::audio::{AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, GenericAudioBufferRef};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, FinalizeResult};
use symphonia::core::codecs::registry::{RegisterableAudioDecoder, SupportedAudioCodec};
use symphonia::core::errors::{Error, Result, unsupported_error};
use symphonia::core::packet::PacketRef;

/// Opus is always decoded at this rate, whatever was recorded (RFC 7845 §5.1).
const RATE: u32 = 48_000;
/// The longest packet (RFC 6716 §3.1): 120 ms.
const MOST_FRAMES: usize = RATE as usize * 120 / 1000;
/// Where the identification header has the samples to skip at the beginning (RFC 7845 §5.1).
const PRE_SKIP: std::ops::Range<usize> = 10..12;

pub struct Decoder {
    decoder: OpusDecoder,
    params: AudioCodecParameters,
    channels: usize,
    buffer: AudioBuffer<f32>,
    /// Frames yet to be skipped.
    skip: usize,
}

impl AudioDecoder for Decoder {
    fn reset(&mut self) {
        self.decoder = OpusDecoder::new(self.channels);
        // What is skipped lies before the first sample, and a seek leads behind it.
        self.skip = 0;
    }

    fn codec_info(&self) -> &CodecInfo {
        &Decoder::supported_codecs()[0].info
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        let damaged = |_| Error::DecodeError("opus: a packet cannot be decoded");
        let samples = self.decoder.decode_packet(packet.data).map_err(damaged)?;
        let frames = samples.len() / self.channels;
        if frames > MOST_FRAMES {
            return Err(Error::DecodeError("opus: a packet is longer than any"));
        }
        self.buffer.clear();
        self.buffer.render_uninit(Some(frames));
        self.buffer.copy_from_slice_interleaved(&samples);
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        let trimmed = |duration: symphonia::core::units::Duration| duration.get() as usize;
        self.buffer.trim(skipped + trimmed(packet.trim_start), trimmed(packet.trim_end));
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

impl RegisterableAudioDecoder for Decoder {
    fn try_registry_new(params: &AudioCodecParameters, _: &AudioDecoderOptions) -> Result<Box<dyn AudioDecoder>> {
        let channels = params.channels.clone().filter(|channels| (1..=2).contains(&channels.count()));
        let Some(channels) = channels else {
            return unsupported_error("opus: more than two channels, which this example does not decode");
        };
        let count = channels.count();
        let head = params.extra_data.as_deref().unwrap_or_default();
        let skip = head.get(PRE_SKIP).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        Ok(Box::new(Decoder {
            decoder: OpusDecoder::new(count),
            params: params.clone(),
            channels: count,
            buffer: AudioBuffer::new(AudioSpec::new(RATE, channels), MOST_FRAMES),
            skip: skip.into(),
        }))
    }

    fn supported_codecs() -> &'static [SupportedAudioCodec] {
        const INFO: CodecInfo = CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] };
        &[SupportedAudioCodec { id: CODEC_ID_OPUS, info: INFO }]
    }
}
