use quick_xml::escape::unescape;
use quick_xml::events::Event;

use super::super::tests::{Plain, lead, url};
use super::super::{ByteRange, Error, Facts as AnyFacts, Freshness, Kind, Rewritten, Role, Variables, rewrite};
use super::*;
use std::time::Duration;

const BASE: &str = "http://h/a/m.mpd?tok=1";

fn run(text: &str) -> (Result<Rewritten, Error>, Plain) {
    let mut links = Plain::default();
    let found = rewrite(Kind::Dash, text, &url(BASE), &Variables::new(), &mut links);
    (found, links)
}

/// All that a simple player asks for: bases of one kind, templates with numbers in them, and lists. No address where
/// one cannot be resolved.
pub(in crate::manifest) fn play(text: &str, manifest: &Url) -> Vec<Option<Url>> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut bases: Vec<(Option<Url>, bool)> = vec![(Some(manifest.clone()), false)];
    let mut in_base = None;
    let mut asked = Vec::new();
    loop {
        match reader.read_event().expect(text) {
            Event::Eof => return asked,
            Event::Start(start) if start.name().0 == "BaseURL" => in_base = Some(String::new()),
            Event::End(end) if end.name().0 == "BaseURL" => {
                let text = in_base.take().unwrap_or_default();
                let parent = bases[bases.len() - 2].0.clone();
                let own = bases.last_mut().expect("an element");
                if !own.1 {
                    *own = (parent.and_then(|parent| asks(&parent, text.trim())), true);
                }
            }
            Event::Start(start) => {
                let base = bases.last().expect("an element").0.clone();
                attributes(&start, &base, &mut asked);
                bases.push((base, false));
            }
            Event::Empty(start) => attributes(&start, &bases.last().expect("an element").0.clone(), &mut asked),
            Event::End(_) => {
                bases.pop();
            }
            Event::Text(text) => in_base.iter_mut().for_each(|base| base.push_str(&text)),
            Event::CData(text) => in_base.iter_mut().for_each(|base| base.push_str(&text)),
            Event::GeneralRef(reference) => {
                let text = unescape(&format!("&{};", &*reference)).expect("an entity").into_owned();
                in_base.iter_mut().for_each(|base| base.push_str(&text));
            }
            _ => {}
        }
    }
}

fn attributes(start: &quick_xml::events::BytesStart<'_>, base: &Option<Url>, asked: &mut Vec<Option<Url>>) {
    for attribute in start.attributes() {
        let attribute = attribute.expect("an attribute");
        if ["media", "initialization", "index", "sourceURL"].contains(&attribute.key.0) {
            let value = unescape(&attribute.value).expect("a value").into_owned();
            let value = match start.name().0 {
                "SegmentTemplate" => value
                    .replace("$$", "\0")
                    .replace("$RepresentationID$", "v1")
                    .replace("$Number$", "7")
                    .replace("$Number%05d$", "00007")
                    .replace("$Time$", "900")
                    .replace('\0', "$"),
                _ => value,
            };
            asked.push(base.as_ref().and_then(|base| asks(base, value.trim())));
        }
    }
}

fn asks(base: &Url, text: &str) -> Option<Url> {
    let mut url = base.join(text).ok()?;
    url.set_fragment(None);
    Some(url)
}

/// What a player reaches through the links of this manifest, in order.
fn leads(inner: &str, expected: &[&str]) {
    for text in [
        format!("<MPD>{inner}</MPD>"),
        format!("<?xml version='1.0'?>\r\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\">\n  {inner}\n</MPD>\n"),
    ] {
        let found = run(&text).0.expect(&text).text;
        let reached: Vec<_> = play(&found, &url("http://host/x/m.mpd")).iter().flatten().map(lead).collect();
        let expected: Vec<_> = expected.iter().map(|expected| Some(url(expected))).collect();
        assert_eq!(reached, expected, "{text}\n{found}");
        assert_eq!(play(&text, &url(BASE)), expected, "{text}");
    }
}

/// A template in a manifest with this base, and what it leads to for number 7 of representation v1.
fn template(base: &str, media: &str, expected: &str) {
    leads(&format!("<BaseURL>{base}</BaseURL><Period><SegmentTemplate media=\"{media}\"/></Period>"), &[expected]);
}

#[test]
fn templates_stay_templates() {
    template("", "$RepresentationID$/seg-$Number%05d$.m4s?tok=1", "http://h/a/v1/seg-00007.m4s?tok=1");
    template("v/", "$Number$.m4s", "http://h/a/v/7.m4s");
    template("v", "$Number$.m4s", "http://h/a/7.m4s");
    template("v/", "/r/x-$Number$.m4s", "http://h/r/x-7.m4s");
    template("v/", "/$Number$.m4s", "http://h/7.m4s");
    template("v/w/", "../$Number$.m4s", "http://h/a/v/7.m4s");
    template("v/w/", "x/../../$Number$/../y", "http://h/a/v/y");
    template("v/", "//g:81/x/$Number$", "http://g:81/x/7");
    template(
        "v/",
        "https://[2001:db8::1]:8443/x/$Time$.m4s?a=b%2Fc&amp;d=/e/$Number$",
        "https://[2001:db8::1]:8443/x/900.m4s?a=b%2Fc&d=/e/7",
    );
    template("v/", "/x?n=/y/$Number$", "http://h/x?n=/y/7");
    template("v/f.mp4?z=1", "?n=$Number$", "http://h/a/v/f.mp4?n=7");
    template("v$/", "../v$$/$Number$", "http://h/a/v$/7");
    template("v$/w$", "?$Number$", "http://h/a/v$/w$?7");
    template("v/", "/a%2Fb/$Number$", "http://h/a%2Fb/7");
    template("v/", "/init.mp4?x=1", "http://h/init.mp4?x=1");
    template("http://u:p@g/", "$Number$", "http://u:p@g/7");
}

#[test]
fn templates_that_nobody_can_link() {
    for (media, id, why) in [
        ("http://$RepresentationID$.g/x", "v", "its host"),
        ("//$RepresentationID$/x", "v", "its host"),
        ("http:$Number$", "v", "its directory"),
        ("/$Number$/../../x", "v", "leads out"),
        ("/$Number$\\x", "v", "leads out"),
        ("$RepresentationID$/x", "http://g/", "identifier"),
        ("$RepresentationID$/x", "/g", "identifier"),
        ("x-$RepresentationID$/x", "../../g", "identifier"),
    ] {
        let text = format!(
            "<MPD>\n<Period><AdaptationSet><SegmentTemplate media=\"{media}\"/><Representation id=\"{id}\"/></AdaptationSet></Period></MPD>"
        );
        let found = run(&text).0;
        assert!(
            matches!(&found, Err(Error::Template { line: 2, why: found, .. }) if found.contains(why)),
            "{media} {found:?}"
        );
    }
}

#[test]
fn bases_within_bases() {
    let list = "<SegmentURL media=\"s.mp4\"/>";
    let nest = |mpd: &str, period: &str, set: &str, representation: &str| {
        let base = |text: &str| if text.is_empty() { String::new() } else { format!("<BaseURL>{text}</BaseURL>") };
        format!(
            "{}<Period>{}<AdaptationSet>{}<Representation>{}<SegmentList>{list}</SegmentList></Representation></AdaptationSet></Period>",
            base(mpd),
            base(period),
            base(set),
            base(representation)
        )
    };
    leads(&nest("", "", "", ""), &["http://h/a/s.mp4"]);
    leads(&nest("b/", "c/", "d/", "e/"), &["http://h/a/b/c/d/e/s.mp4"]);
    leads(&nest("b", "c", "d", "e.mp4"), &["http://h/a/s.mp4"]);
    leads(&nest("b/", "/c/", "d/", ""), &["http://h/c/d/s.mp4"]);
    leads(&nest("b/", "c/", "../../d/", ""), &["http://h/a/d/s.mp4"]);
    leads(&nest("http://g/x/y?z", "../w/", "", "v/"), &["http://g/w/v/s.mp4"]);
    leads(&nest("b/", "", "https://[::1]:444/q/", "r/"), &["https://[::1]:444/q/r/s.mp4"]);
    leads(&nest("", "  \n b/ ", "<![CDATA[c&d/]]>", "e&amp;f/<!-- g -->"), &["http://h/a/b/c&d/e&f/s.mp4"]);
}

#[test]
fn a_base_after_what_is_relative_to_it() {
    let text = "<MPD><Period><SegmentTemplate media=\"../$Number$\"/><BaseURL>b/c/</BaseURL></Period></MPD>";
    let (found, links) = run(text);
    assert!(found.expect(text).text.contains("<SegmentTemplate media=\"/d/http_3a_2f_2fh_2fa_2fb_2f/$Number$\"/>"));
    assert_eq!(links.directories, [url("http://h/a/"), url("http://h/a/b/")]);
}

#[test]
fn one_file_is_a_base() {
    let (found, links) = run(
        "<MPD><Period><Representation><BaseURL>http://g/x/f.mp4?t=a%2Fb&amp;u</BaseURL><SegmentBase indexRange=\"1-2\"/></Representation></Period></MPD>",
    );
    let text = found.expect("a manifest").text;
    assert!(text.contains("f.mp4?t=a%2Fb&amp;u</BaseURL><SegmentBase indexRange=\"1-2\"/>"), "{text}");
    assert_eq!(links.directories, [url("http://h/a/"), url("http://g/x/")]);
}

#[test]
fn alternatives_stay_alternatives() {
    let (found, links) = run(
        "<MPD><BaseURL serviceLocation=\"1\">http://g/</BaseURL>\n<BaseURL>/x/</BaseURL><Period><BaseURL>a/</BaseURL><BaseURL>b/</BaseURL></Period></MPD>",
    );
    let text = found.expect("a manifest").text;
    assert_eq!(links.directories, [url("http://g/"), url("http://h/x/")]);
    assert!(
        text.contains("<BaseURL serviceLocation=\"1\">/d/")
            && text.contains("<BaseURL>a/</BaseURL><BaseURL>b/</BaseURL>"),
        "{text}"
    );
}

/// Where a link leads, and the first byte and the number of bytes that are meant.
type Leads<'a> = (&'a str, Role, Option<(u64, u64)>);

/// Elements or attributes that are linked by themselves.
fn linked(inner: &str, expected: &[Leads<'_>]) {
    let text = format!("<MPD xmlns:xlink=\"http://www.w3.org/1999/xlink\"><BaseURL>/b/</BaseURL>{inner}</MPD>");
    let (found, links) = run(&text);
    let text = found.expect(&text).text;
    let seen: Vec<_> = links.seen.iter().map(|seen| (seen.url.as_str(), seen.role, seen.bytes)).collect();
    let bytes = |(start, length)| ByteRange { start, length: Some(length) };
    let expected: Vec<_> = expected.iter().map(|(to, role, range)| (*to, *role, range.map(bytes))).collect();
    assert_eq!(seen, expected, "{inner}");
    assert_eq!(text.matches("/l/").count(), expected.len(), "{text}");
}

#[test]
fn what_is_linked_by_itself() {
    linked("<Location>n.mpd</Location>", &[("http://h/a/n.mpd", Role::Playlist, None)]);
    linked("<PatchLocation ttl=\"4\">http://g/p?a&amp;b</PatchLocation>", &[("http://g/p?a&b", Role::Patch, None)]);
    linked("<ContentSteering>/s</ContentSteering>", &[("http://h/s", Role::Steering, None)]);
    linked("<Period xlink:href=\"r.xml\" xlink:actuate=\"onLoad\"/>", &[("http://h/b/r.xml", Role::Remote, None)]);
    linked(
        "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"/t http://g/t?x&amp;y\"/>",
        &[("http://h/t", Role::Clock, None), ("http://g/t?x&y", Role::Clock, None)],
    );
    linked(
        "<Period><SegmentURL media=\"../s\" mediaRange=\"5-9\" index='/i' indexRange='1-1'/></Period>",
        &[("http://h/s", Role::Segment, Some((5, 5))), ("http://h/i", Role::Index, Some((1, 1)))],
    );
    linked(
        "<Period><Initialization sourceURL=\"/i\" range=\"0-813\"/></Period>",
        &[("http://h/i", Role::Init, Some((0, 814)))],
    );
    linked("<Period><RepresentationIndex sourceURL=\"http://g/i\"/></Period>", &[("http://g/i", Role::Index, None)]);
    linked("<Period><BitstreamSwitching sourceURL=\"/i\"/></Period>", &[("http://h/i", Role::Init, None)]);
    linked(
        "<Period><SegmentTemplate initialization=\"/i\" index=\"/x\" bitstreamSwitching=\"/b\" media=\"m\"/></Period>",
        &[("http://h/i", Role::Init, None), ("http://h/x", Role::Index, None), ("http://h/b", Role::Init, None)],
    );
    linked("<InitializationSet initialization=\"/i\"/>", &[("http://h/i", Role::Init, None)]);
}

#[test]
fn what_is_not_ours_stays() {
    for inner in [
        "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"/t\"/>",
        "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:ntp:2014' value='a b'/>",
        "<Period xlink:href=\"urn:mpeg:dash:resolve-to-zero:2013\"/>",
        "<Period href=\"/x\"><BaseURL>urn:x:y</BaseURL><SegmentTemplate media=\"../$Number$\"/></Period>",
        "<Period><ContentProtection schemeIdUri=\"urn:x\"><Location>/x</Location><pssh xmlns=\"urn:mpeg:cenc:2013\">AAAA</pssh></ContentProtection></Period>",
        "<Period><EventStream><Event><BaseURL>/x</BaseURL></Event></EventStream></Period>",
        "<Period><BaseURL xmlns=\"urn:other\">/x</BaseURL><o:BaseURL xmlns:o=\"urn:other\">/x</o:BaseURL></Period>",
        "<Period><Location>/x</Location><Representation media=\"/x\" initialization=\"/x\"/></Period>",
        "<Period>  <!-- <BaseURL>/x</BaseURL> -->\r\n<?x /y?>\t<X a = '1'  b=\"&lt;&#x41;\" /></Period >",
        "<ProgramInformation moreInformationURL=\"/x\"><Title>&amp;</Title></ProgramInformation>",
    ] {
        let text = format!(
            "\u{feff}<?xml version=\"1.0\"?>\r\n<MPD  xmlns:xlink='http://www.w3.org/1999/xlink'><BaseURL>http://g/</BaseURL>{inner}</MPD>\n<!-- end -->\n"
        );
        let (found, links) = run(&text);
        let link = "<BaseURL>/d/http_3a_2f_2fg_2f/</BaseURL>";
        assert_eq!(found.map(|found| found.text), Ok(text.replace("<BaseURL>http://g/</BaseURL>", link)));
        assert_eq!(links.seen, [], "{inner}");
    }
}

#[test]
fn a_base_is_put_in_where_it_belongs() {
    let link = "/d/http_3a_2f_2fh_2fa_2f/";
    let cases = [
        ("<MPD>\n  <Period/>\n</MPD>", "<MPD>\n  <BaseURL>@</BaseURL>\n  <Period/>\n</MPD>"),
        ("<MPD><ProgramInformation/><Period/></MPD>", "<MPD><ProgramInformation/><BaseURL>@</BaseURL><Period/></MPD>"),
        (
            "<m:MPD xmlns:m='u'>\t<m:Period/></m:MPD>",
            "<m:MPD xmlns:m='u'>\t<m:BaseURL>@</m:BaseURL>\t<m:Period/></m:MPD>",
        ),
        ("<MPD></MPD>", "<MPD><BaseURL>@</BaseURL></MPD>"),
        ("<MPD/>", "<MPD/>"),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text).0.map(|found| found.text), Ok(expected.replace('@', link)), "{text}");
    }
}

#[test]
fn damage_is_named() {
    let fails = |text: &str, expected: &str| {
        let error = run(text).0.expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?} {error}");
    };
    fails("", "it has no root");
    fails("hello", "it is not XML");
    fails("<html></html>", "its root is not MPD");
    fails("<MPD>\n<Period>", "line 2 of the manifest is damaged: it ends before its root does");
    fails("<MPD>\n\n</Period>", "line 3 of the manifest is damaged");
    fails("<MPD/><MPD/>", "something after its end");
    fails("<MPD/>x", "something after its end");
    fails("<m:MPD/>", "is damaged");
    fails("<MPD><BaseURL>a<b/></BaseURL></MPD>", "an element within an address");
    fails("<!DOCTYPE MPD [<!ENTITY a \"b\">]><MPD/>", "a document type");
    fails("<MPD><BaseURL>&a;</BaseURL></MPD>", "an entity of its own");
    fails("<MPD><Period><SegmentURL media=\"&a;\"/></Period></MPD>", "an entity of its own");
    fails("<MPD>\n<BaseURL>http://[x/</BaseURL></MPD>", "\"http://[x/\" in line 2");
    fails("<MPD><Period a=\"1\" a=\"2\"/></MPD>", "an attribute is not XML");
    fails(&format!("<MPD>{}", "<Period>".repeat(100)), "an element within elements, at most 64");
    fails(&format!("<MPD><BaseURL>{}</BaseURL></MPD>", "a".repeat(9000)), "bytes of one address, at most 8192");
    let attributes: String = (0..300).map(|n| format!(" a{n}=\"\"")).collect();
    fails(&format!("<MPD{attributes}/>"), "an attribute, at most 256");
    fails(&format!("<MPD>{}</MPD>", "<Representation/>".repeat(5000)), "a representation, at most 4096");
}

#[test]
fn durations_of_xml() {
    let cases = [
        ("PT4.0S", Some(4.0)),
        ("PT1H2M3.5S", Some(3723.5)),
        ("P1DT1S", Some(86401.0)),
        ("P1Y1M1D", Some(f64::from((365 + 30 + 1) * 86400))),
        (" PT0S ", Some(0.0)),
        ("PT2M", Some(120.0)),
        ("P", None),
        ("4", None),
        ("PT4", None),
        ("PTS", None),
        ("-PT1S", None),
        ("PT1S1M", None),
        ("PT99999999999999999999S", None),
        ("P18446744073709551615D", None),
    ];
    for (text, expected) in cases {
        assert_eq!(facts::duration(text), expected.map(Duration::from_secs_f64), "{text}");
    }
}

#[test]
fn ranges() {
    let cases = [
        ("0-813", Some((0, Some(814)))),
        ("5-", Some((5, None))),
        ("5-4", None),
        ("x", None),
        ("0-18446744073709551615", None),
    ];
    for (text, expected) in cases {
        assert_eq!(facts::range(text), expected.map(|(start, length)| ByteRange { start, length }), "{text}");
    }
}

fn told(text: &str) -> Facts {
    match run(text).0.expect(text).facts {
        AnyFacts::Dash(facts) => facts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_manifest_says() {
    let facts = told(include_str!("../fixtures/template.mpd"));
    assert_eq!((facts.is_dynamic, facts.duration, facts.periods), (false, Some(Duration::from_secs(4)), 1));
    assert_eq!(facts.freshness(), Freshness::Fixed);
    let video = &facts.representations[0];
    assert_eq!((video.id.as_str(), video.bandwidth, video.width, video.height), ("0", Some(16572), Some(64), Some(36)));
    assert_eq!((video.mime.as_deref(), video.codecs.as_deref()), (Some("video/mp4"), Some("avc1.f4000a")));

    let live = told(
        "<MPD type=\"dynamic\" minimumUpdatePeriod=\"PT2S\"><Period duration=\"PT5S\"><AdaptationSet mimeType=\"a/b\" width=\"7\" lang=\"de\"><Representation id=\"x\" width=\"8\"/></AdaptationSet></Period><Period duration=\"PT1M\"><AdaptationSet><Representation id=\"y\"/></AdaptationSet></Period></MPD>",
    );
    assert_eq!(live.freshness(), Freshness::For(Duration::from_secs(1)));
    assert_eq!((live.duration, live.periods), (Some(Duration::from_secs(65)), 2));
    let [x, y] = &live.representations[..] else { panic!("{live:?}") };
    assert_eq!((x.mime.as_deref(), x.width, x.language.as_deref(), x.period), (Some("a/b"), Some(8), Some("de"), 0));
    assert_eq!((y.mime.as_deref(), y.width, y.language.as_deref(), y.period), (None, None, None, 1));
    assert_eq!(
        told("<MPD type=\"dynamic\" minimumUpdatePeriod=\"PT0S\"/>").freshness(),
        Freshness::For(Duration::ZERO)
    );
    assert!(told("<MPD xmlns:x='http://www.w3.org/1999/xlink'><Period x:href=\"a\"/></MPD>").is_partial);
}

#[test]
fn manifests_of_ffmpeg() {
    for (text, count, first) in [
        (include_str!("../fixtures/template.mpd"), 4, "http://h/a/init-stream0.m4s"),
        (include_str!("../fixtures/list.mpd"), 0, ""),
    ] {
        let (found, links) = run(text);
        let found = found.expect("a manifest").text;
        assert_eq!(links.directories, [url("http://h/a/")]);
        assert_eq!(found.replace("<BaseURL>/d/http_3a_2f_2fh_2fa_2f/</BaseURL>\n\t", ""), text);
        let reached: Vec<_> = play(&found, &url("http://host/")).iter().flatten().filter_map(lead).collect();
        assert_eq!(reached.len(), count);
        let first_asked = text.replace("$RepresentationID$", "0");
        assert!(
            first.is_empty()
                || first_asked.contains("init-stream0.m4s") && reached[0].path().starts_with("/a/init-stream")
        );
    }
}
