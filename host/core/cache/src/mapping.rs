//! A file that is made of pieces of other files: a title in a disc image, a member of an archive.
//!
//! Owns: which bytes of which files are the bytes of such a file, also where the other files are themselves made so.
//! Leaves to others: who says what the pieces are (detectors), and reading them.
//!
//! Invariants: a mapping names no byte beyond the end of a file whose length was given; its pieces are not empty, and two
//! neighbours that continue each other are one.

use std::ops::Range;

use thiserror::Error;

/// Pieces of one mapping, at most.
pub const MAX_PIECES: usize = 65_536;

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The file, by its number, and where the run begins there; none for zeros.
    pub from: Option<(u32, u64)>,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Bytes of one file, or zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file by its number; none for zeros, whose range then begins at 0.
    pub file: Option<u32>,
    /// Offsets there.
    pub range: Range<u64>,
}

/// Why pieces are no mapping.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// There are too many.
    #[error("it has more than {MAX_PIECES} pieces")]
    TooMany,
    /// One is of a file that is not there.
    #[error("piece {piece} is of file {file}, and there are {count}")]
    NoFile {
        /// The piece, counted from 0.
        piece: usize,
        /// The file it names.
        file: u32,
        /// How many there are.
        count: usize,
    },
    /// The lengths add up to more than a file can have.
    #[error("its pieces are 2^63 bytes or more")]
    TooLong,
    /// Nothing of it is there.
    #[error("none of its bytes are in the file")]
    Empty,
}

/// The bytes of a file in terms of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pieces: Vec<Piece>,
    /// Where each piece begins.
    starts: Vec<u64>,
    total: u64,
    is_cut: bool,
}

impl Mapping {
    /// The pieces, one after the other. `sizes` are the lengths of the files, as far as they are known: where a file ends
    /// before a piece does, the mapping ends, since what comes after would be in the wrong place.
    pub fn new(pieces: impl IntoIterator<Item = Piece>, sizes: &[Option<u64>]) -> Result<Mapping, Error> {
        let mut mapping = Mapping { pieces: Vec::new(), starts: Vec::new(), total: 0, is_cut: false };
        for (number, mut piece) in pieces.into_iter().enumerate() {
            if let Some((file, offset)) = piece.from {
                let size = sizes.get(file as usize);
                let size = size.ok_or(Error::NoFile { piece: number, file, count: sizes.len() })?;
                let left = size.unwrap_or(u64::MAX).saturating_sub(offset);
                mapping.is_cut = left < piece.length;
                piece.length = piece.length.min(left);
            }
            mapping.push(piece)?;
            if mapping.is_cut {
                break;
            }
        }
        if mapping.total == 0 { Err(Error::Empty) } else { Ok(mapping) }
    }

    /// This mapping, whose only file is itself made of others, in terms of those.
    pub fn within(&self, outer: &Mapping) -> Result<Mapping, Error> {
        let mut mapping = Mapping { pieces: Vec::new(), starts: Vec::new(), total: 0, is_cut: self.is_cut };
        for piece in &self.pieces {
            let Some((_, offset)) = piece.from else {
                mapping.push(*piece)?;
                continue;
            };
            let mut found = 0;
            for part in outer.parts(offset..offset.saturating_add(piece.length)) {
                let length = part.range.end - part.range.start;
                found += length;
                mapping.push(Piece { from: part.file.map(|file| (file, part.range.start)), length })?;
            }
            if found < piece.length {
                mapping.is_cut = true;
                break;
            }
        }
        if mapping.total == 0 { Err(Error::Empty) } else { Ok(mapping) }
    }

    fn push(&mut self, piece: Piece) -> Result<(), Error> {
        if piece.length == 0 {
            return Ok(());
        }
        let total = self.total.checked_add(piece.length).filter(|total| *total < 1 << 63).ok_or(Error::TooLong)?;
        if let Some(last) = self.pieces.last_mut().filter(|last| continues(last, &piece)) {
            last.length += piece.length;
        } else if self.pieces.len() >= MAX_PIECES {
            return Err(Error::TooMany);
        } else {
            self.starts.push(self.total);
            self.pieces.push(piece);
        }
        self.total = total;
        Ok(())
    }

    /// How long the whole is, in bytes; never 0.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether a file ended before it should have.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Where the bytes of a range are, in order. What lies beyond the end is left out.
    pub fn parts(&self, range: Range<u64>) -> impl Iterator<Item = Part> + '_ {
        let range = range.start..range.end.min(self.total);
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        self.pieces[first..].iter().zip(&self.starts[first..]).map_while(move |(piece, start)| {
            let from = range.start.max(*start) - start;
            let to = range.end.min(start + piece.length).saturating_sub(*start);
            (range.start < range.end && from < to).then(|| match piece.from {
                Some((file, offset)) => Part { file: Some(file), range: offset + from..offset + to },
                None => Part { file: None, range: 0..to - from },
            })
        })
    }
}

fn continues(last: &Piece, next: &Piece) -> bool {
    match (last.from, next.from) {
        (Some((file, offset)), Some((other, next))) => file == other && offset.checked_add(last.length) == Some(next),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(file: u32, offset: u64, length: u64) -> Piece {
        Piece { from: Some((file, offset)), length }
    }

    fn zeros(length: u64) -> Piece {
        Piece { from: None, length }
    }

    fn parts(mapping: &Mapping, range: Range<u64>) -> Vec<(Option<u32>, Range<u64>)> {
        mapping.parts(range).map(|part| (part.file, part.range)).collect()
    }

    #[test]
    fn ranges_cross_pieces() {
        let pieces = [piece(0, 100, 10), piece(0, 110, 5), zeros(3), piece(1, 0, 4), piece(0, 50, 0)];
        let mapping = Mapping::new(pieces, &[Some(200), None]).unwrap();
        assert_eq!((mapping.total(), mapping.pieces().len(), mapping.is_cut()), (22, 3, false));
        assert_eq!(parts(&mapping, 0..22), [(Some(0), 100..115), (None, 0..3), (Some(1), 0..4)]);
        assert_eq!(parts(&mapping, 14..17), [(Some(0), 114..115), (None, 0..2)]);
        assert_eq!(parts(&mapping, 18..99), [(Some(1), 0..4)]);
        assert_eq!(parts(&mapping, 22..30), []);
        assert_eq!(parts(&mapping, 5..5), []);
    }

    #[test]
    fn what_the_file_does_not_have_is_cut() {
        let mapping = Mapping::new([piece(0, 0, 10), piece(0, 90, 20), piece(0, 20, 10)], &[Some(100)]).unwrap();
        assert_eq!(parts(&mapping, 0..99), [(Some(0), 0..10), (Some(0), 90..100)]);
        assert!(mapping.is_cut());
        assert_eq!(Mapping::new([piece(0, 100, 1)], &[Some(100)]), Err(Error::Empty));
        assert_eq!(Mapping::new([], &[]), Err(Error::Empty));
        assert_eq!(Mapping::new([piece(1, 0, 1)], &[None]), Err(Error::NoFile { piece: 0, file: 1, count: 1 }));
        assert_eq!(Mapping::new([piece(0, 0, u64::MAX)], &[None]), Err(Error::TooLong));
        let many = (0..=MAX_PIECES as u64).map(|i| piece(0, i * 2, 1));
        assert_eq!(Mapping::new(many, &[None]), Err(Error::TooMany));
    }

    /// The bytes of a mapping over files whose bytes are known.
    fn bytes(mapping: &Mapping, range: Range<u64>, files: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in mapping.parts(range) {
            let range = part.range.start as usize..part.range.end as usize;
            match part.file {
                Some(file) => bytes.extend_from_slice(&files[file as usize][range]),
                None => bytes.resize(bytes.len() + range.len(), 0),
            }
        }
        bytes
    }

    fn pieces(files: u32) -> impl Strategy<Value = Vec<Piece>> {
        let one = (prop::option::weighted(0.9, (0..files, 0u64..300)), 0u64..60);
        prop::collection::vec(one.prop_map(|(from, length)| Piece { from, length }), 1..20)
    }

    proptest! {
        #[test]
        fn a_mapping_is_its_pieces_and_composes(
            outer in pieces(2), inner in pieces(1), start in 0u64..500, length in 0u64..500,
        ) {
            let files: Vec<Vec<u8>> = [200u64, 256].map(|size| (0..size).map(|i| (i * 7 + size) as u8).collect()).into();
            let sizes: Vec<_> = files.iter().map(|file| Some(file.len() as u64)).collect();
            let Ok(outer) = Mapping::new(outer, &sizes) else { return Ok(()) };
            let whole = bytes(&outer, 0..u64::MAX, &files);
            prop_assert_eq!(whole.len() as u64, outer.total());
            let end = (start + length).min(outer.total());
            let expected = whole.get(start as usize..end as usize).unwrap_or_default();
            prop_assert_eq!(bytes(&outer, start..start + length, &files), expected);

            let Ok(inner) = Mapping::new(inner, &[Some(outer.total())]) else { return Ok(()) };
            let through = inner.within(&outer).unwrap();
            let direct = bytes(&inner, 0..u64::MAX, &[whole]);
            prop_assert_eq!(bytes(&through, 0..u64::MAX, &files), direct);
            prop_assert_eq!(through.total(), inner.total());
        }
    }
}
