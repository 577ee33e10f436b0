//! The data folder: who holds it, and the small files in it by which commands find the host.

use std::any::Any;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use store::{Disk as _, RealDisk};
use thiserror::Error;

/// Bytes of the file `listen` that are looked at, at most.
const MAX_LISTEN_BYTES: u64 = 128;

/// Why the data folder cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "the data folder {} cannot be used: {source}; make it writable for this user, or name another with --data-dir",
        path.display()
    )]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(
        "another mediahost is running with the data folder {}; stop it, or name another with --data-dir",
        path.display()
    )]
    Held { path: PathBuf },
}

/// A data folder that this process alone uses, until this value is dropped.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    /// The system ends the lock with the process, however that ends.
    _lock: Box<dyn Any + Send + Sync>,
}

impl Held {
    /// Makes the folder if it is not there and takes hold of it. On Unix a folder that was made is the owner's alone.
    pub fn take(path: &Path) -> Result<Held, Error> {
        let failed = |source| Error::Folder { path: path.to_owned(), source };
        make(path).map_err(failed)?;
        match RealDisk.lock(&path.join("lock")) {
            Ok(lock) => Ok(Held { path: path.to_owned(), _lock: lock }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Error::Held { path: path.to_owned() }),
            Err(source) => Err(failed(source)),
        }
    }

    /// Says where this host can be reached.
    pub fn write_listen(&self, address: SocketAddr) -> Result<(), Error> {
        let (whole, part) = (listen_file(&self.path), self.path.join("listen.new"));
        let written = fs::write(&part, format!("{address}\n")).and_then(|()| fs::rename(&part, &whole));
        written.map_err(|source| Error::Folder { path: self.path.clone(), source })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(listen_file(&self.path));
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Where a host that uses this folder says it listens. It may be gone by now.
pub fn read_listen(data_dir: &Path) -> Option<SocketAddr> {
    let mut text = String::new();
    File::open(listen_file(data_dir)).ok()?.take(MAX_LISTEN_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Where to connect to from this machine, for a host that listens on every address.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The admin token's file.
pub fn token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.token")
}

fn listen_file(data_dir: &Path) -> PathBuf {
    data_dir.join("listen")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_holds_a_folder_and_says_where_it_listens() {
        let folder = std::env::temp_dir().join(format!("mediahost-data-{}", std::process::id()));
        let held = Held::take(&folder).unwrap();
        assert!(matches!(Held::take(&folder), Err(Error::Held { .. })));
        assert_eq!(read_listen(&folder), None);
        let address = "127.0.0.1:7979".parse().unwrap();
        held.write_listen(address).unwrap();
        assert_eq!(read_listen(&folder), Some(address));
        drop(held);
        assert_eq!(read_listen(&folder), None);
        Held::take(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "a file").unwrap();
        let error = Held::take(&folder).unwrap_err().to_string();
        assert!(error.contains("--data-dir"), "{error}");
        fs::remove_file(&folder).unwrap();
    }
}
