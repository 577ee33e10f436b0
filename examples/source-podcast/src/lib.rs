//! Plays an episode of a podcast.
//!
//! `podcast:` goes before the address of the feed, and `#` and a choice behind it: `#3` is the third episode of the feed,
//! `#newest` the first one, as is no choice at all, and any other text is looked for in the titles.
//!
//! The plugin reads the feed and says where the episode is. It never sees a byte of sound.

mod feed;

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan, RefreshReason, Request};

use feed::{Choice, Episode, Feed};

/// The largest feed that is read. Long-running shows have feeds of a few megabytes.
const MAX_FEED_BYTES: u32 = 8 << 20;

struct Podcast;

impl MediaSource for Podcast {
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        let (url, choice) = parse(request.after_scheme())?;
        plan(read_feed(host, url, &request).await?.pick(&choice)?)
    }

    /// Enclosures are often signed links. A new copy of the feed has a new one, and the state says for which episode:
    /// what is newest may have changed.
    async fn refresh(host: &Host, request: Open, state: Vec<u8>, _: RefreshReason) -> Result<Opened, Error> {
        let (url, _) = parse(request.after_scheme())?;
        let choice = Choice::Id(String::from_utf8_lossy(&state).into_owned());
        plan(read_feed(host, url, &request).await?.pick(&choice)?)
    }
}

mediahost_plugin_sdk::media_source!(Podcast, "plugin.json");

/// The address of the feed, and which episode of it.
fn parse(address: &str) -> Result<(&str, Choice), Error> {
    let (url, choice) = address.split_once('#').unwrap_or((address, ""));
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Error::bad_address(
            "write podcast: and the address of a feed, as in podcast:https://example.org/feed.xml",
        ));
    }
    Ok((url, Choice::parse(choice)?))
}

async fn read_feed(host: &Host, url: &str, request: &Open) -> Result<Feed, Error> {
    let mut get = Request::get(url).with_max_bytes(MAX_FEED_BYTES);
    get.headers.extend_from_slice(&request.headers);
    let answer = host.fetch(get).await?.success("the feed")?;
    Feed::parse(&answer.text())
}

/// The enclosure's URL names the bytes: `#newest` is another episode next week.
fn plan(episode: &Episode) -> Result<Opened, Error> {
    let url = &episode.url;
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Error::damaged(format!("the feed says that {:?} is at {url:?}", episode.title)));
    }
    let mut plan = Plan::http(url).with_key(url).with_state(episode.id.as_str());
    plan.name = episode.file_name();
    plan.media_type = episode.media_type.clone();
    Ok(plan.into())
}

#[cfg(test)]
mod tests {
    use mediahost_plugin_sdk::{Response, testing::run};

    use super::*;

    const FEED: &str = include_str!("../tests/feed.xml");
    const URL: &str = "https://radio.example/feed.xml";

    /// What an address is answered with: the URL in the plan, or the error's code.
    fn check(address: &str, expected: Result<&str, &str>) {
        let host = Host::scripted()
            .answer(URL, Response::ok(FEED))
            .answer("https://radio.example/gone", Response::new(404, ""))
            .answer("https://radio.example/page", Response::ok("<!doctype html><html><br></html>"))
            .answer("https://radio.example/empty", Response::ok("<rss><channel/></rss>"));
        match (run(Podcast::open(&host, Open::new(address))), expected) {
            (Ok(Opened::Plan(plan)), Ok(url)) => assert_eq!(plan.key.as_deref(), Some(url), "{address}"),
            (Err(error), Err(code)) => assert_eq!(error.code, code, "{address}: {error:?}"),
            (found, _) => panic!("{address}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn finds_the_episode_or_says_why_not() {
        let third = "https://cdn.example/3.mp3?sig=a&id=3";
        check("podcast:https://radio.example/feed.xml", Ok(third));
        check("podcast:https://radio.example/feed.xml#", Ok(third));
        check("podcast:https://radio.example/feed.xml#newest", Ok(third));
        check("podcast:https://radio.example/feed.xml#1", Ok(third));
        check("podcast:https://radio.example/feed.xml#2", Ok("https://cdn.example/2.m4a"));
        check("podcast:https://radio.example/feed.xml#rock%20%26%20roll", Ok("https://cdn.example/2.m4a"));
        check("podcast:https://radio.example/feed.xml#Pilot", Ok("https://cdn.example/1.mp3"));
        check("podcast:https://radio.example/feed.xml#9", Err("not-found"));
        check("podcast:https://radio.example/feed.xml#0", Err("bad-address"));
        check("podcast:https://radio.example/feed.xml#no such title", Err("not-found"));
        check("podcast:https://radio.example/feed.xml#Relative", Err("damaged"));
        check("podcast:https://radio.example/gone", Err("not-found"));
        check("podcast:https://radio.example/page", Err("unsupported"));
        check("podcast:https://radio.example/empty", Err("not-found"));
        check("podcast:https://radio.example/unreachable", Err("unavailable"));
        check("podcast:radio.example", Err("bad-address"));
    }

    #[test]
    fn the_plan_names_the_episode() {
        let host = Host::scripted().answer(URL, Response::ok(FEED));
        let opened = run(Podcast::open(&host, Open::new(format!("podcast:{URL}#2")).with_header("Cookie", "a=b")));
        let expected = Plan::http("https://cdn.example/2.m4a")
            .with_key("https://cdn.example/2.m4a")
            .with_name("Rock & Roll.m4a")
            .with_media_type("audio/mp4")
            .with_state("urn:two");
        assert_eq!(opened, Ok(expected.into()));
        assert_eq!(host.requests()[0].headers[0].value, "a=b");
    }

    #[test]
    fn a_refresh_stays_with_the_episode() {
        let host = Host::scripted().answer(URL, Response::ok(FEED));
        let request = Open::new(format!("podcast:{URL}#newest"));
        let renewed = run(Podcast::refresh(&host, request, b"urn:two".to_vec(), RefreshReason::new("denied")));
        let Ok(Opened::Plan(plan)) = renewed else { panic!("{renewed:?}") };
        assert_eq!(plan.key.as_deref(), Some("https://cdn.example/2.m4a"));
    }
}
