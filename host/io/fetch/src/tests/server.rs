//! A server whose every answer is written in the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What to do with a request.
pub enum Answer {
    /// Write this and close.
    Close(String),
    /// Write this and wait until the client closes.
    Hold(String),
    /// Write this and read the next request.
    Keep(String),
}

/// Ends with its value.
pub struct Server {
    pub address: SocketAddr,
    pub requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with status 200 and this body.
pub fn ok(body: &str) -> Answer {
    Answer::Close(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A redirect.
pub fn go(status: u16, location: &str) -> Answer {
    Answer::Close(format!("HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
}

/// A certificate that signs itself, for these names: PEM for the client, a configuration for the server.
pub fn certificate(names: &[&str]) -> (Vec<u8>, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let made = made.unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem().into_bytes(), TlsAcceptor::from(Arc::new(config)))
}

impl Server {
    /// Answers by the path of each request.
    pub async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
        Server::start_with(None, answer).await
    }

    pub async fn start_with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, seen, tls) = (answer.clone(), seen.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => talk(stream, &*answer, &seen).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => talk(stream, &*answer, &seen).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Server { address, requests, task }
    }

    /// A URL of this server.
    pub fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// The request that came for a path, in lower case.
    pub fn request(&self, path: &str) -> String {
        let requests = self.requests.lock().unwrap();
        let found = requests.iter().find(|request| path_of(request) == path);
        found.unwrap_or_else(|| panic!("no request for {path} in {requests:?}")).to_ascii_lowercase()
    }
}

fn path_of(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

/// None when the client is gone.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &(dyn Fn(&str) -> Answer + Send + Sync),
    seen: &Mutex<Vec<String>>,
) -> Option<()> {
    loop {
        let request = read_request(&mut stream).await?;
        let step = answer(path_of(&request));
        seen.lock().unwrap().push(request);
        let (Answer::Close(text) | Answer::Hold(text) | Answer::Keep(text)) = &step;
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        match step {
            Answer::Keep(_) => {}
            Answer::Hold(_) => {
                let mut rest = [0; 64];
                while stream.read(&mut rest).await.ok()? > 0 {}
                return None;
            }
            Answer::Close(_) => {
                stream.shutdown().await.ok()?;
                return Some(());
            }
        }
    }
}

/// A head, and the body that its Content-Length announces.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.extend(body);
    Some(String::from_utf8_lossy(&request).into_owned())
}
