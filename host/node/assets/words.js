// How numbers, codecs and formats are written for people, and what browsers call them.

/** Three digits say enough; whole numbers beyond that keep theirs. */
export function count(value) {
  const precision = value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return new Intl.NumberFormat("en", precision).format(value);
}

/** "1.2 GB"; powers of a thousand, as the makers of disks and of links count. */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at++;
  }
  return `${count(at ? value : Math.round(value))} ${units[at]}`;
}

/** Bits per second as value and unit. */
export function rate(bps) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let at = 0;
  while (bps >= 999.5 && at < units.length - 1) {
    bps /= 1000;
    at++;
  }
  return [count(at ? bps : Math.round(bps)), units[at]];
}

export function duration(ms) {
  if (!ms) return null;
  const seconds = Math.round(ms / 1000);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function ago(ms) {
  if (!ms) return null;
  const minutes = Math.max(0, Math.floor((Date.now() - ms) / 60_000));
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor(minutes / 1440)} days ago`;
}

export function moment(ms) {
  const date = new Date(ms);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(
    undefined,
    today
      ? { hour: "2-digit", minute: "2-digit" }
      : { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
  );
}

export function frames(value) {
  if (!value) return null;
  const [up, down] = String(value).split("/").map(Number);
  return `${Math.round((up / (down || 1)) * 1000) / 1000} fps`;
}

export function channels(many) {
  return many ? ({ 1: "mono", 2: "stereo", 6: "5.1", 8: "7.1" }[many] ?? `${many} channels`) : null;
}

export function language(tag) {
  if (!tag || tag === "und") return null;
  try {
    return new Intl.DisplayNames("en", { type: "language" }).of(tag);
  } catch {
    return tag;
  }
}

export const CODEC_NAMES = {
  h264: "H.264",
  hevc: "H.265",
  av1: "AV1",
  vp8: "VP8",
  vp9: "VP9",
  mpeg2video: "MPEG-2",
  mpeg1video: "MPEG-1",
  mpeg4: "MPEG-4 Visual",
  vc1: "VC-1",
  aac: "AAC",
  mp3: "MP3",
  mp2: "MP2",
  flac: "FLAC",
  opus: "Opus",
  vorbis: "Vorbis",
  ac3: "AC-3",
  eac3: "E-AC-3",
  dts: "DTS",
  truehd: "TrueHD",
  alac: "ALAC",
  subrip: "SubRip",
  ass: "ASS",
  webvtt: "WebVTT",
  mov_text: "Timed text",
  hdmv_pgs_subtitle: "PGS",
  dvb_subtitle: "DVB",
  pcm_s16le: "PCM",
  pcm_s24le: "PCM 24 bit",
};

export function codecName(codec) {
  return CODEC_NAMES[codec?.toLowerCase()] ?? codec ?? "unknown";
}

export const FORMAT_NAMES = {
  hls: "HLS",
  dash: "DASH",
  mp4: "MP4",
  m4a: "MP4",
  "mov,mp4,m4a,3gp,3g2,mj2": "MP4",
  mov: "QuickTime",
  matroska: "Matroska",
  "matroska,webm": "Matroska",
  webm: "WebM",
  mpegts: "MPEG-TS",
  mp3: "MP3",
  flac: "FLAC",
  ogg: "Ogg",
  wav: "WAV",
  adts: "AAC",
  aac: "AAC",
};

const IMAGE_NAMES = {
  bluray: "Blu-ray image",
  dvdvideo: "DVD image",
  hddvd: "HD DVD image",
  iso9660: "ISO image",
  udf: "UDF image",
  zip: "ZIP",
  rar: "RAR",
  tar: "TAR",
};

export function formatName(session) {
  const format = FORMAT_NAMES[session.container?.toLowerCase()] ?? session.container ?? session.media_type ?? null;
  const images = session.image?.split("/").map((image) => IMAGE_NAMES[image] ?? image) ?? [];
  return [format, ...images.reverse()].filter(Boolean).join(" in ") || null;
}

export function capital(word = "") {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** A name for people: of a session that was not opened since the start, what its address says. */
export function nameOf(session) {
  if (session.name) return session.name;
  try {
    const last = new URL(session.url.replace(/\?…$/, "")).pathname.split("/").pop();
    if (last) return decodeURIComponent(last);
  } catch {
    // Not every address is a URL, and not every path is encoded well.
  }
  return hostOf(session.url) || "Untitled";
}

export function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return null;
  }
}

/** What `canPlayType` wants to hear for FFmpeg's codec names; an empty string is a codec no browser has. */
export const BROWSER_TYPES = {
  h264: 'video/mp4; codecs="avc1.640028"',
  hevc: 'video/mp4; codecs="hvc1.1.6.L120.B0"',
  av1: 'video/mp4; codecs="av01.0.08M.08"',
  vp8: 'video/webm; codecs="vp8"',
  vp9: 'video/webm; codecs="vp09.00.40.08"',
  mpeg2video: "",
  mpeg1video: "",
  vc1: "",
  mpeg4: "",
  wmv3: "",
  aac: 'audio/mp4; codecs="mp4a.40.2"',
  mp3: "audio/mpeg",
  flac: "audio/flac",
  opus: 'audio/webm; codecs="opus"',
  vorbis: 'audio/webm; codecs="vorbis"',
  ac3: 'audio/mp4; codecs="ac-3"',
  eac3: 'audio/mp4; codecs="ec-3"',
  dts: "",
  truehd: "",
  mlp: "",
  mp2: "",
};
