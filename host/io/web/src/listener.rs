//! A bound port, with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::Error;

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that signed it, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

/// A port that is bound and not yet served.
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl Listener {
    /// Binds a port; port 0 lets the system choose. Fails when it is taken or not permitted, and when certificate or
    /// key cannot be read or do not belong together.
    pub async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Listener, Error> {
        let tls = tls.map(acceptor).transpose()?;
        let socket = TcpListener::bind(address).await.map_err(|error| refused(address, error))?;
        let address = socket.local_addr().map_err(|error| refused(address, error))?;
        Ok(Listener { socket, tls, address })
    }

    /// The address that is bound, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

fn refused(address: SocketAddr, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken { address },
        io::ErrorKind::PermissionDenied => Error::PortForbidden { address },
        io::ErrorKind::AddrNotAvailable => Error::NoSuchAddress { address },
        _ => Error::Bind { address, error },
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Error> {
    let certificates = certificates(&files.cert)?;
    let key = key(&files.key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| Error::Mismatch {
            cert: files.cert.clone(),
            key: files.key.clone(),
            reason: error.to_string(),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |reason: String| Error::Certificate { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad("it holds no certificate in PEM form".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(bad(error.to_string())),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bad = |reason: String| Error::Key { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| bad("it holds no private key in PEM form".to_owned()))
}
