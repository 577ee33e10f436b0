//! Boxes by hand.

/// A box.
pub fn make(kind: &[u8; 4], content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let size = u32::try_from(content.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, content].concat()
}

/// A box with a size of 64 bits.
pub fn large(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = content.len() as u64 + 16;
    [&[0, 0, 0, 1], &kind[..], &size.to_be_bytes(), content].concat()
}

/// A box that reaches to the end of the file.
pub fn endless(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&[0; 4], &kind[..], content].concat()
}

/// A full box of numbers of 32 bits.
pub fn full(kind: &[u8; 4], version: u8, flags: u32, numbers: &[u32]) -> Vec<u8> {
    let words = [&[u32::from(version) << 24 | flags], numbers].concat();
    make(kind, words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>())
}

pub fn ftyp() -> Vec<u8> {
    make(b"ftyp", b"iso6\0\0\0\0")
}

pub fn styp() -> Vec<u8> {
    make(b"styp", b"msdh\0\0\0\0")
}

/// Media of so many bytes, which look like boxes to whoever reads them.
pub fn mdat(bytes: usize) -> Vec<u8> {
    make(b"mdat", b"\0\0\0\x08moof".iter().copied().cycle().take(bytes).collect::<Vec<u8>>())
}

/// A track of a movie box.
pub struct Trak {
    pub id: u32,
    pub handler: &'static [u8; 4],
    pub timescale: u32,
    /// Rows of the edit list: duration and media time.
    pub edits: Vec<(u32, i32)>,
    /// Rows of `stts`: count and duration.
    pub samples: Vec<(u32, u32)>,
    /// The first offset of `ctts`.
    pub offset: Option<u32>,
}

/// A track of pictures without samples.
pub fn video(id: u32, timescale: u32) -> Trak {
    Trak { id, handler: b"vide", timescale, edits: Vec::new(), samples: Vec::new(), offset: None }
}

pub fn audio(id: u32, timescale: u32) -> Trak {
    Trak { handler: b"soun", ..video(id, timescale) }
}

impl Trak {
    pub fn build(&self) -> Vec<u8> {
        let rows = |rows: &[(u32, u32)]| -> Vec<u32> {
            let cells = rows.iter().flat_map(|(one, other)| [*one, *other]);
            std::iter::once(rows.len() as u32).chain(cells).collect()
        };
        let mut tables = full(b"stts", 0, 0, &rows(&self.samples));
        if let Some(offset) = self.offset {
            tables.extend(full(b"ctts", 0, 0, &rows(&[(1, offset)])));
        }
        let hdlr = full(b"hdlr", 0, 0, &[0, u32::from_be_bytes(*self.handler), 0, 0, 0, 0]);
        let mdhd = full(b"mdhd", 0, 0, &[0, 0, self.timescale, 0, 0]);
        let minf = make(b"minf", make(b"stbl", tables));
        let mut parts = full(b"tkhd", 0, 3, &[0, 0, self.id, 0, 0]);
        if !self.edits.is_empty() {
            let edits = self.edits.iter().flat_map(|(duration, time)| [*duration, time.cast_unsigned(), 0x1_0000]);
            let numbers: Vec<u32> = std::iter::once(self.edits.len() as u32).chain(edits).collect();
            parts.extend(make(b"edts", full(b"elst", 0, 0, &numbers)));
        }
        parts.extend(make(b"mdia", [mdhd, hdlr, minf].concat()));
        make(b"trak", parts)
    }
}

/// A movie box with fragments; samples last `duration` and have `flags` unless they say otherwise.
pub fn moov(tracks: &[Trak], duration: u32, flags: u32) -> Vec<u8> {
    let mut parts = full(b"mvhd", 0, 0, &[0, 0, 1000, 0]);
    parts.extend(tracks.iter().flat_map(Trak::build));
    let trex = |track: &Trak| full(b"trex", 0, 0, &[track.id, 1, duration, 0, flags]);
    parts.extend(make(b"mvex", tracks.iter().flat_map(trex).collect::<Vec<u8>>()));
    make(b"moov", parts)
}

/// A movie box without.
pub fn classic(tracks: &[Trak]) -> Vec<u8> {
    make(b"moov", tracks.iter().flat_map(Trak::build).collect::<Vec<u8>>())
}

/// Flags of a sample that is no sync sample.
pub const NON_SYNC: u32 = 0x0101_0000;

/// A track fragment: `samples` of the default duration from `time` on.
pub fn traf(track: u32, time: u32, samples: u32, is_sync: bool) -> Vec<u8> {
    let flags = if is_sync { 0x0200_0000 } else { NON_SYNC };
    let tfhd = full(b"tfhd", 0, 0x02_0000, &[track]);
    let tfdt = full(b"tfdt", 0, 0, &[time]);
    make(b"traf", [tfhd, tfdt, full(b"trun", 0, 0x5, &[samples, 0, flags])].concat())
}

pub fn moof(trafs: &[Vec<u8>]) -> Vec<u8> {
    make(b"moof", [full(b"mfhd", 0, 0, &[1]), trafs.concat()].concat())
}

/// A reference of an index.
#[derive(Clone, Copy)]
pub struct Ref {
    pub is_index: bool,
    pub size: usize,
    pub duration: u32,
    /// `starts_with_SAP` and `SAP_type`.
    pub access: Option<u32>,
}

/// A reference to media that begins with a sync sample.
pub fn media(size: usize, duration: u32) -> Ref {
    Ref { is_index: false, size, duration, access: Some(1) }
}

/// A reference to an index.
pub fn index(size: usize, duration: u32) -> Ref {
    Ref { is_index: true, ..media(size, duration) }
}

/// A segment index.
pub fn sidx(track: u32, timescale: u32, time: u32, first_offset: usize, refs: &[Ref]) -> Vec<u8> {
    let head = [track, timescale, time, first_offset as u32, refs.len() as u32];
    let row = |one: &Ref| {
        let access = one.access.map_or(0, |kind| 1 << 31 | kind << 28);
        [u32::from(one.is_index) << 31 | one.size as u32, one.duration, access]
    };
    full(b"sidx", 0, 0, &[&head[..], &refs.iter().flat_map(row).collect::<Vec<u32>>()].concat())
}
