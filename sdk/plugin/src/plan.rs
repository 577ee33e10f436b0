//! Plans, put together in one expression.

use crate::{
    FileBytes, Header, HttpBytes, Manifest, Opened, Origin, ParentBytes, Plan, RefreshReason, Segment, Validators,
};

impl Plan {
    /// One HTTP resource from its first byte to its last.
    ///
    /// ```
    /// use mediahost_plugin_sdk::Plan;
    /// let plan = Plan::http("https://cdn.example/film.mkv?sig=1")
    ///     .with_header("Referer", "https://example.org/")
    ///     .with_key("film-42")
    ///     .with_expiry_ms(1_900_000_000_000);
    /// assert_eq!(plan.segments.len(), 1);
    /// ```
    pub fn http(url: impl Into<String>) -> Self {
        Self::of(vec![Segment::http(url)])
    }

    /// A file below a folder that the operator granted.
    pub fn file(root: impl Into<String>, path: impl Into<String>) -> Self {
        Self::of(vec![Segment::file(root, path)])
    }

    /// Another address, opened by the host as if a user had asked for it.
    pub fn parent(address: impl Into<String>) -> Self {
        Self { parents: vec![address.into()], ..Self::of(vec![Segment::parent(0)]) }
    }

    /// These segments, one after the other.
    pub fn of(segments: Vec<Segment>) -> Self {
        Self {
            segments,
            parents: Vec::new(),
            key: None,
            name: None,
            media_type: None,
            validators: Validators::default(),
            expires_at_ms: None,
            state: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Has `parent` segments refer to these addresses by index.
    pub fn with_parents(mut self, addresses: Vec<String>) -> Self {
        self.parents = addresses;
        self
    }

    /// Names the bytes, however their addresses are signed. No secrets in it.
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Gives a file name for people, with its extension.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Knows better than the upstream what the bytes are.
    pub fn with_media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// Pins the version of the bytes by entity tag, quotes and `W/` included.
    pub fn with_etag(mut self, etag: impl Into<String>) -> Self {
        self.validators.etag = Some(etag.into());
        self
    }

    /// Says when the addresses stop working, in milliseconds since 1970.
    pub fn with_expiry_ms(mut self, at_ms: u64) -> Self {
        self.expires_at_ms = Some(at_ms);
        self
    }

    /// Has the host hand this back to `refresh` and `read`: at most 64 KiB.
    pub fn with_state(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.state = state.into();
        self
    }

    /// Sends a header field with every request for an HTTP segment.
    pub fn with_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_headers(vec![Header::new(name, value)])
    }

    /// Sends these header fields with every request for an HTTP segment.
    pub fn with_headers(mut self, headers: Vec<Header>) -> Self {
        for segment in &mut self.segments {
            if let Origin::Http(http) = &mut segment.origin {
                http.headers.extend_from_slice(&headers);
            }
        }
        self
    }
}

impl Segment {
    /// An HTTP resource, from its first byte to its last.
    pub fn http(url: impl Into<String>) -> Self {
        let http = HttpBytes { urls: vec![url.into()], headers: Vec::new(), offset: 0, extra: Vec::new() };
        Self { origin: Origin::Http(http), length: None }
    }

    /// A file below a granted root, from its first byte to its last.
    pub fn file(root: impl Into<String>, path: impl Into<String>) -> Self {
        Self { origin: Origin::File(FileBytes { root: root.into(), path: path.into(), offset: 0 }), length: None }
    }

    /// One of the plan's parents, counted from 0.
    pub fn parent(index: u32) -> Self {
        Self { origin: Origin::Parent(ParentBytes { index, offset: 0 }), length: None }
    }

    /// Zeros.
    pub fn zeros(length: u64) -> Self {
        Self { origin: Origin::Zeros, length: Some(length) }
    }

    /// These bytes, at most 64 KiB of them.
    pub fn inline(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { length: Some(bytes.len() as u64), origin: Origin::Inline(bytes) }
    }

    /// Bytes that [`Computed::read`](crate::Computed::read) gives.
    pub fn computed(length: u64) -> Self {
        Self { origin: Origin::Computed, length: Some(length) }
    }

    /// The part that begins at `offset` within what is named. Means nothing for zeros, inline and computed bytes.
    pub fn from_offset(mut self, offset: u64) -> Self {
        match &mut self.origin {
            Origin::Http(http) => http.offset = offset,
            Origin::File(file) => file.offset = offset,
            Origin::Parent(parent) => parent.offset = offset,
            Origin::Zeros | Origin::Inline(_) | Origin::Computed | Origin::Other(_) => {}
        }
        self
    }

    /// The part that is so long. Only the last segment of a plan may do without.
    pub fn with_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Another URL of the same bytes, tried when the ones before fail. Means nothing unless the segment is HTTP.
    pub fn with_mirror(mut self, url: impl Into<String>) -> Self {
        if let Origin::Http(http) = &mut self.origin {
            http.urls.push(url.into());
        }
        self
    }
}

impl Manifest {
    /// An HLS playlist (RFC 8216).
    pub fn hls(text: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self::of("hls", text.into(), base_url.into())
    }

    /// A DASH manifest (ISO/IEC 23009-1).
    pub fn dash(text: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self::of("dash", text.into(), base_url.into())
    }

    fn of(kind: &str, text: String, base_url: String) -> Self {
        Self {
            kind: kind.into(),
            text,
            base_url,
            headers: Vec::new(),
            name: None,
            expires_at_ms: None,
            state: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl Default for Validators {
    /// Nothing known.
    fn default() -> Self {
        Self { etag: None, last_modified: None, digests: Vec::new() }
    }
}

impl RefreshReason {
    /// A reason by its code, for tests: `expires`, `denied`, `gone`, `changed` or `credentials`.
    pub fn new(code: &str) -> Self {
        Self { code: code.into(), status: None, segment: None, extra: Vec::new() }
    }

    /// With the status that the upstream gave.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

impl From<Plan> for Opened {
    fn from(plan: Plan) -> Self {
        Opened::Plan(plan)
    }
}

impl From<Manifest> for Opened {
    fn from(manifest: Manifest) -> Self {
        Opened::Manifest(manifest)
    }
}
