//! Links into a presentation: opaque, the same for the same address, and made by nobody else.
//!
//! Owns: what a link carries and how it is sealed.
//! Leaves to others: which addresses get links, and what is fetched for one.
//!
//! A link carries its address itself, encrypted and authenticated under a secret of the session. So it needs no table that
//! grows with a live presentation or is lost with the process, it does not tell viewers the tokens in the address, and nobody
//! can make the host fetch an address that did not stand in one of its manifests.
//!
//! The nonce is a MAC of what is sealed (as in SIV modes, RFC 5297 §1.3.2): equal addresses have equal links, as players
//! expect, and a nonce repeats only with its plain text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use container::manifest::Role;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use url::Url;

/// What a session's links are sealed with.
pub type Secret = [u8; 32];

/// A secret for a new session.
pub fn new_secret() -> Secret {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).expect("the operating system gives random bytes");
    secret
}

/// Seals and opens links.
pub struct Seal {
    nonces: hmac::Key,
    cipher: LessSafeKey,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One address.
    Address { role: Role, url: Url },
    /// A directory; the player says what below it.
    Below(Url),
}

impl Seal {
    pub fn new(secret: &Secret) -> Seal {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let key = hmac::sign(&root, b"cipher");
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("a MAC of SHA-256 is as long as a key");
        Seal {
            nonces: hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"nonces").as_ref()),
            cipher: LessSafeKey::new(unbound),
        }
    }

    /// The part of a path that stands for a target.
    pub fn seal(&self, target: &Target) -> String {
        let (letter, url) = match target {
            Target::Address { role, url } => (letter(*role), url),
            Target::Below(url) => (BELOW, url),
        };
        let mut text = vec![letter];
        text.extend_from_slice(url.as_str().as_bytes());
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hmac::sign(&self.nonces, &text).as_ref()[..NONCE_LEN]);
        // Fails only for more than 64 GiB.
        let sealed = self.cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text);
        sealed.expect("an address is short");
        URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat())
    }

    /// What a link leads to; none for one that this session did not make.
    pub fn open(&self, link: &str) -> Option<Target> {
        let mut bytes = URL_SAFE_NO_PAD.decode(link).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.cipher.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        let (letter, url) = text.split_first()?;
        let url = Url::parse(std::str::from_utf8(url).ok()?).ok()?;
        match *letter {
            BELOW => Some(Target::Below(url)),
            letter => Some(Target::Address { role: role(letter)?, url }),
        }
    }
}

/// A directory.
const BELOW: u8 = b'/';

/// How links name what they lead to.
const LETTERS: &[(u8, Role)] = &[
    (b'p', Role::Playlist),
    (b's', Role::Segment),
    (b't', Role::Part),
    (b'i', Role::Init),
    (b'x', Role::Index),
    (b'k', Role::Key),
    (b'd', Role::Data),
    (b'a', Role::AssetList),
    (b'g', Role::Steering),
    (b'u', Role::Patch),
    (b'r', Role::Remote),
    (b'c', Role::Clock),
];

fn letter(role: Role) -> u8 {
    LETTERS.iter().find(|(_, known)| *known == role).map_or(b'd', |(letter, _)| *letter)
}

fn role(letter: u8) -> Option<Role> {
    LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, role)| *role)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(role: Role) -> Target {
        Target::Address { role, url: Url::parse("https://h/a/b.ts?token=1").unwrap() }
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let (seal, other) = (Seal::new(&[7; 32]), Seal::new(&[8; 32]));
        for (_, role) in LETTERS {
            let link = seal.seal(&target(*role));
            assert_eq!(seal.open(&link), Some(target(*role)));
            assert_eq!(seal.seal(&target(*role)), link, "the same each time");
            assert_eq!(other.open(&link), None);
            assert!(!link.contains("token") && link.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            for at in 0..link.len() {
                let mut broken = link.clone().into_bytes();
                broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
                let opened = seal.open(&String::from_utf8(broken).unwrap());
                // The last character has bits that say nothing; the decoder refuses them.
                assert_eq!(opened, None, "at {at}");
            }
        }
        let below = Target::Below(Url::parse("https://h/a/").unwrap());
        assert_eq!(seal.open(&seal.seal(&below)), Some(below));
        for nonsense in ["", "AAAA", "not base64!", &"A".repeat(100)] {
            assert_eq!(seal.open(nonsense), None);
        }
    }

    #[test]
    fn every_role_has_a_letter_of_its_own() {
        let mut letters: Vec<u8> = LETTERS.iter().map(|(letter, _)| *letter).collect();
        letters.push(BELOW);
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), LETTERS.len() + 1);
    }
}
