mod fuzz;

use super::*;

const DATE: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const OTHER: &str = "Tue, 02 Jan 2024 00:00:00 GMT";

fn part_of(content_range: &'static str) -> Head<'static> {
    Head { status: 206, content_range: Some(content_range), content_type: Some("video/mp4"), ..Head::default() }
}

fn asked(range: Range<u64>) -> Asked {
    Asked { range: Some(range), expect_media: true }
}

fn pinned() -> Pinned {
    Pinned { total: Some(1000), etag: Some("\"e\"".into()), last_modified: Some(DATE.into()), ..Pinned::default() }
}

/// The answer to `bytes=100-199` of a pinned object, as a line.
fn line(head: &Head) -> String {
    show(accept(head, &asked(100..200), Some(&pinned())))
}

fn show(result: Result<Accepted, Rejection>) -> String {
    match result {
        Ok(a) => format!("{}..{:?} of {:?}{}", a.start, a.end, a.total, if a.ignored_range { " ignored" } else { "" }),
        Err(rejection) => {
            let name = format!("{rejection:?}");
            format!("{:?} {}", rejection.kind(), name.split([' ', '{']).next().unwrap())
        }
    }
}

#[test]
fn a_part_has_to_be_the_one_that_was_asked_for() {
    let cases = [
        ("bytes 100-199/1000", "100..Some(200) of Some(1000)"),
        ("bytes 100-150/1000", "100..Some(151) of Some(1000)"),
        ("bytes 100-199/*", "100..Some(200) of Some(1000)"),
        ("BYTES  100-199/1000", "100..Some(200) of Some(1000)"),
        ("bytes 99-199/1000", "Fatal WrongStart"),
        ("bytes 0-199/1000", "Fatal WrongStart"),
        ("bytes 100-200/1000", "Fatal WrongEnd"),
        ("bytes 100-199/1001", "Changed TotalChanged"),
        ("bytes 100-199/150", "Fatal NoContentRange"),
        ("bytes 199-100/1000", "Fatal NoContentRange"),
        ("bytes 100-18446744073709551615/*", "Fatal NoContentRange"),
        ("bytes 100-99999999999999999999/*", "Fatal NoContentRange"),
        ("bytes +100-199/1000", "Fatal NoContentRange"),
        ("bytes */1000", "Fatal NoContentRange"),
        ("items 100-199/1000", "Fatal NoContentRange"),
        ("bytes=100-199/1000", "Fatal NoContentRange"),
        ("", "Fatal NoContentRange"),
    ];
    for (content_range, expected) in cases {
        assert_eq!(line(&part_of(content_range)), expected, "{content_range:?}");
    }
    assert_eq!(line(&Head { status: 206, ..Head::default() }), "Fatal NoContentRange");
}

#[test]
fn a_part_has_to_be_plain_bytes_of_the_same_version() {
    let good = part_of("bytes 100-199/1000");
    let cases = [
        (Head { content_length: Some(100), ..good }, "100..Some(200) of Some(1000)"),
        (Head { content_length: Some(99), ..good }, "Fatal WrongLength"),
        (Head { content_encoding: Some("identity"), ..good }, "100..Some(200) of Some(1000)"),
        (Head { content_encoding: Some("gzip"), ..good }, "Fatal Encoded"),
        (Head { content_type: Some("Multipart/ByteRanges; boundary=x"), ..good }, "Fatal Multipart"),
        (Head { content_type: Some("text/html; charset=utf-8"), ..good }, "Auth NotMedia"),
        (Head { content_type: Some("application/problem+json"), ..good }, "Auth NotMedia"),
        (Head { content_type: None, ..good }, "100..Some(200) of Some(1000)"),
        (Head { etag: Some("\"e\""), ..good }, "100..Some(200) of Some(1000)"),
        (Head { etag: Some("\"x\""), ..good }, "Changed EtagChanged"),
        (Head { etag: Some("W/\"x\""), ..good }, "Changed EtagChanged"),
        (Head { etag: Some("W/\"e\""), ..good }, "100..Some(200) of Some(1000)"),
        (Head { etag: Some("x"), ..good }, "100..Some(200) of Some(1000)"),
        (Head { etag: Some("\"e\""), last_modified: Some(OTHER), ..good }, "100..Some(200) of Some(1000)"),
        (Head { last_modified: Some(DATE), ..good }, "100..Some(200) of Some(1000)"),
        (Head { last_modified: Some(OTHER), ..good }, "Changed DateChanged"),
        (Head { etag: Some("W/\"e\""), last_modified: Some(OTHER), ..good }, "Changed DateChanged"),
    ];
    for (head, expected) in cases {
        assert_eq!(line(&head), expected, "{head:?}");
    }
}

#[test]
fn a_whole_answer_to_a_range_says_so() {
    let head = Head { status: 200, content_length: Some(1000), content_type: Some("video/mp4"), ..Head::default() };
    assert_eq!(line(&head), "0..Some(1000) of Some(1000) ignored");
    assert_eq!(line(&Head { content_length: None, ..head }), "0..Some(1000) of Some(1000) ignored");
    assert_eq!(line(&Head { content_length: Some(7), ..head }), "Changed TotalChanged");
    assert_eq!(line(&Head { etag: Some("\"x\""), ..head }), "Changed EtagChanged");
    assert_eq!(line(&Head { content_type: Some("text/html"), ..head }), "Auth NotMedia");
    let bare = Asked { range: None, expect_media: true };
    assert_eq!(show(accept(&head, &bare, None)), "0..Some(1000) of Some(1000)");
    assert_eq!(show(accept(&Head { content_length: None, ..head }, &bare, None)), "0..None of None");
    let page = Head { content_type: Some("text/html"), ..head };
    assert_eq!(show(accept(&page, &bare, None)), "Fatal NotMedia");
    assert_eq!(show(accept(&page, &Asked::default(), None)), "0..Some(1000) of Some(1000)");
}

#[test]
fn the_first_answer_has_nothing_to_compare_with() {
    let probe = asked(0..65_536);
    assert_eq!(show(accept(&part_of("bytes 0-65535/70000"), &probe, None)), "0..Some(65536) of Some(70000)");
    assert_eq!(show(accept(&part_of("bytes 0-9/10"), &probe, None)), "0..Some(10) of Some(10)");
    assert_eq!(show(accept(&part_of("bytes 0-65535/*"), &probe, None)), "Fatal UnknownTotal");
    assert_eq!(show(accept(&part_of("bytes 0-1/18446744073709551615"), &probe, None)), "Fatal TooLarge");
    assert_eq!(
        show(accept(&part_of("bytes 0-69999/70000"), &asked(0..u64::MAX), None)),
        "0..Some(70000) of Some(70000)"
    );
    let empty = Head { status: 416, content_range: Some("bytes */0"), ..Head::default() };
    assert_eq!(show(accept(&empty, &probe, None)), "0..Some(0) of Some(0)");
    assert_eq!(line(&empty), "Changed TotalChanged");
    assert_eq!(line(&Head { content_range: Some("bytes */1000"), ..empty }), "Fatal Unsatisfiable");
    assert_eq!(line(&Head { content_range: None, ..empty }), "Fatal Unsatisfiable");
}

#[test]
fn each_status_has_a_remedy() {
    let cases = [
        (401, "Auth Unauthorized"),
        (403, "Auth Unauthorized"),
        (404, "Fatal NotFound"),
        (410, "Fatal Gone"),
        (408, "Retry Throttled"),
        (425, "Retry Throttled"),
        (429, "Retry Throttled"),
        (500, "Retry ServerError"),
        (502, "Retry ServerError"),
        (503, "Retry ServerError"),
        (504, "Retry ServerError"),
        (501, "Fatal Status"),
        (400, "Fatal Status"),
        (204, "Fatal Status"),
        (302, "Fatal Status"),
        (0, "Fatal Status"),
    ];
    for (status, expected) in cases {
        assert_eq!(line(&Head { status, ..Head::default() }), expected);
    }
}

#[test]
fn waits_as_long_as_it_is_asked_to() {
    let cases = [
        (Some("7"), Some(DATE), Some(7)),
        (Some("99999999"), None, Some(3600)),
        (Some("Mon, 01 Jan 2024 00:01:00 GMT"), Some(DATE), Some(60)),
        (Some("Sun, 31 Dec 2023 00:01:00 GMT"), Some(DATE), Some(0)),
        (Some("Mon, 01 Jan 2024 00:01:00 GMT"), None, None),
        (Some("soon"), Some(DATE), None),
        (None, Some(DATE), None),
    ];
    for (retry_after, date, expected) in cases {
        let head = Head { status: 429, retry_after, date, ..Head::default() };
        let rejection = accept(&head, &asked(0..1), None).unwrap_err();
        assert_eq!(rejection.retry_after(), expected.map(Duration::from_secs), "{retry_after:?}");
    }
}
