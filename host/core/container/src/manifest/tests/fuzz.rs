//! Invented manifests: nothing panics, and what a player reaches through the links is what it reached without them.

use super::*;
use crate::manifest::dash::tests::play;

/// How many cases proptest takes by itself.
const USUAL: u32 = 256;
/// How many are taken here instead.
const CASES: u32 = 1500;

fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    ProptestConfig { cases: if given.cases == USUAL { CASES } else { given.cases }, ..given }
}

/// Pieces that mean something to one of the parsers.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "#EXTM3U\n",
        "\n",
        "\r\n",
        "#EXTINF:1.5,\n",
        "#EXT-X-TARGETDURATION:4\n",
        "#EXT-X-KEY:",
        "#EXT-X-MAP:",
        "#EXT-X-PART:",
        "#EXT-X-DEFINE:",
        "NAME=\"a\",VALUE=\"",
        "QUERYPARAM=\"q\"",
        "IMPORT=\"i\"",
        "{$a}",
        "{$",
        "}",
        "URI=\"",
        "\"",
        ",",
        "=",
        "@",
        "BYTERANGE=\"1@2\"",
        "#EXT-X-BYTERANGE:18446744073709551615@1\n",
        "#EXT-X-STREAM-INF:\n",
        "#EXT-X-PREFETCH:",
        "a.ts",
        "../",
        "http://",
        "http://h/",
        "data:,",
        "skd://",
        "<MPD>",
        "</MPD>",
        "<MPD xmlns=\"u\">",
        "<Period>",
        "</Period>",
        "<Period duration=\"P1DT1S\">",
        "<AdaptationSet>",
        "</AdaptationSet>",
        "<Representation id=\"/x\"/>",
        "<BaseURL>",
        "</BaseURL>",
        "<BaseURL/>",
        "<Location>",
        "</Location>",
        "<SegmentTemplate media=\"",
        "<SegmentURL media='",
        "\"/>",
        "'/>",
        "$Number%05d$",
        "$RepresentationID$",
        "$$",
        "&amp;",
        "&#60;",
        "&#0;",
        "&x;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<?",
        "?>",
        "<!DOCTYPE a>",
        "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"",
        " xlink:href=\"",
        " xmlns:xlink=\"http://www.w3.org/1999/xlink\"",
        "\u{feff}",
        "ü",
        "\\",
        "//",
        "?",
        "#",
        " ",
        "\t",
        "\0",
        ":",
    ];
    prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// An address as a manifest may write it.
fn address() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "b/",
        "../",
        "./",
        "/",
        "//g/",
        "http://g:81/",
        "https://[::1]/",
        "?t=1",
        "&u=a%2Fb",
        "%20",
        "c.mp4",
        "x/",
        "..",
        "é",
        " ",
        ";k=v",
        "~",
        "#f",
        "a:b",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..5).prop_map(|words| words.concat())
}

/// One that is not the manifest itself, which is what nothing stands for where there is no base.
fn piece_address() -> impl Strategy<Value = String> {
    address().prop_filter("nothing", |address| !address.trim().is_empty() && !address.trim().starts_with(['#', '?']))
}

/// A template.
fn template() -> impl Strategy<Value = String> {
    let words = [
        "$RepresentationID$",
        "$Number$",
        "$Number%05d$",
        "$Time$",
        "$$",
        "/",
        "seg-",
        "../",
        ".m4s",
        "?n=",
        "&m=1",
        "a/",
        "http://g/",
        "/r/",
    ];
    (piece_address(), proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..5))
        .prop_map(|(start, words)| start + &words.concat())
}

fn bases() -> impl Strategy<Value = String> {
    proptest::option::of(address()).prop_map(|base| {
        base.map(|base| format!("<BaseURL>{}</BaseURL>", base.replace('&', "&amp;"))).unwrap_or_default()
    })
}

fn mpd() -> impl Strategy<Value = String> {
    let parts = (bases(), template(), template(), piece_address(), piece_address());
    let representation = parts.prop_map(|(base, media, init, one, two)| {
        let text = format!(
            "<Representation id=\"v1\">{base}<SegmentTemplate media=\"{media}\" initialization=\"{init}\"/>\
             <SegmentList><Initialization sourceURL='{one}'/><SegmentURL media=\"{two}\"/></SegmentList></Representation>"
        );
        text.replace('&', "&amp;").replace("&amp;amp;", "&amp;")
    });
    let set = (bases(), proptest::collection::vec(representation, 0..3))
        .prop_map(|(base, inner)| format!("<AdaptationSet>\n{base}{}</AdaptationSet>", inner.concat()));
    let period = (bases(), proptest::collection::vec(set, 0..3))
        .prop_map(|(base, inner)| format!("\n <Period>{base}{}</Period>", inner.concat()));
    (bases(), proptest::collection::vec(period, 0..3))
        .prop_map(|(base, inner)| format!("<MPD>{base}{}\n</MPD>", inner.concat()))
}

fn playlist() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        address().prop_filter("a comment", |address| !address.trim().starts_with('#')),
        address().prop_map(|address| format!("#EXT-X-MAP:URI=\"{address}\",BYTERANGE=\"1@2\"")),
        address().prop_map(|address| format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{address}\"")),
        Just("#EXTINF:1,x".to_owned()),
        Just("# é".to_owned()),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just(" \n\n")];
    proptest::collection::vec((line, end), 0..12).prop_map(|lines| {
        let lines: String = lines.into_iter().map(|(line, end)| line + end).collect();
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n{lines}")
    })
}

/// Links that are the addresses.
#[derive(Default)]
struct Same(Vec<Url>);

impl Links for Same {
    fn link(&mut self, reference: &Reference) -> Result<String, String> {
        self.0.push(reference.url.clone());
        Ok(reference.url.to_string())
    }

    fn prefix(&mut self, directory: &Url) -> Result<String, String> {
        Ok(directory.to_string())
    }
}

const BASE: &str = "http://u:p@h:8080/d/e/m?q=1";

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_panics(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        sniff(text.as_bytes());
        for text in [text.clone(), format!("#EXTM3U\n{text}"), format!("<MPD>{text}</MPD>")] {
            for kind in [Kind::Hls, Kind::Dash] {
                let _ = rewrite(kind, &text, &url(BASE), &Variables::new(), &mut Plain::default());
            }
        }
    }

    #[test]
    fn bytes_are_text_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        sniff(&bytes);
        let _ = text(&bytes);
        let rest = String::from_utf8_lossy(&bytes);
        if let Some(found) = below(&url("http://h/a/"), &rest) {
            prop_assert!(found.as_str().starts_with("http://h/a/"), "{found}");
        }
    }

    #[test]
    fn a_playlist_leads_where_it_led(text in playlist()) {
        let mut first = Same::default();
        let Ok(once) = rewrite(Kind::Hls, &text, &url(BASE), &Variables::new(), &mut first) else { return Ok(()) };
        let mut second = Same::default();
        let twice = rewrite(Kind::Hls, &once.text, &url("http://elsewhere/"), &Variables::new(), &mut second);
        prop_assert_eq!(&first.0, &second.0, "{}", text);
        prop_assert_eq!(Ok(&once), twice.as_ref());
        // Without its addresses it is what it was.
        let bare = |text: &str| {
            let tags = text.lines().filter(|line| line.starts_with('#'));
            tags.map(|tag| tag.split('"').step_by(2).collect::<String>()).collect::<Vec<_>>()
        };
        prop_assert_eq!(bare(&text), bare(&once.text));
        prop_assert_eq!(text.lines().count(), once.text.lines().count());
    }

    #[test]
    fn a_presentation_leads_where_it_led(text in mpd()) {
        let mut links = Plain { root: "http://host", ..Plain::default() };
        let found = match rewrite(Kind::Dash, &text, &url(BASE), &Variables::new(), &mut links) {
            Ok(found) => found,
            Err(Error::Address { .. } | Error::Template { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{error} {text}"))),
        };
        let before = play(&text, &url(BASE));
        let after = play(&found.text, &url("http://host/some/m.mpd"));
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            // What is not ours, or no address at all, is what it was.
            let led = after.as_ref().and_then(|after| {
                lead(after).or_else(|| (!after.scheme().starts_with("http")).then(|| after.clone()))
            });
            prop_assert_eq!(before, &led, "{}\n{}", text, &found.text);
        }
    }
}
