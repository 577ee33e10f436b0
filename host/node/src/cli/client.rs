//! Speaks to the host that runs on this machine, found through the files it keeps in its data folder.
//!
//! One connection per request: the commands send a handful, and a connection that cannot go stale needs no care.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::access::Token;
use crate::config::Config;
use crate::data;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection to this machine may take; a host that is there accepts at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A host that is running, and the token to speak to it.
pub struct Client {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    token: Token,
}

impl Client {
    /// The host that runs with this configuration's data folder, if one answers.
    pub async fn find(config: &Config) -> anyhow::Result<Option<Client>> {
        let Some(address) = data::read_listen(&config.data_dir) else { return Ok(None) };
        let address = data::reachable(address);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        if !matches!(connected, Ok(Ok(_))) {
            return Ok(None);
        }
        Client::new(address, config).map(Some)
    }

    /// The host at this address.
    pub fn new(address: SocketAddr, config: &Config) -> anyhow::Result<Client> {
        let token = Token::load(&data::token_file(&config.data_dir))?;
        let tls = config.tls.as_ref().map(|tls| pinned(&tls.cert)).transpose()?;
        Ok(Client { address: data::reachable(address), tls, token })
    }

    /// Gets a resource.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None).await
    }

    /// Posts JSON, or nothing.
    pub async fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.request(Method::POST, path, body).await
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let exchange = async {
            let stream = TcpStream::connect(self.address).await?;
            match &self.tls {
                None => self.exchange(stream, method, path, body).await,
                Some(tls) => {
                    let name = ServerName::from(self.address.ip());
                    self.exchange(tls.connect(name, stream).await?, method, path, body).await
                }
            }
        };
        let exchange = tokio::time::timeout(TIMEOUT, exchange).await;
        let failed = || format!("the host at {} cannot be spoken to", self.address);
        let (status, text) =
            exchange.map_err(|_| anyhow!("it did not answer in time")).flatten().with_context(failed)?;
        let answer = serde_json::from_slice(&text).unwrap_or(Value::Null);
        if status.is_success() { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.text()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            anyhow::Ok((status, body.map_err(|error| anyhow!(error))?.to_bytes()))
        };
        // The connection does the work that the answer waits for; when it ends first, the answer says why.
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }
}

/// What the host said was wrong (RFC 9457).
fn refusal(status: StatusCode, problem: &Value) -> anyhow::Error {
    match (problem["detail"].as_str(), problem["code"].as_str()) {
        (_, Some("https-needed")) => {
            anyhow!("the host speaks HTTPS; give this command the host's configuration, for the sake of tls.cert")
        }
        (Some(detail), Some(code)) => anyhow!("{detail} ({code})"),
        _ => anyhow!("the host answered {status}"),
    }
}

/// TLS to the one host that has this certificate: it was made for the name people use, which is not `127.0.0.1`, so
/// that it is compared and not its name.
fn pinned(file: &Path) -> anyhow::Result<TlsConnector> {
    let unreadable = || format!("the certificate {} cannot be read", file.display());
    let certificate = CertificateDer::from_pem_file(file).with_context(unreadable)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { certificate, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Trusts one certificate and nothing else.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("the host shows another certificate than tls.cert names".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
