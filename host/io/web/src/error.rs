//! Why a port cannot be served.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why listening failed, or a policy makes no sense. All of them are for the operator to mend.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{address} is taken by another program; choose another port, or stop that program")]
    PortTaken { address: SocketAddr },
    #[error("the system does not let this user listen on {address}; ports below 1024 usually need a privilege")]
    PortForbidden { address: SocketAddr },
    #[error("this machine has no address {}", address.ip())]
    NoSuchAddress { address: SocketAddr },
    #[error("cannot listen on {address}: {error}")]
    Bind { address: SocketAddr, error: io::Error },
    #[error("the certificate {} cannot be used: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("the key {} cannot be used: {reason}", path.display())]
    Key { path: PathBuf, reason: String },
    #[error("the certificate {} and the key {} do not work together: {reason}", cert.display(), key.display())]
    Mismatch { cert: PathBuf, key: PathBuf, reason: String },
    #[error("{value:?} is not {expected}")]
    Policy { value: String, expected: &'static str },
}
