//! Opens a session whose address is a manifest: is it one, what does it say, and what does a player need first.
//!
//! Owns: which addresses are looked at as manifests before they are opened as files, the facts of a presentation, its
//! warm-up.
//! Leaves to others: everything that is asked for later ([`super::serve`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cache::object::Input;
use container::manifest::{self, Facts as Said, Kind, Role, dash, hls};
use plugin::detect::{HEAD_BYTES, Track};
use plugin::source::{MediaSource, Open, Origin, Plan};
use url::Url;

use super::piece::Piece;
use super::playlist::{self, Answer, Playlist};
use super::{Access, Presentation, Root, codec};
use crate::detect::{Alone, Candidates, detect};
use crate::fault::Fault;
use crate::film::Film;
use crate::live::Live;
use crate::open::{WARM_PATIENCE, arrived};
use crate::session::Facts;
use crate::{NewSession, Proxy, Session, key};

/// How far before its end a live playlist is joined, in target durations (RFC 8216 §6.3.3).
const FROM_THE_END: u32 = 3;

/// The code of an address that only the user may name.
const PRIVATE: &str = "private-address";

/// The root of a plan whose address looks like one of a manifest.
pub fn likely(source: &Arc<dyn MediaSource>, plan: &Plan, request: &NewSession) -> Option<Root> {
    let root = root(source, plan, request)?;
    let path = root.url.path().to_ascii_lowercase();
    let media_type = plan.about().media_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let named = [".m3u8", ".m3u", ".mpd"].iter().any(|extension| path.ends_with(extension));
    let said = media_type.contains("mpegurl") || media_type.starts_with("application/dash+xml");
    (named || said).then_some(root)
}

/// The root of a plan that is one address; a plan of several pieces is no manifest.
pub fn root(source: &Arc<dyn MediaSource>, plan: &Plan, request: &NewSession) -> Option<Root> {
    let open = Open { uri: request.url.clone(), headers: request.headers.clone(), purpose: "play" };
    let origin = super::Origin::Planned { source: source.clone(), open, state: plan.about().state.clone() };
    planned(origin, plan)
}

/// The root that a plan of one address names.
pub fn planned(origin: super::Origin, plan: &Plan) -> Option<Root> {
    let [segment] = plan.segments() else { return None };
    let Origin::Http { urls, headers, offset: 0 } = &segment.origin else { return None };
    let url = Url::parse(urls.first()?).ok()?;
    let access =
        Access { named: key::named(&origin.open().uri), home: fetch::Origin::of(&url), headers: headers.clone() };
    Some(Root { url, access, origin })
}

/// What kind of manifest a file is, by its beginning.
pub async fn sniff(live: &Arc<Live>) -> Result<Option<Kind>, Fault> {
    let head = Film::whole(live.clone()).read(0..HEAD_BYTES.min(live.total())).await?;
    Ok(manifest::sniff(&head))
}

/// The manifest that an address answers with; none if it is something else.
pub async fn ask(proxy: &Proxy, root: &Root) -> Result<Option<(Kind, Answer)>, Fault> {
    let answer = playlist::fetch(&proxy.client, &root.url, &root.access.headers, root.access.named.as_ref()).await;
    match answer {
        Ok(answer) => Ok(manifest::sniff(answer.text.as_bytes()).map(|kind| (kind, answer))),
        // A file under the name of a manifest.
        Err(fault) if fault.code == playlist::BAD_MANIFEST => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A presentation that is to be opened.
pub struct Beginning {
    pub kind: Kind,
    pub root: Root,
    /// What its address answered just now.
    pub answer: Option<Answer>,
    /// A file name for people.
    pub name: Option<String>,
}

/// Opens the presentation, or goes on with it under new credentials, and waits for what a player needs first.
pub async fn begin(
    proxy: &Arc<Proxy>,
    session: &Arc<Session>,
    request: &NewSession,
    Beginning { kind, root, answer, name }: Beginning,
) -> Result<(), Fault> {
    if let Some(title) = &request.title {
        return Err(crate::session::no_title(title));
    }
    let before = session.presentation().filter(|before| before.kind() == kind);
    let presentation = match before {
        Some(before) => {
            before.set_root(root);
            before
        }
        None => {
            let prefix = format!("{}/stream/{}", proxy.path_of_links(), session.id());
            Arc::new(Presentation::new(kind, &session.secret(), prefix, root))
        }
    };
    session.set_waiting(Some("the manifest"));
    let root = match answer {
        Some(answer) => presentation.take_up(answer).await?,
        None => presentation.root(proxy, "").await?,
    };
    session.set_presentation(presentation.clone(), name);
    presentation.pieces.renew(proxy, session, &presentation);
    let mut facts = facts_of(&root);
    let media = first_media(proxy, &presentation, &root).await?;
    if let Some(media) = &media {
        if facts.duration_ms.is_none() {
            facts.duration_ms = length_of(&media.facts);
        }
        session.set_live_stream(media.facts.is_live());
    } else {
        session.set_live_stream(root.facts.is_live());
    }
    session.set_facts(facts.clone());
    // Of several variants the player chooses one, and nobody knows which.
    let only = match &root.facts {
        Said::Master(master) => master.variants.len() == 1 && master.renditions.iter().all(|one| one.url.is_none()),
        Said::Media(_) => true,
        Said::Dash(_) => false,
    };
    if let (true, Some(media)) = (only, media) {
        session.set_waiting(Some("the first segment"));
        let warmed = tokio::time::timeout(WARM_PATIENCE, warm(proxy, session, &presentation, &media, request.start_ms));
        let opened = match warmed.await.unwrap_or(Ok(Vec::new())) {
            Err(fault) if fault.wants_auth() || fault.code == PRIVATE => return Err(fault),
            // The others may be there all the same.
            Err(fault) => {
                tracing::info!(code = fault.code, "the first piece cannot be had: {}", fault.message);
                Vec::new()
            }
            Ok(opened) => opened,
        };
        if facts.tracks.is_empty() {
            facts.tracks = tracks_in(proxy, &opened).await;
            session.set_facts(facts);
        }
    }
    session.set_media_info(None);
    Ok(())
}

/// The media playlist that a player would begin with; none for DASH, and none if it cannot be had while others may.
async fn first_media(
    proxy: &Proxy,
    presentation: &Presentation,
    root: &Arc<Playlist>,
) -> Result<Option<Arc<Playlist>>, Fault> {
    match &root.facts {
        Said::Media(_) => Ok(Some(root.clone())),
        Said::Dash(_) => Ok(None),
        Said::Master(master) => {
            let Some(url) = master.variants.iter().find_map(|variant| variant.url.as_ref()) else {
                return Err(Fault::new(playlist::BAD_MANIFEST, "the playlist has no variant that can be played"));
            };
            match presentation.playlist(proxy, url, "").await {
                Ok(media) => Ok(Some(media)),
                Err(fault) if fault.wants_auth() || fault.code == PRIVATE || master.variants.len() == 1 => Err(fault),
                Err(fault) => {
                    tracing::info!(code = fault.code, "the first variant cannot be had: {}", fault.message);
                    Ok(None)
                }
            }
        }
    }
}

/// Fetches the pieces that a player begins with; they are the answer.
async fn warm(
    proxy: &Arc<Proxy>,
    session: &Arc<Session>,
    presentation: &Arc<Presentation>,
    media: &Playlist,
    start_ms: Option<u64>,
) -> Result<Vec<Arc<Live>>, Fault> {
    let Said::Media(said) = &media.facts else { return Ok(Vec::new()) };
    let mut parts: Vec<(Arc<Live>, Range<u64>)> = Vec::new();
    for piece in first_pieces(&media.pieces, said, start_ms) {
        let live = presentation.open_piece(proxy, session, &piece.url).await?;
        let range = piece.within(live.total());
        if !range.is_empty() && !live.is_open_ended() {
            live.handle(Input::Warm { range: range.clone() });
            parts.push((live, range));
        }
    }
    for (live, range) in &parts {
        arrived(live, range).await?;
    }
    Ok(parts.into_iter().map(|(live, _)| live).collect())
}

/// The segment that playing begins with, and what has to come before it.
fn first_pieces<'a>(pieces: &'a [Piece], said: &hls::Media, start_ms: Option<u64>) -> Vec<&'a Piece> {
    let wanted = match start_ms {
        Some(start_ms) if !said.is_live() => Duration::from_millis(start_ms),
        _ if said.is_live() => said.duration.saturating_sub(said.target_duration * FROM_THE_END),
        _ => Duration::ZERO,
    };
    let mut end = Duration::ZERO;
    let ends = said.durations.iter().map(|duration| {
        end = end.saturating_add(*duration);
        end
    });
    let number = ends.take_while(|end| *end <= wanted).count();
    let segments = pieces.iter().enumerate().filter(|(_, piece)| piece.is_segment());
    let Some((at, segment)) = segments.clone().nth(number).or_else(|| segments.clone().next_back()) else {
        return Vec::new();
    };
    let init = pieces[..at].iter().rfind(|piece| piece.role == Role::Init);
    init.into_iter().chain([segment]).collect()
}

/// What the detectors say of the pieces that a player begins with: of the first that tells of tracks.
async fn tracks_in(proxy: &Proxy, files: &[Arc<Live>]) -> Vec<Track> {
    for live in files {
        let film = Film::whole(live.clone());
        let Ok(candidates) = Candidates::of(&*proxy.plugins, &film, None).await else { continue };
        let found = detect(candidates, &film, &Alone, None, None, None).await;
        if let Ok(Some(found)) = found
            && !found.layout.tracks.is_empty()
        {
            return found.layout.tracks;
        }
    }
    Vec::new()
}

fn facts_of(root: &Playlist) -> Facts {
    let (container, tracks, bit_rate) = match &root.facts {
        Said::Master(master) => ("hls", tracks_of_master(master), peak(master.variants.iter().map(|v| v.bandwidth))),
        Said::Media(_) => ("hls", Vec::new(), None),
        Said::Dash(dash) => ("dash", tracks_of_dash(dash), dash_peak(dash)),
    };
    Facts {
        container: Some(container.to_owned()),
        media_type: Some(root.kind.media_type().to_owned()),
        tracks,
        duration_ms: length_of(&root.facts),
        bit_rate,
        first: Vec::new(),
    }
}

/// How long it is; a live one has no length.
fn length_of(said: &Said) -> Option<u64> {
    let duration = said.duration().filter(|_| said.is_live() == Some(false))?;
    u64::try_from(duration.as_millis()).ok()
}

fn peak(rates: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    rates.flatten().max()
}

/// A picture and a sound are played together: the largest of each.
fn dash_peak(said: &dash::Facts) -> Option<u64> {
    let of = |kind: &str| {
        let kinds = said.representations.iter().filter(|one| kind_of(one) == kind);
        peak(kinds.map(|one| one.bandwidth))
    };
    let (video, audio) = (of("video"), of("audio"));
    Some(video.unwrap_or(0) + audio.unwrap_or(0)).filter(|rate| *rate > 0)
}

fn tracks_of_master(master: &hls::Master) -> Vec<Track> {
    let mut tracks = Vec::new();
    for variant in &master.variants {
        let streams = codec::streams(variant.codecs.as_deref().unwrap_or_default());
        let (width, height) = variant.resolution.unzip();
        let video = streams.iter().find(|(kind, _)| *kind == "video");
        if video.is_some() || width.is_some() {
            tracks.push(Track {
                kind: "video".into(),
                codec: video.map(|(_, name)| (*name).to_owned()).unwrap_or_default(),
                width,
                height,
                bit_rate: variant.bandwidth,
                default: tracks.is_empty(),
                ..Track::default()
            });
        } else if let Some((kind, name)) = streams.first() {
            let (kind, codec) = ((*kind).into(), (*name).into());
            tracks.push(Track { kind, codec, bit_rate: variant.bandwidth, ..Track::default() });
        }
    }
    let sound = |group: &str| {
        let variant = master.variants.iter().find(|variant| variant.audio.as_deref() == Some(group))?;
        let streams = codec::streams(variant.codecs.as_deref()?);
        streams.iter().find(|(kind, _)| *kind == "audio").map(|(_, name)| (*name).to_owned())
    };
    for rendition in &master.renditions {
        let (kind, codec) = match rendition.kind.as_str() {
            "AUDIO" => ("audio", sound(&rendition.group).unwrap_or_default()),
            "SUBTITLES" => ("subtitle", "webvtt".to_owned()),
            _ => continue,
        };
        tracks.push(Track {
            kind: kind.into(),
            codec,
            language: rendition.language.clone(),
            title: Some(rendition.name.clone()).filter(|name| !name.is_empty()),
            default: rendition.is_default,
            ..Track::default()
        });
    }
    // Sound within the pictures, where no group says otherwise.
    let within = master.variants.iter().filter(|variant| variant.audio.is_none()).find_map(|variant| {
        let streams = codec::streams(variant.codecs.as_deref()?);
        let has_video = streams.iter().any(|(kind, _)| *kind == "video");
        streams.iter().find(|(kind, _)| *kind == "audio" && has_video).map(|(_, name)| (*name).to_owned())
    });
    if let Some(codec) = within {
        tracks.push(Track { kind: "audio".into(), codec, default: true, ..Track::default() });
    }
    numbered(tracks)
}

fn tracks_of_dash(said: &dash::Facts) -> Vec<Track> {
    // Periods follow one another: the first tells what there is to choose from.
    let first = said.representations.iter().filter(|one| one.period == 0);
    let track = |one: &dash::Representation| {
        let kind = kind_of(one);
        let streams = codec::streams(one.codecs.as_deref().unwrap_or_default());
        let codec = streams.iter().find(|(of, _)| *of == kind).map(|(_, name)| (*name).to_owned());
        Track {
            kind: kind.to_owned(),
            codec: codec.unwrap_or_default(),
            language: one.language.clone(),
            width: one.width,
            height: one.height,
            bit_rate: one.bandwidth,
            ..Track::default()
        }
    };
    numbered(first.map(track).collect())
}

fn numbered(mut tracks: Vec<Track>) -> Vec<Track> {
    for (id, track) in (1..).zip(&mut tracks) {
        track.id = id;
    }
    tracks
}

fn kind_of(one: &dash::Representation) -> &'static str {
    let streams = codec::streams(one.codecs.as_deref().unwrap_or_default());
    match one.mime.as_deref().unwrap_or_default() {
        mime if mime.starts_with("video/") => "video",
        mime if mime.starts_with("audio/") => "audio",
        mime if mime.starts_with("text/") || mime.contains("ttml") => "subtitle",
        _ if one.width.is_some() => "video",
        _ => streams.first().map_or("data", |(kind, _)| kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, is_init: bool) -> Piece {
        let role = if is_init { Role::Init } else { Role::Segment };
        Piece { url: Url::parse(&format!("http://h/{name}")).unwrap(), bytes: None, role }
    }

    fn names(pieces: &[Piece], said: &hls::Media, start_ms: Option<u64>) -> Vec<String> {
        first_pieces(pieces, said, start_ms).iter().map(|piece| piece.url.path()[1..].to_owned()).collect()
    }

    #[test]
    fn playing_begins_with_the_segment_of_its_time() {
        let pieces = [piece("i", true), piece("a", false), piece("b", false), piece("j", true), piece("c", false)];
        let seconds = Duration::from_secs;
        let said = hls::Media {
            durations: vec![seconds(4), seconds(4), seconds(2)],
            duration: seconds(10),
            target_duration: seconds(4),
            is_ended: true,
            ..hls::Media::default()
        };
        for (start_ms, expected) in [
            (None, ["i", "a"]),
            (Some(3999), ["i", "a"]),
            (Some(4000), ["i", "b"]),
            (Some(9000), ["j", "c"]),
            (Some(99_000), ["j", "c"]),
        ] {
            assert_eq!(names(&pieces, &said, start_ms), expected, "{start_ms:?}");
        }
        let live = hls::Media { is_ended: false, target_duration: seconds(1), ..said };
        assert_eq!(names(&pieces, &live, Some(0)), ["i", "b"], "three target durations before the end");
        assert!(names(&[], &live, None).is_empty());
    }

    #[test]
    fn tracks_come_from_variants() {
        let variant = |codecs: &str, height| hls::Variant {
            codecs: Some(codecs.into()),
            resolution: Some((2 * height, height)),
            ..hls::Variant::default()
        };
        let master = hls::Master {
            variants: vec![variant("avc1.4d401f,mp4a.40.2", 360), variant("avc1.4d401f,mp4a.40.2", 720)],
            ..hls::Master::default()
        };
        let tracks = tracks_of_master(&master);
        let told: Vec<_> = tracks.iter().map(|t| (t.id, t.kind.as_str(), t.codec.as_str(), t.height)).collect();
        let expected = [(1, "video", "h264", Some(360)), (2, "video", "h264", Some(720)), (3, "audio", "aac", None)];
        assert_eq!(told, expected);
    }
}
