//! Reading the configuration again while the host runs.

use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::config::{self, Config, Inputs, Raw, reload};
use crate::logging;

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(#[from] config::Error),
    #[error(transparent)]
    Fixed(#[from] reload::Refused),
    #[error(transparent)]
    Web(#[from] web::Error),
}

impl Error {
    /// The key that was refused, if it was one.
    pub fn key(&self) -> Option<String> {
        match self {
            Error::Fixed(refused) => Some(refused.key.to_owned()),
            Error::Invalid(config::Error::Unknown { key, .. }) => Some(key.clone()),
            Error::Invalid(config::Error::Value { key, .. }) => Some((*key).to_owned()),
            Error::Invalid(_) | Error::Web(_) => None,
        }
    }
}

/// Applies what may change; [`config::keys`] says what that is.
pub struct Reloader {
    inputs: Inputs,
    current: Mutex<Raw>,
    parts: Parts,
}

/// The parts of a running host that take up changes.
pub struct Parts {
    pub log: Option<logging::Handle>,
    pub guard: web::Guard,
    pub bound: std::net::SocketAddr,
    /// Reads the certificate again, whose file may have been renewed under the same name.
    pub tls: Option<web::TlsReloader>,
    pub proxy: Arc<proxy::Proxy>,
}

impl Reloader {
    /// A reloader of a host that runs with a configuration that was read from these inputs.
    pub fn new((inputs, current): (Inputs, Raw), parts: Parts) -> Self {
        Self { inputs, current: Mutex::new(current), parts }
    }

    /// Reads the layers again and applies what changed, or nothing. Gives the keys that changed. Reads a file, so it
    /// blocks.
    pub fn reload(&self) -> Result<Vec<&'static str>, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.apply(&current);
        match &done {
            Ok((changed, _)) if changed.is_empty() => {
                tracing::info!("the configuration was read again; nothing changed")
            }
            Ok((changed, _)) => tracing::info!(?changed, "the configuration was read again"),
            Err(error) => tracing::warn!(%error, "the new configuration was refused; nothing changed"),
        }
        let (changed, raw) = done?;
        *current = raw;
        Ok(changed)
    }

    fn apply(&self, current: &Raw) -> Result<(Vec<&'static str>, Raw), Error> {
        let (config, raw) = config::load(&self.inputs)?;
        let changed = reload::changes(current, &raw)?;
        let Parts { log, guard, bound, tls, proxy } = &self.parts;
        // The steps that can fail come first, and each of them alone changes nothing that the configuration says.
        if let Some(tls) = tls {
            tls.reload()?;
        }
        guard.replace(policy(&config, *bound))?;
        if let Some(log) = log {
            log.set(&config.log.level);
        }
        proxy.set_bounds(::proxy::Bounds { quota: config.cache.quota, keep_free: config.cache.keep_free });
        proxy.set_bandwidth(config.proxy.bandwidth);
        Ok((changed, raw))
    }
}

/// Who may ask, by the configuration.
pub fn policy(config: &Config, bound: std::net::SocketAddr) -> web::Policy {
    web::Policy {
        bound,
        public_url: config.server.public_url.as_ref().map(|url| url.origin().ascii_serialization()),
        hosts: config.server.hosts.clone(),
        cors_origins: config.server.cors_origins.clone(),
    }
}
