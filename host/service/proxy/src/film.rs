//! What a session serves: a file as it is, or a title that is made of pieces of one or several files.
//!
//! Owns: the way from bytes of a title to bytes of the files that the cache keeps. Titles keep nothing of their own: all
//! of an image share what was fetched of it.
//! Leaves to others: which titles there are ([`crate::titles`]), which bytes they are made of (`core/cache/mapping`).

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cache::mapping::Mapping;
use sha2::{Digest, Sha256};

use crate::body;
use crate::fault::Fault;
use crate::live::Live;

/// Something that is served.
#[derive(Clone)]
pub struct Film {
    /// The file that was asked for, then those beside it.
    files: Arc<[Arc<Live>]>,
    title: Option<Arc<Title>>,
    etag: Arc<str>,
}

/// Something playable within an image or an archive.
#[derive(Debug)]
pub struct Title {
    /// Stable within the file.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    pub media_type: Option<String>,
    pub duration_ms: Option<u64>,
    /// Where its bytes are.
    pub mapping: Mapping,
}

/// Bytes of one file, or zeros.
#[derive(Clone)]
pub struct Part {
    /// None for zeros.
    pub live: Option<Arc<Live>>,
    /// Offsets there.
    pub range: Range<u64>,
}

impl Part {
    /// How many bytes.
    pub fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Film {
    /// A file as it is.
    pub fn whole(live: Arc<Live>) -> Film {
        Film { etag: live.etag().into(), files: Arc::new([live]), title: None }
    }

    /// A title; its mapping counts these files.
    pub fn title(files: Arc<[Arc<Live>]>, title: Arc<Title>) -> Film {
        Film { etag: etag(&files, &title.mapping).into(), files, title: Some(title) }
    }

    /// The file that was asked for.
    pub fn root(&self) -> &Arc<Live> {
        &self.files[0]
    }

    /// All files that it may have pieces of.
    pub fn files(&self) -> &[Arc<Live>] {
        &self.files
    }

    /// The title, unless it is the file as it is.
    pub fn about(&self) -> Option<&Arc<Title>> {
        self.title.as_ref()
    }

    /// Length in bytes; provisional while [`Film::length`] is none.
    pub fn total(&self) -> u64 {
        self.title.as_ref().map_or_else(|| self.root().total(), |title| title.mapping.total())
    }

    /// The length in bytes, once it is known.
    pub fn length(&self) -> Option<u64> {
        match &self.title {
            Some(title) => Some(title.mapping.total()),
            None => self.root().length(),
        }
    }

    /// A strong entity tag: one per version of the files and per way of putting them together.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Where the bytes of a range are, in order.
    pub fn parts(&self, range: Range<u64>) -> Vec<Part> {
        let Some(title) = &self.title else { return vec![Part { live: Some(self.root().clone()), range }] };
        let live = |file: Option<u32>| file.and_then(|file| self.files.get(file as usize)).cloned();
        title.mapping.parts(range).map(|part| Part { live: live(part.file), range: part.range }).collect()
    }

    /// Of a range, what lies in the file that was asked for.
    pub fn in_root(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let root = self.root().clone();
        let own = move |part: &Part| part.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, &root));
        self.parts(range).into_iter().filter(own).map(|part| part.range)
    }

    /// All bytes of a range, in memory of their own.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        if self.title.is_none() {
            return body::read(self.root(), range).await;
        }
        let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
        for part in self.parts(range) {
            match &part.live {
                Some(live) => whole.extend_from_slice(&body::read(live, part.range).await?),
                None => whole.resize(whole.len() + part.length() as usize, 0),
            }
        }
        Ok(whole.freeze())
    }
}

fn etag(files: &[Arc<Live>], mapping: &Mapping) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.etag());
    }
    for piece in mapping.pieces() {
        let (file, offset) = piece.from.map_or((u64::MAX, 0), |(file, offset)| (file.into(), offset));
        [file, offset, piece.length].iter().for_each(|number| hash.update(number.to_le_bytes()));
    }
    let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digest}\"")
}
