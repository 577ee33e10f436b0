//! Small good files of every format, made by hand, so that the same seed breaks the same bytes everywhere.
//!
//! Owns: the bytes of the good files.
//! Leaves to others: breaking them.

use super::archives::{Packed, Zipped, pax, rar, tar_member, zip};
use super::discs::{TitleSet, cell, clip, manager, packs, part, playlist, stream};

/// A file, and those that lie beside it; names are without folders.
pub type Good = Vec<(String, Vec<u8>)>;

/// The good files of a detector.
pub fn of(detector: &str) -> Vec<Good> {
    let alone =
        |files: Vec<(&str, Vec<u8>)>| files.into_iter().map(|(name, bytes)| vec![(name.into(), bytes)]).collect();
    match detector {
        "detect-mp4" => alone(mp4()),
        "detect-matroska" => alone(vec![("film.mkv", matroska(true)), ("film.webm", matroska(false))]),
        "detect-mpegts" => alone(vec![("film.ts", ts(188)), ("film.m2ts", ts(192)), ("film.trp", ts(204))]),
        "detect-mpegps" => alone(vec![("film.mpg", ps()), ("disc.vob", packs(6))]),
        "detect-avi" => alone(vec![("film.avi", avi(false)), ("film.divx", avi(true))]),
        "detect-flv" => alone(vec![("film.flv", flv(true)), ("film.flv", flv(false))]),
        "detect-audio" => alone(audio()),
        "detect-disc" => {
            alone(vec![("dvd.iso", iso(&dvd())), ("film.iso", iso(&blu_ray())), ("film.udf", udf(&blu_ray()))])
        }
        "detect-archive" => archives(),
        other => panic!("there are no good files for {other}: add some"),
    }
}

/// Files at the bounds of what detectors read: long tables, patterns that invite to look at the same bytes again and
/// again. Each is a name, the length of the file, and pieces of it; the rest is zeros.
pub fn heavy(detector: &str) -> Vec<(&'static str, Sparse)> {
    match detector {
        "detect-mp4" => vec![("long-moov.mp4", whole(long_movie()))],
        "detect-matroska" => vec![
            ("long-cues.mkv", whole(long_cues())),
            ("clusters.mkv", tail_of(matroska_head(), nested_clusters(), 8 << 20)),
            ("checksums.mkv", tail_of(matroska_head(), nested_checksums(), 8 << 20)),
        ],
        "detect-mpegts" => vec![("syncs.ts", whole([ts(188), vec![0x47; 3 << 20]].concat()))],
        "detect-mpegps" => vec![
            ("codes.mpg", whole([ps(), [0, 0, 1, 0xE0, 0, 0].repeat(1 << 19)].concat())),
            ("zeros.mpg", whole([ps(), pes(0xE0, 90_000, &[0; 512]).repeat(1 << 12)].concat())),
            ("packs.mpg", whole([ps(), [0, 0, 1, 0xBA, 0x44].repeat(1 << 19)].concat())),
            ("sets.mpg", whole([ps(), [0, 0, 1, 0x67].repeat(1 << 19)].concat())),
        ],
        "detect-avi" => vec![("long-index.avi", whole(long_avi())), ("long-ix.avi", long_open_dml())],
        "detect-flv" => vec![
            ("long-metadata.flv", whole(long_metadata())),
            ("tags.flv", whole([flv(false), [9, 0, 0, 1].repeat(1 << 19)].concat())),
        ],
        "detect-audio" => vec![
            ("junk.mp3", whole([vec![0xFF; 16 << 10], mp3()].concat())),
            ("long-table.flac", whole(flac(58_000))),
            ("pages.ogg", whole([ogg(), b"OggS\0".repeat(1 << 18)].concat())),
        ],
        "detect-disc" => vec![("folders.iso", whole(iso(&crowd())))],
        "detect-archive" => vec![("many.zip", whole(many_members())), ("many.tar", whole(many_headers()))],
        other => panic!("nothing is at the bounds of {other}: add something"),
    }
}

/// A length, and pieces at offsets.
pub struct Sparse {
    pub length: u64,
    pub pieces: Vec<(u64, Vec<u8>)>,
}

fn whole(bytes: Vec<u8>) -> Sparse {
    Sparse { length: bytes.len() as u64, pieces: vec![(0, bytes)] }
}

fn tail_of(head: Vec<u8>, tail: Vec<u8>, length: u64) -> Sparse {
    Sparse { length, pieces: vec![(0, head), (length - tail.len() as u64, tail)] }
}

/// Bytes that are nowhere alike.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = super::Random::new(seed);
    (0..length).map(|_| random.below(256) as u8).collect()
}

// MP4.

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
}

/// A box of numbers of 32 bits.
fn numbers(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
    boxed(kind, &numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>())
}

fn fixture(name: &str) -> Vec<u8> {
    super::read(&format!("host/core/container/tests/fixtures/{name}"))
}

fn mp4() -> Vec<(&'static str, Vec<u8>)> {
    let (ftyp, mdat) = (boxed(b"ftyp", b"isom\0\0\x02\0isomavc1"), boxed(b"mdat", &noise(1, 4000)));
    let moov = |at: usize| movie(&(0..40).map(|chunk| (at + 8 + chunk * 100) as u32).collect::<Vec<_>>());
    let length = moov(0).len();
    let first = [ftyp.clone(), moov(ftyp.len() + length), mdat.clone()].concat();
    let last = [ftyp.clone(), mdat.clone(), moov(ftyp.len())].concat();
    let mut files = vec![("film.mp4", first), ("film.mov", last)];
    files.extend(["samples.mp4", "global.mp4", "delay.mp4", "audio.mp4"].map(|name| (name, fixture(name))));
    files
}

/// A film of one track of pictures with a chunk at each of these offsets, two samples in each.
fn movie(chunks: &[u32]) -> Vec<u8> {
    let samples = chunks.len() as u32 * 2;
    let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 1];
    entry.extend([0; 16]);
    entry.extend([0x02, 0x80, 0x01, 0x68, 0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1]);
    entry.extend([0; 32]);
    entry.extend([0, 24, 0xFF, 0xFF]);
    entry.extend(boxed(b"avcC", &[1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1E, 1, 0, 2, 0x68, 0xCE]));
    let stsd = boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(b"avc1", &entry)].concat());
    let keys: Vec<u32> = (0..samples).step_by(10).map(|sample| sample + 1).collect();
    let stbl = [
        stsd,
        numbers(b"stts", &[0, 1, samples, 512]),
        numbers(b"ctts", &[0, 2, samples / 2, 1024, samples - samples / 2, 512]),
        numbers(b"stss", &[&[0, keys.len() as u32][..], &keys].concat()),
        numbers(b"stsc", &[0, 1, 1, 2, 1]),
        numbers(b"stsz", &[&[0, 0, samples][..], &vec![50; samples as usize]].concat()),
        numbers(b"stco", &[&[0, chunks.len() as u32][..], chunks].concat()),
    ];
    let duration = samples * 512;
    let matrix = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
    let head = |fields: &[u32]| [fields, &matrix].concat();
    let mvhd =
        numbers(b"mvhd", &[&head(&[0, 0, 0, 12_800, duration, 0x1_0000, 0x100_0000, 0, 0])[..], &[0; 7]].concat());
    let tkhd = numbers(b"tkhd", &[&head(&[3, 0, 0, 1, 0, duration, 0, 0, 0, 0])[..], &[640 << 16, 360 << 16]].concat());
    let mdhd = numbers(b"mdhd", &[0, 0, 0, 12_800, duration, 0x55C4_0000]);
    let hdlr = boxed(b"hdlr", b"\0\0\0\0\0\0\0\0vide\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let edits = boxed(b"edts", &numbers(b"elst", &[0, 1, duration, 1024, 0x1_0000]));
    let minf = boxed(b"minf", &boxed(b"stbl", &stbl.concat()));
    let trak = boxed(b"trak", &[tkhd, edits, boxed(b"mdia", &[mdhd, hdlr, minf].concat())].concat());
    boxed(b"moov", &[mvhd, trak].concat())
}

/// A movie box as long as it may be to be read: a million samples in chunks of two.
fn long_movie() -> Vec<u8> {
    let chunks: Vec<u32> = (0..1_600_000).map(|chunk| 24 + chunk * 100).collect();
    [boxed(b"ftyp", b"isom\0\0\x02\0isomavc1"), movie(&chunks), boxed(b"mdat", &[0; 8])].concat()
}

// Matroska.

fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = content.len() as u64 | 1 << 56;
    [&id[..], &length.to_be_bytes(), content].concat()
}

fn uint(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

const CLUSTER: u32 = 0x1F43_B675;
const CUES: u32 = 0x1C53_BB6B;

fn ebml() -> Vec<u8> {
    element(0x1A45_DFA3, &[uint(0x4286, 1), element(0x4282, b"matroska"), uint(0x4287, 4)].concat())
}

fn tracks() -> Vec<u8> {
    let video = element(0xE0, &[uint(0xB0, 640), uint(0xBA, 360)].concat());
    let audio = element(0xE1, &[element(0xB5, &48_000f64.to_be_bytes()), uint(0x9F, 2)].concat());
    let entry = |number, kind, codec: &str, more: &[u8]| {
        let parts = [uint(0xD7, number), uint(0x83, kind), element(0x86, codec.as_bytes()), more.to_vec()];
        element(0xAE, &parts.concat())
    };
    let text = element(0x22B59C, b"fre");
    let all = [entry(1, 1, "V_MPEG4/ISO/AVC", &video), entry(2, 2, "A_AAC", &audio), entry(3, 17, "S_TEXT/ASS", &text)];
    element(0x1654_AE6B, &all.concat())
}

fn cluster(ms: u64) -> Vec<u8> {
    let blocks: Vec<u8> =
        (0..4u8).flat_map(|n| element(0xA3, &[&[0x81, 0, n * 40, 0x80][..], &noise(ms, 60)].concat())).collect();
    element(CLUSTER, &[uint(0xE7, ms), blocks].concat())
}

fn cue(ms: u64, position: u64) -> Vec<u8> {
    element(0xBB, &[uint(0xB3, ms), element(0xB7, &[uint(0xF7, 1), uint(0xF1, position)].concat())].concat())
}

/// With a duration and an index at the end that is pointed to, or with none of these.
fn matroska(finished: bool) -> Vec<u8> {
    let seek = |id: u32, at: u64| element(0x4DBB, &[element(0x53AB, &id.to_be_bytes()), uint(0x53AC, at)].concat());
    let seek_head =
        |cues: u64| element(0x114D_9B74, &[seek(0x1654_AE6B, 0), seek(CUES, cues), seek(0x1941_A469, cues)].concat());
    let duration = element(0x4489, &9000f64.to_be_bytes());
    let info =
        element(0x1549_A966, &[uint(0x2AD7B1, 1_000_000), if finished { duration } else { Vec::new() }].concat());
    let head = [if finished { seek_head(0) } else { Vec::new() }, info, tracks()].concat();
    let clusters: Vec<Vec<u8>> = (0..9).map(|second| cluster(second * 1000)).collect();
    let mut at = head.len() as u64;
    let mut cues = Vec::new();
    for (second, cluster) in (0..).zip(&clusters) {
        cues.extend(cue(second * 1000, at));
        at += cluster.len() as u64;
    }
    let fonts = element(0x1941_A469, &noise(3, 200));
    let head = if finished { [seek_head(at), head[seek_head(0).len()..].to_vec()].concat() } else { head };
    let end = if finished { [element(CUES, &cues), fonts].concat() } else { Vec::new() };
    [ebml(), element(0x1853_8067, &[head, clusters.concat(), end].concat())].concat()
}

/// A segment of unknown length with one cluster in it.
fn matroska_head() -> Vec<u8> {
    let info = element(0x1549_A966, &uint(0x2AD7B1, 1_000_000));
    let open = [&0x1853_8067u32.to_be_bytes()[..], &[0x01], &[0xFF; 7]].concat();
    [ebml(), open, info, tracks(), cluster(0)].concat()
}

/// Cues as long as they may be to be read, in the shortest elements.
fn long_cues() -> Vec<u8> {
    let info = element(0x1549_A966, &uint(0x2AD7B1, 1_000_000));
    let mut cues = Vec::new();
    for number in 0..u32::MAX {
        let time = number.to_be_bytes();
        let point = [&[0xBB, 0x8D, 0xB3, 0x84][..], &time, &[0xB7, 0x85, 0xF7, 0x81, 0x01, 0xF1, 0x80]].concat();
        if cues.len() + point.len() + 12 > 16 << 20 {
            break;
        }
        cues.extend(point);
    }
    let content = [info, tracks(), element(CUES, &cues), cluster(0)].concat();
    [ebml(), element(0x1853_8067, &content)].concat()
}

/// Clusters of unknown length, each within a block of the one before it.
fn nested_clusters() -> Vec<u8> {
    [0xA3, 0x88, 0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x81, 0x00].repeat(1 << 18 >> 3)
}

/// The same, within checksums.
fn nested_checksums() -> Vec<u8> {
    [0xBF, 0x85, 0x1F, 0x43, 0xB6, 0x75, 0xFF].repeat((8 << 20) / 7 - 1000)
}

// MPEG transport streams.

pub fn crc_mpeg(bytes: &[u8]) -> [u8; 4] {
    let bit = |crc: u32| crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| bit(crc))).to_be_bytes()
}

fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u16 + 9;
    let section = [&[table, 0xB0 | (length >> 8) as u8, length as u8, 0, 1, 0xC1, 0, 0][..], body].concat();
    [&[0][..], &section, &crc_mpeg(&section)].concat()
}

fn stamp(lead: u8, pts: u64) -> [u8; 5] {
    let byte = |shift: u32| (pts >> shift) as u8;
    [lead << 4 | byte(29) & 0xE | 1, byte(22), byte(14) | 1, byte(7), byte(0) << 1 | 1]
}

fn pes(id: u8, pts: u64, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16 + 8;
    [&[0, 0, 1, id, (length >> 8) as u8, length as u8, 0x80, 0x80, 5][..], &stamp(2, pts), payload].concat()
}

/// An H.264 parameter set, and the header of an AAC frame.
const SPS: [u8; 16] = [0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44, 0];
const ADTS: [u8; 16] = [0xFF, 0xF1, 0x50, 0x80, 0x02, 0x1F, 0xFC, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn ts(stride: usize) -> Vec<u8> {
    let mut counters = [0u8; 0x2000];
    let mut bytes = Vec::new();
    let mut put = |pid: u16, payload: &[u8]| {
        let counter = &mut counters[usize::from(pid)];
        let mut packet = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8];
        let stuffing = 184 - payload.len().min(184);
        packet.push(if stuffing > 0 { 0x30 } else { 0x10 } | *counter & 15);
        *counter += 1;
        if stuffing > 0 {
            packet.push(stuffing as u8 - 1);
            let mut field = vec![0xFF; stuffing - 1];
            if let Some(flags) = field.first_mut() {
                *flags = 0;
            }
            packet.extend(field);
        }
        packet.extend(&payload[..payload.len().min(184)]);
        let lead = if stride == 192 { 4 } else { 0 };
        bytes.extend([&vec![0; lead][..], &packet, &vec![0; stride - lead - 188]].concat());
    };
    let map =
        [&[0xE1, 0, 0xF0, 6, 5, 4][..], b"HDMV", &[0x1B, 0xE1, 0, 0xF0, 0], &[0x0F, 0xE1, 1, 0xF0, 6, 10, 4], b"eng\0"];
    for second in 0..12u64 {
        put(0, &section(0, &[0, 1, 0xF0, 0]));
        put(0x1000, &section(2, &map.concat()));
        put(0x100, &pes(0xE0, 90_000 * (second + 1), &[&SPS[..], &[0x65; 100]].concat()));
        put(0x101, &pes(0xC0, 90_000 * (second + 1), &ADTS));
    }
    bytes
}

// MPEG program streams.

fn ps() -> Vec<u8> {
    let pack = [0, 0, 1, 0xBA, 0x44, 0, 4, 0, 4, 1, 0, 0, 3, 0xF8];
    let sequence =
        [0, 0, 1, 0xB3, 0x16, 0x01, 0x20, 0x13, 0xFF, 0xFF, 0xE0, 0x18, 0, 0, 1, 0xB5, 0x14, 0x8A, 0, 1, 0, 0];
    let map = [0, 0, 1, 0xBC, 0, 18, 0xE0, 0xFF, 0, 0, 0, 8, 0x1B, 0xE1, 0, 0, 3, 0xC0, 0, 0, 0, 0, 0, 0];
    let mut bytes = [&pack[..], &map].concat();
    for second in 0..12 {
        let pts = 90_000 * (second + 1);
        bytes.extend([&pack[..], &pes(0xE0, pts, &sequence), &pes(0xC0, pts, &mp3_frame())].concat());
        bytes.extend(pes(0xBD, pts, &[&[0x80, 1, 0, 1, 0x0B, 0x77, 0, 0, 0x14, 0x40, 0x43][..], &[0; 40]].concat()));
    }
    [bytes, vec![0, 0, 1, 0xB9]].concat()
}

// AVI.

fn chunk(id: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&id[..], &(content.len() as u32).to_le_bytes(), content, &[0][..content.len() & 1]].concat()
}

fn list(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    chunk(b"LIST", &[kind, content].concat())
}

fn little(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The head of a file with this `indx` for the pictures, up to the content of `movi`.
fn avi_head(index: &[u8]) -> Vec<u8> {
    let strh = |kind: &[u8; 8], numbers: &[u32]| chunk(b"strh", &[&kind[..], &little(numbers)].concat());
    let pictures = [
        strh(b"vidsXVID", &[0, 0, 0, 1, 25, 0, 100, 0, 0, 0, 0, 0]),
        chunk(b"strf", &[little(&[40, 640, 360]), b"\x01\0\x18\0XVID".to_vec(), vec![0; 20]].concat()),
        if index.is_empty() { Vec::new() } else { chunk(b"indx", index) },
    ];
    let sound = [
        strh(b"auds\0\0\0\0", &[0, 0, 0, 1, 16_000, 0, 64_000, 0, 0, 1, 0, 0]),
        chunk(b"strf", &[&[0x55, 0, 2, 0][..], &little(&[44_100, 16_000]), &[1, 0, 0, 0, 0, 0]].concat()),
        chunk(b"strn", b"sound\0"),
    ];
    let avih = chunk(b"avih", &little(&[40_000, 0, 0, 16, 100, 0, 2, 0, 640, 360, 0, 0, 0, 0]));
    let odml = list(b"odml", &chunk(b"dmlh", &little(&[100])));
    let streams = [list(b"strl", &pictures.concat()), list(b"strl", &sound.concat())].concat();
    [&b"RIFF\0\0\0\0AVI "[..], &list(b"hdrl", &[avih, streams, odml].concat())].concat()
}

fn avi(open_dml: bool) -> Vec<u8> {
    let (mut media, mut idx1, mut ix) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..100 {
        let key = number % 25 == 0;
        idx1.extend([&b"00dc"[..], &little(&[if key { 0x10 } else { 0 }, 4 + media.len() as u32, 30])].concat());
        ix.extend(little(&[media.len() as u32 + 8, 30 | if key { 0 } else { 1 << 31 }]));
        media.extend(chunk(b"00dc", &noise(number, 30)));
        idx1.extend([&b"01wb"[..], &little(&[0x10, 4 + media.len() as u32, 16])].concat());
        media.extend(chunk(b"01wb", &noise(number, 16)));
    }
    if !open_dml {
        return [avi_head(&[]), list(b"movi", &media), chunk(b"idx1", &idx1)].concat();
    }
    let (head, ix) = (avi_head(&spans(&[(0, 0)])).len() as u64 + 12, ix_content(&ix, 0));
    let at = head + media.len() as u64;
    let ix = [ix[..12].to_vec(), head.to_le_bytes().to_vec(), ix[20..].to_vec()].concat();
    media.extend(chunk(b"ix00", &ix));
    let head = avi_head(&spans(&[(at, ix.len() as u32 + 8)]));
    [head, list(b"movi", &media), chunk(b"idx1", &idx1)].concat()
}

/// An index of indexes: offsets and lengths.
fn spans(places: &[(u64, u32)]) -> Vec<u8> {
    let place = |(at, length): &(u64, u32)| [&at.to_le_bytes()[..], &little(&[*length, 100])].concat();
    [
        b"\x04\0\0\0".to_vec(),
        little(&[places.len() as u32]),
        b"00dc".to_vec(),
        vec![0; 12],
        places.iter().flat_map(place).collect(),
    ]
    .concat()
}

/// An index of chunks, from its entries.
fn ix_content(entries: &[u8], base: u64) -> Vec<u8> {
    let count = little(&[entries.len() as u32 / 8]);
    [&b"\x02\0\0\x01"[..], &count, b"00dc", &base.to_le_bytes(), &[0; 4], entries].concat()
}

/// An index of the old kind, as long as it may be to be read.
fn long_avi() -> Vec<u8> {
    let entry = |number: u32| [&b"00dc"[..], &little(&[0x10, 4 + number % 100 * 10, 30])].concat();
    let idx1: Vec<u8> = (0..1 << 20).flat_map(entry).collect();
    [avi_head(&[]), list(b"movi", &chunk(b"00dc", &noise(1, 2000))), chunk(b"idx1", &idx1)].concat()
}

/// Indexes of the new kind, as many and as long as may be read.
fn long_open_dml() -> Sparse {
    const PARTS: u64 = 10;
    const EACH: usize = (16 << 20) / PARTS as usize;
    let entries: Vec<u8> = (0..(EACH - 40) as u32 / 8).flat_map(|number| little(&[number * 8, 30])).collect();
    let ix = chunk(b"ix00", &ix_content(&entries, 4096));
    let places: Vec<(u64, u32)> = (0..PARTS).map(|n| ((1 << 30) + n * (32 << 20), ix.len() as u32)).collect();
    let head = [avi_head(&spans(&places)), list(b"movi", &chunk(b"00dc", &noise(1, 2000)))].concat();
    let pieces = places.iter().map(|(at, _)| (*at, ix.clone())).chain([(0, head)]).collect();
    Sparse { length: 2 << 30, pieces }
}

// FLV.

fn tag(kind: u8, ms: u32, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    let time = ms.to_be_bytes();
    let back = (content.len() as u32 + 11).to_be_bytes();
    [&[kind][..], &length[1..], &time[1..], &time[..1], &[0; 3], content, &back].concat()
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    [&(name.len() as u16).to_be_bytes()[..], name.as_bytes(), value].concat()
}

fn float(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

fn strict(values: impl ExactSizeIterator<Item = f64>) -> Vec<u8> {
    let count = (values.len() as u32).to_be_bytes();
    [&[10][..], &count, &values.flat_map(float).collect::<Vec<_>>()].concat()
}

fn metadata(key_frames: u32) -> Vec<u8> {
    let times = named("times", &strict((0..key_frames).map(f64::from)));
    let places = named("filepositions", &strict((0..key_frames).map(|n| f64::from(n * 500 + 900))));
    let parts = [
        vec![2],
        named("onMetaData", &[8, 0, 0, 0, 4]),
        named("duration", &float(12.0)),
        named("width", &float(640.0)),
        named("height", &float(360.0)),
        named("videocodecid", &float(7.0)),
        named("keyframes", &[&[3][..], &times, &places, &[0, 0, 9]].concat()),
        vec![0, 0, 9],
    ];
    tag(18, 0, &parts.concat())
}

fn flv(told: bool) -> Vec<u8> {
    let mut bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    if told {
        bytes.extend(metadata(12));
    }
    bytes.extend(tag(
        9,
        0,
        &[&[0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 12][..], &SPS[4..], &[1, 0, 2, 0x68, 0xCE]].concat(),
    ));
    bytes.extend(tag(8, 0, &[0xAF, 0, 0x12, 0x10]));
    for second in 0..12 {
        bytes.extend(tag(9, second * 1000, &[&[0x17, 1, 0, 0, 0][..], &noise(u64::from(second), 400)].concat()));
        bytes.extend(tag(8, second * 1000, &[&[0xAF, 1][..], &noise(u64::from(second), 60)].concat()));
    }
    bytes
}

fn long_metadata() -> Vec<u8> {
    let flv = flv(false);
    [&flv[..13], &metadata(230_000), &flv[13..]].concat()
}

// Sound.

fn audio() -> Vec<(&'static str, Vec<u8>)> {
    let tag = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0; 128]].concat();
    let riff = |id: &[u8; 4], more: &[u8]| {
        let format = chunk(b"fmt ", &[&[1, 0, 2, 0][..], &little(&[44_100, 176_400]), &[4, 0, 16, 0]].concat());
        let data = [&b"data\xFF\xFF\xFF\xFF"[..], &noise(1, 4000)].concat();
        [&id[..], &[0xFF; 4], b"WAVE", more, &format, &data].concat()
    };
    let sizes = chunk(b"ds64", &[5000u64, 4000, 1000].map(u64::to_le_bytes).concat());
    vec![
        ("song.mp3", [&tag[..], &mp3()].concat()),
        ("xing.mp3", xing()),
        ("song.aac", [&ADTS[..7], &[0; 9]].concat().repeat(60)),
        ("song.flac", flac(20)),
        ("song.ogg", ogg()),
        ("song.wav", riff(b"RIFF", &[])),
        ("song.rf64", riff(b"RF64", &sizes)),
        ("song.aiff", aiff()),
    ]
}

/// MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes.
fn mp3_frame() -> Vec<u8> {
    [&[0xFF, 0xFB, 0x90, 0x00][..], &[0; 413]].concat()
}

fn mp3() -> Vec<u8> {
    mp3_frame().repeat(12)
}

fn xing() -> Vec<u8> {
    let mut first = mp3_frame();
    let table: Vec<u8> = (0..100).map(|n| (n * 255 / 100) as u8).collect();
    let told = [&b"Xing\0\0\0\x07"[..], &1000u32.to_be_bytes(), &417_000u32.to_be_bytes(), &table].concat();
    first[36..36 + told.len()].copy_from_slice(&told);
    [first, mp3()].concat()
}

fn flac(points: u64) -> Vec<u8> {
    let block = |kind: u8, content: &[u8]| {
        [&(content.len() as u32 | u32::from(kind) << 24).to_be_bytes()[..], content].concat()
    };
    // 4096 samples in a block, 44.1 kHz, two channels, 16 bits, so many samples.
    let told = (44_100u64 << 44 | 1 << 41 | 15 << 36 | (points.max(100) * 4096)).to_be_bytes();
    let info = [&[0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0][..], &told, &[7; 16]].concat();
    let point = |n: u64| [&(n * 4096).to_be_bytes()[..], &(n * 50).to_be_bytes(), &[0x10, 0]].concat();
    let table: Vec<u8> = (0..points).flat_map(point).collect();
    let bit = |crc: u8| crc << 1 ^ if crc & 0x80 != 0 { 7 } else { 0 };
    let frame = |number: u8| {
        let head = [0xFF, 0xF8, 0xC9, 0x18, number];
        let crc = head.iter().fold(0, |crc: u8, byte| (0..8).fold(crc ^ byte, |crc, _| bit(crc)));
        [&head[..], &[crc], &noise(number.into(), 80)].concat()
    };
    let frames: Vec<u8> = (0..100).flat_map(frame).collect();
    [&b"fLaC"[..], &block(0, &info), &block(3, &table), &block(0x84, &[0; 8]), &frames].concat()
}

fn ogg() -> Vec<u8> {
    let page = |kind: u8, position: u64, serial: u32, content: &[u8]| {
        let table = [vec![255; content.len() / 255], vec![(content.len() % 255) as u8]].concat();
        let head = [&b"OggS\0"[..], &[kind], &position.to_le_bytes(), &little(&[serial, 0, 0]), &[table.len() as u8]];
        [&head.concat()[..], &table, content].concat()
    };
    let vorbis = [&b"\x01vorbis\0\0\0\0\x02"[..], &little(&[44_100, 0, 96_000, 0]), &[0xB8, 1]].concat();
    let opus = [&b"OpusHead\x01\x02\x38\x01"[..], &little(&[48_000]), &[0; 3]].concat();
    let mut theora = b"\x80theora\x03\x02\x01\0\x28\0\x17\0\x02\x80\0\x01\x68\0\0\0\0\0\x19\0\0\0\x01".to_vec();
    theora.extend([0; 16]);
    let mut bytes = [page(2, 0, 1, &vorbis), page(2, 0, 2, &opus), page(2, 0, 3, &theora)].concat();
    for second in 1..12 {
        bytes.extend(
            [page(0, second * 44_100, 1, &noise(second, 200)), page(0, second * 48_000, 2, &noise(second, 300))]
                .concat(),
        );
        bytes.extend(page(0, (second * 25) << 6, 3, &noise(second, 100)));
    }
    bytes
}

fn aiff() -> Vec<u8> {
    let chunk = |id: &[u8; 4], content: &[u8]| [&id[..], &(content.len() as u32).to_be_bytes(), content].concat();
    let common = [&[0, 2, 0, 0, 3, 0xE8, 0, 16, 0x40, 0x0E, 0xAC, 0x44][..], &[0; 6]].concat();
    [&b"FORM\0\0\x10\0AIFF"[..], &chunk(b"COMM", &common), &chunk(b"SSND", &noise(1, 4008))].concat()
}

// Discs.

type Files = Vec<(&'static str, Vec<u8>)>;

fn dvd() -> Files {
    let cells = vec![cell(0, 9, 60), cell(10, 19, 60)];
    let set = TitleSet {
        chains: vec![cells.clone(), cells],
        titles: vec![vec![1, 1, 2], vec![2]],
        addresses: vec![((0, 0), 0, 4), ((0, 0), 6, 9)],
    };
    vec![
        ("VIDEO_TS/VIDEO_TS.IFO", manager(&[(1, 1), (1, 2)])),
        ("VIDEO_TS/VTS_01_0.IFO", set.bytes()),
        ("VIDEO_TS/VTS_01_1.VOB", packs(20)),
    ]
}

fn blu_ray() -> Files {
    let points: Vec<(u32, u32)> = (0..30).map(|s| (s * 45_000, s * 32)).collect();
    let film = playlist(&[part("00001", 10, 20), part("00002", 3, 9)]);
    vec![
        ("BDMV/PLAYLIST/00001.MPL", film.bytes()),
        ("BDMV/PLAYLIST/00001.mpls", film.bytes()),
        ("BDMV/CLIPINF/00001.clpi", clip(960, &[0], &points)),
        ("BDMV/CLIPINF/00002.clpi", clip(960, &[0, 100], &points)),
        ("BDMV/STREAM/00001.m2ts", stream(4)),
        ("BDMV/STREAM/00002.m2ts", stream(4)),
        ("EXTRA/film.mkv", noise(1, 3000)),
    ]
}

/// Very many playlists that all say the same.
fn crowd() -> Files {
    let items = vec![part("00001", 0, 20); 999];
    let playlist = playlist(&items).bytes();
    let name =
        |number: usize| -> &'static str { Box::leak(format!("BDMV/PLAYLIST/{number:05}.mpls").into_boxed_str()) };
    let mut files: Files = (0..120).map(|number| (name(number), playlist.clone())).collect();
    files.extend(blu_ray().split_off(2));
    files
}

const SECTOR: usize = 2048;

/// The folders on the way to files, the root first.
fn folders(files: &Files) -> Vec<String> {
    let mut found = vec![String::new()];
    for (path, _) in files {
        for (at, _) in path.match_indices('/') {
            if !found.contains(&path[..at].to_owned()) {
                found.push(path[..at].to_owned());
            }
        }
    }
    found
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

/// An ISO 9660 image.
fn iso(files: &Files) -> Vec<u8> {
    let record = |name: &[u8], flags: u8, start: usize, length: usize| {
        let both = |value: usize| [(value as u32).to_le_bytes(), (value as u32).to_be_bytes()].concat();
        let mut bytes =
            [&[0, 0][..], &both(start), &both(length), &[0; 7], &[flags, 0, 0, 1, 0, 0, 1, name.len() as u8], name]
                .concat();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes[0] = bytes.len() as u8;
        bytes
    };
    let folders = folders(files);
    // Lengths do not depend on places, so that a first pass with places that are wrong finds them.
    let listing = |folder: &str, places: &[(usize, usize)]| {
        let (own, _) = places[0];
        let mut bytes = [record(&[0], 2, own, SECTOR), record(&[1], 2, own, SECTOR)].concat();
        let names = folders.iter().map(|path| (path.as_str(), 2)).chain(files.iter().map(|(path, _)| (*path, 0)));
        for ((path, flags), (start, length)) in names.zip(places) {
            if !path.is_empty() && split(path).0 == folder {
                let next = record(split(path).1.as_bytes(), flags, *start, *length);
                if bytes.len() % SECTOR + next.len() > SECTOR {
                    bytes = padded(&bytes);
                }
                bytes.extend(next);
            }
        }
        padded(&bytes)
    };
    let mut places = vec![(0, 0); folders.len() + files.len()];
    let mut at = 20;
    for (index, folder) in folders.iter().enumerate() {
        let length = listing(folder, &vec![(0, 0); places.len()]).len();
        places[index] = (at, length);
        at += length / SECTOR;
    }
    for (index, (_, bytes)) in files.iter().enumerate() {
        places[folders.len() + index] = (at, bytes.len());
        at += bytes.len().div_ceil(SECTOR);
    }
    let mut primary = vec![0; SECTOR];
    primary[..7].copy_from_slice(b"\x01CD001\x01");
    primary[128..130].copy_from_slice(&(SECTOR as u16).to_le_bytes());
    let root = record(&[0], 2, places[0].0, places[0].1);
    primary[156..156 + root.len()].copy_from_slice(&root);
    let mut image = [vec![0; 16 * SECTOR], primary, padded(b"\xFFCD001\x01"), vec![0; 2 * SECTOR]].concat();
    folders.iter().for_each(|folder| image.extend(listing(folder, &places)));
    files.iter().for_each(|(_, bytes)| image.extend(padded(bytes)));
    image
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Sets the checksums of a descriptor of UDF right; false where there is none.
pub fn seal(bytes: &mut [u8]) -> bool {
    let (Some(&[low, high]), Some(_)) = (bytes.get(10..12).and_then(|bytes| bytes.first_chunk()), bytes.get(..16))
    else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let Some(content) = bytes.get(16..16 + length) else { return false };
    let bit = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    let crc = content.iter().fold(0u16, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| bit(crc)));
    put(bytes, 8, &crc.to_le_bytes());
    bytes[4] = 0;
    bytes[4] = bytes[..16].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    true
}

/// A UDF image of one plain partition.
fn udf(files: &Files) -> Vec<u8> {
    const PARTITION: usize = 260;
    let tagged = |id: u16, block: usize, mut bytes: Vec<u8>| {
        let length = bytes.len() as u16 - 16;
        put(&mut bytes, 0, &[id.to_le_bytes(), [3, 0]].concat());
        put(&mut bytes, 10, &length.to_le_bytes());
        put(&mut bytes, 12, &(block as u32).to_le_bytes());
        seal(&mut bytes);
        bytes
    };
    let folders = folders(files);
    let all: Vec<&str> = folders.iter().map(String::as_str).chain(files.iter().map(|(path, _)| *path)).collect();
    // The file set, an entry for each file and folder, then their contents.
    let entry_block = |index: usize| 1 + index;
    let long = |length: usize, block: usize| [little(&[length as u32, block as u32]), vec![0; 8]].concat();
    let identifier = |flags: u8, index: usize, name: &[u8]| {
        let mut bytes = vec![0; 38];
        (bytes[16], bytes[18], bytes[19]) = (1, flags, name.len() as u8);
        put(&mut bytes, 20, &long(SECTOR, entry_block(index)));
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        tagged(257, 0, bytes)
    };
    let content = |index: usize| match index.checked_sub(folders.len()) {
        Some(file) => files[file].1.clone(),
        None => {
            let inside = |(_, path): &(usize, &&str)| !path.is_empty() && split(path).0 == all[index];
            let name = |path: &str| [&[8][..], split(path).1.as_bytes()].concat();
            let parent = all.iter().position(|path| *path == split(all[index]).0).unwrap_or(0);
            let listed = all.iter().enumerate().filter(inside);
            let listed =
                listed.flat_map(|(at, path)| identifier(if at < folders.len() { 2 } else { 0 }, at, &name(path)));
            [identifier(10, parent, &[]), listed.collect()].concat()
        }
    };
    let (mut entries, mut contents) = (Vec::new(), Vec::new());
    for index in 0..all.len() {
        let bytes = content(index);
        let block = entry_block(all.len()) + contents.len() / SECTOR;
        let mut entry = vec![0; 176];
        put(&mut entry, 20, &[4, 0]);
        entry[27] = if index < folders.len() { 4 } else { 5 };
        put(&mut entry, 34, &[1, 0]);
        put(&mut entry, 48, &[1, 0]);
        put(&mut entry, 56, &(bytes.len() as u64).to_le_bytes());
        put(&mut entry, 172, &16u32.to_le_bytes());
        entry.extend(long(bytes.len(), block));
        entries.extend(padded(&tagged(261, entry_block(index), entry)));
        contents.extend(padded(&bytes));
    }
    let mut file_set = vec![0; 512];
    put(&mut file_set, 400, &long(SECTOR, entry_block(0)));
    let partition = [padded(&tagged(256, 0, file_set)), entries, contents].concat();
    let mut image = vec![0; PARTITION * SECTOR];
    for (sector, name) in (16..).zip([b"\0BEA01\x01", b"\0NSR02\x01", b"\0TEA01\x01"]) {
        put(&mut image, sector * SECTOR, name);
    }
    let mut anchor = vec![0; 512];
    put(&mut anchor, 16, &little(&[4 * SECTOR as u32, 32, 4 * SECTOR as u32, 48]));
    put(&mut image, 256 * SECTOR, &tagged(2, 256, anchor));
    let mut volume = vec![0; 446];
    put(&mut volume, 84, b"\x08FILM");
    volume[211] = 5;
    put(&mut volume, 212, &(SECTOR as u32).to_le_bytes());
    put(&mut volume, 248, &long(SECTOR, 0));
    put(&mut volume, 264, &little(&[6, 1]));
    put(&mut volume, 440, &[1, 6, 1, 0, 0, 0]);
    let mut place = vec![0; 512];
    put(&mut place, 188, &little(&[PARTITION as u32, (partition.len() / SECTOR) as u32]));
    for start in [32, 48] {
        let sequence = [(6, volume.clone()), (5, place.clone()), (8, vec![0; 512])];
        for (at, (id, bytes)) in (start..).zip(sequence) {
            put(&mut image, at * SECTOR, &tagged(id, at, bytes));
        }
    }
    [image, partition].concat()
}

// Archives.

fn archives() -> Vec<Good> {
    let members: Vec<Zipped> = (0..8).map(|i| Zipped::new(&format!("{i}.mkv"), &noise(i, 60))).collect();
    let wide: Vec<Zipped> = members.iter().map(|member| Zipped { wide: true, ..member.clone() }).collect();
    let records = [pax("path", "film.mkv"), pax("size", "700")].concat();
    let tar = [
        tar_member("x", &records, b'x'),
        tar_member("film.mkv", &noise(1, 700), b'0'),
        tar_member("././@LongLink", b"folder/other.mkv\0", b'L'),
        tar_member("other.mkv", &noise(2, 100), b'0'),
        vec![0; 1024],
    ];
    let mut good = vec![
        vec![("films.zip".to_owned(), zip(&members, b"", 0, b"comment"))],
        vec![("films.zip".to_owned(), zip(&wide, b"MZ program", 10, b""))],
        vec![("films.tar".to_owned(), tar.concat())],
    ];
    for version in [4, 5] {
        let members = [Packed::new("a.mkv", &noise(1, 900)), Packed::new("Film\\b.avi", &noise(2, 50))];
        let volumes = rar(version, &members, 200);
        good.push((1..).zip(volumes).map(|(number, bytes)| (format!("films.part{number}.rar"), bytes)).collect());
        good.push(vec![("films.rar".to_owned(), rar(version, &members, usize::MAX).remove(0))]);
    }
    good
}

fn many_members() -> Vec<u8> {
    let members: Vec<Zipped> = (0..60_000).map(|i| Zipped::new(&format!("folder/{i:08}.mkv"), b"x")).collect();
    zip(&members, b"", 0, b"")
}

fn many_headers() -> Vec<u8> {
    let header = super::archives::tar_header("film.mkv", 0, b'0');
    header.repeat(8192)
}
