//! TLS for outgoing connections: rustls with ring, the platform's roots and the operator's.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};
use rustls_native_certs::CertificateResult;

use crate::Error;

/// Where Android keeps the certificates that it trusts, in a form that OpenSSL finds too: since Android 14, and before.
const ANDROID_ROOTS: [&str; 2] = ["/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts"];

/// The configuration for HTTP/1.1. The platform's certificates are found as OpenSSL finds them, `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` included. A platform without any is no error: then only `extra_roots` are trusted.
pub fn client(extra_roots: &[Vec<u8>]) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let platform = platform();
    for error in &platform.errors {
        tracing::warn!(%error, "some certificates of this machine could not be read");
    }
    roots.add_parsable_certificates(platform.certs);
    for pem in extra_roots {
        add(&mut roots, pem).map_err(|reason| Error::Setup { reason })?;
    }
    if roots.is_empty() {
        tracing::warn!("this machine has no certificates to trust, so no https address can be fetched");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup { reason: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What this machine trusts. Where programs cannot read that, as on iOS, nothing.
fn platform() -> CertificateResult {
    let found = rustls_native_certs::load_native_certs();
    if !cfg!(target_os = "android") || !found.certs.is_empty() {
        return found;
    }
    let mut folders =
        ANDROID_ROOTS.iter().map(|folder| rustls_native_certs::load_certs_from_paths(None, Some(folder.as_ref())));
    folders.find(|found| !found.certs.is_empty()).unwrap_or(found)
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("a certificate to trust is damaged: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate cannot be trusted: {error}"))?;
        found = true;
    }
    if found { Ok(()) } else { Err("a file of certificates to trust holds none in PEM form".to_owned()) }
}
