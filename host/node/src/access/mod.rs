//! Who may use the API: the holder of the admin token, and browsers that were let in with it.
//!
//! Owns: the token's file, one-time links, cookies.
//! Leaves to others: reading them from requests (`doors`), and `Host` and `Origin` (`io/web`).
//!
//! Invariant: secrets are compared in constant time and never logged; a link works once and for ten minutes; a cookie
//! works for thirty days and only under the token it was made with, so that a new token ends all of them. Cookies are
//! signed, not stored: no number of them takes memory, and they outlive a restart.

mod cookie;
mod link;
mod secret;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use cookie::LIFETIME as COOKIE_LIFETIME;
pub use link::LIFETIME as LINK_LIFETIME;
pub use secret::{Token, TokenError};

/// Decides who may use the API.
pub struct Access {
    token: Token,
    cookies: cookie::Signer,
    links: Mutex<link::Links>,
}

impl Access {
    /// Access for whoever holds this token.
    pub fn new(token: Token) -> Self {
        let cookies = cookie::Signer::new(&token);
        Self { token, cookies, links: Mutex::default() }
    }

    /// Whether the value of an `Authorization` field lets its sender in.
    pub fn bearer(&self, authorization: &str) -> bool {
        let Some((scheme, given)) = authorization.split_once(' ') else { return false };
        scheme.eq_ignore_ascii_case("bearer") && secret::same(given.trim().as_bytes(), self.token.text().as_bytes())
    }

    /// Whether one of the cookies of a `Cookie` field lets its sender in. `unix` is the wall time since 1970.
    pub fn cookie(&self, cookies: &str, unix: Duration) -> bool {
        // Two of the same name can be there, when one was set for another path.
        let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.cookies.name()).any(|(_, value)| self.cookies.verify(value, unix))
    }

    /// The value of a `Set-Cookie` field that lets a browser in. `secure` when the browser speaks HTTPS.
    pub fn set_cookie(&self, unix: Duration, secure: bool) -> String {
        let (name, value) = (self.cookies.name(), self.cookies.sign(unix + cookie::LIFETIME));
        let secure = if secure { "; Secure" } else { "" };
        let age = cookie::LIFETIME.as_secs();
        format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
    }

    /// A code for a one-time link. The oldest unused one is forgotten when there are too many.
    pub fn make_link(&self, now: Instant) -> Result<String, getrandom::Error> {
        let code = secret::random_hex::<16>()?;
        self.links.lock().unwrap_or_else(PoisonError::into_inner).add(now, code.clone());
        Ok(code)
    }

    /// Uses up a code; whether it was good.
    pub fn use_link(&self, now: Instant, code: &str) -> bool {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).take(now, code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: Duration = Duration::from_secs(1_800_000_000);

    fn access() -> Access {
        Access::new(Token::parse(&"ab".repeat(32)).unwrap())
    }

    #[test]
    fn the_token_lets_in_and_nothing_near_it_does() {
        let token = "ab".repeat(32);
        for (field, expected) in [
            (format!("Bearer {token}"), true),
            (format!("bearer {token}"), true),
            (format!("Bearer {}", &token[1..]), false),
            (format!("Bearer {token}a"), false),
            (format!("Basic {token}"), false),
            ("Bearer ".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(access().bearer(&field), expected, "{field:?}");
        }
    }

    #[test]
    fn a_cookie_lets_in_until_it_expires_and_dies_with_the_token() {
        let set = access().set_cookie(UNIX, false);
        let pair = set.split(';').next().unwrap().to_owned();
        assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains("Secure"));
        assert!(access().set_cookie(UNIX, true).ends_with("; Secure"));
        let other = Access::new(Token::parse(&"cd".repeat(32)).unwrap());
        let tampered = format!("{}0", &pair[..pair.len() - 1]);
        let tampered = if tampered == pair { format!("{}1", &pair[..pair.len() - 1]) } else { tampered };
        for (access, field, when, expected) in [
            (access(), pair.clone(), UNIX, true),
            (access(), format!("a=b; {pair}; c=d"), UNIX, true),
            (access(), format!("{}=old; {pair}", pair.split('=').next().unwrap()), UNIX, true),
            (access(), pair.clone(), UNIX + COOKIE_LIFETIME, false),
            (access(), tampered, UNIX, false),
            (access(), String::new(), UNIX, false),
            (other, pair.clone(), UNIX, false),
        ] {
            assert_eq!(access.cookie(&field, when), expected, "{field:?} at {when:?}");
        }
    }

    #[test]
    fn a_link_works_once_and_for_ten_minutes() {
        let access = access();
        let now = Instant::now();
        let code = access.make_link(now).unwrap();
        assert!(!access.use_link(now, "guess"));
        assert!(access.use_link(now, &code));
        assert!(!access.use_link(now, &code));
        let late = access.make_link(now).unwrap();
        assert!(!access.use_link(now + LINK_LIFETIME, &late));
        let in_time = access.make_link(now).unwrap();
        assert!(access.use_link(now + LINK_LIFETIME - Duration::from_secs(1), &in_time));
    }
}
