//! Indexes: `idx1` behind the first `movi`, and those of OpenDML, `indx` in the header and `ix##` among the chunks.

use mediahost_plugin_sdk::detect::bytes::{Cursor, le_at};

/// The flag of a key frame in `idx1`.
const KEY_FRAME: u64 = 0x10;
/// The flag of what is not a key frame in OpenDML's indexes.
const NO_KEY_FRAME: u64 = 1 << 31;
/// Bytes of an entry of `idx1`.
const OLD_ENTRY: usize = 16;
/// Bytes in front of the entries of OpenDML's indexes.
const NEW_HEADER: usize = 24;
/// Chunks that a stream's index points to, at most.
const MAX_SPANS: usize = 1024;

/// A chunk of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub stream: usize,
    pub is_key: bool,
    /// Of the chunk's header, counted from where the index counts.
    pub offset: u64,
    pub size: u64,
}

/// The entries of `idx1`, those that carry no media left out.
pub fn old_entries(idx1: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    idx1.chunks_exact(OLD_ENTRY).filter_map(|entry| {
        let stream = stream_number(entry)?;
        // A change of palette is not a picture.
        if &entry[2..4] == b"pc" {
            return None;
        }
        let number = |offset| le_at(entry, offset, 4).unwrap_or(0);
        Some(Entry { stream, is_key: number(4) & KEY_FRAME != 0, offset: number(8), size: number(12) })
    })
}

/// The number in the name of a chunk, as in `01wb`.
pub fn stream_number(id: &[u8]) -> Option<usize> {
    let digit = |at: usize| id.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| usize::from(byte - b'0'));
    Some(digit(0)? * 10 + digit(1)?)
}

/// An index of OpenDML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// Where further indexes are.
    Spans(Vec<Span>),
    /// Chunks, their offsets from the start of the file.
    Entries(Vec<Entry>),
}

/// A further index and how many units of the stream it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub length: u64,
    pub units: u64,
}

impl Index {
    /// Reads the content of `indx` or `ix##`. None when it is of a kind that does not exist.
    pub fn read(body: &[u8]) -> Option<Index> {
        let mut cursor = Cursor::new(body);
        let words = cursor.le(2)? as usize;
        cursor.skip(1)?;
        let kind = cursor.u8()?;
        let count = cursor.le(4)?;
        let stream = stream_number(cursor.take(4)?)?;
        let base = cursor.le(8)?;
        let entries = body.get(NEW_HEADER..)?.chunks_exact(words.max(1) * 4).take(usize::try_from(count).ok()?);
        match (kind, words) {
            (0, 4) => {
                let span = |entry: &[u8]| {
                    let number = |offset, length| le_at(entry, offset, length).unwrap_or(0);
                    Span { offset: number(0, 8), length: number(8, 4), units: number(12, 4) }
                };
                Some(Index::Spans(entries.map(span).filter(|span| span.length > 0).take(MAX_SPANS).collect()))
            }
            // Three words where the two fields of a picture are told apart.
            (1, 2 | 3) => {
                let read = |entry: &[u8]| {
                    let number = |offset| le_at(entry, offset, 4).unwrap_or(0);
                    let size = number(4);
                    // Offsets point behind the chunk's header.
                    let offset = base.saturating_add(number(0)).saturating_sub(8);
                    Entry { stream, is_key: size & NO_KEY_FRAME == 0, offset, size: size & !NO_KEY_FRAME }
                };
                Some(Index::Entries(entries.map(read).collect()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_idx1() {
        let entry = |id: &[u8; 4], flags: u32, offset: u32| {
            [&id[..], &flags.to_le_bytes(), &offset.to_le_bytes(), &7u32.to_le_bytes()].concat()
        };
        let idx1 = [
            entry(b"00dc", 0x10, 4),
            entry(b"rec ", 1, 20),
            entry(b"01wb", 0, 40),
            entry(b"00pc", 0, 60),
            entry(b"12dc", 0, 80),
            vec![1, 2, 3],
        ];
        let found: Vec<_> = old_entries(&idx1.concat()).map(|e| (e.stream, e.is_key, e.offset, e.size)).collect();
        assert_eq!(found, [(0, true, 4, 7), (1, false, 40, 7), (12, false, 80, 7)]);
    }

    #[test]
    fn indexes_of_opendml() {
        let head = |words: u8, kind: u8, count: u8| {
            [&[words, 0, 0, kind, count, 0, 0, 0][..], b"00dc", &1000u64.to_le_bytes(), &[0; 4]].concat()
        };
        let frames =
            [head(2, 1, 2), vec![8, 0, 0, 0, 5, 0, 0, 0], vec![50, 0, 0, 0, 9, 0, 0, 0x80], vec![0; 8]].concat();
        let entry = |is_key, offset, size| Entry { stream: 0, is_key, offset, size };
        assert_eq!(Index::read(&frames), Some(Index::Entries(vec![entry(true, 1000, 5), entry(false, 1042, 9)])));
        let spans = [head(4, 0, 2), vec![9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 25, 0, 0, 0], vec![0; 16]].concat();
        assert_eq!(Index::read(&spans), Some(Index::Spans(vec![Span { offset: 9, length: 40, units: 25 }])));
        assert_eq!(Index::read(&head(0, 1, 200)), None);
        assert_eq!(Index::read(&head(4, 7, 2)), None);
        assert_eq!(Index::read(&spans[..20]), None);
    }
}
