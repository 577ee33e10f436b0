//! Bytes on their way from where a segment says that they are.

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use plugin::{BoxStream, Failure};

use cache::origin::Ended;

use crate::fault::{CHANGED, Fault};
use crate::origins::Slot;
use crate::persist::blocking;

/// Bytes of a file that are read in one go.
const FILE_PIECE: u64 = 256 << 10;
/// Bytes of zeros in one piece.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes on their way: exactly `left` of them, or a fault.
pub enum Pull {
    Http {
        response: Box<fetch::Response>,
        /// Given back as soon as everything has come.
        slot: Option<Slot>,
        skip: u64,
        left: u64,
        /// Its end is where the server ends it.
        open_ended: bool,
        /// What has to come at the end of what is skipped.
        known: Known,
    },
    Bytes(Bytes),
    Zeros {
        left: u64,
    },
    File {
        path: PathBuf,
        at: u64,
        left: u64,
    },
    Computed {
        stream: BoxStream<'static, Result<Bytes, Failure>>,
        left: u64,
    },
}

impl Pull {
    /// Whether the end of what had no length has come.
    pub fn has_ended(&self) -> bool {
        matches!(self, Pull::Http { open_ended: true, slot: None, left: 1.., .. })
    }

    /// The next piece if it has come already. Only a connection can be asked so: a file or a plugin that is left in the
    /// middle of an answer would lose it.
    pub fn next_at_once(&mut self) -> Option<Result<Bytes, Fault>> {
        match self {
            Pull::Http { .. } => self.next().now_or_never()?.transpose(),
            _ => None,
        }
    }

    /// The next piece; none when everything that was asked for has come. An end before that is a fault.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Pull::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Pull::Bytes(bytes) => Ok(Some(std::mem::take(bytes))),
            Pull::Zeros { left: 0 } | Pull::File { left: 0, .. } | Pull::Computed { left: 0, .. } => Ok(None),
            Pull::Http { left: 0, .. } => Ok(None),
            Pull::Zeros { left } => {
                let take = (*left).min(ZEROS.len() as u64);
                *left -= take;
                Ok(Some(Bytes::from_static(&ZEROS[..take as usize])))
            }
            Pull::File { path, at, left } => {
                let take = (*left).min(FILE_PIECE);
                let piece = read_file(path.clone(), *at, take).await?;
                *at += take;
                *left -= take;
                Ok(Some(piece))
            }
            Pull::Computed { stream, left } => match stream.next().await {
                Some(piece) => {
                    let piece = piece?;
                    *left = left.saturating_sub(piece.len() as u64);
                    // The last piece counts only when the plugin had no more than it was asked for.
                    if let (0, Some(Err(failure))) = (*left, if *left == 0 { stream.next().await } else { None }) {
                        return Err(failure.into());
                    }
                    Ok(Some(piece))
                }
                None => Err(Fault::new("plugin-fault", "the plugin ended its bytes early")),
            },
            Pull::Http { response, slot, skip, left, open_ended, known } => {
                let piece = next_of(response, skip, left, *open_ended, known).await;
                match (&piece, slot.as_ref()) {
                    (Ok(Some(piece)), Some(slot)) => slot.received(piece.len() as u64),
                    (Err(fault), Some(_)) => slot.take().into_iter().for_each(|slot| slot.end(fault.ended())),
                    _ => {}
                }
                if *left == 0 || matches!(piece, Ok(None)) {
                    slot.take().into_iter().for_each(|slot| slot.end(Ended::Done));
                }
                piece
            }
        }
    }
}

/// The next piece of an answer's body, without what is to be skipped of it.
async fn next_of(
    response: &mut fetch::Response,
    skip: &mut u64,
    left: &mut u64,
    open_ended: bool,
    known: &mut Known,
) -> Result<Option<Bytes>, Fault> {
    loop {
        let Some(mut piece) = response.chunk().await? else {
            if open_ended && *skip == 0 {
                return Ok(None);
            }
            let fault = Fault::new("ended-early", "the server ended its answer before all of it had come");
            return Err(Fault { retryable: true, ..fault });
        };
        let cut = (*skip).min(piece.len() as u64);
        known.compare(&piece[..cut as usize])?;
        *skip -= cut;
        piece = piece.slice(cut as usize..);
        piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        if !piece.is_empty() {
            *left -= piece.len() as u64;
            return Ok(Some(piece));
        }
    }
}

/// Bytes at the end of what is skipped that are known already. An answer with others is one of another version.
#[derive(Default)]
pub struct Known {
    /// How many bytes come before them.
    pub after: u64,
    pub bytes: Bytes,
}

impl Known {
    fn compare(&mut self, skipped: &[u8]) -> Result<(), Fault> {
        let before = self.after.min(skipped.len() as u64);
        self.after -= before;
        let skipped = &skipped[before as usize..];
        let expected = self.bytes.split_to(skipped.len().min(self.bytes.len()));
        match skipped[..expected.len()] == expected {
            true => Ok(()),
            false => Err(Fault::new(CHANGED, "the server began again with other bytes")),
        }
    }
}

async fn read_file(path: PathBuf, at: u64, length: u64) -> Result<Bytes, Fault> {
    use std::io::{Read, Seek, SeekFrom};
    let read = move || -> std::io::Result<Bytes> {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; length as usize];
        file.read_exact(&mut bytes)?;
        Ok(Bytes::from(bytes))
    };
    blocking(read).await.map_err(|error| Fault::new("file-unreadable", format!("the file cannot be read: {error}")))
}
