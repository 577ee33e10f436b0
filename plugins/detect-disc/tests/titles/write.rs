//! Writes the files of discs, as authoring programs would.

/// Bytes of a unit of packets.
pub const UNIT: usize = 6144;

fn block(content: Vec<u8>) -> Vec<u8> {
    [(content.len() as u32).to_be_bytes().to_vec(), content].concat()
}

/// A stream of a playlist: identifier, coding type, format and rate, language.
pub type Stream = (u16, u8, u8, &'static str);

pub const H264: Stream = (0x1011, 0x1B, 0x61, "");
pub const AC3: Stream = (0x1100, 0x81, 0x61, "eng");
pub const DTS_HD: Stream = (0x1101, 0x86, 0x31, "deu");
pub const PGS: Stream = (0x1200, 0x90, 0, "fra");

#[derive(Clone)]
pub struct Item {
    pub clip: &'static str,
    pub clock: u8,
    pub start: u32,
    pub end: u32,
    pub is_seamless: bool,
    pub angles: Vec<&'static str>,
}

/// A part of a clip, in seconds.
pub fn part(clip: &'static str, start_s: u32, end_s: u32) -> Item {
    let (start, end) = (start_s * 45_000, end_s * 45_000);
    Item { clip, clock: 0, start, end, is_seamless: false, angles: Vec::new() }
}

#[derive(Clone)]
pub struct Playlist {
    pub items: Vec<Item>,
    pub chapters: u16,
    pub streams: Vec<Stream>,
}

pub fn playlist(items: &[Item]) -> Playlist {
    Playlist { items: items.to_vec(), chapters: 1, streams: vec![H264, AC3] }
}

impl Playlist {
    pub fn bytes(&self) -> Vec<u8> {
        let application = block([&[0, 1, 0, 0][..], &[0; 10]].concat());
        let mut list = vec![0, 0];
        list.extend((self.items.len() as u16).to_be_bytes());
        list.extend([0, 0]);
        list.extend(self.items.iter().flat_map(|item| self.item(item)));
        let mut marks = self.chapters.to_be_bytes().to_vec();
        for chapter in 0..self.chapters {
            marks.extend([0, 1, 0, 0]);
            marks.extend((self.items[0].start + u32::from(chapter) * 45_000).to_be_bytes());
            marks.extend([0xFF, 0xFF, 0, 0, 0, 0]);
        }
        let (list, marks) = (block(list), block(marks));
        let list_at = 40 + application.len() as u32;
        let mut bytes = b"MPLS0200".to_vec();
        bytes.extend(list_at.to_be_bytes());
        bytes.extend((list_at + list.len() as u32).to_be_bytes());
        bytes.resize(40, 0);
        [bytes, application, list, marks].concat()
    }

    fn item(&self, item: &Item) -> Vec<u8> {
        let mut bytes = [item.clip.as_bytes(), b"M2TS"].concat();
        let angles = u16::from(!item.angles.is_empty()) << 4;
        bytes.extend((angles | if item.is_seamless { 6 } else { 1 }).to_be_bytes());
        bytes.push(item.clock);
        bytes.extend(item.start.to_be_bytes());
        bytes.extend(item.end.to_be_bytes());
        bytes.extend([0; 12]);
        if !item.angles.is_empty() {
            bytes.extend([item.angles.len() as u8 + 1, 0]);
            for angle in &item.angles {
                bytes.extend([angle.as_bytes(), b"M2TS", &[item.clock]].concat());
            }
        }
        let count = |kinds: &[u8]| self.streams.iter().filter(|stream| kinds.contains(&stream.1)).count() as u8;
        let mut table = vec![0, 0, count(&[0x1B, 0x24, 0x02]), count(&[0x81, 0x86]), count(&[0x90])];
        table.resize(14, 0);
        for (pid, coding, format, language) in &self.streams {
            table.extend([9, 1]);
            table.extend(pid.to_be_bytes());
            table.resize(table.len() + 6, 0);
            let mut attributes = vec![*coding];
            attributes.extend((*coding != 0x90).then_some(*format));
            attributes.extend(language.as_bytes());
            attributes.resize(5, 0);
            table.push(5);
            table.extend(attributes);
        }
        bytes.extend((table.len() as u16).to_be_bytes());
        bytes.extend(table);
        [(bytes.len() as u16).to_be_bytes().to_vec(), bytes].concat()
    }
}

/// A clip's description: entry points as times in ticks of 45 kHz and packets, and the packets with which clocks begin.
pub fn clip(packets: u32, clocks: &[u32], points: &[(u32, u32)]) -> Vec<u8> {
    let mut info = vec![0, 0, 1, 1, 0, 0, 0, 0];
    info.extend(6_000_000u32.to_be_bytes());
    info.extend(packets.to_be_bytes());
    info.resize(info.len() + 128, 0);
    info.extend([0, 30, 0x80]);
    info.extend(b"HDMV");
    info.resize(info.len() + 25, 0);
    let mut sequences = vec![0, 1, 0, 0, 0, 0, clocks.len() as u8, 0];
    for clock in clocks {
        sequences.extend([0x10, 0x01]);
        sequences.extend(clock.to_be_bytes());
        sequences.extend(points.first().map_or(0, |point| point.0).to_be_bytes());
        sequences.extend(u32::MAX.to_be_bytes());
    }
    let programs = vec![0, 0];
    let (info, sequences, programs) = (block(info), block(sequences), block(programs));
    let mut at = 40 + info.len() as u32;
    let mut bytes = b"HDMV0200".to_vec();
    for part in [&sequences, &programs] {
        bytes.extend(at.to_be_bytes());
        at += part.len() as u32;
    }
    bytes.extend(at.to_be_bytes());
    bytes.resize(40, 0);
    [bytes, info, sequences, programs, block(entry_points(points))].concat()
}

fn entry_points(points: &[(u32, u32)]) -> Vec<u8> {
    let (mut coarse, mut fine) = (Vec::new(), Vec::new());
    let mut last = None;
    for (index, (time, packet)) in points.iter().enumerate() {
        let group = (time >> 19, packet >> 17);
        if last.replace(group) != Some(group) {
            coarse.extend(((index as u32) << 14 | time >> 18 & 0x3FFF).to_be_bytes());
            coarse.extend(packet.to_be_bytes());
        }
        fine.extend(((time >> 8 & 0x7FF) << 17 | packet & 0x1_FFFF).to_be_bytes());
    }
    let head = 0x1011u128 << 80 | 1 << 66 | (coarse.len() as u128 / 8) << 50 | (fine.len() as u128 / 4) << 32 | 14;
    let mut bytes = vec![0, 1, 0, 1];
    bytes.extend(&head.to_be_bytes()[4..]);
    bytes.extend((4 + coarse.len() as u32).to_be_bytes());
    [bytes, coarse, fine].concat()
}

/// Units of packets, each with its number in it.
pub fn stream(units: usize) -> Vec<u8> {
    let packet = |number: usize| {
        let mut packet = vec![0; 192];
        packet[4] = 0x47;
        packet[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        packet
    };
    (0..units * UNIT / 192).flat_map(packet).collect()
}

/// A cell of a program chain: first and last sectors, seconds, and how it stands among angles.
#[derive(Clone, Copy, Default)]
pub struct Cell {
    pub first: u32,
    pub last: u32,
    pub seconds: u32,
    /// Block mode, block type and flags, as the byte has them.
    pub category: u8,
    /// Number of the VOB and of the cell in it.
    pub name: (u16, u8),
}

pub fn cell(first: u32, last: u32, seconds: u32) -> Cell {
    Cell { first, last, seconds, ..Cell::default() }
}

/// The tables of a title set.
#[derive(Clone, Default)]
pub struct TitleSet {
    /// Program chains.
    pub chains: Vec<Vec<Cell>>,
    /// For each title, the chains of its chapters.
    pub titles: Vec<Vec<u16>>,
    /// Addresses of cells: names, first and last sectors.
    pub addresses: Vec<((u16, u8), u32, u32)>,
}

fn time(seconds: u32) -> [u8; 4] {
    let two = |value: u32| (value / 10 * 16 + value % 10) as u8;
    [two(seconds / 3600), two(seconds / 60 % 60), two(seconds % 60), 0x40]
}

/// A table of offsets and what they lead to.
fn offsets(parts: &[Vec<u8>], width: usize) -> Vec<u8> {
    let mut at = 8 + width * parts.len();
    let mut bytes = (parts.len() as u16).to_be_bytes().to_vec();
    let length: usize = parts.iter().map(Vec::len).sum();
    bytes.extend([0, 0]);
    bytes.extend(((at + length - 1) as u32).to_be_bytes());
    for (index, part) in parts.iter().enumerate() {
        if width == 8 {
            bytes.extend([0x81 + index as u8, 0, 0, 0]);
        }
        bytes.extend((at as u32).to_be_bytes());
        at += part.len();
    }
    [bytes, parts.concat()].concat()
}

impl TitleSet {
    pub fn bytes(&self) -> Vec<u8> {
        let chains: Vec<Vec<u8>> = self.chains.iter().map(|cells| chain(cells)).collect();
        let titles = self.titles.iter().map(|chains| {
            let chapter =
                |(index, chain): (usize, &u16)| [chain.to_be_bytes(), (index as u16 + 1).to_be_bytes()].concat();
            chains.iter().enumerate().flat_map(chapter).collect()
        });
        let mut addresses = vec![0, 1, 0, 0];
        addresses.extend((7 + 12 * self.addresses.len() as u32).to_be_bytes());
        for ((vob, cell), first, last) in &self.addresses {
            addresses.extend(vob.to_be_bytes());
            addresses.extend([*cell, 0]);
            addresses.extend(first.to_be_bytes());
            addresses.extend(last.to_be_bytes());
        }
        let mut head = b"DVDVIDEO-VTS".to_vec();
        head.resize(2048, 0);
        // MPEG-2, PAL, 16:9.
        head[512..514].copy_from_slice(&[0x5C, 0]);
        head[515] = 2;
        head[516..524].copy_from_slice(&[0x04, 5, b'e', b'n', 0, 0, 0, 0]);
        head[524..532].copy_from_slice(&[0xC4, 1, b'd', b'e', 0, 0, 0, 0]);
        head[597] = 1;
        head[598..604].copy_from_slice(&[0x01, 0, b'f', b'r', 0, 0]);
        for (at, table) in
            [(200, offsets(&titles.collect::<Vec<_>>(), 4)), (204, offsets(&chains, 8)), (224, addresses)]
        {
            let sector = (head.len() / 2048) as u32;
            head[at..at + 4].copy_from_slice(&sector.to_be_bytes());
            head.extend(table);
            head.resize(head.len().next_multiple_of(2048), 0);
        }
        head
    }
}

fn chain(cells: &[Cell]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[2] = 1;
    bytes[3] = cells.len() as u8;
    let first_angle = |cell: &&Cell| cell.category & 0x30 == 0 || cell.category >> 6 == 1;
    bytes[4..8].copy_from_slice(&time(cells.iter().filter(first_angle).map(|cell| cell.seconds).sum()));
    bytes[12..16].copy_from_slice(&[0x80, 0, 0x81, 0]);
    bytes[28..32].copy_from_slice(&[0x80, 1, 0, 0]);
    let playback = 236u16;
    bytes[232..234].copy_from_slice(&playback.to_be_bytes());
    bytes[234..236].copy_from_slice(&(playback + 24 * cells.len() as u16).to_be_bytes());
    for cell in cells {
        bytes.extend([cell.category, 0, 0, 0]);
        bytes.extend(time(cell.seconds));
        for sector in [cell.first, cell.last, cell.first, cell.last] {
            bytes.extend(sector.to_be_bytes());
        }
    }
    for cell in cells {
        bytes.extend(cell.name.0.to_be_bytes());
        bytes.extend([0, cell.name.1]);
    }
    bytes
}

/// The disc's own tables: title sets and the titles in them.
pub fn manager(titles: &[(u8, u8)]) -> Vec<u8> {
    let mut bytes = b"DVDVIDEO-VMG".to_vec();
    bytes.resize(2048, 0);
    bytes[196..200].copy_from_slice(&1u32.to_be_bytes());
    bytes.extend((titles.len() as u16).to_be_bytes());
    bytes.extend([0; 6]);
    for (set, title) in titles {
        bytes.extend([0x3C, 1, 0, 1, 0, 0, *set, *title, 0, 0, 0, 0]);
    }
    bytes.resize(4096, 0);
    bytes
}

/// Packs of a program stream, each with its number in it.
pub fn packs(count: u32) -> Vec<u8> {
    let pack = |number: u32| {
        let mut pack = vec![0; 2048];
        pack[..14].copy_from_slice(&[0, 0, 1, 0xBA, 0x44, 0, 4, 0, 4, 1, 0, 0, 3, 0xF8]);
        pack[14..23].copy_from_slice(&[0, 0, 1, 0xE0, 0x07, 0xEC, 0x81, 0, 0]);
        pack[24..28].copy_from_slice(&number.to_be_bytes());
        pack
    };
    (0..count).flat_map(pack).collect()
}
