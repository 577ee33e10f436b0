//! Any answer whatsoever against the list of what must hold of one that is accepted.
//!
//! Owns: the list, as faults that an answer has. Leaves to others: which refusal each of them is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::granule::MAX_TOTAL;
use crate::upstream::{Accepted, Asked, Head, Pinned, accept};

/// How many cases proptest takes by itself.
const USUAL: u32 = 256;
/// How many are taken here instead.
const CASES: u32 = 3000;

/// Two instants, the first in two forms.
const DATES: [(&str, u8); 3] =
    [("Mon, 01 Jan 2024 00:00:00 GMT", 0), ("Monday, 01-Jan-24 00:00:00 GMT", 0), ("Mon, 01 Jan 2024 00:00:01 GMT", 1)];

/// An answer, with its texts, and what is known before it.
#[derive(Clone, Debug)]
struct Case {
    status: u16,
    content_range: Option<String>,
    content_length: Option<u64>,
    content_encoding: Option<String>,
    content_type: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    asked: Asked,
    pinned: Option<Pinned>,
}

impl Case {
    fn head(&self) -> Head<'_> {
        Head {
            status: self.status,
            content_range: self.content_range.as_deref(),
            content_length: self.content_length,
            content_encoding: self.content_encoding.as_deref(),
            content_type: self.content_type.as_deref(),
            etag: self.etag.as_deref(),
            last_modified: self.last_modified.as_deref(),
            ..Head::default()
        }
    }

    fn known_total(&self) -> Option<u128> {
        self.pinned.as_ref()?.total.map(u128::from)
    }

    /// The numbers of `Content-Range`: first byte, last byte, and the total unless it is a star. What stands between
    /// them does not matter here.
    fn stated(&self) -> Option<(u128, u128, Option<u128>)> {
        let text = self.content_range.as_deref()?;
        let numbers: Vec<u128> = numbers(text)?;
        match numbers[..] {
            [first, last, total] => Some((first, last, Some(total))),
            [first, last] if text.contains('*') => Some((first, last, None)),
            _ => None,
        }
    }

    /// What keeps the answer from being accepted.
    fn faults(&self) -> Vec<&'static str> {
        match self.status {
            200 => [self.faults_of_whole(), self.faults_of_body()].concat(),
            206 => [self.faults_of_part(), self.faults_of_body()].concat(),
            416 => self.faults_of_nothing(),
            _ => vec!["status"],
        }
    }

    fn faults_of_part(&self) -> Vec<&'static str> {
        let Some((first, last, total)) = self.stated() else { return vec!["content-range"] };
        let asked = self.asked.range.clone().unwrap_or(0..u64::MAX);
        let known = total.or(self.known_total());
        let length = self.content_length.map(u128::from);
        let faults = [
            (first != u128::from(asked.start), "start"),
            (last >= u128::from(asked.end), "requested end"),
            (last < first, "order"),
            (known.is_none(), "no total"),
            (known.is_some_and(|known| last >= known), "end"),
            (known.is_some_and(|known| known > u128::from(MAX_TOTAL)), "too large"),
            (total.zip(self.known_total()).is_some_and(|(total, known)| total != known), "total"),
            (length.is_some_and(|length| length + first != last + 1), "content-length"),
            (self.media_type().is_some_and(|media| media == "multipart/byteranges"), "multipart"),
        ];
        faults.iter().filter(|fault| fault.0).map(|fault| fault.1).collect()
    }

    fn faults_of_whole(&self) -> Vec<&'static str> {
        let length = self.content_length.map(u128::from);
        let too_large = length.or(self.known_total()).is_some_and(|total| total > u128::from(MAX_TOTAL));
        let other = length.zip(self.known_total()).is_some_and(|(length, known)| length != known);
        [(too_large, "too large"), (other, "total")].iter().filter(|fault| fault.0).map(|fault| fault.1).collect()
    }

    /// Only an empty object has no bytes at all to send.
    fn faults_of_nothing(&self) -> Vec<&'static str> {
        let text = self.content_range.as_deref().unwrap_or_default();
        let empty = text.contains('*') && numbers(text) == Some(vec![0]);
        if !empty || self.known_total().is_some_and(|known| known != 0) { vec!["not empty"] } else { Vec::new() }
    }

    fn faults_of_body(&self) -> Vec<&'static str> {
        let encoding = self.content_encoding.as_deref().map_or("", str::trim).to_lowercase();
        let pages = ["text/html", "application/xhtml+xml", "application/json", "text/json", "application/problem+json"];
        let page = self.media_type().is_some_and(|media| pages.contains(&media.as_str()));
        let tags = self.pinned.as_ref().map(|pinned| {
            let aliases = pinned.aliases.iter().map(String::as_str);
            (pinned.etag.as_deref(), aliases.chain(pinned.etag.as_deref()).collect::<Vec<_>>())
        });
        // Any tag that differs from all that are known, weak or not, is a sign of another version.
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        let got = self.etag.as_deref().filter(|tag| is_strong(&opaque(tag)));
        let tags = tags.filter(|(first, _)| first.is_some_and(|first| is_strong(&opaque(first)))).zip(got);
        let other_tag =
            tags.as_ref().is_some_and(|((_, known), got)| !known.iter().any(|known| opaque(known) == opaque(got)));
        // Dates are looked at when the tags cannot vouch: when one of them is not strong.
        let vouched = tags.as_ref().is_some_and(|((first, _), got)| first.is_some_and(is_strong) && is_strong(got));
        let instant = |text: &str| DATES.iter().find(|date| date.0 == text).map(|date| date.1);
        let dates = (
            self.pinned.as_ref().and_then(|pinned| instant(pinned.last_modified.as_deref()?)),
            self.last_modified.as_deref().and_then(instant),
        );
        let other_date = matches!(dates, (Some(known), Some(got)) if known != got) && !vouched && !other_tag;
        let faults = [
            (!encoding.is_empty() && encoding != "identity", "encoding"),
            (self.asked.expect_media && page, "page"),
            (other_tag, "etag"),
            (other_date, "date"),
        ];
        faults.iter().filter(|fault| fault.0).map(|fault| fault.1).collect()
    }

    fn media_type(&self) -> Option<String> {
        let text = self.content_type.as_deref()?;
        Some(text.chars().take_while(|letter| *letter != ';').collect::<String>().trim().to_lowercase())
    }

    /// What an accepted answer has to say of itself.
    fn expected(&self) -> Accepted {
        let own = self.content_length.map(u128::from).or(self.known_total());
        let (start, end, total) = match (self.status, self.stated()) {
            (206, Some((first, last, total))) => (first, Some(last + 1), total.or(self.known_total())),
            (200, _) => (0, own, own),
            _ => (0, Some(0), Some(0)),
        };
        let small = |number: u128| u64::try_from(number).expect("what is accepted is small");
        Accepted {
            start: small(start),
            end: end.map(small),
            total: total.map(small),
            ignored_range: self.status == 200 && self.asked.range.is_some(),
            validators: crate::meta::Validators {
                etag: self.etag.clone(),
                last_modified: self.last_modified.clone(),
                date: None,
            },
            media_type: self.content_type.clone().filter(|_| self.status != 416),
        }
    }
}

/// All numerals of a text.
fn numbers(text: &str) -> Option<Vec<u128>> {
    let numerals = text.split(|letter: char| !letter.is_ascii_digit()).filter(|numeral| !numeral.is_empty());
    numerals.map(|numeral| numeral.parse().ok()).collect()
}

/// Quotes at both ends and none between them.
fn is_strong(tag: &str) -> bool {
    tag.starts_with('"') && tag.ends_with('"') && tag.matches('"').count() == 2
}

/// Answers that are right, but for a step here and there.
fn nearly_right() -> BoxedStrategy<Case> {
    let total = prop_oneof![8 => 1u64..2000, 1 => MAX_TOTAL - 1..=MAX_TOTAL + 1, 1 => any::<u64>(), 1 => Just(0)];
    let places = (total, any::<prop::sample::Index>(), 0u64..300, prop::option::of(any::<prop::sample::Index>()));
    let step = || prop_oneof![12 => Just(0i128), 1 => Just(-1), 1 => Just(1)];
    let steps = (step(), step(), step(), step());
    let form = prop_oneof![12 => Just(0usize), 3 => Just(1), 1 => 2usize..6];
    let status = prop_oneof![8 => Just(206u16), 3 => Just(200), 2 => Just(416), 1 => any::<u16>()];
    let asked = (prop_oneof![4 => Just(0u8), 1 => Just(1), 1 => Just(2)], any::<bool>(), any::<bool>());
    (status, places, steps, form, asked, texts(), pinned(), prop::option::of(Just(())))
        .prop_map(|(status, places, steps, form, asked, texts, pinned, stated)| {
            let (total, start, longest, end) = places;
            let start = start.index(usize::try_from(total).unwrap_or(usize::MAX).max(1)) as u64;
            let wanted = start..start.saturating_add(longest).min(total);
            let sent = end.map_or(longest, |end| end.index(longest.max(1) as usize) as u64 + 1);
            let first = i128::from(start) + steps.0;
            // Ends before, at and, by one step, behind what was asked for.
            let last = i128::from(start.saturating_add(sent).min(wanted.end)) - 1 + steps.1;
            let of = i128::from(total) + steps.2;
            let part = last - first + 1 + steps.3;
            let content_range = match (status, form) {
                (416, 0) => Some("bytes */0".to_owned()),
                (416, _) => Some(format!("bytes */{of}")),
                (_, 0) => Some(format!("bytes {first}-{last}/{of}")),
                (_, 1) => Some(format!("bytes {first}-{last}/*")),
                (_, 2) => Some(format!("Bytes  {first}-{last}/{of} ")),
                (_, 3) => Some(format!("bytes={first}-{last}/{of}")),
                (_, 4) => Some(format!("items {first}-{last}/{of}")),
                _ => None,
            };
            let content_length = if status == 200 { of } else { part };
            let (content_encoding, content_type, etag, last_modified) = texts;
            Case {
                status,
                content_range,
                content_length: stated.and_then(|()| u64::try_from(content_length).ok()),
                content_encoding,
                content_type,
                etag,
                last_modified,
                asked: Asked {
                    range: match asked.0 {
                        0 => Some(wanted),
                        1 => Some(start..u64::MAX),
                        _ => None,
                    },
                    expect_media: asked.1,
                },
                pinned: pinned
                    .map(|pinned| Pinned { total: asked.2.then_some(if status == 416 { 0 } else { total }), ..pinned }),
            }
        })
        .boxed()
}

type Text = Option<String>;

fn texts() -> BoxedStrategy<(Text, Text, Text, Text)> {
    let encodings = vec![Some("identity"), Some(" Identity "), Some(""), Some("gzip"), Some("identity, br")];
    let media = vec![
        None,
        Some("Text/HTML ; charset=utf-8"),
        Some("application/problem+json"),
        Some("multipart/byteranges; boundary=x"),
        Some("Multipart/ByteRanges"),
    ];
    let encoding = prop_oneof![6 => Just(None), 1 => select(encodings)];
    let media = prop_oneof![6 => Just(Some("video/mp4")), 1 => select(media)];
    let owned = |text: Option<&str>| text.map(str::to_owned);
    (encoding, media, tag(), date())
        .prop_map(move |(encoding, media, tag, date)| (owned(encoding), owned(media), tag, date))
        .boxed()
}

fn tag() -> BoxedStrategy<Text> {
    let odd =
        select(vec![Some("W/\"e\""), Some("\"x\""), Some("\"y\""), Some("e"), Some("\""), Some("\"e\"x\""), None]);
    prop_oneof![3 => Just(Some("\"e\"")), 2 => odd].prop_map(|tag| tag.map(str::to_owned)).boxed()
}

fn date() -> BoxedStrategy<Text> {
    let odd = select(vec![None, Some(DATES[1].0), Some(DATES[2].0)]);
    prop_oneof![4 => Just(Some(DATES[0].0)), 2 => odd].prop_map(|date| date.map(str::to_owned)).boxed()
}

fn pinned() -> BoxedStrategy<Option<Pinned>> {
    let aliases = prop::collection::vec(Just("\"y\"".to_owned()), 0..2);
    let known = (tag(), date(), aliases).prop_map(|(etag, last_modified, aliases)| Pinned {
        etag,
        last_modified,
        aliases,
        ..Pinned::default()
    });
    prop_oneof![1 => Just(None), 4 => known.prop_map(Some)].boxed()
}

/// Answers of which every text is anything.
fn anything() -> BoxedStrategy<Case> {
    let text = || {
        let some = prop_oneof![
            any::<String>(),
            "(bytes|BYTES)? ?[0-9 */-]{0,12}",
            "[W/e\" ]{0,6}",
            "[a-z]{0,3}/[a-z+]{0,5};?"
        ];
        prop::option::of(some)
    };
    let status = prop_oneof![3 => select(vec![200u16, 206, 416]), 1 => any::<u16>()];
    let asked = (prop::option::of(any::<(u64, u64)>()), any::<bool>());
    let few = || prop::option::of(prop_oneof![0u64..20, any::<u64>()]);
    (status, text(), few(), text(), text(), text(), text(), asked, prop::option::of((few(), text(), text())))
        .prop_map(|(status, range, length, encoding, media, etag, date, (asked, expect_media), pinned)| Case {
            status,
            content_range: range,
            content_length: length,
            content_encoding: encoding,
            content_type: media,
            etag,
            last_modified: date,
            asked: Asked { range: asked.map(|(start, end)| start..end), expect_media },
            pinned: pinned.map(|(total, etag, last_modified)| Pinned {
                total,
                etag,
                last_modified,
                ..Pinned::default()
            }),
        })
        .boxed()
}

fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    ProptestConfig { cases: if given.cases == USUAL { CASES } else { given.cases }, ..given }
}

fn is_sound(case: &Case) -> Result<(), TestCaseError> {
    if let Ok(accepted) = accept(&case.head(), &case.asked, case.pinned.as_ref()) {
        prop_assert_eq!(case.faults(), Vec::<&str>::new());
        prop_assert_eq!(accepted, case.expected());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_accepted_has_no_fault(case in nearly_right()) {
        is_sound(&case)?;
    }

    #[test]
    fn what_is_accepted_of_any_text_has_no_fault(case in anything()) {
        is_sound(&case)?;
    }

    #[test]
    fn what_is_written_as_it_should_be_and_has_no_fault_is_accepted(case in nearly_right()) {
        let written = match case.stated() {
            Some((first, last, Some(total))) => Some(format!("bytes {first}-{last}/{total}")),
            Some((first, last, None)) => Some(format!("bytes {first}-{last}/*")),
            None => None,
        };
        if case.status != 206 || case.content_range == written {
            let result = accept(&case.head(), &case.asked, case.pinned.as_ref());
            prop_assert_eq!(result.is_ok(), case.faults().is_empty(), "{:?} for {:?}", result, case.faults());
        }
    }
}

/// The answers above are of use only if each line of the list decides alone now and then, and if many are accepted.
#[test]
fn each_fault_is_the_only_one_now_and_then() {
    const DRAWN: usize = 6000;
    let mut runner = TestRunner::deterministic();
    let (answers, mut counts) = (nearly_right(), BTreeMap::<_, usize>::new());
    for _ in 0..DRAWN {
        let case = answers.new_tree(&mut runner).unwrap().current();
        let key = match case.faults()[..] {
            [] => format!("accepted {}", case.status),
            [fault] => fault.to_owned(),
            _ => continue,
        };
        *counts.entry(key).or_default() += 1;
    }
    let all = "accepted 200, accepted 206, accepted 416, content-length, content-range, date, encoding, end, etag, multipart, \
               no total, not empty, page, requested end, start, status, too large, total";
    for key in all.split(", ") {
        assert!(counts.get(key).is_some_and(|count| *count >= DRAWN / 1000), "{key}: {counts:?}");
    }
    assert!(counts["accepted 206"] >= DRAWN / 20, "{counts:?}");
}
