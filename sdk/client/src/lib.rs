//! Reads what a mediahost serves: open an address as a session, wait until it is ready, read and seek in its bytes while
//! they are still arriving.
//!
//! Owns: requests to a host's `/api/v1/sessions` and `/stream`, the typed events of a session, a reader that goes on after
//! breaks and never mixes two versions of a file.
//! Leaves to others: starting a host, decoding, what is fetched when (the host decides that from what is read).
//!
//! Invariant: the bytes that one stream gives are those of one version of the file, each at its own offset; what cannot be
//! had that way is an error with a name. No more than [`MOST_BUFFERED_BYTES`] wait in a stream.
//!
//! # With tokio
//!
//! ```no_run
//! use mediahost_client::{Host, Open};
//! use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // The host of this machine: its address and its token lie in its data folder.
//! let host = Host::of_folder(&mediahost_client::data_folder().ok_or("this system has no data folder")?)?;
//! let session = host.open(Open::new("https://example.org/song.flac").header("Referer", "https://example.org")).await?;
//! let info = session.ready().await?;
//! println!("{:?}, {:?} ms", info.container, info.duration_ms);
//!
//! let mut stream = session.stream().await?;
//! stream.seek(SeekFrom::End(-128)).await?;
//! let mut tag = Vec::new();
//! stream.read_to_end(&mut tag).await?;
//! session.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Waiting for `ready` is a choice: a stream may be opened at once and gives bytes as soon as there are some.
//!
//! What happens to a session comes as typed events; here, until all of a film is in the host's cache:
//!
//! ```no_run
//! use mediahost_client::{Event, Host, Open, Phase};
//!
//! # async fn example(host: Host) -> Result<(), mediahost_client::Error> {
//! let session = host.open(Open::new("https://example.org/film.mp4").fill(true)).await?;
//! let mut events = session.events().await?;
//! while let Some(event) = events.next().await? {
//!     match event {
//!         Event::Progress(here) => println!("{} of {:?} bytes", here.present_bytes, here.length),
//!         Event::MediaInfo(info) => println!("{:?} with {}", info.container, info.codecs.join(", ")),
//!         Event::Segments { complete: true, .. } => println!("{:?}", session.segments().await?.segments),
//!         Event::Slow { waited_ms, position } => println!("waits for {waited_ms} ms at byte {position}"),
//!         Event::Failed(info) => println!("{:?}", info.error),
//!         Event::Phase(Phase::Complete) => break,
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Without
//!
//! [`blocking`] has the same without an executor of yours, for decoders that want [`std::io::Read`] and
//! [`std::io::Seek`]. Its stream is `Send + Sync` and knows its length, which is what, for example, Symphonia's
//! `MediaSource` asks for:
//!
//! ```no_run
//! use std::io::{Read, Seek, SeekFrom};
//! use mediahost_client::blocking;
//!
//! struct Source(blocking::Stream);
//! # impl Read for Source {
//! #     fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> { self.0.read(buf) }
//! # }
//! # impl Seek for Source {
//! #     fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> { self.0.seek(to) }
//! # }
//! # trait MediaSource: Read + Seek + Send + Sync {
//! #     fn is_seekable(&self) -> bool;
//! #     fn byte_len(&self) -> Option<u64>;
//! # }
//! impl MediaSource for Source {
//!     fn is_seekable(&self) -> bool { self.0.is_seekable() }
//!     fn byte_len(&self) -> Option<u64> { self.0.byte_len() }
//! }
//!
//! # fn example() -> Result<(), mediahost_client::Error> {
//! let host = blocking::Host::new("http://127.0.0.1:7979", "the admin token")?;
//! let session = host.open("https://example.org/song.flac")?;
//! session.ready()?;
//! let source = Source(session.stream()?);
//! # Ok(())
//! # }
//! ```
//!
//! # How a stream reads
//!
//! It keeps one `GET` open from where it is to the end and takes from it only what is read, so that a reader that pauses
//! stops the host's sending and nothing piles up. A seek costs nothing until the next read. A short way forward is read
//! through ([`Reading::read_through_bytes`]), within what is in hand it is free, and everything else is one new request.
//!
//! The first answer's entity tag is kept for the life of the stream. When the host has another version of the file later,
//! reading fails with [`Error::Changed`]; open another stream to read the new version. When a connection breaks, or the
//! host asks for patience, the stream tries again from the next byte, a bounded number of times ([`Patience`]).
//!
//! A file whose length nobody knows yet is read like any other. Until the length is known, seeking from the end fails with
//! [`Error::LengthUnknown`].
//!
//! Errors of reading are [`std::io::Error`]s; [`Error::of`] finds the one of this crate inside.
//!
//! # HTTPS
//!
//! The feature `tls` adds it. For certificates of your own, make a `reqwest::Client` and hand it over:
//! [`Host::with_client`].

pub mod blocking;
mod error;
mod event;
mod host;
mod info;
mod judge;
mod patience;
mod session;
mod stream;

#[cfg(test)]
mod tests;

pub use error::{Error, Problem};
pub use event::{Event, Events, Progress};
pub use host::{Host, Open, data_folder, read_token};
pub use info::{Disk, Failure, Info, MediaInfo, Phase, Segment, Segments, State, Stats, Title, Track, Upstream};
pub use patience::Patience;
pub use session::Session;
pub use stream::{MOST_BUFFERED_BYTES, Reading, Stream};
