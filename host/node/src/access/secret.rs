//! The admin token and what is made of it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;
/// Bytes of the token's file that are looked at, at most.
const MAX_FILE_BYTES: u64 = 1024;
/// The block size of SHA-256 in bytes (FIPS 180-4 §1).
const BLOCK: usize = 64;

/// What an administrator shows to be let in: 256 random bits in hexadecimal, or a text that the operator has chosen.
#[derive(Clone)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the admin token in {} cannot be {done}: {source}", path.display())]
    Io { path: PathBuf, done: &'static str, source: std::io::Error },
    #[error(
        "the admin token in {} is not at least 32 letters, digits, - or _; delete the file to get a new one",
        path.display()
    )]
    Malformed { path: PathBuf },
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl Token {
    /// A token as it stands in its file: at least 32 characters that are safe in a URL.
    pub fn parse(text: &str) -> Option<Token> {
        let text = text.trim();
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (text.len() >= 32 && text.bytes().all(safe)).then(|| Token(text.to_owned()))
    }

    /// The token in a file, which is made if it is not there. Only its owner can read a file that was made.
    pub fn load_or_make(path: &Path) -> Result<Token, TokenError> {
        match Self::load(path) {
            Err(TokenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            found => return found,
        }
        let token = Token(random_hex::<TOKEN_BYTES>()?);
        token.write(path).map_err(|source| TokenError::Io { path: path.to_owned(), done: "written", source })?;
        Ok(token)
    }

    /// The token in a file.
    pub fn load(path: &Path) -> Result<Token, TokenError> {
        let read = || -> std::io::Result<String> {
            if fs::metadata(path)?.len() > MAX_FILE_BYTES {
                return Ok(String::new());
            }
            fs::read_to_string(path)
        };
        let text = read().map_err(|source| TokenError::Io { path: path.to_owned(), done: "read", source })?;
        Token::parse(&text).ok_or_else(|| TokenError::Malformed { path: path.to_owned() })
    }

    /// Written beside and renamed, so that a crash leaves either no token or a whole one.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension("token.new");
        let _ = fs::remove_file(&beside);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.write_all(format!("{}\n", self.0).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }

    /// The token itself.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// A key for one purpose, from which the token cannot be told.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        hmac_sha256(self.0.as_bytes(), purpose.as_bytes())
    }
}

/// `N` random bytes in hexadecimal.
pub fn random_hex<const N: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

/// RFC 2104 with SHA-256.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3 and §4.7.
    #[test]
    fn hmac_gives_the_published_values() {
        let found = hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(found, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let found = hex(&hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"));
        assert_eq!(found, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn a_token_is_made_once_and_kept() {
        let folder = std::env::temp_dir().join(format!("mediahost-token-{}", random_hex::<8>().unwrap()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("admin.token");
        let made = Token::load_or_make(&path).unwrap();
        assert_eq!(made.text().len(), 2 * TOKEN_BYTES);
        assert_eq!(Token::load_or_make(&path).unwrap().text(), made.text());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(&path, "short").unwrap();
        assert!(matches!(Token::load_or_make(&path), Err(TokenError::Malformed { .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn texts_are_the_same_or_not() {
        for (a, b, expected) in [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false)] {
            assert_eq!(same(a.as_bytes(), b.as_bytes()), expected, "{a:?} {b:?}");
        }
    }
}
