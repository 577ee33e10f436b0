//! Bytes on their way from where a segment says that they are.

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use plugin::{BoxStream, Failure};

use crate::fault::Fault;
use crate::persist::blocking;

/// Bytes of a file that are read in one go.
const FILE_PIECE: u64 = 256 << 10;
/// Bytes of zeros in one piece.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes on their way: exactly `left` of them, or a fault.
pub enum Pull {
    Http { response: Box<fetch::Response>, skip: u64, left: u64 },
    Bytes(Bytes),
    Zeros { left: u64 },
    File { path: PathBuf, at: u64, left: u64 },
    Computed { stream: BoxStream<'static, Result<Bytes, Failure>>, left: u64 },
}

impl Pull {
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
            Pull::Http { response, skip, left } => loop {
                let Some(mut piece) = response.chunk().await? else {
                    let fault = Fault::new("ended-early", "the server ended its answer before all of it had come");
                    return Err(Fault { retryable: true, ..fault });
                };
                let cut = (*skip).min(piece.len() as u64);
                *skip -= cut;
                piece = piece.slice(cut as usize..);
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                if !piece.is_empty() {
                    *left -= piece.len() as u64;
                    return Ok(Some(piece));
                }
            },
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
