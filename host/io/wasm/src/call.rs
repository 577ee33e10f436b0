//! One call: a store with its limits, run under a clock that is outside of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use plugin::{Failure, Fault};
use tokio::time::timeout;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::engine::TICK;
use crate::generation::Generation;

/// What a guest's panic message may take before it is cut.
const MAX_STDERR: usize = 4096;
/// Elements of all tables of one instance, at most.
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// What a store carries.
pub struct CallState {
    pub generation: Arc<Generation>,
    /// Requests made so far.
    pub fetches: u32,
    /// Messages logged so far.
    pub logged: u32,
    wasi: WasiCtx,
    table: ResourceTable,
    stderr: MemoryOutputPipe,
    ticks: u64,
    broke: Option<Fault>,
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Stands for a limit that was broken; the store's data says which.
#[derive(Debug, thiserror::Error)]
#[error("a limit was reached")]
struct LimitReached;

impl ResourceLimiter for CallState {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit_bytes = self.generation.limits.memory_bytes;
        if desired as u64 <= limit_bytes {
            return Ok(true);
        }
        // Ends the call here rather than let the guest's allocator find words for it.
        self.broke = Some(Fault::Memory { limit_bytes });
        Err(wasmtime::Error::new(LimitReached))
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// A store for one call of this generation.
pub fn store(generation: &Arc<Generation>) -> Store<CallState> {
    let stderr = MemoryOutputPipe::new(MAX_STDERR);
    let mut wasi = WasiCtxBuilder::new();
    // Nothing of the machine: no files, no environment, no sockets, no names.
    wasi.stderr(stderr.clone()).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    let state = CallState {
        generation: generation.clone(),
        fetches: 0,
        logged: 0,
        wasi: wasi.build(),
        table: ResourceTable::new(),
        stderr,
        ticks: 0,
        broke: None,
    };
    let mut store = Store::new(&generation.engine.inner, state);
    store.limiter(|state| state);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(count_tick);
    store
}

/// Runs when a tick of the clock finds the guest computing. Yielding lets the timeout outside of the store fire.
fn count_tick(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    state.ticks += 1;
    let limit_ms = state.generation.limits.cpu_ms;
    if state.ticks * TICK.as_millis() as u64 > limit_ms {
        state.broke = Some(Fault::Cpu { limit_ms });
        return Err(wasmtime::Error::new(LimitReached));
    }
    Ok(UpdateDeadline::Yield(1))
}

/// Runs one call on a fresh store: waits for one of the plugin's places, bounds the duration from outside, and turns
/// the end of an instance into a fault with a name.
pub async fn run<T, F>(generation: &Arc<Generation>, call: impl FnOnce(Store<CallState>) -> F) -> Result<T, Failure>
where
    F: Future<Output = (Store<CallState>, wasmtime::Result<T>)>,
{
    let wall = Duration::from_millis(generation.limits.wall_ms);
    let place = timeout(wall, generation.places.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(generation.fault(Fault::Busy { limit: generation.limits.instances }));
    };
    let _busy = generation.engine.busy();
    // Dropping the future drops the store, and with it whatever the guest was doing.
    match timeout(wall, call(store(generation))).await {
        Err(_) => Err(generation.fault(Fault::Wall { limit_ms: generation.limits.wall_ms })),
        Ok((_, Ok(value))) => Ok(value),
        Ok((store, Err(error))) => Err(generation.fault(fault(store.data(), &error))),
    }
}

/// Why an instance ended.
pub fn fault(state: &CallState, error: &wasmtime::Error) -> Fault {
    if let Some(fault) = &state.broke {
        return fault.clone();
    }
    let said = last_words(&state.stderr.contents());
    let cause = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    Fault::Trap(if said.is_empty() { cause } else { format!("{said} ({cause})") })
}

/// What a guest wrote before it ended, in one line: for a panic, where and why, without Rust's advice to its author.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.split("note: run with").next().unwrap_or_default();
    let text = text.find("panicked at ").map_or(text, |at| &text[at..]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
