//! UDF images as authoring tools make them, and as only few of them do: metadata partitions in several runs with a
//! mirror, lists of extents over many blocks, interleaved files, moved packets, virtual blocks.
//!
//! Owns: laying out an image, and telling where its structures went so that tests can break them.
//! Leaves to others: what is expected of a reader.
//!
//! ```text
//! let mut udf = Udf { maps: Maps::Metadata { runs: 3 }, ..Udf::default() };
//! let (left, right) = (udf.put(&left), udf.put(&right));
//! udf.file("BDMV/STREAM/00001.m2ts", &[left]);
//! udf.file("BDMV/STREAM/SSIF/00001.ssif", &[left, right]);
//! udf.add("BDMV/index.bdmv", b"INDX0200");
//! let image = udf.build();
//! look::<Disc>(&image.bytes())
//! ```

#![allow(dead_code, reason = "each test binary uses another part")]

use std::collections::BTreeMap;

use mediahost_plugin_sdk::detect::testing::Sparse;

/// Where the partition begins, in blocks.
pub const PARTITION: u32 = 400;
/// Bytes of the longest extent of blocks of 512, 2048 or 4096.
pub const LONGEST: u64 = 1_073_737_728;
const MAIN_SEQUENCE: u32 = 260;
const RESERVE_SEQUENCE: u32 = 280;
const SEQUENCE_BLOCKS: u32 = 16;
/// Where the sparing table is, and the spare packets behind it.
const SPARING: u32 = 300;
const SPARES: u32 = 304;
/// Blocks of a packet.
pub const PACKET: u32 = 16;

/// The partitions of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maps {
    /// One, as on DVDs.
    Plain,
    /// One, and one for metadata in so many runs, with a mirror, as on Blu-ray discs.
    Metadata { runs: u32 },
    /// One, of which these packets were moved.
    Sparable { moved: Vec<u32> },
    /// One, and one of virtual blocks, as on discs that were written in sessions.
    Virtual,
}

/// How wide allocation descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Possible only where entries and bytes are in the same partition.
    Short = 0,
    Long = 1,
    Extended = 2,
}

/// A run of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The block of the first partition; none where nothing was recorded.
    pub block: Option<u32>,
    pub length: u64,
}

/// A volume that is being put together.
#[derive(Clone)]
pub struct Udf {
    pub label: String,
    /// Bytes of a block.
    pub block: usize,
    pub maps: Maps,
    pub width: Width,
    /// Whether file entries are of the extended kind.
    pub is_extended: bool,
    /// Whether folders are in their entries, where they fit.
    pub folders_within: bool,
    /// Allocation descriptors in a block, at most.
    pub most_descriptors: usize,
    /// Blocks that are left out behind each entry and each folder.
    pub spread: u32,
    /// What was added: files and folders, the blocks of the partition, and the first that is free.
    pub nodes: Vec<Node>,
    pub data: BTreeMap<u32, Vec<u8>>,
    pub next: u32,
}

/// A file or a folder.
#[derive(Clone)]
pub struct Node {
    pub path: String,
    pub content: Content,
    /// What its file identifier says of it.
    pub flags: u8,
}

/// What a file or a folder has.
#[derive(Clone)]
pub enum Content {
    Folder,
    Runs(Vec<Run>),
    Within(Vec<u8>),
    /// The entry of another one.
    Link(String),
}

/// An image, and where its structures are.
pub struct Image {
    pub sparse: Sparse,
    /// Offsets of the entries of files and folders by their paths, the root's empty; in the main metadata file.
    pub entries: BTreeMap<String, u64>,
    /// The same in the mirror.
    pub mirrored: BTreeMap<String, u64>,
    /// Offsets of the entries of the metadata file and its mirror.
    pub metadata: Option<(u64, u64)>,
    /// Where the volume descriptor sequences are: offsets and lengths of the main one and of the reserve.
    pub sequences: [(u64, u64); 2],
    /// Offsets of the blocks of metadata, and of those of the mirror.
    pub blocks: Vec<u64>,
    pub mirror_blocks: Vec<u64>,
}

impl Default for Udf {
    fn default() -> Udf {
        let root = Node { path: String::new(), content: Content::Folder, flags: 0 };
        Udf {
            label: "FILM".into(),
            block: 2048,
            maps: Maps::Plain,
            width: Width::Long,
            is_extended: true,
            folders_within: false,
            most_descriptors: usize::MAX,
            spread: 0,
            nodes: vec![root],
            data: BTreeMap::new(),
            next: 32,
        }
    }
}

impl Udf {
    /// Puts bytes into the partition, behind all others.
    pub fn put(&mut self, bytes: &[u8]) -> Run {
        let run = self.put_zeros(bytes.len() as u64);
        for (block, piece) in (run.block.unwrap_or(0)..).zip(bytes.chunks(self.block)) {
            let mut piece = piece.to_vec();
            piece.resize(self.block, 0);
            self.data.insert(block, piece);
        }
        run
    }

    /// Takes room for that many bytes that are all zero, however many.
    pub fn put_zeros(&mut self, length: u64) -> Run {
        let block = self.next;
        self.next += length.div_ceil(self.block as u64) as u32;
        Run { block: Some(block), length }
    }

    /// Leaves blocks out.
    pub fn skip(&mut self, blocks: u32) {
        self.next += blocks;
    }

    /// A file of these runs. All but the last have whole blocks.
    pub fn file(&mut self, path: &str, runs: &[Run]) {
        self.node(path, Content::Runs(runs.to_vec()));
    }

    /// A file of these bytes, in one run.
    pub fn add(&mut self, path: &str, bytes: &[u8]) {
        let run = self.put(bytes);
        self.file(path, &[run]);
    }

    /// A file of which the bytes are in its entry.
    pub fn add_within(&mut self, path: &str, bytes: &[u8]) {
        self.node(path, Content::Within(bytes.to_vec()));
    }

    /// An empty folder; those on the way to files come by themselves.
    pub fn folder(&mut self, path: &str) {
        self.node(path, Content::Folder);
    }

    /// Another name for a file or a folder.
    pub fn link(&mut self, path: &str, target: &str) {
        self.node(path, Content::Link(target.into()));
    }

    /// Sets what the file identifier says: 1 hidden, 4 deleted.
    pub fn flag(&mut self, path: &str, flags: u8) {
        self.nodes.iter_mut().filter(|node| node.path == path).for_each(|node| node.flags = flags);
    }

    /// The bytes that a file of these runs has.
    pub fn content(&self, runs: &[Run]) -> Vec<u8> {
        let mut content = Vec::new();
        for run in runs {
            let end = content.len() + run.length as usize;
            let blocks = run.length.div_ceil(self.block as u64) as u32;
            for block in run.block.map(|first| first..first + blocks).unwrap_or(0..0) {
                let zeros = vec![0; self.block];
                content.extend_from_slice(self.data.get(&block).unwrap_or(&zeros));
            }
            content.resize(end, 0);
        }
        content
    }

    /// Writes everything.
    pub fn build(&self) -> Image {
        Writer::new(self).write()
    }

    fn node(&mut self, path: &str, content: Content) {
        let folder = path.rsplit_once('/').map(|(folder, _)| folder);
        if let Some(folder) = folder.filter(|folder| !self.nodes.iter().any(|node| node.path == *folder)) {
            self.node(folder, Content::Folder);
        }
        self.nodes.push(Node { path: path.into(), content, flags: 0 });
    }
}

impl Image {
    /// The whole image; only for short ones.
    pub fn bytes(&self) -> Vec<u8> {
        use mediahost_plugin_sdk::detect::testing::Source;
        self.sparse.read(0, self.sparse.size)
    }
}

/// Lays out a volume.
struct Writer<'a> {
    udf: &'a Udf,
    /// Blocks of the image.
    blocks: BTreeMap<u32, Vec<u8>>,
    /// Blocks of metadata: of the metadata partition, the virtual one, or in a row.
    meta: Vec<Vec<u8>>,
    /// What is added to their numbers, and the partition that they are in.
    base: u32,
    reference: u16,
    /// The next free block of the partition.
    next: u32,
}

/// The first blocks of metadata: the file set and its terminator.
const FILE_SET_BLOCKS: u32 = 2;

impl<'a> Writer<'a> {
    fn new(udf: &'a Udf) -> Writer<'a> {
        let is_apart = matches!(udf.maps, Maps::Metadata { .. } | Maps::Virtual);
        let (base, reference) = if is_apart { (0, 1) } else { (udf.next, 0) };
        Writer { udf, blocks: BTreeMap::new(), meta: Vec::new(), base, reference, next: udf.next }
    }

    fn write(mut self) -> Image {
        self.write_meta();
        for (block, bytes) in &self.udf.data {
            self.blocks.insert(PARTITION + block, bytes.clone());
        }
        let count = self.meta.len() as u32;
        let (mut places, mut mirror_places, mut metadata) = ((0..count).collect::<Vec<_>>(), Vec::new(), None);
        match &self.udf.maps {
            Maps::Metadata { runs } => {
                let (file, mirror) = (self.next, self.next + 1);
                self.next += 2;
                places = self.scatter(count, *runs, file, 250);
                mirror_places = self.scatter(count, runs + 1, mirror, 251);
                metadata = Some((file, mirror));
            }
            Maps::Virtual => {
                // In reverse, so that no two of them are in a row.
                places = (0..count).map(|number| self.next + count - 1 - number).collect();
                self.next += count;
            }
            Maps::Plain | Maps::Sparable { .. } => {
                places.iter_mut().for_each(|place| *place += self.next);
                self.next += count;
            }
        }
        for places in [&places, &mirror_places] {
            for (place, bytes) in places.iter().zip(&self.meta).filter(|(_, bytes)| !bytes.is_empty()) {
                self.blocks.insert(PARTITION + place, bytes.clone());
            }
        }
        if let Maps::Sparable { moved } = &self.udf.maps {
            self.write_sparing(moved);
        }
        let sequence = self.sequence(metadata);
        for at in [MAIN_SEQUENCE, RESERVE_SEQUENCE] {
            for (number, (id, bytes)) in sequence.iter().enumerate() {
                self.put(at + number as u32, *id, at + number as u32, bytes.clone());
            }
        }
        let end = self.write_anchors(&places);
        self.image(end, &places, &mirror_places, metadata)
    }

    /// Everything behind the entries of the metadata file: the file set, entries, folders, continuations.
    fn write_meta(&mut self) {
        let nodes = &self.udf.nodes;
        self.meta = vec![Vec::new(); self.entry_place(nodes.len()) as usize];
        let mut file_set = vec![0; 512];
        self.long(&mut file_set, 400, self.udf.block as u32, (self.reference, self.base + self.entry_place(0)));
        self.meta[0] = self.block(256, self.base, file_set);
        self.meta[1] = self.block(8, self.base + 1, vec![0; 512]);
        for (number, node) in nodes.iter().enumerate() {
            let at = self.entry_place(number) as usize;
            let entry = match &node.content {
                Content::Folder => {
                    let list = self.folder(&node.path);
                    if self.udf.folders_within && list.len() + 216 <= self.udf.block {
                        self.entry(4, 3, list.len() as u64, &list)
                    } else {
                        let runs = self.put_meta(&list);
                        let descriptors = self.descriptors(&runs, self.reference, self.folder_width());
                        self.entry(4, self.folder_width() as u16, list.len() as u64, &descriptors)
                    }
                }
                Content::Link(_) => continue,
                Content::Within(bytes) => self.entry(5, 3, bytes.len() as u64, bytes),
                Content::Runs(runs) => {
                    let size = runs.iter().map(|run| run.length).sum();
                    let descriptors = self.descriptors(runs, 0, self.udf.width);
                    self.entry(
                        if node.path.ends_with("ts") { 249 } else { 5 },
                        self.udf.width as u16,
                        size,
                        &descriptors,
                    )
                }
            };
            let id = if self.udf.is_extended { 266 } else { 261 };
            self.meta[at] = self.block(id, self.base + at as u32, entry);
        }
    }

    /// Where among the metadata the entry of a node is.
    fn entry_place(&self, node: usize) -> u32 {
        FILE_SET_BLOCKS + node as u32 * (1 + self.udf.spread)
    }

    /// Short descriptors mean the partition of the entry, which is where folders are.
    fn folder_width(&self) -> Width {
        if self.udf.maps == Maps::Virtual { Width::Long } else { Width::Short }
    }

    /// The file identifiers of a folder.
    fn folder(&self, folder: &str) -> Vec<u8> {
        let parent = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
        let own = self.udf.nodes.iter().position(|node| node.path == parent(folder)).expect("the folder was made");
        let mut list = self.identifier(2 | 8, own, &[]);
        for (number, node) in self.udf.nodes.iter().enumerate().skip(1).filter(|(_, node)| parent(&node.path) == folder)
        {
            let name = node.path.rsplit('/').next().unwrap_or_default();
            let is_folder = matches!(node.content, Content::Folder);
            let number = match &node.content {
                Content::Link(target) => {
                    self.udf.nodes.iter().position(|node| node.path == *target).expect("the target was made")
                }
                _ => number,
            };
            list.extend(self.identifier(node.flags | if is_folder { 2 } else { 0 }, number, &text(name)));
        }
        list
    }

    fn identifier(&self, flags: u8, node: usize, name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 38];
        bytes[16] = 1;
        bytes[18] = flags;
        bytes[19] = name.len() as u8;
        let block = self.base + self.entry_place(node);
        self.long(&mut bytes, 20, self.udf.block as u32, (self.reference, block));
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        tagged(257, 0, bytes)
    }

    /// A file entry without its tag.
    fn entry(&self, file_type: u8, width: u16, size: u64, list: &[u8]) -> Vec<u8> {
        let (lengths, head) = if self.udf.is_extended { (208, 216) } else { (168, 176) };
        let mut bytes = vec![0; head];
        set(&mut bytes, 20, &4u16.to_le_bytes());
        bytes[27] = file_type;
        set(&mut bytes, 34, &width.to_le_bytes());
        set(&mut bytes, 48, &1u16.to_le_bytes());
        set(&mut bytes, 56, &size.to_le_bytes());
        set(&mut bytes, lengths + 4, &(list.len() as u32).to_le_bytes());
        bytes.extend_from_slice(list);
        bytes
    }

    /// Bytes among the metadata; each run is a block where blocks are virtual.
    fn put_meta(&mut self, bytes: &[u8]) -> Vec<Run> {
        let first = self.base + self.meta.len() as u32;
        let pieces: Vec<&[u8]> = bytes.chunks(self.udf.block).collect();
        self.meta.extend(pieces.iter().map(|piece| {
            let mut piece = piece.to_vec();
            piece.resize(self.udf.block, 0);
            piece
        }));
        self.meta.resize(self.meta.len() + self.udf.spread as usize, Vec::new());
        match self.udf.maps {
            Maps::Virtual => (first..)
                .zip(pieces)
                .map(|(block, piece)| Run { block: Some(block), length: piece.len() as u64 })
                .collect(),
            _ => vec![Run { block: Some(first), length: bytes.len() as u64 }],
        }
    }

    /// The allocation descriptors of an entry; those that do not fit are in further blocks.
    fn descriptors(&mut self, runs: &[Run], reference: u16, width: Width) -> Vec<u8> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for run in runs {
            let (mut at, mut left) = (run.block, run.length);
            while left > 0 {
                let longest = LONGEST - LONGEST % self.udf.block as u64;
                let length = left.min(longest);
                let kind = if at.is_some() { 0 } else { 1 + (all.len() as u32 & 1) };
                all.push(self.descriptor(kind, length as u32, (reference, at.unwrap_or(0)), width));
                at = at.map(|block| block + (length / self.udf.block as u64) as u32);
                left -= length;
            }
        }
        let step = [8, 16, 20][width as usize];
        let within = ((self.udf.block - 216) / step).min(self.udf.most_descriptors);
        let beyond = ((self.udf.block - 24) / step).min(self.udf.most_descriptors);
        if all.len() <= within {
            return all.concat();
        }
        let mut list = all.drain(..within - 1).collect::<Vec<_>>().concat();
        let first = self.meta.len();
        let count = if all.len() <= beyond { 1 } else { (all.len() - 1).div_ceil(beyond - 1) };
        self.meta.resize(first + count, Vec::new());
        // The blocks are not in order.
        let place = |number: usize| first + if number < count / 2 * 2 { number ^ 1 } else { number };
        let base = self.base;
        let next = |number: usize| base + place(number) as u32;
        list.extend(self.descriptor(3, self.udf.block as u32, (self.reference, next(0)), width));
        let mut rest = all.into_iter();
        for number in 0..count {
            let is_last = number + 1 == count;
            let mut part = rest.by_ref().take(if is_last { beyond } else { beyond - 1 }).collect::<Vec<_>>().concat();
            if !is_last {
                part.extend(self.descriptor(3, self.udf.block as u32, (self.reference, next(number + 1)), width));
            }
            let mut bytes = vec![0; 24];
            set(&mut bytes, 20, &(part.len() as u32).to_le_bytes());
            bytes.extend(part);
            let bytes = self.block(258, next(number), bytes);
            self.meta[place(number)] = bytes;
        }
        list
    }

    fn descriptor(&self, kind: u32, length: u32, (reference, block): (u16, u32), width: Width) -> Vec<u8> {
        let word = (kind << 30 | length).to_le_bytes();
        let mut bytes = word.to_vec();
        if width == Width::Extended {
            bytes.extend((length).to_le_bytes());
            bytes.extend((length).to_le_bytes());
        }
        bytes.extend(block.to_le_bytes());
        if width != Width::Short {
            bytes.extend(reference.to_le_bytes());
        }
        bytes.resize([8, 16, 20][width as usize], 0);
        bytes
    }

    /// Spreads metadata over runs, the first of them last, and writes the entry of the file that they are.
    fn scatter(&mut self, count: u32, runs: u32, file: u32, file_type: u8) -> Vec<u32> {
        let length = count.div_ceil(runs).max(1);
        let parts: Vec<u32> = (0..count).step_by(length as usize).map(|start| length.min(count - start)).collect();
        let mut at = self.next;
        let mut starts = vec![0; parts.len()];
        for (number, part) in parts.iter().enumerate().rev() {
            starts[number] = at;
            at += part + 3;
        }
        self.next = at;
        let descriptors: Vec<u8> = starts
            .iter()
            .zip(&parts)
            .flat_map(|(start, part)| self.descriptor(0, part * self.udf.block as u32, (0, *start), Width::Short))
            .collect();
        let entry = self.entry(file_type, 0, u64::from(count) * self.udf.block as u64, &descriptors);
        self.put(PARTITION + file, if self.udf.is_extended { 266 } else { 261 }, file, entry);
        starts.iter().zip(&parts).flat_map(|(start, part)| *start..start + part).collect()
    }

    /// Moves packets, leaves rubbish in their place, and writes the table.
    fn write_sparing(&mut self, moved: &[u32]) {
        let mut table = vec![0; 56];
        set(&mut table, 17, b"*UDF Sparing Table");
        set(&mut table, 48, &(moved.len() as u16 + 1).to_le_bytes());
        for (number, packet) in moved.iter().enumerate() {
            let (original, spare) = (packet * PACKET, SPARES + number as u32 * PACKET);
            table.extend(original.to_le_bytes().into_iter().chain(spare.to_le_bytes()));
            for block in 0..PACKET {
                let rubbish = vec![0xEE; self.udf.block];
                if let Some(bytes) = self.blocks.insert(PARTITION + original + block, rubbish) {
                    self.blocks.insert(spare + block, bytes);
                }
            }
        }
        table.extend(u32::MAX.to_le_bytes().into_iter().chain(SPARES.to_le_bytes()));
        self.put(SPARING, 0, SPARING, table);
    }

    /// Volume descriptors without their tags. An older partition descriptor is there, too, and wrong.
    fn sequence(&self, metadata: Option<(u32, u32)>) -> Vec<(u16, Vec<u8>)> {
        let partition = |order: u32, start: u32| {
            let mut bytes = vec![0; 512];
            set(&mut bytes, 16, &order.to_le_bytes());
            set(&mut bytes, 24, b"\0+NSR03");
            set(&mut bytes, 188, &start.to_le_bytes());
            set(&mut bytes, 192, &self.next.to_le_bytes());
            bytes
        };
        let mut volume = vec![0; 440];
        set(&mut volume, 16, &2u32.to_le_bytes());
        let label = text(&self.udf.label);
        set(&mut volume, 84, &label);
        volume[211] = label.len() as u8;
        set(&mut volume, 212, &(self.udf.block as u32).to_le_bytes());
        set(&mut volume, 217, b"*OSTA UDF Compliant");
        set(&mut volume, 240, &0x0250u16.to_le_bytes());
        self.long(&mut volume, 248, self.udf.block as u32, (self.reference, self.base));
        let mut maps = match self.udf.maps {
            Maps::Sparable { .. } => self.map2("*UDF Sparable Partition", |map| {
                set(map, 40, &(PACKET as u16).to_le_bytes());
                map[42] = 1;
                set(map, 44, &(self.udf.block as u32).to_le_bytes());
                set(map, 48, &SPARING.to_le_bytes());
            }),
            _ => vec![1, 6, 1, 0, 0, 0],
        };
        if let Some((file, mirror)) = metadata {
            maps.extend(self.map2("*UDF Metadata Partition", |map| {
                set(map, 40, &file.to_le_bytes());
                set(map, 44, &mirror.to_le_bytes());
                set(map, 48, &u32::MAX.to_le_bytes());
                set(map, 52, &32u32.to_le_bytes());
                set(map, 56, &1u16.to_le_bytes());
                map[58] = 1;
            }));
        }
        if self.udf.maps == Maps::Virtual {
            maps.extend(self.map2("*UDF Virtual Partition", |_| {}));
        }
        set(&mut volume, 264, &(maps.len() as u32).to_le_bytes());
        set(&mut volume, 268, &(1 + u32::from(self.reference)).to_le_bytes());
        volume.extend(maps);
        let newest = partition(4, PARTITION);
        vec![(1, vec![0; 512]), (5, newest), (5, partition(3, 9999)), (6, volume), (7, vec![0; 24]), (8, vec![0; 512])]
    }

    fn map2(&self, name: &str, fill: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut map = vec![0; 64];
        (map[0], map[1], map[36]) = (2, 64, 1);
        set(&mut map, 5, name.as_bytes());
        fill(&mut map);
        map
    }

    /// Recognition, anchors and, as the last block of all, the entry of the virtual allocation table.
    fn write_anchors(&mut self, places: &[u32]) -> u32 {
        let (block, step) = (self.udf.block as u32, self.udf.block.max(2048) as u32);
        for (number, id) in (0..).zip([b"BEA01", b"NSR03", b"TEA01"]) {
            let at = (32_768 + number * step) / block;
            let mut bytes = vec![0; self.udf.block];
            set(&mut bytes, 1, id);
            bytes[6] = 1;
            self.blocks.insert(at, bytes);
        }
        let mut end = PARTITION + self.next + 300;
        let mut anchor = vec![0; 512];
        for (at, start) in [(16, MAIN_SEQUENCE), (24, RESERVE_SEQUENCE)] {
            set(&mut anchor, at, &(SEQUENCE_BLOCKS * block).to_le_bytes());
            set(&mut anchor, at + 4, &start.to_le_bytes());
        }
        for at in [256, end - 1, end - 257] {
            self.put(at, 2, at, anchor.clone());
        }
        if self.udf.maps == Maps::Virtual {
            let mut table = vec![0; 152];
            set(&mut table, 0, &152u16.to_le_bytes());
            table.extend(places.iter().flat_map(|place| place.to_le_bytes()));
            let entry = self.entry(248, 3, table.len() as u64, &table);
            self.put(end, 266, end - PARTITION, entry);
            end += 1;
        }
        end
    }

    fn image(self, end: u32, places: &[u32], mirror: &[u32], metadata: Option<(u32, u32)>) -> Image {
        let block = self.udf.block as u64;
        let offset = |at: u32| u64::from(PARTITION + at) * block;
        let by_path = |places: &[u32]| {
            let entries = places.iter().skip(FILE_SET_BLOCKS as usize).step_by(1 + self.udf.spread as usize);
            self.udf.nodes.iter().zip(entries).map(|(node, at)| (node.path.clone(), offset(*at))).collect()
        };
        let (entries, mirrored) = (by_path(places), by_path(mirror));
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        for (at, bytes) in self.blocks {
            let at = u64::from(at) * block;
            match pieces.last_mut().filter(|(start, piece)| start + piece.len() as u64 == at) {
                Some((_, piece)) => piece.extend(bytes),
                None => pieces.push((at, bytes)),
            }
        }
        let length = u64::from(SEQUENCE_BLOCKS) * block;
        Image {
            sparse: Sparse { size: u64::from(end) * block, pieces },
            entries,
            mirrored,
            metadata: metadata.map(|(file, mirror)| (offset(file), offset(mirror))),
            sequences: [MAIN_SEQUENCE, RESERVE_SEQUENCE].map(|at| (u64::from(at) * block, length)),
            blocks: places.iter().map(|at| offset(*at)).collect(),
            mirror_blocks: mirror.iter().map(|at| offset(*at)).collect(),
        }
    }

    /// A descriptor in a block of its own.
    fn put(&mut self, at: u32, id: u16, location: u32, bytes: Vec<u8>) {
        let block = self.block(id, location, bytes);
        self.blocks.insert(at, block);
    }

    fn block(&self, id: u16, location: u32, bytes: Vec<u8>) -> Vec<u8> {
        assert!(bytes.len() <= self.udf.block, "a descriptor of {} bytes does not fit", bytes.len());
        let mut block = tagged(id, location, bytes);
        block.resize(self.udf.block, 0);
        block
    }

    /// A long allocation descriptor.
    fn long(&self, bytes: &mut [u8], at: usize, length: u32, (reference, block): (u16, u32)) {
        set(bytes, at, &length.to_le_bytes());
        set(bytes, at + 4, &block.to_le_bytes());
        set(bytes, at + 8, &reference.to_le_bytes());
    }
}

/// Fills the tag in front of a descriptor.
fn tagged(id: u16, location: u32, mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = bytes[16..].iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    let length = bytes.len() as u16 - 16;
    set(&mut bytes, 0, &id.to_le_bytes());
    set(&mut bytes, 2, &3u16.to_le_bytes());
    set(&mut bytes, 8, &crc.to_le_bytes());
    set(&mut bytes, 10, &length.to_le_bytes());
    set(&mut bytes, 12, &location.to_le_bytes());
    bytes[4] = 0;
    bytes[4] = bytes[..16].iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
    bytes
}

/// Text of one byte per letter where that will do, else of two.
fn text(text: &str) -> Vec<u8> {
    let narrow: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    match narrow {
        Some(letters) => [vec![8], letters].concat(),
        None => [vec![16], text.encode_utf16().flat_map(u16::to_be_bytes).collect()].concat(),
    }
}

fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
