//! An origin that is not ours: Debian's nginx, serving a folder, with a log that counts each byte it sent.
//!
//! | path | what it is |
//! |---|---|
//! | `/<file>` | the file, with ranges and validators |
//! | `/private/<file>` | the same behind basic authentication (`ann`, `secret`) |
//! | `/plain/<file>` | the same without ranges |
//! | `/moved/<file>` | a redirect to `/<file>` |
//! | `/away/<file>` | a redirect to the same port of `127.0.0.2`, another address of this machine |
//! | `/gone/<file>` | 410, `/broken/<file>` 503 |

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::http::Request;
use crate::wait::within;

/// nginx cannot be told to let the system choose, so a port that was free a moment ago may be taken: try again.
const ATTEMPTS: u32 = 5;
const START: Duration = Duration::from_secs(5);
/// `ann:secret`, in nginx's plain notation.
const PASSWORDS: &str = "ann:{PLAIN}secret\n";

/// A running nginx. It ends when this is dropped.
pub struct Nginx {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// A request as nginx saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `GET`, `HEAD` …
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// The status it answered with; 499 when the client went away before the head.
    pub status: u16,
    /// Bytes of body that it handed to the system.
    pub body_bytes: u64,
    /// The request's `Range`, or `-`.
    pub range: String,
}

impl Nginx {
    /// Serves the files of a folder.
    pub fn serve(files: &Path) -> Nginx {
        Nginx::serve_at(Ipv4Addr::LOCALHOST.into(), files)
    }

    /// The same at another address of this machine.
    pub fn serve_at(address: IpAddr, files: &Path) -> Nginx {
        for _ in 0..ATTEMPTS {
            if let Some(nginx) = Nginx::try_serve(address, files) {
                return nginx;
            }
        }
        panic!("nginx did not start; is it installed? `make tools` installs it")
    }

    fn try_serve(address: IpAddr, files: &Path) -> Option<Nginx> {
        let folder = TempDir::with_prefix("e2e-nginx-").unwrap();
        let address = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap();
        let file = |name: &str| folder.path().join(name);
        let files = files.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", files.display()));
        fs::write(file("passwords"), PASSWORDS).unwrap();
        fs::write(file("nginx.conf"), configuration(folder.path(), &files, address)).unwrap();
        let process = Command::new(program())
            .args(["-e", "error.log", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(file("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(file("stderr.log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}; `make tools` installs it"));
        let mut nginx = Nginx { process, address, folder };
        let ours = nginx.folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let ready = within(START, || {
            let ended = nginx.process.try_wait().unwrap().is_some();
            let answer = Request::new(address, "GET", "/-/whose").try_send().and_then(|answer| answer.try_bytes());
            (ended || answer.is_ok_and(|name| name == ours.as_bytes())).then_some(!ended)
        });
        (ready == Some(true)).then_some(nginx)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, which is one.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The address of a file, without a relay.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// What it answered so far, in the order in which the answers ended.
    pub fn served(&self) -> Vec<Served> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let lines = log.lines().filter(|line| !line.contains("/-/whose"));
        lines.map(|line| parse(line).unwrap_or_else(|| panic!("nginx logged {line:?}"))).collect()
    }

    /// Bytes of body that it sent for targets which contain this text.
    pub fn body_bytes(&self, target: &str) -> u64 {
        self.served().iter().filter(|served| served.target.contains(target)).map(|served| served.body_bytes).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let errors = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
            show(&format!("--- nginx served\n{:#?}\n--- nginx's errors\n{errors}", self.served()));
        }
        // One process, since `master_process` is off; it may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[allow(clippy::print_stderr, reason = "shown by the test harness when the test fails")]
fn show(text: &str) {
    eprintln!("{text}");
}

fn program() -> PathBuf {
    let beside = PathBuf::from("/usr/sbin/nginx");
    if beside.exists() { beside } else { "nginx".into() }
}

fn configuration(folder: &Path, files: &Path, address: SocketAddr) -> String {
    let [folder, files] = [folder, files].map(|path| path.display().to_string());
    let port = address.port();
    let name = folder.rsplit('/').next().unwrap_or_default();
    // Without this a server that root starts could not read what root's tests wrote.
    let user = if fs::metadata("/proc/self").is_ok_and(|own| is_root(&own)) { "user root;" } else { "" };
    format!(
        r#"
{user}
daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
  log_format counted '$request_method $request_uri $status $body_bytes_sent $http_range';
  access_log access.log counted;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  sendfile on; tcp_nodelay on; keepalive_timeout 30s; etag on;
  absolute_redirect off;
  types {{
    video/mp4 mp4; video/x-matroska mkv; video/mp2t ts; audio/flac flac; audio/mpeg mp3; audio/ogg ogg;
    audio/wav wav; text/html html;
  }}
  default_type application/octet-stream;
  server {{
    listen {address};
    root {files};
    location = /-/whose {{ return 200 {name}; }}
    location /private/ {{ alias {files}/; auth_basic films; auth_basic_user_file {folder}/passwords; }}
    location /plain/ {{ alias {files}/; max_ranges 0; }}
    location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }}
    location /away/ {{ return 302 http://127.0.0.2:{port}/film.mp4; }}
    location /gone/ {{ return 410; }}
    location /broken/ {{ return 503; }}
  }}
}}
"#
    )
}

fn is_root(own: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(own) == 0
}

fn parse(line: &str) -> Option<Served> {
    let mut words = line.splitn(5, ' ');
    Some(Served {
        method: words.next()?.into(),
        target: words.next()?.into(),
        status: words.next()?.parse().ok()?,
        body_bytes: words.next()?.parse().ok()?,
        range: words.next()?.into(),
    })
}
