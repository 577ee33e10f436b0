//! A bound port, with or without TLS.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::tls::TlsReloader;
use crate::{Error, Locate, TlsFiles};

/// A port that is bound and not yet served.
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsReloader>,
    files: Option<Files>,
    address: SocketAddr,
}

impl Listener {
    /// Binds a port; port 0 lets the system choose. Fails when it is taken or not permitted, and when certificate or
    /// key cannot be read or do not belong together.
    pub async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Listener, Error> {
        let tls = tls.map(TlsReloader::new).transpose()?;
        let socket = TcpListener::bind(address).await.map_err(|error| refused(address, error))?;
        let address = socket.local_addr().map_err(|error| refused(address, error))?;
        Ok(Listener { socket, tls, files: None, address })
    }

    /// Sends bodies that lie in files from there, without a copy: to other machines, on connections without TLS, and
    /// where the system can. Pieces of such bodies are dropped when the peer has confirmed them, and not before.
    pub fn with_files(self, locate: Locate) -> Listener {
        Listener { files: Some(Files { locate, to_everyone: false }), ..self }
    }

    /// The same, and also to programs on this machine, where it costs more than a copy. Whoever holds a piece cannot know
    /// when such a program has read it: right only for files that nobody changes, such as those of a measurement.
    pub fn with_files_for_everyone(self, locate: Locate) -> Listener {
        Listener { files: Some(Files { locate, to_everyone: true }), ..self }
    }

    /// What reads the certificate again; none without TLS.
    pub fn tls_reloader(&self) -> Option<TlsReloader> {
        self.tls.clone()
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

struct Files {
    locate: Locate,
    to_everyone: bool,
}

impl Listener {
    /// The files that this connection may be sent from.
    pub(crate) fn files_for(&self, stream: &TcpStream, peer: SocketAddr) -> Option<Locate> {
        let files = self.files.as_ref()?;
        let peer = peer.ip().to_canonical();
        let is_here = peer.is_loopback() || stream.local_addr().map_or(true, |own| own.ip().to_canonical() == peer);
        (files.to_everyone || !is_here).then(|| files.locate.clone())
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
