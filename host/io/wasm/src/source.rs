//! `mediahost:media-source` behind the port, in its two worlds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use plugin::source::{MediaSource, Open, Opened, RefreshReason};
use plugin::{BoxFuture, BoxStream, Failure, Fault};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;
use wasmtime::component::{Source as GuestBytes, StreamConsumer, StreamResult};
use wasmtime::{Store, StoreContextMut};

use crate::bindings::media_source::mediahost::host::types;
use crate::bindings::media_source::mediahost::media_source::types as guest;
use crate::call::{self, CallState};
use crate::convert;
use crate::generation::{ComputedEntry, Entry, Generation, SourceEntry};
use crate::slot::Slot;

/// Pieces of computed bytes that wait for the reader; with it, the guest waits.
const QUEUE: usize = 4;
/// Bytes of one piece, at most.
const PIECE: usize = 256 << 10;
/// What `read-chunk` may be asked for.
const CHUNK: u32 = 1 << 20;

/// A source by its id: each call leases the generation that serves at that moment.
pub struct Source(pub Arc<Slot>);

impl MediaSource for Source {
    fn id(&self) -> &str {
        &self.0.id
    }

    fn root(&self, name: &str) -> Option<String> {
        self.0.current()?.grants.roots.get(name).cloned()
    }

    fn open(&self, request: Open) -> BoxFuture<'static, Result<Opened, Failure>> {
        let slot = self.0.clone();
        Box::pin(async move { slot.counted("open", open(&slot, request, None)).await })
    }

    fn refresh(
        &self,
        request: Open,
        state: Vec<u8>,
        reason: RefreshReason,
    ) -> BoxFuture<'static, Result<Opened, Failure>> {
        let slot = self.0.clone();
        Box::pin(async move { slot.counted("refresh", open(&slot, request, Some((state, reason)))).await })
    }

    fn read(
        &self,
        state: Vec<u8>,
        segment: u32,
        offset: u64,
        length: u64,
    ) -> BoxStream<'static, Result<Bytes, Failure>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let slot = self.0.clone();
        let task = tokio::spawn(async move {
            let span = Span { state, segment, offset, length };
            if let Err(failure) = slot.counted("read", read(&slot, span, &sender)).await {
                // The reader may be gone; then nobody wants to know.
                let _ = sender.send(Err(failure)).await;
            }
        });
        Box::pin(Reading { receiver, task })
    }
}

async fn open(slot: &Slot, request: Open, refresh: Option<(Vec<u8>, RefreshReason)>) -> Result<Opened, Failure> {
    let generation = slot.lease()?;
    let Entry::Source { source, .. } = &generation.entry else { return Err(slot.gone("it is not a source any more")) };
    let answer = call::run(&generation, async |mut store| {
        let answer = match source {
            SourceEntry::Async(pre) => open_async(pre, &mut store, request, refresh).await,
            SourceEntry::Sync(pre) => open_sync(pre, &mut store, request, refresh).await,
        };
        (store, answer)
    })
    .await?;
    let opened = answer.map_err(|error| generation.answer(convert::error(error)))?;
    convert::opened(opened, generation.limits.output_bytes).map_err(|fault| generation.fault(fault))
}

type Answer = Result<guest::Opened, types::Error>;

async fn open_async(
    pre: &crate::bindings::media_source::MediaSourcePre<CallState>,
    store: &mut Store<CallState>,
    request: Open,
    refresh: Option<(Vec<u8>, RefreshReason)>,
) -> wasmtime::Result<Answer> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let source = instance.mediahost_media_source_source();
    let (uri, headers, options) = convert::open_to_guest(request);
    store
        .run_concurrent(async |accessor| match refresh {
            None => source.call_open(accessor, uri, headers, options).await,
            Some((state, reason)) => {
                let reason = convert::reason_to_guest(reason);
                source.call_refresh(accessor, uri, headers, options, state, reason).await
            }
        })
        .await?
}

async fn open_sync(
    pre: &crate::bindings::media_source_sync::MediaSourceSyncPre<CallState>,
    store: &mut Store<CallState>,
    request: Open,
    refresh: Option<(Vec<u8>, RefreshReason)>,
) -> wasmtime::Result<Answer> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let source = instance.mediahost_media_source_source_sync();
    let (uri, headers, options) = convert::open_to_guest(request);
    match refresh {
        None => source.call_open(&mut *store, &uri, &headers, &options).await,
        Some((state, reason)) => {
            let reason = convert::reason_to_guest(reason);
            source.call_refresh(&mut *store, &uri, &headers, &options, &state, &reason).await
        }
    }
}

/// What `read` was asked for.
struct Span {
    state: Vec<u8>,
    segment: u32,
    offset: u64,
    length: u64,
}

type Pieces = mpsc::Sender<Result<Bytes, Failure>>;

async fn read(slot: &Slot, span: Span, pieces: &Pieces) -> Result<(), Failure> {
    let generation = slot.lease()?;
    let Entry::Source { computed: Some(computed), .. } = &generation.entry else {
        return Err(slot.gone("it does not compute bytes"));
    };
    match computed {
        ComputedEntry::Async(pre) => read_async(pre, &generation, span, pieces).await,
        ComputedEntry::Sync(pre) => read_sync(pre, &generation, span, pieces).await,
    }
}

async fn read_async(
    pre: &crate::bindings::computed::ComputedPre<CallState>,
    generation: &Arc<Generation>,
    span: Span,
    pieces: &Pieces,
) -> Result<(), Failure> {
    let (length, sender) = (span.length, PollSender::new(pieces.clone()));
    let answer = call::run(generation, async |mut store| {
        let called = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let computed = instance.mediahost_media_source_computed();
            let (done, ended) = oneshot::channel();
            store
                .run_concurrent(async |accessor| {
                    let answer =
                        computed.call_read(accessor, span.state, span.segment, span.offset, span.length).await?;
                    let stream = match answer {
                        Ok(stream) => stream,
                        Err(error) => return Ok(Err(error)),
                    };
                    let consumer = Consumer { sender, left: length, excess: false, done: Some(done) };
                    accessor.with(|store| stream.pipe(store, consumer))?;
                    // The consumer reports how the guest ended its stream.
                    Ok(Ok(ended.await.unwrap_or(Ended::Short { missing: length })))
                })
                .await?
        };
        let called: wasmtime::Result<Result<Ended, types::Error>> = called.await;
        (store, called)
    })
    .await?;
    match answer.map_err(|error| generation.answer(convert::error(error)))? {
        Ended::Whole => Ok(()),
        Ended::Short { missing } => Err(short(generation, length, missing)),
        Ended::Long => Err(generation.fault(Fault::Contract(format!("it was asked for {length} bytes and gave more")))),
    }
}

/// How a guest ended its stream.
enum Ended {
    Whole,
    Short { missing: u64 },
    Long,
}

fn short(generation: &Generation, length: u64, missing: u64) -> Failure {
    generation.fault(Fault::Contract(format!("it was asked for {length} bytes and gave {}", length - missing)))
}

/// Takes the guest's bytes as they come and hands them on, at the reader's pace.
struct Consumer {
    sender: PollSender<Result<Bytes, Failure>>,
    left: u64,
    /// The guest has written beyond the span.
    excess: bool,
    done: Option<oneshot::Sender<Ended>>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // Nobody asks any more when the call was ended from outside.
            let _ = done.send(match self.left {
                0 if self.excess => Ended::Long,
                0 => Ended::Whole,
                missing => Ended::Short { missing },
            });
        }
    }
}

impl StreamConsumer<CallState> for Consumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, CallState>,
        source: GuestBytes<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.sender.poll_reserve(cx) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
            // The reader has gone away.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(Ok(())) => {}
        }
        let mut source = source.as_direct(store);
        let offered = source.remaining();
        let take = offered.len().min(PIECE).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let piece = Bytes::copy_from_slice(&offered[..take]);
        if offered.is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let beyond = offered.len() as u64 > self.left;
        source.mark_read(take);
        self.left -= take as u64;
        self.excess |= beyond && self.left == 0;
        // A place was reserved above, so this fails only when the reader has gone away.
        if take > 0 && self.sender.send_item(Ok(piece)).is_err() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        Poll::Ready(Ok(if self.left == 0 { StreamResult::Dropped } else { StreamResult::Completed }))
    }
}

async fn read_sync(
    pre: &crate::bindings::computed_sync::ComputedSyncPre<CallState>,
    generation: &Arc<Generation>,
    span: Span,
    pieces: &Pieces,
) -> Result<(), Failure> {
    let mut at = span.offset;
    let end = span.offset + span.length;
    while at < end {
        let want = u32::try_from(end - at).unwrap_or(u32::MAX).min(CHUNK);
        let answer = call::run(generation, async |mut store| {
            let called = async {
                let instance = pre.instantiate_async(&mut store).await?;
                let computed = instance.mediahost_media_source_computed_sync();
                computed.call_read_chunk(&mut store, &span.state, span.segment, at, want).await
            };
            let called = called.await;
            (store, called)
        })
        .await?;
        let chunk = answer.map_err(|error| generation.answer(convert::error(error)))?;
        if chunk.is_empty() {
            return Err(short(generation, span.length, end - at));
        }
        if chunk.len() > want as usize {
            return Err(generation.fault(Fault::Contract(format!("it was asked for {want} bytes and gave more"))));
        }
        at += chunk.len() as u64;
        if pieces.send(Ok(Bytes::from(chunk))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The reader's end. Dropping it ends the call.
struct Reading {
    receiver: mpsc::Receiver<Result<Bytes, Failure>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stream for Reading {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.receiver.poll_recv(cx));
        Poll::Ready(item)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}
