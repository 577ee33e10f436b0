//! Writes archives: what a test wants to have in them, not what a program would put there.

/// CRC-32, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

/// A member of a ZIP archive.
#[derive(Clone, Default)]
pub struct Zipped {
    pub name: Vec<u8>,
    pub bytes: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    /// Sizes and offset are in the 64-bit field.
    pub wide: bool,
    pub extra: Vec<u8>,
    pub link: bool,
}

impl Zipped {
    pub fn new(name: &str, bytes: &[u8]) -> Zipped {
        Zipped { name: name.into(), bytes: bytes.to_vec(), ..Zipped::default() }
    }

    /// The local header; its lengths differ from those of the directory, as they do in practice.
    pub fn local(&self) -> Vec<u8> {
        let streamed = self.flags & 8 != 0;
        let number = |value: u32| if streamed { 0 } else { value }.to_le_bytes();
        let length = self.bytes.len() as u32;
        let local_extra = [0x55, 0x54, 1, 0, 0];
        let mut header = b"PK\x03\x04\x14\0".to_vec();
        header.extend(self.flags.to_le_bytes());
        header.extend(self.method.to_le_bytes());
        header.extend([0; 4]);
        header.extend(number(crc32(&self.bytes)));
        header.extend([number(length), number(length)].concat());
        header.extend((self.name.len() as u16).to_le_bytes());
        header.extend((local_extra.len() as u16).to_le_bytes());
        header.extend(&self.name);
        header.extend(local_extra);
        header
    }

    pub fn entry(&self, offset: u64, size: u64) -> Vec<u8> {
        let mut extra = self.extra.clone();
        if self.wide {
            extra.extend([1, 0, 24, 0]);
            extra.extend([size.to_le_bytes(), size.to_le_bytes(), offset.to_le_bytes()].concat());
        }
        let number = |value: u64| if self.wide { u32::MAX } else { value as u32 }.to_le_bytes();
        let mut entry = b"PK\x01\x02\x14\x03\x14\0".to_vec();
        entry.extend(self.flags.to_le_bytes());
        entry.extend(self.method.to_le_bytes());
        entry.extend([0; 4]);
        entry.extend(crc32(&self.bytes).to_le_bytes());
        entry.extend([number(size), number(size)].concat());
        entry.extend((self.name.len() as u16).to_le_bytes());
        entry.extend((extra.len() as u16).to_le_bytes());
        entry.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        entry.extend(if self.link { 0o120_777u16 } else { 0o100_644 }.to_le_bytes());
        entry.extend(number(offset));
        entry.extend(&self.name);
        entry.extend(extra);
        entry.extend(b"abc");
        entry
    }
}

/// The end of a ZIP archive behind a directory of so many entries.
pub fn zip_end(entries: u64, length: u64, offset: u64, wide: bool, comment: &[u8]) -> Vec<u8> {
    let mut end = Vec::new();
    if wide {
        end.extend(b"PK\x06\x06\x2C\0\0\0\0\0\0\0\x2D\x03\x2D\0\0\0\0\0\0\0\0\0");
        end.extend([entries, entries, length, offset].map(u64::to_le_bytes).concat());
        end.extend(b"PK\x06\x07\0\0\0\0");
        end.extend((offset + length).to_le_bytes());
        end.extend([1, 0, 0, 0]);
    }
    let (count, number) = (
        |value: u64| if wide { u16::MAX } else { value as u16 }.to_le_bytes(),
        |value: u64| if wide { u32::MAX } else { value as u32 }.to_le_bytes(),
    );
    end.extend(b"PK\x05\x06\0\0\0\0");
    end.extend([count(entries), count(entries)].concat());
    end.extend([number(length), number(offset)].concat());
    end.extend((comment.len() as u16).to_le_bytes());
    end.extend(comment);
    end
}

/// A ZIP archive whose offsets count from `counted` bytes behind the beginning of `prefix`.
pub fn zip(members: &[Zipped], prefix: &[u8], counted: u64, comment: &[u8]) -> Vec<u8> {
    let (mut archive, mut directory) = (prefix.to_vec(), Vec::new());
    for member in members {
        directory.extend(member.entry(archive.len() as u64 - counted, member.bytes.len() as u64));
        archive.extend(member.local());
        archive.extend(&member.bytes);
        if member.flags & 8 != 0 {
            let length = (member.bytes.len() as u32).to_le_bytes();
            archive.extend([*b"PK\x07\x08", crc32(&member.bytes).to_le_bytes(), length, length].concat());
        }
    }
    let wide = members.iter().any(|member| member.wide);
    let end = zip_end(members.len() as u64, directory.len() as u64, archive.len() as u64 - counted, wide, comment);
    archive.extend(directory);
    archive.extend(end);
    archive
}

/// A header of a TAR archive.
pub fn tar_header(name: &str, size: u64, kind: u8) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    match size {
        0..0o100_000_000_000 => header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes()),
        _ => {
            header[124] = 0x80;
            header[128..136].copy_from_slice(&size.to_be_bytes());
        }
    }
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    tar_seal(&mut header);
    header
}

/// Sets the checksum of a header.
pub fn tar_seal(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header[..512].iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A member of a TAR archive with what fills its last block.
pub fn tar_member(name: &str, bytes: &[u8], kind: u8) -> Vec<u8> {
    let mut member = tar_header(name, bytes.len() as u64, kind);
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

/// A record of PAX.
pub fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..4).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
    format!("{} {key}={value}\n", length.expect("it is short")).into_bytes()
}

/// A member of a RAR archive.
#[derive(Clone)]
pub struct Packed {
    pub name: String,
    pub bytes: Vec<u8>,
    /// 0 for stored.
    pub method: u8,
    pub encrypted: bool,
    pub folder: bool,
}

impl Packed {
    pub fn new(name: &str, bytes: &[u8]) -> Packed {
        Packed { name: name.into(), bytes: bytes.to_vec(), method: 0, encrypted: false, folder: false }
    }
}

/// What of a member is in a volume.
struct Piece<'a> {
    member: &'a Packed,
    bytes: &'a [u8],
    before: bool,
    after: bool,
}

/// Cuts members into volumes with so many bytes of members in each.
fn pieces(members: &[Packed], room: usize) -> Vec<Vec<Piece<'_>>> {
    let (mut volumes, mut left) = (vec![Vec::new()], room);
    for member in members {
        let (mut rest, mut before) = (&member.bytes[..], false);
        loop {
            if left == 0 {
                (left, _) = (room, volumes.push(Vec::new()));
            }
            let (bytes, next) = rest.split_at(rest.len().min(left));
            let after = !next.is_empty();
            volumes.last_mut().expect("there is one").push(Piece { member, bytes, before, after });
            (rest, before, left) = (next, true, left - bytes.len());
            if !after {
                break;
            }
        }
    }
    volumes
}

/// A RAR archive of version 4 or 5, in volumes with `room` bytes of members each.
pub fn rar(version: u8, members: &[Packed], room: usize) -> Vec<Vec<u8>> {
    let volumes = pieces(members, room);
    let last = volumes.len() - 1;
    let write = if version == 4 { rar4 } else { rar5 };
    volumes.iter().enumerate().map(|(number, pieces)| write(pieces, number, last)).collect()
}

/// A block of RAR 4 with its checksum.
pub fn block4(kind: u8, flags: u16, rest: &[u8]) -> Vec<u8> {
    let mut block = vec![kind];
    block.extend(flags.to_le_bytes());
    block.extend((rest.len() as u16 + 7).to_le_bytes());
    block.extend(rest);
    [&(crc32(&block) as u16).to_le_bytes()[..], &block].concat()
}

fn rar4(pieces: &[Piece], number: usize, last: usize) -> Vec<u8> {
    let in_set = if last > 0 { 0x0011 | if number == 0 { 0x0100 } else { 0 } } else { 0 };
    let mut archive = [b"Rar!\x1A\x07\0".to_vec(), block4(0x73, in_set, &[0; 6])].concat();
    for Piece { member, bytes, before, after } in pieces {
        let flags = 0x8100
            | u16::from(*before)
            | u16::from(*after) << 1
            | u16::from(member.encrypted) << 2
            | if member.folder { 0xE0 } else { 0 };
        let size = member.bytes.len() as u64;
        let mut rest = (bytes.len() as u32).to_le_bytes().to_vec();
        rest.extend((size as u32).to_le_bytes());
        rest.push(3);
        // The last part has the checksum of the whole.
        rest.extend(crc32(if *after { bytes } else { &member.bytes }).to_le_bytes());
        rest.extend([0, 0, 0x21, 0x58, 29, 0x30 + member.method]);
        rest.extend((member.name.len() as u16).to_le_bytes());
        rest.extend(if member.folder { 0o040_755u32 } else { 0o100_644 }.to_le_bytes());
        rest.extend(0u32.to_le_bytes());
        rest.extend(((size >> 32) as u32).to_le_bytes());
        rest.extend(member.name.replace('/', "\\").bytes());
        archive.extend(block4(0x74, flags, &rest));
        archive.extend(*bytes);
    }
    archive.extend(block4(0x7B, 0x4000 | u16::from(number < last), &[]));
    archive
}

pub fn variable(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A header of RAR 5 with its length and checksum.
pub fn header5(fields: &[u64], rest: &[u8]) -> Vec<u8> {
    let mut header: Vec<u8> = fields.iter().flat_map(|field| variable(*field)).collect();
    header.extend(rest);
    let header = [variable(header.len() as u64), header].concat();
    [&crc32(&header).to_le_bytes()[..], &header].concat()
}

fn rar5(pieces: &[Piece], number: usize, last: usize) -> Vec<u8> {
    let mut archive = b"Rar!\x1A\x07\x01\0".to_vec();
    archive.extend(match (last, number) {
        (0, _) => header5(&[1, 0, 0], &[]),
        (_, 0) => header5(&[1, 0, 1], &[]),
        (_, number) => header5(&[1, 0, 3, number as u64], &[]),
    });
    for Piece { member, bytes, before, after } in pieces {
        // An encryption record: length, kind, version, flags, count, salt, vector.
        let extra = if member.encrypted { [&[36, 1, 0, 0, 15][..], &[7; 32]].concat() } else { Vec::new() };
        let flags = u64::from(!member.folder) << 1
            | u64::from(!extra.is_empty())
            | u64::from(*before) << 3
            | u64::from(*after) << 4;
        let mut fields = vec![2, flags];
        fields.extend((!extra.is_empty()).then_some(extra.len() as u64));
        fields.extend((!member.folder).then_some(bytes.len() as u64));
        fields.extend([4 | u64::from(member.folder), member.bytes.len() as u64, 0o100_644]);
        let checksum = crc32(if *after { bytes } else { &member.bytes });
        let mut rest = checksum.to_le_bytes().to_vec();
        for field in [u64::from(member.method) << 7, 1, member.name.len() as u64] {
            rest.extend(variable(field));
        }
        rest.extend(member.name.bytes());
        rest.extend(extra);
        archive.extend(header5(&fields, &rest));
        archive.extend(*bytes);
    }
    archive.extend(header5(&[5, 0, u64::from(number < last)], &[]));
    archive
}
