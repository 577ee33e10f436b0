//! A session's bytes as Symphonia wants them.

use std::io::{Read, Result, Seek, SeekFrom};

use mediahost_client::blocking::Stream;
use symphonia::core::io::MediaSource;

pub struct Source(pub Stream);

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.0.read(buf)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.0.seek(to)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        self.0.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.0.byte_len()
    }
}
