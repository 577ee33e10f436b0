//! Names to addresses, with those left out that may not be connected to.
//!
//! What the resolver gives is what is connected to, so the check here cannot be outrun by a second look-up.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use crate::{Cidr, is_private};

/// Addresses of one name that are tried, at most.
const MAX_ADDRESSES: usize = 16;

/// How far a client reaches.
#[derive(Clone, Debug)]
pub enum Reach {
    /// To public addresses and these.
    Public { allow_private: Vec<Cidr> },
    /// Anywhere.
    Open,
}

impl Reach {
    /// Whether an address may be connected to.
    pub fn permits(&self, address: IpAddr) -> bool {
        match self {
            Reach::Public { allow_private } => {
                !is_private(address) || allow_private.iter().any(|block| block.contains(address))
            }
            Reach::Open => true,
        }
    }
}

/// The name has addresses, and all of them are private.
#[derive(Debug, Error)]
#[error("only private addresses, such as {address}")]
pub struct OnlyPrivate {
    pub address: IpAddr,
}

/// The name has no address.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Unresolved(String);

/// The system's resolver, filtered.
pub struct Resolver {
    pub reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach.clone();
        Box::pin(async move {
            // Port 0 is replaced by that of the URL.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|error| Unresolved(error.to_string()))?
                .take(MAX_ADDRESSES)
                .collect();
            let Some(first) = found.first().map(SocketAddr::ip) else {
                return Err(Unresolved("no addresses".to_owned()).into());
            };
            let permitted: Vec<_> = found.into_iter().filter(|address| reach.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(OnlyPrivate { address: first }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
