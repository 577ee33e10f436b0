//! The one place where generated types meet those of the port.

use bytes::Bytes;
use plugin::detect;
use plugin::host::{Request, Response};
use plugin::source::{
    Open, Opened, Origin, Plan, PlanError, RawPlan, RefreshReason, Segment, SegmentedManifest, Validators,
};
use plugin::{Fault, Header};

use crate::bindings::container_detector::exports::mediahost::container_detector::detector as guest_detector;
use crate::bindings::container_detector::mediahost::container_detector::types as guest_layout;
use crate::bindings::media_source::mediahost::host::{fetch_types, types};
use crate::bindings::media_source::mediahost::media_source::types as guest;

pub fn header(header: types::Header) -> Header {
    Header { name: header.name, value: header.value }
}

pub fn header_to_guest(header: Header) -> types::Header {
    types::Header { name: header.name, value: header.value }
}

pub fn error(error: types::Error) -> plugin::Error {
    plugin::Error { code: error.code, message: error.message, retry_after_ms: error.retry_after_ms }
}

pub fn error_to_guest(error: plugin::Error) -> types::Error {
    types::Error { code: error.code, message: error.message, retry_after_ms: error.retry_after_ms }
}

pub fn request(request: fetch_types::Request, most_bytes: u64, most_ms: u64) -> Request {
    Request {
        method: request.method,
        url: request.url,
        headers: request.headers.into_iter().map(header).collect(),
        body: request.body,
        max_bytes: request.max_bytes.map_or(most_bytes, |bytes| u64::from(bytes).min(most_bytes)),
        timeout_ms: request.timeout_ms.map_or(most_ms, |ms| u64::from(ms).min(most_ms)),
        max_redirects: request.max_redirects.min(10),
    }
}

pub fn response(response: Response) -> fetch_types::Response {
    fetch_types::Response {
        status: response.status,
        url: response.url,
        headers: response.headers.into_iter().map(header_to_guest).collect(),
        body: response.body,
    }
}

pub fn open_to_guest(open: Open) -> (String, Vec<types::Header>, guest::OpenOptions) {
    let headers = open.headers.into_iter().map(header_to_guest).collect();
    (open.uri, headers, guest::OpenOptions { purpose: open.purpose.to_owned(), extra: Vec::new() })
}

pub fn reason_to_guest(reason: RefreshReason) -> guest::RefreshReason {
    guest::RefreshReason {
        code: reason.code.to_owned(),
        status: reason.status,
        segment: reason.segment,
        extra: Vec::new(),
    }
}

/// A guest's answer as the port knows it, or how it breaks the contract.
pub fn opened(opened: guest::Opened, most_bytes: u64) -> Result<Opened, Fault> {
    match opened {
        guest::Opened::Plan(raw) => {
            let raw = plan(raw).map_err(|error| Fault::Contract(error.to_string()))?;
            Ok(Opened::Plan(Plan::check(raw).map_err(|error| Fault::Contract(error.to_string()))?))
        }
        guest::Opened::Manifest(manifest) => {
            let most = (plugin::source::MAX_MANIFEST_TEXT as u64).min(most_bytes);
            if manifest.text.len() as u64 > most {
                return Err(Fault::Output(format!("a manifest of {} bytes, more than {most}", manifest.text.len())));
            }
            Ok(Opened::Manifest(SegmentedManifest {
                kind: manifest.kind,
                text: manifest.text,
                base_url: manifest.base_url,
                headers: manifest.headers.into_iter().map(header).collect(),
                name: manifest.name,
                expires_at_ms: manifest.expires_at_ms,
                state: manifest.state,
            }))
        }
    }
}

fn plan(raw: guest::Plan) -> Result<RawPlan, PlanError> {
    let segments =
        raw.segments.into_iter().enumerate().map(|(i, segment)| self::segment(i, segment)).collect::<Result<_, _>>()?;
    Ok(RawPlan {
        segments,
        parents: raw.parents,
        key: raw.key,
        name: raw.name,
        media_type: raw.media_type,
        validators: Validators {
            etag: raw.validators.etag,
            last_modified: raw.validators.last_modified,
            digests: raw.validators.digests,
        },
        expires_at_ms: raw.expires_at_ms,
        state: raw.state,
        extra: raw.extra,
    })
}

fn segment(i: usize, segment: guest::Segment) -> Result<Segment, PlanError> {
    let origin = match segment.origin {
        guest::Origin::Http(http) => Origin::Http {
            urls: http.urls,
            headers: http.headers.into_iter().map(header).collect(),
            offset: http.offset,
        },
        guest::Origin::File(file) => Origin::File { root: file.root, path: file.path, offset: file.offset },
        guest::Origin::Parent(parent) => Origin::Parent { index: parent.index, offset: parent.offset },
        guest::Origin::Zeros => Origin::Zeros,
        guest::Origin::Inline(bytes) => Origin::Inline(Bytes::from(bytes)),
        guest::Origin::Computed => Origin::Computed,
        guest::Origin::Other((kind, _)) => return Err(PlanError::UnknownOrigin { segment: i, kind }),
    };
    Ok(Segment { origin, length: segment.length })
}

pub type LookArgs = (Vec<guest_detector::File>, Vec<guest_detector::Window>, guest_detector::DetectOptions);

pub fn look_to_guest(look: detect::Look) -> LookArgs {
    let files = look.files.into_iter().map(|file| guest_layout::File {
        name: file.name,
        media_type: file.media_type,
        size: file.size,
    });
    let windows = look.windows.into_iter().map(|window| guest_layout::Window {
        file: window.file,
        offset: window.offset,
        bytes: window.bytes.to_vec(),
    });
    let options = guest_layout::DetectOptions { start_ms: look.start_ms, extra: Vec::new() };
    (files.collect(), windows.collect(), options)
}

/// A detector's answer as the port knows it, or how it breaks the contract.
pub fn answer(answer: guest_layout::Answer) -> Result<detect::Answer, Fault> {
    Ok(match answer {
        guest_layout::Answer::Unknown => detect::Answer::Unknown,
        guest_layout::Answer::Need(needs) => detect::Answer::Need {
            ranges: needs
                .ranges
                .into_iter()
                .map(|range| detect::Needed { file: range.file, offset: range.offset, length: range.length })
                .collect(),
            siblings: needs.siblings,
        },
        guest_layout::Answer::Found(layout) => detect::Answer::Found(Box::new(self::layout(layout)?)),
    })
}

fn layout(layout: guest_layout::Layout) -> Result<detect::Layout, Fault> {
    bounded("index ranges", layout.first.len(), detect::MAX_FIRST)?;
    bounded("seek points", layout.seek.len(), detect::MAX_SEEK)?;
    bounded("tracks", layout.tracks.len(), 1024)?;
    bounded("titles", layout.titles.len(), 4096)?;
    let titles = layout.titles.into_iter().map(title).collect::<Result<_, _>>()?;
    Ok(detect::Layout {
        format: layout.format,
        media_type: layout.media_type,
        duration_ms: layout.duration_ms,
        bit_rate: layout.bit_rate,
        tracks: layout.tracks.into_iter().map(track).collect(),
        first: layout
            .first
            .into_iter()
            .map(|range| detect::IndexRange { offset: range.offset, length: range.length, what: range.what })
            .collect(),
        seek: layout
            .seek
            .into_iter()
            .map(|point| detect::SeekPoint { time_ms: point.time_ms, offset: point.offset })
            .collect(),
        titles,
    })
}

fn track(track: guest_layout::Track) -> detect::Track {
    detect::Track {
        id: track.id,
        kind: track.kind,
        codec: track.codec,
        language: track.language,
        title: track.title,
        width: track.width,
        height: track.height,
        frame_rate: track.frame_rate.filter(|rate| rate.is_finite()),
        sample_rate: track.sample_rate,
        channels: track.channels,
        bit_rate: track.bit_rate,
        default: track.default,
    }
}

fn title(title: guest_layout::Title) -> Result<detect::Title, Fault> {
    bounded("extents of a title", title.extents.len(), detect::MAX_EXTENTS)?;
    let extents = title.extents.into_iter().map(|extent| detect::Extent {
        origin: match extent.origin {
            guest_layout::ExtentOrigin::File((file, offset)) => detect::ExtentOrigin::File { file, offset },
            guest_layout::ExtentOrigin::Zeros => detect::ExtentOrigin::Zeros,
        },
        length: extent.length,
    });
    Ok(detect::Title {
        extents: extents.collect(),
        id: title.id,
        name: title.name,
        media_type: title.media_type,
        duration_ms: title.duration_ms,
        main: title.main,
    })
}

fn bounded(what: &str, found: usize, most: usize) -> Result<(), Fault> {
    if found > most { Err(Fault::Output(format!("{found} {what}, more than {most}"))) } else { Ok(()) }
}
