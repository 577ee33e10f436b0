//! The decision of a ranged request against a second implementation of it, over invented requests.
//!
//! Owns: what is compared. Leaves to others: the second implementation (`oracle`) and the inventing (`requests`).
//!
//! The number of cases is a few thousand, or what `PROPTEST_CASES` says.

mod date;
mod oracle;
mod requests;

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use proptest::prelude::*;
use requests::Case;

/// How many cases proptest takes by itself.
const USUAL: u32 = 256;
/// How many are taken here instead.
const CASES: u32 = 3000;
/// Bodies up to this length are built in full, bytes.
const BUILT: u128 = 64 * 1024;

fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    ProptestConfig { cases: if given.cases == USUAL { CASES } else { given.cases }, ..given }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn conditions_and_sets_are_answered_as_the_reference_says(case in requests::case()) {
        compare(&case)?;
    }

    #[test]
    fn sets_are_read_as_the_reference_says(
        length in requests::length(), line in requests::field(), boundary in "[A-Za-z0-9]{1,70}",
    ) {
        let field = line.write(length);
        let decision = decide(
            &Request { range: &[&field], ..Request::default() },
            &Representation { length: Some(length), ..Representation::default() },
        );
        match &decision {
            Decision::Part(part) => is_inside(std::slice::from_ref(part), length)?,
            Decision::Parts(parts) => {
                is_inside(parts, length)?;
                is_framed(parts, length, Some("video/mp4"), &boundary)?;
            }
            _ => {}
        }
        compare(&plain(length, field))?;
    }

    #[test]
    fn any_text_is_answered_as_the_reference_says(case in requests::anything()) {
        compare(&case)?;
    }

    #[test]
    fn any_parts_are_framed_as_promised(
        length in requests::length(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 2..40),
        media_type in prop::option::of(requests::any_text()), boundary in "[A-Za-z0-9]{1,70}",
    ) {
        let borders = usize::try_from(length).unwrap_or(usize::MAX);
        let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(borders.max(1)) as u64).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts: Vec<Range<u64>> = cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
        parts.reverse();
        is_framed(&parts, length, media_type.as_deref(), &boundary)?;
    }
}

/// The requests above are of use only if they reach every answer, and if most of them have one answer only.
#[test]
fn the_invented_requests_reach_every_answer() {
    const DRAWN: usize = 2000;
    let mut runner = TestRunner::deterministic();
    let cases = requests::case();
    let (mut counts, mut certain) = ([0usize; 6], 0);
    for _ in 0..DRAWN {
        let case = cases.new_tree(&mut runner).unwrap().current();
        let allowed = case.with(oracle::allowed);
        certain += usize::from(allowed.len() == 1);
        let kind = match allowed[0] {
            Decision::NotModified => 0,
            Decision::PreconditionFailed => 1,
            Decision::Unsatisfiable => 2,
            Decision::Whole => 3,
            Decision::Part(_) => 4,
            Decision::Parts(_) => 5,
        };
        counts[kind] += 1;
    }
    assert!(counts.iter().all(|count| *count >= DRAWN / 50), "{counts:?}");
    assert!(certain >= DRAWN * 9 / 10, "{certain} have one answer");
}

fn plain(length: u64, field: String) -> Case {
    Case {
        method: Method::Get,
        range: vec![field],
        if_range: None,
        if_match: Vec::new(),
        if_none_match: Vec::new(),
        if_modified_since: None,
        if_unmodified_since: None,
        length: Some(length),
        etag: None,
        last_modified: None,
        date: None,
    }
}

fn compare(case: &Case) -> Result<(), TestCaseError> {
    let (decision, allowed) = case.with(|request, about| (decide(request, about), oracle::allowed(request, about)));
    prop_assert!(allowed.contains(&decision), "{decision:?}, but allowed is {allowed:?}");
    Ok(())
}

/// Parts that can be sent: not empty, within the length, apart from each other, not too many.
fn is_inside(parts: &[Range<u64>], length: u64) -> Result<(), TestCaseError> {
    prop_assert!((1..=16).contains(&parts.len()));
    for (at, part) in parts.iter().enumerate() {
        prop_assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
        for other in &parts[at + 1..] {
            prop_assert!(part.end < other.start || other.end < part.start, "{part:?} meets {other:?}");
        }
    }
    Ok(())
}

/// The framing of §14.6 piece by piece, its length, and, if it is short, the whole body as its reader reads it.
fn is_framed(parts: &[Range<u64>], length: u64, media_type: Option<&str>, boundary: &str) -> Result<(), TestCaseError> {
    let multipart = Multipart::new(parts.to_vec(), length, media_type, boundary);
    // A media type with a line break would end the head of the part.
    let media_type = media_type.filter(|value| !value.contains(char::is_control));
    let mut emitted = multipart.closing().len() as u128;
    let mut seen = Vec::new();
    for (head, part) in multipart.parts() {
        emitted += head.len() as u128 + u128::from(part.end - part.start);
        seen.push(part);
    }
    prop_assert_eq!(&seen, parts, "in the order in which they were asked for");
    prop_assert_eq!(u128::from(multipart.content_length()), emitted.min(u64::MAX.into()));
    prop_assert_eq!(multipart.content_type(), format!("multipart/byteranges; boundary={boundary}"));
    if emitted <= BUILT {
        let mut body = Vec::new();
        for (head, part) in multipart.parts() {
            body.extend_from_slice(head);
            body.extend(part.map(byte_at));
        }
        body.extend_from_slice(multipart.closing());
        prop_assert_eq!(body.len() as u128, emitted);
        prop_assert_eq!(dissect(&body, boundary, media_type, length), Some(parts.to_vec()));
    }
    Ok(())
}

/// A byte that says where it was. No text has it.
fn byte_at(offset: u64) -> u8 {
    0x80 | (offset % 127) as u8
}

/// Reads a body as a client does and says which parts it holds; nothing if a byte of it is not as it has to be.
fn dissect(body: &[u8], boundary: &str, media_type: Option<&str>, length: u64) -> Option<Vec<Range<u64>>> {
    let mut rest = body;
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(format!("\r\n--{boundary}").as_bytes())?;
        if rest == b"--\r\n" {
            return Some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        if let Some(media_type) = media_type {
            rest = rest.strip_prefix(format!("Content-Type: {media_type}\r\n").as_bytes())?;
        }
        rest = rest.strip_prefix(b"Content-Range: bytes ")?;
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (bounds, of) = std::str::from_utf8(&rest[..end]).ok()?.split_once('/')?;
        let (first, last) = bounds.split_once('-')?;
        let part = first.parse().ok()?..last.parse::<u64>().ok()? + 1;
        let (data, after) = rest[end + 4..].split_at_checked(usize::try_from(part.end - part.start).ok()?)?;
        if of != length.to_string() || !part.clone().map(byte_at).eq(data.iter().copied()) {
            return None;
        }
        parts.push(part);
        rest = after;
    }
}
