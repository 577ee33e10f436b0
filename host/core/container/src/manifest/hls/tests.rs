use super::super::tests::{Plain, lead, url};
use super::super::{Facts, Freshness, rewrite};
use super::*;
use std::time::Duration;

const BASE: &str = "http://h/a/m.m3u8?tok=1";

/// Rewrites, and checks that replacing each link by `<address>` gives what is expected.
fn check(text: &str, expected: &str) -> Vec<Reference> {
    let (found, seen) = shown(text);
    assert_eq!(found, Ok(expected.to_owned()), "{text}");
    seen
}

fn shown(text: &str) -> (Result<String, Error>, Vec<Reference>) {
    let mut links = Plain::default();
    let found = rewrite(Kind::Hls, text, &url(BASE), &imports(), &mut links);
    (found.map(|rewritten| unlinked(&rewritten.text)), links.seen)
}

fn imports() -> Variables {
    [("parent".to_owned(), "p q".to_owned())].into()
}

fn unlinked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/l/") {
        let (before, link) = rest.split_at(at);
        let end = 3 + link[3..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(link.len() - 3);
        let to = lead(&url("http://host/").join(&link[..end]).expect("a link")).expect("a link of ours");
        out.push_str(&format!("{before}<{to}>"));
        rest = &link[end..];
    }
    out + rest
}

/// One tag in a media playlist.
fn tag(line: &str, expected: &str, role: Role, bytes: Option<(u64, Option<u64>)>) {
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n";
    let seen = check(&format!("{head}{line}\n"), &format!("{head}{expected}\n"));
    assert_eq!(seen.len(), 1, "{line}");
    assert_eq!(seen[0].role, role, "{line}");
    assert_eq!(seen[0].bytes, bytes.map(|(start, length)| ByteRange { start, length }), "{line}");
    assert!(seen[0].line >= 3, "{line}");
}

/// One tag in a master playlist.
fn master(line: &str, expected: &str, role: Role) {
    let head = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://v/\n";
    let seen =
        check(&format!("{head}{line}"), &format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n<http://v/>\n{expected}"));
    assert_eq!(seen.len(), 2, "{line}");
    assert_eq!(seen[1].role, role, "{line}");
}

/// Text that comes out as it went in.
fn untouched(text: &str) {
    assert_eq!(check(text, text), [], "{text}");
}

#[test]
fn lines_of_segments() {
    let at = |line: &str, to: &str| tag(line, &format!("<{to}>"), Role::Segment, None);
    at("s.ts", "http://h/a/s.ts");
    at("../s.ts?x=1&y=a%2Fb", "http://h/s.ts?x=1&y=a%2Fb");
    at("/s.ts", "http://h/s.ts");
    at("//g:81/s.ts", "http://g:81/s.ts");
    at("https://[::1]:8443/s", "https://[::1]:8443/s");
    at("HTTP://G/s", "http://g/s");
    at("?n=1", "http://h/a/m.m3u8?n=1");
    at("s.ts#t=1", "http://h/a/s.ts");
    at("my film,1.ts", "http://h/a/my%20film,1.ts");
    at("{$x}.ts", "http://h/a/{$x}.ts".replace('{', "%7B").replace('}', "%7D").as_str());
    tag("  s.ts \t", "  <http://h/a/s.ts> \t", Role::Segment, None);
    tag("#EXT-X-PREFETCH:n.ts", "#EXT-X-PREFETCH:<http://h/a/n.ts>", Role::Segment, None);
}

#[test]
fn attributes_of_a_media_playlist() {
    tag(
        "#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x1",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"<http://h/a/k>\",IV=0x1",
        Role::Key,
        None,
    );
    tag(
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\",KEYFORMAT=\"identity\"",
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"<http://h/a/k>\",KEYFORMAT=\"identity\"",
        Role::Key,
        None,
    );
    tag(
        "#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"720@10\"",
        "#EXT-X-MAP:URI=\"<http://h/a/i.mp4>\",BYTERANGE=\"720@10\"",
        Role::Init,
        Some((10, Some(720))),
    );
    tag(
        "#EXT-X-MAP:BYTERANGE=\"720\",URI=\"i.mp4\"",
        "#EXT-X-MAP:BYTERANGE=\"720\",URI=\"<http://h/a/i.mp4>\"",
        Role::Init,
        Some((0, Some(720))),
    );
    tag("#EXT-X-PART:DURATION=0.5,URI=\"p\"", "#EXT-X-PART:DURATION=0.5,URI=\"<http://h/a/p>\"", Role::Part, None);
    tag(
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p\",BYTERANGE-START=5",
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"<http://h/a/p>\",BYTERANGE-START=5",
        Role::Part,
        Some((5, None)),
    );
    tag(
        "#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"p\",BYTERANGE-LENGTH=5",
        "#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"<http://h/a/p>\",BYTERANGE-LENGTH=5",
        Role::Init,
        Some((0, Some(5))),
    );
    tag(
        "#EXT-X-RENDITION-REPORT:URI=\"../b/m.m3u8\",LAST-MSN=1",
        "#EXT-X-RENDITION-REPORT:URI=\"<http://h/b/m.m3u8>\",LAST-MSN=1",
        Role::Playlist,
        None,
    );
    tag(
        "#EXT-X-DATERANGE:ID=\"a,URI=b\",X-ASSET-URI=\"x.m3u8\"",
        "#EXT-X-DATERANGE:ID=\"a,URI=b\",X-ASSET-URI=\"<http://h/a/x.m3u8>\"",
        Role::Playlist,
        None,
    );
    tag(
        "#EXT-X-DATERANGE:X-ASSET-LIST=\"x.json\"",
        "#EXT-X-DATERANGE:X-ASSET-LIST=\"<http://h/a/x.json>\"",
        Role::AssetList,
        None,
    );
    // Spaces and missing quotes, which are not allowed and do occur.
    tag("#EXT-X-MAP: URI = \"i\" , X=1", "#EXT-X-MAP: URI = \"<http://h/a/i>\" , X=1", Role::Init, None);
    tag("#EXT-X-MAP:URI=i.mp4,X=1", "#EXT-X-MAP:URI=\"<http://h/a/i.mp4>\",X=1", Role::Init, None);
}

#[test]
fn attributes_of_a_master_playlist() {
    master(
        "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k\"",
        "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"<http://h/a/k>\"",
        Role::Key,
    );
    master(
        "#EXT-X-MEDIA:TYPE=AUDIO,URI=\"a.m3u8\",NAME=\"x\"",
        "#EXT-X-MEDIA:TYPE=AUDIO,URI=\"<http://h/a/a.m3u8>\",NAME=\"x\"",
        Role::Playlist,
    );
    master("#EXT-X-I-FRAME-STREAM-INF:URI=\"i\"", "#EXT-X-I-FRAME-STREAM-INF:URI=\"<http://h/a/i>\"", Role::Playlist);
    master("#EXT-X-IMAGE-STREAM-INF:URI=\"i\"", "#EXT-X-IMAGE-STREAM-INF:URI=\"<http://h/a/i>\"", Role::Playlist);
    master(
        "#EXT-X-SESSION-DATA:DATA-ID=\"d\",URI=\"d.json\"",
        "#EXT-X-SESSION-DATA:DATA-ID=\"d\",URI=\"<http://h/a/d.json>\"",
        Role::Data,
    );
    master(
        "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\",PATHWAY-ID=\"a\"",
        "#EXT-X-CONTENT-STEERING:SERVER-URI=\"<http://h/s>\",PATHWAY-ID=\"a\"",
        Role::Steering,
    );
    master(
        "#EXT-X-STREAM-INF:BANDWIDTH=2\n\n# a comment\nv",
        "#EXT-X-STREAM-INF:BANDWIDTH=2\n\n# a comment\n<http://h/a/v>",
        Role::Playlist,
    );
}

#[test]
fn what_is_not_ours_stays() {
    for line in [
        "#EXT-X-KEY:METHOD=NONE",
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"com.apple.streamingkeydelivery\"",
        "#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI=\"data:text/plain;base64,AAAA\",KEYFORMAT=\"urn:uuid:x\"",
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"https://licence/x\",KEYFORMAT=\"com.example\"",
        "#EXT-X-MAP:URI=\"data:video/mp4;base64,AAAA\"",
        "#EXT-X-MAP:URI=\"\"",
        "#EXT-X-UNKNOWN:URI=\"a\"",
        "#EXTGRP:a",
        "# http://x/",
        "urn:x:y",
        "file:///etc/x",
        "#EXT-X-BYTERANGE:1@2",
        "#EXT-X-DATERANGE:ID=\"x\",SCTE35-OUT=0xFC",
    ] {
        untouched(&format!("\u{feff}\r\n#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n{line}\r\n"));
    }
    let relative = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"l\",KEYFORMAT=\"com.example\"";
    check(relative, &relative.replace("\"l\"", "\"http://h/a/l\""));
}

#[test]
fn ranges_go_on_from_the_one_before() {
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-BYTERANGE:10@5\na\n#EXT-X-BYTERANGE:20\na\n#EXT-X-BYTERANGE:1\nb\n\
        #EXT-X-PART:URI=\"a\",BYTERANGE=\"7@0\"\n#EXT-X-PART:URI=\"a\",BYTERANGE=\"8\"\n#EXT-X-BYTERANGE:18446744073709551615@1\na\nc\n";
    let (_, seen) = shown(text);
    let found: Vec<_> =
        seen.iter().map(|seen| seen.bytes.map(|bytes| (bytes.start, bytes.length.unwrap_or(0)))).collect();
    assert_eq!(found, [Some((5, 10)), Some((15, 20)), None, Some((0, 7)), Some((7, 8)), None, None]);
}

#[test]
fn variables_come_first() {
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n";
    let ok = |lines: &str, expected: &str| {
        check(&format!("{head}{lines}"), &format!("{head}{expected}"));
    };
    ok(
        "#EXT-X-DEFINE:NAME=\"v\",VALUE=\"http://g/\"\n{$v}s",
        "#EXT-X-DEFINE:NAME=\"v\",VALUE=\"http://g/\"\n<http://g/s>",
    );
    ok(
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"1\"\n#EXT-X-DEFINE:NAME=\"b\",VALUE=\"{$a}2\"\n{$b}{$a}{$",
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"1\"\n#EXT-X-DEFINE:NAME=\"b\",VALUE=\"{$a}2\"\n<http://h/a/121%7B$>",
    );
    ok(
        "#EXT-X-DEFINE:IMPORT=\"parent\"\n#EXT-X-MAP:URI=\"{$parent}\"",
        "#EXT-X-DEFINE:IMPORT=\"parent\"\n#EXT-X-MAP:URI=\"<http://h/a/p%20q>\"",
    );
    ok("#EXT-X-DEFINE:QUERYPARAM=\"tok\"\ns?t={$tok}", "#EXT-X-DEFINE:NAME=\"tok\",VALUE=\"1\"\n<http://h/a/s?t=1>");
    // A value is not searched again.
    ok(
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"{$\"\n#EXT-X-DEFINE:NAME=\"b\",VALUE=\"x\"\n{$a}b}",
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"{$\"\n#EXT-X-DEFINE:NAME=\"b\",VALUE=\"x\"\n<http://h/a/%7B$b%7D>",
    );
    // An address that is left alone keeps its variables for the player.
    ok(
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"data:,\"\n#EXT-X-MAP:URI=\"{$a}x\"",
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"data:,\"\n#EXT-X-MAP:URI=\"{$a}x\"",
    );
    for (lines, name) in [
        ("#EXT-X-DEFINE:NAME=\"a\",VALUE=\"1\"\n{$b}", "b"),
        ("#EXT-X-DEFINE:NAME=\"a\"\n", "a"),
        ("#EXT-X-DEFINE:IMPORT=\"b\"\n", "b"),
        ("#EXT-X-DEFINE:QUERYPARAM=\"b\"\n", "b"),
    ] {
        let found = shown(&format!("{head}{lines}")).0;
        assert!(matches!(&found, Err(Error::Variable { name: found, .. }) if found == name), "{lines} {found:?}");
    }
}

#[test]
fn variables_cannot_grow_without_end() {
    let value = "x".repeat(8000);
    let text = format!("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"{value}\"\n{}", "{$a}".repeat(100_000));
    assert!(matches!(shown(&text).0, Err(Error::Limit { line: 3, .. })));
    let text = format!("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"{value}{value}\"\n");
    assert!(matches!(shown(&text).0, Err(Error::Limit { line: 2, .. })));
    let text = format!("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"data:{value}\"\n{}", "{$a}\n".repeat(5000));
    assert!(matches!(shown(&text).0, Err(Error::Limit { what: "bytes of values with their variables", .. })));
    let many: String = (0..2000).map(|n| format!("#EXT-X-DEFINE:NAME=\"n{n}\",VALUE=\"\"\n")).collect();
    assert!(matches!(shown(&format!("#EXTM3U\n{many}")).0, Err(Error::Limit { .. })));
}

#[test]
fn damage_is_named() {
    let fails = |text: &str, expected: &str| {
        let error = shown(text).0.expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?} {error}");
    };
    fails("", "it is empty");
    fails("\u{feff}\n\n", "it is empty");
    fails("<html>", "does not begin with #EXTM3U");
    fails("#EXTM3U\n#EXTINF:-1 tvg-id=\"x\",News\nhttp://x/", "a bare list of addresses");
    fails("#EXTM3U\n#EXT-X-TARGETDURATION:x", "line 2 of the manifest is damaged: EXT-X-TARGETDURATION");
    fails(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n",
        "a master playlist and of a media playlist",
    );
    fails(
        "#EXTM3U\n\n#EXT-X-MAP:URI=\"a",
        "line 3 of the manifest is damaged: the value of \"URI\" has no closing quote",
    );
    fails("#EXTM3U\nhttp://[x/a", "\"http://[x/a\" in line 2");
    fails("#EXTM3U\nhttp://\n", "in line 2 of the manifest cannot be resolved");
    fails("#EXTM3U\n#EXT-X-DEFINE:X=\"a\"", "EXT-X-DEFINE defines nothing");
    fails(&format!("#EXTM3U\n{}", "a".repeat(MAX)), "bytes of one address");
    fails(&format!("#EXTM3U\n#EXT-X-MAP:{}", "A=1,".repeat(300)), "an attribute, at most 256");
    fails(&format!("#EXTM3U\n{}", "a\n".repeat(300_000)), "an address, at most 262144");
    fails(&format!("#EXTM3U\n{}", "#EXT-X-MEDIA:TYPE=AUDIO\n".repeat(5000)), "a rendition, at most 4096");
}

/// More than an address may be long.
const MAX: usize = crate::manifest::MAX_URI_BYTES + 1;

fn facts(text: &str) -> Facts {
    rewrite(Kind::Hls, text, &url(BASE), &Variables::new(), &mut Plain::default()).expect(text).facts
}

#[test]
fn what_a_media_playlist_says() {
    let Facts::Media(media) = facts(include_str!("../fixtures/audio.m3u8")) else { panic!("not a media playlist") };
    assert_eq!(media.duration, Duration::from_micros(4_040_279));
    assert_eq!((media.durations.len(), media.media_sequence, media.is_ended), (5, 0, true));
    assert_eq!(media.freshness(), Freshness::Fixed);

    let live = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:77\n#EXT-X-PLAYLIST-TYPE:EVENT\n#EXTINF:5.5,a\n1\n#EXTINF:x\n2\n3\n";
    let Facts::Media(media) = facts(live) else { panic!("not a media playlist") };
    assert_eq!((media.media_sequence, media.durations.len(), media.is_live()), (77, 3, true));
    assert_eq!(media.duration, Duration::from_millis(5500));
    assert_eq!(media.playlist_type, Some(PlaylistType::Event));
    assert_eq!(facts(live).freshness(), Freshness::For(Duration::from_secs(3)));
    assert_eq!(facts(&live.replace("EVENT", "VOD")).freshness(), Freshness::Fixed);

    let low = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXT-X-SKIP:SKIPPED-SEGMENTS=9\n";
    let Facts::Media(media) = facts(low) else { panic!("not a media playlist") };
    assert!(media.can_block_reload);
    assert_eq!(media.skipped_segments, 9);
    assert_eq!(media.freshness(), Freshness::For(Duration::from_millis(250)));
}

#[test]
fn what_a_master_playlist_says() {
    let Facts::Master(master) = facts(include_str!("../fixtures/master.m3u8")) else { panic!("not a master playlist") };
    assert_eq!(master.variants.len(), 2);
    let first = &master.variants[0];
    assert_eq!(first.url, Some(url("http://h/a/v0.m3u8")));
    assert_eq!((first.bandwidth, first.resolution), (Some(75900), Some((64, 36))));
    assert_eq!(first.codecs.as_deref(), Some("avc1.f4000a,mp4a.40.2"));
    assert_eq!(first.audio.as_deref(), Some("group_aud"));
    let audio = &master.renditions[0];
    assert_eq!((audio.kind.as_str(), audio.language.as_deref(), audio.is_default), ("AUDIO", Some("en"), true));
    assert_eq!(audio.url, Some(url("http://h/a/v1.m3u8")));
    let Facts::Master(master) =
        facts("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"b\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{$a}\n")
    else {
        panic!("not a master playlist")
    };
    assert_eq!(master.variables.get("a").map(String::as_str), Some("b"));
    assert_eq!(master.variants[0].url, Some(url("http://h/a/b")));
}

#[test]
fn playlists_of_ffmpeg() {
    let seen = check(
        include_str!("../fixtures/ranges.m3u8"),
        &include_str!("../fixtures/ranges.m3u8")
            .replace("\nindex.m4s", "\n<http://h/a/index.m4s>")
            .replace("\"index.m4s\"", "\"<http://h/a/index.m4s>\""),
    );
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[4].bytes, Some(ByteRange { start: 32628, length: Some(12435) }));
}

#[test]
fn directives_go_upstream() {
    let cases = [
        ("http://h/m.m3u8", "", "http://h/m.m3u8"),
        ("http://h/m.m3u8?t=1", "k=2", "http://h/m.m3u8?t=1"),
        ("http://h/m.m3u8?t=1", "k=2&_HLS_part=3&_HLS_msn=4", "http://h/m.m3u8?t=1&_HLS_msn=4&_HLS_part=3"),
        ("http://h/m.m3u8?_HLS_msn=1", "_HLS_msn=2&_HLS_msn=3", "http://h/m.m3u8?_HLS_msn=2"),
        ("http://h/m.m3u8", "_HLS_skip=YES&_HLS_x", "http://h/m.m3u8?_HLS_skip=YES"),
        ("http://h/m.m3u8", "_HLS_x=#/", "http://h/m.m3u8"),
    ];
    for (playlist, query, expected) in cases {
        assert_eq!(directed(&url(playlist), query).as_str(), expected, "{playlist} {query}");
    }
}
