//! Cookies that carry their own proof: `<expiry>.<signature>`.

use std::time::Duration;

use super::secret::{Token, hex, hmac_sha256, random_hex, same};

/// How long a browser stays let in.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes of a cookie's value, at most.
const MAX_BYTES: usize = 256;

/// Makes and checks cookies under one token.
pub struct Signer {
    key: [u8; 32],
    name: String,
}

impl Signer {
    /// Cookies that are good as long as the token is.
    pub fn new(token: &Token) -> Self {
        let key = token.derive("mediahost cookie key");
        // Browsers share cookies between the ports of a machine, so that two hosts on it need two names.
        let name = format!("mediahost_{}", hex(&token.derive("mediahost cookie name")[..4]));
        Self { key, name }
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value that is good until `expiry`, wall time since 1970.
    pub fn sign(&self, expiry: Duration) -> String {
        // The random part makes two browsers' cookies differ; without it the cookie is no weaker.
        let body = format!("{}.{}", expiry.as_secs(), random_hex::<8>().unwrap_or_default());
        format!("{body}.{}", self.signature(&body))
    }

    /// Whether a value was made here and has not expired.
    pub fn verify(&self, value: &str, unix: Duration) -> bool {
        let Some((body, signature)) = value.rsplit_once('.').filter(|_| value.len() <= MAX_BYTES) else { return false };
        let expiry = body.split('.').next().and_then(|text| text.parse::<u64>().ok());
        same(signature.as_bytes(), self.signature(body).as_bytes()) && expiry.is_some_and(|at| unix.as_secs() < at)
    }

    fn signature(&self, body: &str) -> String {
        hex(&hmac_sha256(&self.key, body.as_bytes()))
    }
}
