use super::*;
use proptest::prelude::*;

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const LATER: &str = "Tue, 02 Jan 2024 00:00:00 GMT";
const EARLIER: &str = "Sun, 31 Dec 2023 00:00:00 GMT";

fn film(length: u64) -> Representation<'static> {
    Representation { length: Some(length), etag: Some("\"e\""), last_modified: Some(MODIFIED), date: Some(LATER) }
}

/// `GET`, `HEAD` or `PUT`, then `name: value` lines; the answer as a word.
fn answer(text: &str, representation: &Representation) -> String {
    let mut lines = text.split('|').map(str::trim_start);
    let method = match lines.next().unwrap().trim() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let fields: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let all = |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| field.1).collect::<Vec<_>>();
    let one = |name: &str| all(name).first().copied();
    let request = Request {
        method,
        range: &all("Range"),
        if_range: one("If-Range"),
        if_match: &all("If-Match"),
        if_none_match: &all("If-None-Match"),
        if_modified_since: one("If-Modified-Since"),
        if_unmodified_since: one("If-Unmodified-Since"),
    };
    let words = |range: &Range<u64>| format!("{}-{}", range.start, range.end - 1);
    match decide(&request, representation) {
        Decision::NotModified => "304".into(),
        Decision::PreconditionFailed => "412".into(),
        Decision::Unsatisfiable => "416".into(),
        Decision::Whole => "200".into(),
        Decision::Part(part) => format!("206 {}", words(&part)),
        Decision::Parts(parts) => format!("206 {}", parts.iter().map(words).collect::<Vec<_>>().join(",")),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (request, expected) in cases {
        assert_eq!(answer(request, &film(1000)), *expected, "{request:?}");
    }
}

#[test]
fn ranges_of_a_thousand_bytes() {
    check(&[
        ("GET | Range: bytes=0-0", "206 0-0"),
        ("GET | Range: bytes=999-999", "206 999-999"),
        ("GET | Range: bytes=990-", "206 990-999"),
        ("GET | Range: bytes=-10", "206 990-999"),
        ("GET | Range: bytes=-5000", "206 0-999"),
        ("GET | Range: bytes=0-5000", "206 0-999"),
        ("GET | Range: bytes=0-99999999999999999999", "206 0-999"),
        ("GET | Range: bytes=-99999999999999999999", "206 0-999"),
        ("GET | Range: bytes=1000-", "416"),
        ("GET | Range: bytes=-0", "416"),
        ("GET | Range: bytes=99999999999999999999-", "416"),
        ("GET | Range: bytes=99999999999999999999-99999999999999999998", "200"),
        ("GET | Range: bytes=99999999999999999998-99999999999999999999", "416"),
        ("GET | Range: bytes=18446744073709551615-18446744073709551615", "416"),
        ("GET | Range: bytes=0009-10", "206 9-10"),
        ("GET | Range: bytes=1000-,2000-", "416"),
        ("GET | Range: bytes=9-0", "200"),
        ("GET | Range: bytes=a-b", "200"),
        ("GET | Range: bytes=-", "200"),
        ("GET | Range: bytes=", "200"),
        ("GET | Range: bytes=,,", "200"),
        ("GET | Range: bytes=0-0x9", "200"),
        ("GET | Range: bytes=+0-9", "200"),
        ("GET | Range: bytes=0-9;q=1", "200"),
        ("GET | Range: bytes=0-9,9-0", "200"),
        ("GET | Range: bytes 0-9", "200"),
        ("GET | Range: items=0-9", "200"),
        ("GET | Range: bytes=0 - 9", "200"),
        ("GET | Range: bytes=--9", "200"),
        ("GET | Range: ", "200"),
        ("GET | Range: BYTES=0-9", "206 0-9"),
        ("GET | Range: bytes= 0-9", "206 0-9"),
        ("GET | Range: bytes=0-9 ", "206 0-9"),
        ("GET | Range: bytes=0-9,,20-29", "206 0-9,20-29"),
        ("GET | Range: bytes=0-9 ,\t20-29", "206 0-9,20-29"),
        ("GET | Range: bytes=0-9,1000-", "206 0-9"),
        ("GET | Range: bytes=0-9,-0", "206 0-9"),
        ("GET | Range: bytes=0-9,5-14", "206 0-14"),
        ("GET | Range: bytes=0-9,10-19", "206 0-19"),
        ("GET | Range: bytes=500-599,0-9,20-29", "206 500-599,0-9,20-29"),
        ("GET | Range: bytes=500-599,0-9,400-499,20-29", "206 400-599,0-9,20-29"),
        ("GET | Range: bytes=0-9,20-29,10-19", "206 0-29"),
        ("GET | Range: bytes=0-,0-,0-", "200"),
        ("GET | Range: bytes=0-9,5-14,8-20", "200"),
        ("GET | Range: bytes=0-,0-9", "200"),
        ("GET | Range: bytes=0-9 | Range: bytes=20-29", "200"),
        ("GET", "200"),
    ]);
}

#[test]
fn sixteen_ranges_are_served_and_seventeen_are_not() {
    let set = |count: u32| {
        let members: Vec<String> = (0..count).map(|i| format!("{}-{}", i * 20, i * 20 + 1)).collect();
        answer(&format!("GET | Range: bytes={}", members.join(",")), &film(1000))
    };
    assert_eq!(set(16).split(',').count(), 16);
    assert_eq!(set(17), "200");
}

#[test]
fn other_methods_know_no_ranges() {
    check(&[
        ("HEAD | Range: bytes=0-9", "200"),
        ("HEAD | Range: bytes=5000-", "200"),
        ("PUT | Range: bytes=0-9", "200"),
        ("HEAD | If-None-Match: \"e\"", "304"),
        ("PUT | If-None-Match: \"e\"", "412"),
        ("PUT | If-Modified-Since: Tue, 02 Jan 2024 00:00:00 GMT", "200"),
    ]);
}

#[test]
fn if_range_guards_the_range() {
    check(&[
        ("GET | Range: bytes=0-9 | If-Range: \"e\"", "206 0-9"),
        ("GET | Range: bytes=0-9 | If-Range: Mon, 01 Jan 2024 00:00:00 GMT", "206 0-9"),
        ("GET | Range: bytes=0-9 | If-Range: Monday, 01-Jan-24 00:00:00 GMT", "206 0-9"),
        ("GET | Range: bytes=0-9 | If-Range: W/\"e\"", "200"),
        ("GET | Range: bytes=0-9 | If-Range: \"x\"", "200"),
        ("GET | Range: bytes=0-9 | If-Range: Tue, 02 Jan 2024 00:00:00 GMT", "200"),
        ("GET | Range: bytes=0-9 | If-Range: Wed, 03 Jan 2024 00:00:00 GMT", "200"),
        ("GET | Range: bytes=0-9 | If-Range: junk", "200"),
        ("GET | Range: bytes=0-9 | If-Range: \"e\", \"x\"", "200"),
        ("GET | Range: bytes=0-9 | If-Range: \"", "200"),
        ("GET | Range: bytes=5000- | If-Range: \"x\"", "200"),
        ("GET | If-Range: \"x\"", "200"),
    ]);
    let range = "GET | Range: bytes=0-9 | If-Range: Mon, 01 Jan 2024 00:00:00 GMT";
    for date in [None, Some(MODIFIED), Some(EARLIER), Some("junk")] {
        assert_eq!(answer(range, &Representation { date, ..film(1000) }), "200", "weak date {date:?}");
    }
    let wednesday = Representation { last_modified: Some("Wed, 03 Jan 2024 00:00:00 GMT"), ..film(1000) };
    let request = "GET | Range: bytes=0-9 | If-Range: Wed, 03 Jan 2024 00:00:00 GMT";
    let stated = Some("Thu, 04 Jan 2024 00:00:00 GMT");
    assert_eq!(answer(request, &Representation { date: stated, ..wednesday }), "206 0-9");
    let weak = Representation { etag: Some("W/\"e\""), ..film(1000) };
    assert_eq!(answer("GET | Range: bytes=0-9 | If-Range: W/\"e\"", &weak), "200");
}

#[test]
fn preconditions_come_before_ranges() {
    check(&[
        ("GET | Range: bytes=0-9 | If-None-Match: \"e\"", "304"),
        ("GET | Range: bytes=5000- | If-None-Match: \"e\"", "304"),
        ("GET | Range: bytes=5000- | If-None-Match: W/\"e\"", "304"),
        ("GET | If-None-Match: *", "304"),
        ("GET | If-None-Match: \"a,b\", \"e\"", "304"),
        ("GET | If-None-Match: \"a\" | If-None-Match: \"e\"", "304"),
        ("GET | If-None-Match: e", "200"),
        ("GET | Range: bytes=0-9 | If-None-Match: \"x\"", "206 0-9"),
        ("GET | If-None-Match: \"x\" | If-Modified-Since: Tue, 02 Jan 2024 00:00:00 GMT", "200"),
        ("GET | If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", "304"),
        ("GET | If-Modified-Since: Sun, 31 Dec 2023 00:00:00 GMT", "200"),
        ("GET | If-Modified-Since: junk", "200"),
        ("GET | Range: bytes=0-9 | If-Match: \"x\"", "412"),
        ("GET | Range: bytes=5000- | If-Match: \"x\"", "412"),
        ("GET | Range: bytes=0-9 | If-Match: \"e\"", "206 0-9"),
        ("GET | If-Match: W/\"e\"", "412"),
        ("GET | If-Match: *", "200"),
        ("GET | If-Match: \"x\" | If-None-Match: \"e\"", "412"),
        ("GET | If-Match: \"e\" | If-None-Match: \"e\"", "304"),
        ("GET | If-Match: \"e\" | If-Unmodified-Since: Sun, 31 Dec 2023 00:00:00 GMT", "200"),
        ("GET | If-Unmodified-Since: Sun, 31 Dec 2023 00:00:00 GMT", "412"),
        ("GET | If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT", "200"),
        ("GET | If-Unmodified-Since: junk", "200"),
    ]);
    let bare = Representation { length: Some(1000), ..Representation::default() };
    assert_eq!(answer("GET | If-Match: \"e\"", &bare), "412");
    assert_eq!(answer("GET | If-Unmodified-Since: Sun, 31 Dec 2023 00:00:00 GMT", &bare), "200");
    assert_eq!(answer("GET | If-Modified-Since: Sun, 31 Dec 2023 00:00:00 GMT", &bare), "200");
}

#[test]
fn nothing_and_unknown_lengths_are_sent_whole() {
    for range in ["0-", "0-0", "-1", "-0", "5-9", "9-0"] {
        let request = format!("GET | Range: bytes={range}");
        assert_eq!(answer(&request, &film(0)), "200", "{range}");
        assert_eq!(answer(&request, &Representation { length: None, ..film(0) }), "200", "{range}");
    }
}

#[test]
fn a_multipart_body_has_the_length_it_promised() {
    let data: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let multipart = Multipart::new(vec![0..10, 990..1000], 1000, Some("video/mp4"), "b0undary");
    let mut body = Vec::new();
    for (head, part) in multipart.parts() {
        body.extend_from_slice(head);
        body.extend_from_slice(&data[part.start as usize..part.end as usize]);
    }
    body.extend_from_slice(multipart.closing());
    assert_eq!(body.len() as u64, multipart.content_length());
    assert_eq!(multipart.content_type(), "multipart/byteranges; boundary=b0undary");
    let expected = [
        b"\r\n--b0undary\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-9/1000\r\n\r\n",
        &data[..10],
        b"\r\n--b0undary\r\nContent-Type: video/mp4\r\nContent-Range: bytes 990-999/1000\r\n\r\n",
        &data[990..],
        b"\r\n--b0undary--\r\n",
    ]
    .concat();
    assert_eq!(body, expected);
    let split = Multipart::new(vec![0..1, 5..6], 10, Some("a/b\r\nX: y"), "b");
    assert!(split.parts().all(|(head, _)| !head.windows(2).any(|pair| pair == b"X:")));
}

/// The set as plain numbers, byte by byte.
#[derive(Clone, Debug)]
enum Spec {
    Closed(u64, u64),
    Open(u64),
    Suffix(u64),
}

fn spec() -> impl Strategy<Value = Spec> {
    let number = || prop_oneof![0u64..60, Just(u64::MAX), Just(u64::MAX - 1)];
    prop_oneof![
        (number(), number()).prop_map(|(a, b)| Spec::Closed(a, b)),
        number().prop_map(Spec::Open),
        number().prop_map(Spec::Suffix)
    ]
}

proptest! {
    #[test]
    fn agrees_with_counting_bytes(length in 1u64..50, specs in prop::collection::vec(spec(), 1..6)) {
        let text: Vec<String> = specs.iter().map(|spec| match spec {
            Spec::Closed(a, b) => format!("{a}-{b}"),
            Spec::Open(a) => format!("{a}-"),
            Spec::Suffix(n) => format!("-{n}"),
        }).collect();
        let field = format!("bytes={}", text.join(","));
        let covered = |spec: &Spec| -> Vec<u64> {
            (0..length).filter(|byte| match spec {
                Spec::Closed(a, b) => a <= byte && byte <= b,
                Spec::Open(a) => a <= byte,
                Spec::Suffix(n) => byte + n.min(&length) >= length,
            }).collect()
        };
        let sets: Vec<Vec<u64>> = specs.iter().map(covered).filter(|set| !set.is_empty()).collect();
        let invalid = specs.iter().any(|spec| matches!(spec, Spec::Closed(a, b) if b < a));
        let shares = |i: usize| (0..sets.len()).any(|j| i != j && sets[i].iter().any(|byte| sets[j].contains(byte)));
        let abuse = (0..sets.len()).filter(|i| shares(*i)).count() > 2
            || sets.iter().map(Vec::len).sum::<usize>() as u64 > length;
        let decision = decide(&Request { range: &[&field], ..Request::default() }, &film(length));
        let parts = match decision {
            Decision::Part(part) => vec![part],
            Decision::Parts(parts) => { prop_assert!(parts.len() >= 2); parts }
            Decision::Whole => { prop_assert!(invalid || abuse, "{field}"); return Ok(()); }
            Decision::Unsatisfiable => { prop_assert!(!invalid && sets.is_empty(), "{field}"); return Ok(()); }
            other => return Err(TestCaseError::fail(format!("{field}: {other:?}"))),
        };
        prop_assert!(!invalid && !abuse, "{}", field);
        let mut sent: Vec<u64> = parts.iter().flat_map(|part| part.clone()).collect();
        let count = sent.len();
        sent.sort_unstable();
        sent.dedup();
        prop_assert_eq!(sent.len(), count, "no byte twice");
        let mut wanted: Vec<u64> = sets.concat();
        wanted.sort_unstable();
        wanted.dedup();
        prop_assert_eq!(sent, wanted, "{}", field);
        prop_assert!(parts.iter().all(|part| !part.is_empty() && part.end <= length));
    }

    #[test]
    fn survives_any_text(range: String, if_range: String, tags: String, date: String) {
        decide(&Request {
            range: &[&range], if_range: Some(&if_range), if_match: &[&tags], if_none_match: &[&tags],
            if_modified_since: Some(&date), if_unmodified_since: Some(&date), ..Request::default()
        }, &film(1000));
    }
}
