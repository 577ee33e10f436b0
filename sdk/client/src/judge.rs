//! What the head of an answer means for a reader: which bytes follow, of which version, or why none do.
//!
//! Owns: the comparison of versions, the arithmetic of `Content-Range` (RFC 9110 §14.4).
//! Leaves to others: requests, bodies, trying again.
//!
//! Invariant: bytes follow only if they are those of the version that was seen first, and it is known at which offset they
//! begin.

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// From here to the end.
    pub position: u64,
    /// What earlier answers said.
    pub version: Option<Version>,
}

/// One version of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// A strong entity tag; without one, nothing says that two answers belong together.
    pub etag: Option<String>,
    /// Bytes in all, once that is known.
    pub length: Option<u64>,
}

/// The head of an answer of success, or of 416.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub status: u16,
    pub etag: Option<String>,
    pub content_range: Option<String>,
    pub content_length: Option<u64>,
}

/// The bytes that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Follows {
    /// Offset of the first one.
    pub from: u64,
    /// Offset behind the last one; none if only the end of the body tells.
    pub to: Option<u64>,
    /// Whether the host gave what was asked for. If not, a new request would begin at the first byte again.
    pub ranged: bool,
    /// What is known now.
    pub version: Version,
}

/// Why nothing follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// Another version than before: what it was, what it is.
    Changed { was: String, now: String },
    /// No mediahost answers so.
    Nonsense(String),
}

/// Reads an answer. At or behind the end nothing follows, which is no objection.
pub(crate) fn judge(asked: &Asked, head: &Head) -> Result<Follows, Objection> {
    let nonsense = |why: String| Err(Objection::Nonsense(why));
    let etag = head.etag.clone().filter(|etag| !etag.starts_with("W/"));
    let (from, to, length, ranged) = match head.status {
        206 => match head.content_range.as_deref().and_then(range) {
            Some((first, last, length)) if first == asked.position && last >= first => {
                (first, last.checked_add(1), length, true)
            }
            _ => {
                return nonsense(format!("bytes from {} were asked for, and it gives {}", asked.position, shown(head)));
            }
        },
        200 => (0, head.content_length, head.content_length, false),
        416 => match head.content_range.as_deref().and_then(unsatisfied) {
            // A file may have grown shorter, which the comparison below finds.
            Some(length) if length <= asked.position || asked.version.is_some() => {
                (asked.position, Some(asked.position), Some(length), true)
            }
            _ => return nonsense(format!("bytes from {} are refused with {}", asked.position, shown(head))),
        },
        status => return nonsense(format!("it answers {status} to a request for bytes")),
    };
    if let (Some(to), Some(length)) = (to, length)
        && to > length
        && to > from
    {
        return nonsense(format!("it gives {} of {length} bytes", shown(head)));
    }
    let Some(before) = &asked.version else {
        return Ok(Follows { from, to, ranged, version: Version { etag, length } });
    };
    match (&before.etag, &etag) {
        (Some(was), Some(now)) if was == now => {}
        (Some(was), Some(now)) => return Err(Objection::Changed { was: was.clone(), now: now.clone() }),
        // A refusal carries no bytes that could be of another version; its length is compared.
        _ if head.status == 416 => {}
        _ => return nonsense("it gives no strong entity tag, so it may be of another version than before".into()),
    }
    match (before.length, length) {
        (Some(was), Some(now)) if was != now => {
            Err(Objection::Changed { was: format!("{was} bytes"), now: format!("{now} bytes") })
        }
        (was, now) => {
            let length = was.or(now);
            if head.status == 416 && length.is_some_and(|length| length > asked.position) {
                return nonsense(format!("bytes from {} are refused with {}", asked.position, shown(head)));
            }
            Ok(Follows { from, to, ranged, version: Version { etag: before.etag.clone(), length } })
        }
    }
}

fn shown(head: &Head) -> String {
    head.content_range.clone().unwrap_or_else(|| "no range".into())
}

/// `bytes 0-9/100` or `bytes 0-9/*`.
fn range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let length = if length == "*" { None } else { Some(length.parse().ok()?) };
    Some((first.parse().ok()?, last.parse().ok()?, length))
}

/// `bytes */100`.
fn unsatisfied(text: &str) -> Option<u64> {
    text.strip_prefix("bytes */")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let mut head = Head::default();
        for (index, word) in text.split_whitespace().enumerate() {
            match word.split_at(1) {
                _ if index == 0 => head.status = word.parse().unwrap(),
                ("=", etag) => head.etag = Some(etag.to_owned()),
                ("r", range) => head.content_range = Some(format!("bytes {range}")),
                ("l", length) => head.content_length = length.parse().ok(),
                _ => panic!("{word}"),
            }
        }
        head
    }

    /// `asked` is a position and, after it, the version that is known; what comes out is `from-to/length` or why not.
    #[track_caller]
    fn check(asked: &str, answer: &str, expected: &str) {
        let mut words = asked.split_whitespace();
        let position = words.next().unwrap().parse().unwrap();
        let version = words.next().map(|etag| Version {
            etag: etag.strip_prefix('=').map(str::to_owned),
            length: words.next().map(|length| length.parse().unwrap()),
        });
        let found = match judge(&Asked { position, version }, &head(answer)) {
            Ok(Follows { from, to, ranged, version }) => {
                let [to, length] = [to, version.length].map(|n| n.map_or("?".into(), |n| n.to_string()));
                format!("{from}-{to}/{length}{}", if ranged { "" } else { " whole" })
            }
            Err(Objection::Changed { was, now }) => format!("changed {was} {now}"),
            Err(Objection::Nonsense(_)) => "nonsense".into(),
        };
        assert_eq!(found, expected, "{asked} | {answer}");
    }

    #[test]
    fn the_first_answer() {
        check("0", "206 =a r0-99/100", "0-100/100");
        check("40", "206 =a r40-99/100", "40-100/100");
        check("40", "206 =a r40-49/100", "40-50/100");
        check("40", "206 =a r40-49/*", "40-50/?");
        check("0", "200 =a l100", "0-100/100 whole");
        check("40", "200 =a l100", "0-100/100 whole");
        check("0", "200 =a", "0-?/? whole");
        check("0", "200", "0-?/? whole");
        check("100", "416 =a r*/100", "100-100/100");
        check("900", "416 r*/100", "900-900/100");
    }

    #[test]
    fn the_same_version_goes_on() {
        check("40 =a 100", "206 =a r40-99/100", "40-100/100");
        check("40 =a", "206 =a r40-99/100", "40-100/100");
        check("40 =a", "200 =a", "0-?/? whole");
        check("40 =a 100", "206 =a r40-99/*", "40-100/100");
        check("100 =a 100", "416 r*/100", "100-100/100");
        check("100 =a", "416 =a r*/100", "100-100/100");
    }

    #[test]
    fn another_version_does_not() {
        check("40 =a 100", "206 =b r40-99/100", "changed a b");
        check("40 =a 100", "200 =b l100", "changed a b");
        check("40 =a 100", "206 =a r40-89/90", "changed 100 bytes 90 bytes");
        check("40 =a 100", "416 =b r*/30", "changed a b");
        check("40 =a 100", "416 r*/30", "changed 100 bytes 30 bytes");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        check("40 - 100", "206 =a r40-99/100", "nonsense");
        check("40 =a 100", "206 r40-99/100", "nonsense");
        check("40 =a 100", "206 =W/a r40-99/100", "nonsense");
        check("40 - 100", "206 r40-99/100", "nonsense");
    }

    #[test]
    fn nonsense_is_refused() {
        for answer in [
            "206 =a",
            "206 =a r0-99/100",
            "206 =a r41-99/100",
            "206 =a r40-30/100",
            "206 =a r40-99/90",
            "206 =a rx-y/z",
        ] {
            check("40", answer, "nonsense");
        }
        check("40", "416 =a r*/100", "nonsense");
        check("40 =a 100", "416 =a r*/100", "nonsense");
        check("40", "416", "nonsense");
        check("40", "304 =a", "nonsense");
        check("0", "206 =a r0-18446744073709551615/*", "0-?/?");
    }
}
