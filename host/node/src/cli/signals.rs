//! Signals as values: a command waits for them, and a test would wait for something else.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often this process was asked to end: SIGINT, SIGTERM, Ctrl-C. Clones count together.
#[derive(Clone)]
pub struct Ends {
    count: watch::Receiver<u32>,
    _listener: std::sync::Arc<Listener>,
}

struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ends {
    /// Listens from now on, in place of what the system would do.
    pub fn new() -> std::io::Result<Ends> {
        let (sender, count) = watch::channel(0);
        let mut signals = signals()?;
        let listener = tokio::spawn(async move {
            while signals.recv().await {
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Ends { count, _listener: std::sync::Arc::new(Listener(listener)) })
    }

    /// Waits for the first one.
    pub async fn next(&mut self) {
        self.at_least(1).await;
    }

    /// Waits for the second one: somebody does not want to wait for the end of what the first one began.
    pub async fn second(mut self) {
        self.at_least(2).await;
    }

    async fn at_least(&mut self, wanted: u32) {
        if self.count.wait_for(|count| *count >= wanted).await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn signals() -> std::io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
}

#[cfg(unix)]
impl Signals {
    async fn recv(&mut self) -> bool {
        tokio::select! {
            signal = self.interrupt.recv() => signal.is_some(),
            signal = self.terminate.recv() => signal.is_some(),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
fn signals() -> std::io::Result<Signals> {
    Ok(Signals)
}

#[cfg(not(unix))]
impl Signals {
    async fn recv(&mut self) -> bool {
        tokio::signal::ctrl_c().await.is_ok()
    }
}

/// Requests to read the configuration again: SIGHUP, where there is one.
pub struct Hangups(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangups {
    #[cfg(unix)]
    pub fn new() -> Hangups {
        Hangups(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    #[cfg(not(unix))]
    pub fn new() -> Hangups {
        Hangups()
    }

    /// Waits for the next one; false when there will be none.
    pub async fn next(&mut self) -> bool {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0 {
            return signal.recv().await.is_some();
        }
        false
    }
}
