//! Sources that compute bytes themselves.

use crate::{Error, Host, MediaSource};

/// A source whose very job is to change bytes: decryption, un-scrambling. Only for segments made with
/// [`Segment::computed`](crate::Segment::computed); `plugin.json` says `"computed": true`.
#[expect(async_fn_in_trait, reason = "a component has one thread, so nobody asks whether the futures are Send")]
pub trait Computed: MediaSource {
    /// Writes exactly the `length` bytes from `offset` on of a segment of the plan, counted from 0.
    ///
    /// `state` is the plan's. An error before the first byte is the answer of the call. One after it ends the stream
    /// early: the host keeps what came and asks again from the first missing byte.
    async fn read(
        host: &Host,
        state: Vec<u8>,
        segment: u32,
        offset: u64,
        length: u64,
        out: &mut Output,
    ) -> Result<(), Error>;
}

/// Where computed bytes go.
pub struct Output {
    #[cfg(target_arch = "wasm32")]
    pub(crate) writer: wit_bindgen::rt::async_support::StreamWriter<u8>,
    /// Tells the glue that bytes are on their way and the stream can be handed out.
    #[cfg(target_arch = "wasm32")]
    pub(crate) started: std::rc::Rc<std::cell::Cell<bool>>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) bytes: Vec<u8>,
}

impl Output {
    /// Hands bytes to the host and waits until it took them. Pieces of 64 KiB and more keep the cost per byte low.
    ///
    /// Fails when nobody reads any more; `?` is the right thing to do with that.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        #[cfg(target_arch = "wasm32")]
        {
            if bytes.is_empty() {
                return Ok(());
            }
            self.started.set(true);
            if !self.writer.write_all(bytes).await.is_empty() {
                return Err(Error::unavailable("nobody reads the computed bytes any more"));
            }
        }
        #[cfg(not(target_arch = "wasm32"))]
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }
}
