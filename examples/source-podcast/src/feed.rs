//! RSS 2.0, as much of it as leads to an episode.

use mediahost_plugin_sdk::Error;
use percent_encoding::percent_decode_str;
use roxmltree::{Document, Node};

/// Which episode of a feed.
#[derive(Debug, PartialEq)]
pub enum Choice {
    /// The first one: feeds begin with the newest.
    Newest,
    /// Counted from 1, in the order of the feed.
    Number(usize),
    /// The one with this title, else the first whose title contains this. Case does not matter.
    Title(String),
    /// The one with this `guid`.
    Id(String),
}

impl Choice {
    /// What a user writes behind the `#`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = percent_decode_str(text).decode_utf8_lossy().trim().to_owned();
        match text.parse() {
            Ok(0) => Err(Error::bad_address("episodes are counted from 1")),
            Ok(number) => Ok(Choice::Number(number)),
            Err(_) if text.is_empty() || text == "newest" => Ok(Choice::Newest),
            Err(_) => Ok(Choice::Title(text)),
        }
    }
}

/// The episodes of a feed, in its order.
pub struct Feed {
    episodes: Vec<Episode>,
}

/// An item that has an enclosure.
pub struct Episode {
    pub title: String,
    /// The item's `guid`, or else its URL.
    pub id: String,
    pub url: String,
    /// What the feed says the enclosure is, if that is sound or pictures.
    pub media_type: Option<String>,
}

impl Feed {
    /// Reads a feed. Items without an enclosure are texts and no episodes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = Document::parse(text.trim_start_matches('\u{feff}').trim_start())
            .map_err(|error| Error::unsupported(format!("what the address has is not a feed: {error}")))?;
        if !document.root_element().has_tag_name("rss") {
            return Err(Error::unsupported("what the address has is not an RSS feed"));
        }
        let items = document.descendants().filter(|node| node.has_tag_name("item"));
        Ok(Self { episodes: items.filter_map(Episode::of).collect() })
    }

    /// The episode of a choice.
    pub fn pick(&self, choice: &Choice) -> Result<&Episode, Error> {
        let count = self.episodes.len();
        let found = match choice {
            Choice::Newest => self.episodes.first(),
            Choice::Number(number) => self.episodes.get(number - 1),
            Choice::Id(id) => self.episodes.iter().find(|episode| episode.id == *id),
            Choice::Title(title) => {
                let wanted = title.to_lowercase();
                let titles = || self.episodes.iter().map(|episode| (episode, episode.title.to_lowercase()));
                let exact = titles().find(|(_, title)| *title == wanted);
                exact.or_else(|| titles().find(|(_, title)| title.contains(&wanted))).map(|(episode, _)| episode)
            }
        };
        found.ok_or_else(|| Error::not_found(format!("the feed has {count} episodes, and {choice} is not one of them")))
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Choice::Newest => write!(f, "the newest"),
            Choice::Number(number) => write!(f, "number {number}"),
            Choice::Title(title) => write!(f, "{title:?}"),
            Choice::Id(id) => write!(f, "the one with the id {id:?}"),
        }
    }
}

impl Episode {
    fn of(item: Node) -> Option<Self> {
        let child = |name: &str| item.children().find(|node| node.has_tag_name(name));
        let text = |name: &str| child(name).and_then(|node| node.text()).map(str::trim).filter(|text| !text.is_empty());
        let enclosure = child("enclosure")?;
        let url = enclosure.attribute("url")?.trim().to_owned();
        let media_type = enclosure.attribute("type").filter(|is| is.starts_with("audio/") || is.starts_with("video/"));
        Some(Self {
            title: text("title").unwrap_or("untitled").to_owned(),
            id: text("guid").unwrap_or(&url).to_owned(),
            media_type: media_type.map(str::to_owned),
            url,
        })
    }

    /// The title with the extension of the enclosure, if that has one.
    pub fn file_name(&self) -> Option<String> {
        let path = self.url.split(['?', '#']).next()?;
        let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
        let title = self.title.replace(['/', '\\'], "-");
        Some(format!("{title}.{extension}"))
    }
}
