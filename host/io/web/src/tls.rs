//! TLS: certificate and key from files, read again when asked to, and the handshake.
//!
//! Owns: which certificate new connections get.
//! Leaves to others: when to read again, and what is spoken afterwards.
//!
//! Invariant: certificate and key in use belong together; what cannot be used replaces nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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

/// Reads certificate and key of a listener again, also while it is served. Clones are of the same listener.
#[derive(Clone)]
pub struct TlsReloader {
    files: TlsFiles,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsReloader {
    /// Fails when certificate or key cannot be read or do not belong together. Reads files, so it blocks.
    pub(crate) fn new(files: &TlsFiles) -> Result<TlsReloader, Error> {
        Ok(TlsReloader { files: files.clone(), config: Arc::new(RwLock::new(read(files)?)) })
    }

    /// Reads both files again, under the names that they had; connections that begin from now on get what they hold. On
    /// failure everything stays as it was: also between the writing of one file and of the other, so whoever replaces them
    /// one by one has to ask again. Reads files, so it blocks.
    pub fn reload(&self) -> Result<(), Error> {
        let config = read(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, Error> {
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
    Ok(Arc::new(config))
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

pub(crate) type Encrypted = tokio_rustls::server::TlsStream<TcpStream>;

/// The first byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

/// The encrypted stream; none for a client that spoke plain HTTP and was told so.
pub(crate) async fn handshake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<Option<Box<Encrypted>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        turn_away(&mut stream).await?;
        return Ok(None);
    }
    Ok(Some(Box::new(acceptor.accept(stream).await?)))
}

/// Tells a client that speaks plain HTTP to use HTTPS.
async fn turn_away(stream: &mut TcpStream) -> io::Result<()> {
    const BODY: &str = r#"{"status":400,"code":"https-needed","title":"Bad Request","detail":"This port speaks HTTPS. Use an address that begins with https://."}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        crate::problem::MEDIA_TYPE,
        BODY.len(),
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the client might never see the answer.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
