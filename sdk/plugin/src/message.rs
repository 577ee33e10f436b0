//! Requests to and answers from other servers.

use crate::{Error, Header, Request, Response};

impl Header {
    /// A header field.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    /// Whether this is the field of that name; case does not matter.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Request {
    /// A `GET` that follows up to five redirects.
    ///
    /// ```
    /// use mediahost_plugin_sdk::Request;
    /// let request = Request::get("https://example.org/feed.xml").with_header("accept", "application/rss+xml");
    /// assert_eq!((request.method.as_str(), request.max_redirects), ("GET", 5));
    /// ```
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A request with any method. Which ones are allowed beside `GET` and `HEAD` is a matter of the grant.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            max_bytes: None,
            timeout_ms: None,
            max_redirects: 5,
            extra: Vec::new(),
        }
    }

    /// Sends a header field.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sends a body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Refuses a larger answer, before it fills the plugin's memory.
    pub fn with_max_bytes(mut self, bytes: u32) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Gives up after so long.
    pub fn with_timeout_ms(mut self, wait_ms: u32) -> Self {
        self.timeout_ms = Some(wait_ms);
        self
    }

    /// Follows so many redirects, at most 10; with 0 a redirect is an answer like any other.
    pub fn with_max_redirects(mut self, redirects: u8) -> Self {
        self.max_redirects = redirects;
        self
    }
}

impl Response {
    /// An answer, for scripts. A script fills in the URL when this one has none.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, url: String::new(), headers: Vec::new(), body: body.into() }
    }

    /// An answer with status 200, for scripts.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    /// Adds a header field, for scripts.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Names the URL that answered after redirects, for scripts.
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// The value of the first header field of that name; case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.is(name)).map(|header| header.value.as_str())
    }

    /// This answer if its status is below 400, and otherwise the error that the status stands for. `what` names, in
    /// the message, what was asked for.
    ///
    /// ```
    /// use mediahost_plugin_sdk::{Response, code};
    /// let busy = Response::new(429, "").with_header("Retry-After", "3");
    /// let error = busy.success("the feed").unwrap_err();
    /// assert_eq!((error.code.as_str(), error.retry_after_ms), (code::THROTTLED, Some(3000)));
    /// assert_eq!(error.message, "the feed answered with status 429");
    /// ```
    pub fn success(self, what: &str) -> Result<Self, Error> {
        if self.status < 400 { Ok(self) } else { Err(Error::of_status(what, &self)) }
    }

    /// The body as text. Bytes that are not UTF-8 become U+FFFD, since pages in the wild have such bytes and are still
    /// worth reading.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
