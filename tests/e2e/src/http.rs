//! A small HTTP/1.1 client: one connection per request, any header (a false `Host` too), a body that is read as slowly as
//! the test likes.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A silence on the line that ends a test.
const SILENCE: Duration = Duration::from_secs(30);
/// Header lines of an answer, at most.
const MAX_LINES: usize = 200;

/// A request that is being written.
pub struct Request {
    to: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The head of an answer; the body is still to be read.
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

enum Body {
    Sized(io::Take<BufReader<TcpStream>>),
    Chunked { from: BufReader<TcpStream>, left: u64, ended: bool },
    ToTheEnd(BufReader<TcpStream>),
    Empty,
}

impl Request {
    /// A request for a path, query included.
    pub fn new(to: SocketAddr, method: &str, target: &str) -> Request {
        Request { to, method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET for an absolute `http://` address on this machine.
    pub fn get(url: &str) -> Request {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is not an http address"));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let to = authority.parse().unwrap_or_else(|_| panic!("{authority} in {url} is not an address and a port"));
        Request::new(to, "GET", &format!("/{path}"))
    }

    /// The same with one more header field; a `Host` replaces the true one.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same for these bytes only.
    pub fn range(self, range: &std::ops::Range<u64>) -> Request {
        self.header("Range", &format!("bytes={}-{}", range.start, range.end - 1))
    }

    /// The same with a JSON body.
    pub fn json(mut self, body: &Value) -> Request {
        self.body = body.to_string().into_bytes();
        self.header("Content-Type", "application/json")
    }

    /// Sends it and reads the head of the answer.
    pub fn try_send(self) -> io::Result<Response> {
        let mut line = TcpStream::connect_timeout(&self.to, SILENCE)?;
        line.set_read_timeout(Some(SILENCE))?;
        line.set_write_timeout(Some(SILENCE))?;
        let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.to);
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() || self.method != "GET" {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        head += "\r\n";
        line.write_all(&[head.as_bytes(), &self.body].concat())?;
        read_head(BufReader::new(line), &self.method)
    }

    /// Sends it; a broken line fails the test.
    pub fn send(self) -> Response {
        let what = format!("{} {} at {}", self.method, self.target, self.to);
        self.try_send().unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

fn read_head(mut from: BufReader<TcpStream>, method: &str) -> io::Result<Response> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer"));
        }
        match line.trim_end() {
            "" => break,
            line if lines.len() < MAX_LINES => lines.push(line.to_owned()),
            _ => return Err(io::Error::other("the answer's head has no end")),
        }
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not an HTTP answer: {lines:?}")))?;
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let find = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let body = if method == "HEAD" || matches!(status, 204 | 304) {
        Body::Empty
    } else if find("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        Body::Chunked { from, left: 0, ended: false }
    } else if let Some(length) = find("content-length") {
        Body::Sized(from.take(length.parse().map_err(|_| io::Error::other("a Content-Length that is no number"))?))
    } else {
        Body::ToTheEnd(from)
    };
    Ok(Response { status, headers, body })
}

impl Response {
    /// A header field by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The rest of the body. A body that is cut short is an error.
    pub fn try_bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The rest of the body; one that is cut short fails the test.
    pub fn bytes(self) -> Vec<u8> {
        let status = self.status;
        self.try_bytes().unwrap_or_else(|error| panic!("the body of a {status}: {error}"))
    }

    /// The body as text.
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The body as JSON; anything else fails the test and is shown.
    pub fn json(self) -> Value {
        let status = self.status;
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("a {status} that is not JSON ({error}): {text:?}"))
    }

    /// The body as JSON if the status is this one.
    pub fn expect(self, status: u16) -> Value {
        if self.status != status {
            let head = format!("{self:?}");
            panic!("expected {status}, got {head}: {}", self.text());
        }
        self.json()
    }
}

impl Read for Response {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut short");
        match &mut self.body {
            Body::Empty => Ok(0),
            Body::ToTheEnd(from) => from.read(into),
            Body::Sized(from) => match from.read(into)? {
                0 if from.limit() > 0 && !into.is_empty() => Err(cut()),
                count => Ok(count),
            },
            Body::Chunked { from, left, ended } => {
                if *left == 0 && !*ended {
                    *left = next_chunk(from)?;
                    *ended = *left == 0;
                }
                let most = into.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = from.read(&mut into[..most])?;
                *left -= count as u64;
                match (count, *left) {
                    (0, 1..) if most > 0 => return Err(cut()),
                    (1.., 0) => drop(from.read_line(&mut String::new())?),
                    _ => {}
                }
                Ok(count)
            }
        }
    }
}

/// RFC 9112 §7.1; extensions are skipped and so is the trailer.
fn next_chunk(from: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(size, 16).map_err(|_| io::Error::other(format!("{line:?} is not the size of a chunk")))
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.status, self.headers)
    }
}
