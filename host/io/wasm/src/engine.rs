//! The engine that all plugins share, and the thread that counts their CPU time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::Error;

/// How often the epoch advances: the grain of CPU limits, and how long a busy guest keeps a thread of the runtime to
/// itself before it yields.
pub const TICK: Duration = Duration::from_millis(5);

/// Instances that may live at once, over all plugins.
const POOL_INSTANCES: u32 = 256;
/// Linear memory of one pooled instance, at most; also the ceiling of what a manifest may ask for.
const POOL_MEMORY_BYTES: usize = 256 << 20;
/// Whether plugins are compiled for wasmtime's interpreter rather than for the processor: where programs may not make code
/// while they run, and where it was asked for. On processors that nothing is compiled for wasmtime chooses that by itself.
const INTERPRETED: bool = cfg!(any(
    feature = "interpreter",
    target_os = "ios",
    target_os = "tvos",
    target_os = "visionos",
    target_os = "watchos"
));
/// Whether a process has too few addresses to reserve some for instances to come.
const SCARCE: bool = cfg!(any(
    target_pointer_width = "32",
    target_os = "ios",
    target_os = "tvos",
    target_os = "visionos",
    target_os = "watchos"
));
/// Addresses that a memory gets at once where they are few, and how many more when it has grown beyond, bytes.
const SCARCE_RESERVATION: u64 = 8 << 20;
const SCARCE_GROWTH: u64 = 1 << 20;

/// The engine and its clock. Dropping it ends the thread.
pub struct Engine {
    pub inner: wasmtime::Engine,
    clock: Clock,
}

impl Engine {
    pub fn new() -> Result<Engine, Error> {
        let alone = || wasmtime::Engine::new(&config()?);
        let inner = if SCARCE {
            alone()
        } else {
            pooled().or_else(|why| {
                // The pool reserves address space up front; where there is too little of it (small virtual machines,
                // `ulimit -v`), instances are made one by one.
                tracing::warn!(%why, "no instance pool; plugin calls will start more slowly");
                alone()
            })
        };
        let inner = inner.map_err(|error| Error::Engine(format!("{error:#}")))?;
        let clock = Clock::start(inner.clone())?;
        Ok(Engine { inner, clock })
    }

    /// Keeps the clock going for as long as the guard lives.
    pub fn busy(&self) -> Busy<'_> {
        if self.clock.state.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            self.clock.thread.unpark();
        }
        Busy(self)
    }
}

/// A call runs.
pub struct Busy<'a>(&'a Engine);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.clock.state.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The thread that advances the epoch while some call runs, and sleeps while none does.
struct Clock {
    state: Arc<ClockState>,
    thread: Thread,
}

#[derive(Default)]
struct ClockState {
    calls: AtomicUsize,
    stop: AtomicBool,
}

impl Clock {
    fn start(engine: wasmtime::Engine) -> Result<Clock, Error> {
        let state = Arc::new(ClockState::default());
        let shared = state.clone();
        let run = move || {
            while !shared.stop.load(Ordering::SeqCst) {
                if shared.calls.load(Ordering::SeqCst) == 0 {
                    // Whoever begins the first call unparks; one that came in between leaves a token.
                    std::thread::park();
                    continue;
                }
                std::thread::park_timeout(TICK);
                engine.increment_epoch();
            }
        };
        let spawned = std::thread::Builder::new().name("plugin-clock".into()).spawn(run);
        let handle = spawned.map_err(|error| Error::Engine(format!("no thread for the plugin clock: {error}")))?;
        Ok(Clock { state, thread: handle.thread().clone() })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn config() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    if INTERPRETED {
        config.target(interpreter())?;
    }
    if SCARCE {
        config.memory_reservation(SCARCE_RESERVATION);
        config.memory_reservation_for_growth(SCARCE_GROWTH);
    }
    config.epoch_interruption(true);
    config.wasm_component_model(true);
    config.wasm_component_model_async(true);
    config.wasm_backtrace_max_frames(None);
    Ok(config)
}

/// The interpreter with words like those of this machine: no other can run in this process.
const fn interpreter() -> &'static str {
    match (cfg!(target_pointer_width = "64"), cfg!(target_endian = "little")) {
        (true, true) => "pulley64",
        (true, false) => "pulley64be",
        (false, true) => "pulley32",
        (false, false) => "pulley32be",
    }
}

fn pooled() -> wasmtime::Result<wasmtime::Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL_INSTANCES)
        .total_core_instances(POOL_INSTANCES * 8)
        .total_memories(POOL_INSTANCES)
        .total_tables(POOL_INSTANCES * 4)
        .total_stacks(POOL_INSTANCES)
        .max_memory_size(POOL_MEMORY_BYTES)
        .max_core_instances_per_component(16)
        .max_memories_per_component(2)
        .max_tables_per_component(16)
        // What a call dirtied is wiped by copying rather than by giving the pages back and faulting them in again; where
        // the kernel can name the dirty pages, only those.
        .linear_memory_keep_resident(1 << 20)
        .pagemap_scan(wasmtime::Enabled::Auto)
        .table_keep_resident(16 << 10);
    let mut config = config()?;
    config.memory_reservation(POOL_MEMORY_BYTES as u64);
    config.memory_guard_size(64 << 10);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine of this configuration for either target.
    fn engine(target: Option<&str>) -> wasmtime::Engine {
        let mut config = Config::new();
        if let Some(target) = target {
            config.target(target).unwrap();
        }
        wasmtime::Engine::new(&config).unwrap()
    }

    #[test]
    fn plugins_are_interpreted_where_that_was_asked_for() {
        assert_eq!(Engine::new().unwrap().inner.is_pulley(), INTERPRETED);
    }

    #[test]
    fn what_was_compiled_for_the_interpreter_is_kept_apart() {
        let flavours = [engine(None), engine(Some(interpreter()))].map(|engine| crate::artifact::flavour(&engine));
        assert_ne!(flavours[0], flavours[1]);
    }
}
