//! The engine within another program: no configuration, no port but that for players, no runtime of the caller's.
//!
//! A smaller test would not do: that nothing here needs a runtime shows only where there is none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use mediahost::engine::{Credentials, Engine, EngineConfig, Error};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a future with nothing but this thread: no executor, no runtime.
fn wait<T>(work: impl Future<Output = T>) -> T {
    struct Here(Thread);
    impl Wake for Here {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Here(std::thread::current())));
    let (mut work, begun) = (pin!(work), Instant::now());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        assert!(begun.elapsed() < DEADLINE, "it took too long");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn media(length: usize) -> Vec<u8> {
    (0..length as u64).flat_map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).to_le_bytes()).take(length).collect()
}

/// A server of one file, which may want a token.
struct Origin {
    url: String,
    token: Arc<Mutex<Option<String>>>,
}

impl Origin {
    fn of(bytes: Vec<u8>) -> Origin {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/film.bin", listener.local_addr().unwrap());
        let (bytes, token) = (Arc::new(bytes), Arc::new(Mutex::new(None)));
        let wanted = token.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (bytes, wanted) = (bytes.clone(), wanted.clone());
                std::thread::spawn(move || drop(serve(stream, &bytes, &wanted)));
            }
        });
        Origin { url, token }
    }

    fn wants(&self, token: &str) {
        *self.token.lock().unwrap() = Some(token.to_owned());
    }
}

fn serve(stream: TcpStream, bytes: &[u8], wanted: &Mutex<Option<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut range, mut token) = (0..bytes.len(), None);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let (from, to) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                    let end = to.parse::<usize>().map_or(bytes.len(), |to| (to + 1).min(bytes.len()));
                    range = from.parse().unwrap()..end;
                }
                "authorization" => token = Some(value.to_owned()),
                _ => {}
            }
        }
        let wanted = wanted.lock().unwrap().clone();
        if wanted.is_some() && wanted != token {
            write!(writer, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let (start, last, total) = (range.start, range.end - 1, bytes.len());
        write!(
            writer,
            "HTTP/1.1 206 Partial Content\r\nETag: \"v\"\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{last}/{total}\r\n\r\n",
            range.len()
        )?;
        writer.write_all(&bytes[range])?;
    }
}

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("mediahost-embedded-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Folder(folder)
    }

    fn config(&self) -> EngineConfig {
        EngineConfig::new(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_program_plays_without_http_and_without_a_runtime() {
    let (folder, bytes) = (Folder::new("plain"), media(5_000_000));
    let origin = Origin::of(bytes.clone());
    let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
    assert_eq!(engine.base_url(), None);
    let made = wait(engine.create_session(&origin.url, HashMap::new(), Some("film"))).unwrap();
    assert_eq!(made.playback_url, None);
    wait(engine.ready(&made.session_id)).unwrap();
    let status = engine.status(&made.session_id).unwrap();
    assert_eq!((status.state.as_str(), status.length), ("ready", Some(5_000_000)), "{status:?}");

    let mut stats = engine.watch_stats(Some(&made.session_id)).unwrap();
    let mut all = engine.watch_stats(None).unwrap();
    let mut reader = engine.open(&made.session_id).unwrap();
    let mut part = vec![0; 1000];
    for (at, to) in [
        (4_999_000, SeekFrom::End(-1000)),
        (10, SeekFrom::Start(10)),
        (1020, SeekFrom::Current(10)),
        (202_020, SeekFrom::Current(200_000)),
        (3_000_000, SeekFrom::Start(3_000_000)),
    ] {
        assert_eq!(reader.seek(to).unwrap(), at);
        reader.read_exact(&mut part).unwrap();
        assert!(part == bytes[at as usize..at as usize + 1000], "{to:?}");
    }
    assert!(reader.seek(SeekFrom::Current(-9_000_000)).is_err());
    reader.seek(SeekFrom::Start(9_000_000)).unwrap();
    assert_eq!(reader.read(&mut part).unwrap(), 0, "beyond the end is the end");
    reader.seek(SeekFrom::Start(0)).unwrap();
    let mut whole = Vec::new();
    reader.read_to_end(&mut whole).unwrap();
    assert!(whole == bytes);
    let begun = Instant::now();
    while engine.status(&made.session_id).unwrap().phase != "complete" {
        assert!(begun.elapsed() < DEADLINE, "all of it is here");
        std::thread::yield_now();
    }
    assert!(wait(stats.next()).is_some() && wait(all.next()).is_some());

    wait(engine.close_session(&made.session_id)).unwrap();
    let begun = Instant::now();
    while wait(stats.next()).is_some() {
        assert!(begun.elapsed() < DEADLINE, "statistics of a session end with it");
    }
    assert!(matches!(engine.status(&made.session_id), Err(Error::UnknownSession(_))));
    engine.dispose();
    assert!(wait(async {
        while all.next().await.is_some() {}
        true
    }));

    // The folder is free again, and what was fetched is still there.
    let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
    let again = wait(engine.create_session(&origin.url, HashMap::new(), Some("film"))).unwrap();
    wait(engine.ready(&again.session_id)).unwrap();
    assert_eq!(engine.status(&again.session_id).unwrap().phase, "complete");
}

#[test]
fn players_are_given_an_address() {
    let (folder, bytes) = (Folder::new("http"), media(300_000));
    let origin = Origin::of(bytes.clone());
    let engine = Engine::init(folder.config()).unwrap();
    let made = wait(engine.create_session(&origin.url, HashMap::new(), None)).unwrap();
    let url = made.playback_url.unwrap();
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes=1000-1999\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 206 ") && answer.ends_with(&bytes[1000..2000]));
    // Sessions are the program's alone: nobody else can make or list them.
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /api/v1/sessions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    answer.clear();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn the_program_is_asked_for_credentials() {
    let (folder, bytes) = (Folder::new("auth"), media(300_000));
    let origin = Origin::of(bytes.clone());
    origin.wants("Bearer good");
    let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let questions = asked.clone();
    engine.on_auth_required(move |request| {
        let mut questions = questions.lock().unwrap();
        questions.push(request);
        // The first answer is of no use, so it is asked again.
        let token = if questions.len() == 1 { "Bearer bad" } else { "Bearer good" };
        let headers = HashMap::from([("authorization".to_owned(), token.to_owned())]);
        Some(Credentials { url: None, headers: Some(headers) })
    });
    let made = wait(engine.create_session(&origin.url, HashMap::new(), None)).unwrap();
    let begun = Instant::now();
    while engine.status(&made.session_id).unwrap().state != "ready" {
        assert!(begun.elapsed() < DEADLINE, "{:?}", engine.status(&made.session_id));
        std::thread::yield_now();
    }
    let mut whole = Vec::new();
    engine.open(&made.session_id).unwrap().read_to_end(&mut whole).unwrap();
    assert!(whole == bytes);
    let asked = asked.lock().unwrap();
    assert!(asked.len() == 2 && asked.iter().all(|request| request.session_id == made.session_id), "{asked:?}");

    // And by the call that needs no question.
    let engine_calls = wait(engine.update_session_auth(&made.session_id, Credentials::default()));
    assert!(engine_calls.is_ok());
}

#[test]
fn ready_waits_for_the_answer_to_a_question() {
    let (folder, bytes) = (Folder::new("answer"), media(300_000));
    let origin = Origin::of(bytes);
    origin.wants("Bearer good");
    let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
    engine.on_auth_required(|_| {
        let headers = HashMap::from([("authorization".to_owned(), "Bearer good".to_owned())]);
        Some(Credentials { url: None, headers: Some(headers) })
    });
    let made = wait(engine.create_session(&origin.url, HashMap::new(), None)).unwrap();
    wait(engine.ready(&made.session_id)).unwrap();

    // Who has nothing better to say is not asked for ever.
    origin.wants("Bearer other");
    let asked = Arc::new(Mutex::new(0));
    let questions = asked.clone();
    engine.on_auth_required(move |_| {
        *questions.lock().unwrap() += 1;
        Some(Credentials::default())
    });
    let made = wait(engine.create_session(&origin.url.replace("film", "second"), HashMap::new(), None)).unwrap();
    let Err(Error::Session { code, .. }) = wait(engine.ready(&made.session_id)) else { panic!("it cannot be had") };
    assert_eq!(code, "auth-required");
    let asked = *asked.lock().unwrap();
    assert!((1..=5).contains(&asked), "{asked}");
}

#[test]
fn a_reader_that_waits_is_told_of_the_end() {
    let folder = Folder::new("end");
    let origin = Origin::of(media(30_000_000));
    let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
    let made = wait(engine.create_session(&origin.url, HashMap::new(), None)).unwrap();
    wait(engine.ready(&made.session_id)).unwrap();
    // From now on nothing comes any more.
    origin.wants("Bearer other");
    let mut reader = engine.open(&made.session_id).unwrap();
    reader.seek(SeekFrom::Start(25_000_000)).unwrap();
    let waiting = std::thread::spawn(move || {
        let mut byte = [0];
        let error = reader.read(&mut byte).map(|_| ()).unwrap_err().to_string();
        // And so is everything that comes after.
        assert!(reader.read(&mut byte).is_err());
        error
    });
    let begun = Instant::now();
    while engine.status(&made.session_id).unwrap().state != "auth-required" {
        assert!(begun.elapsed() < DEADLINE, "the reader waits for credentials");
        std::thread::yield_now();
    }
    engine.dispose();
    let error = waiting.join().unwrap();
    assert!(error.contains("disposed") || error.contains("ended"), "{error}");
    // The folder is free.
    drop(Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap());
}

#[test]
fn two_sessions_of_one_file_count_what_is_fetched_once() {
    let folder = Folder::new("twice");
    let origin = Origin::of(media(3_000_000));
    let bus = mediahost::engine::Bus::new(16);
    let mut listening = bus.subscribe();
    let engine = Engine::init(EngineConfig { http: false, bus: Some(bus), ..folder.config() }).unwrap();
    for _ in 0..2 {
        let made = wait(engine.create_session(&origin.url, HashMap::new(), None)).unwrap();
        wait(engine.ready(&made.session_id)).unwrap();
        let mut whole = Vec::new();
        engine.open(&made.session_id).unwrap().read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len(), 3_000_000);
    }
    let mut stats = engine.watch_stats(None).unwrap();
    let now = stats.next_blocking().unwrap();
    // Both read all of it, and half of that was here before.
    assert!((0.4..=0.6).contains(&now.cache_hit_rate), "{now:?}");
    assert!(wait(listening.next()).is_some(), "the program's own bus is used");
}

#[test]
fn what_is_wrong_is_told() {
    let folder = Folder::new("wrong");
    for (config, expected) in [
        (EngineConfig { chunk_size: 1, ..folder.config() }, "chunk_size"),
        (EngineConfig { max_concurrency: 0, ..folder.config() }, "max_concurrency"),
        (EngineConfig { allow_private: vec!["nas".into()], ..folder.config() }, "allow_private"),
    ] {
        let error = Engine::init(config).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
    let second = Engine::init(EngineConfig { http: false, ..folder.config() }).err().unwrap();
    assert!(second.to_string().contains("cache"), "{second}");
    assert!(matches!(wait(engine.create_session("nonsense", HashMap::new(), None)), Err(Error::Refused(_))));
    assert!(matches!(engine.watch_stats(Some("nonsense")), Err(Error::UnknownSession(_))));
    let gone = wait(engine.create_session("http://127.0.0.1:1/film", HashMap::new(), None)).unwrap();
    let Err(Error::Session { code, .. }) = wait(engine.ready(&gone.session_id)) else { panic!("nobody listens there") };
    assert_eq!(code, "connection-refused");
}

#[test]
fn an_engine_may_be_made_and_dropped_within_a_runtime() {
    let folder = Folder::new("within");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::init(EngineConfig { http: false, ..folder.config() }).unwrap();
        let origin = Origin::of(media(100_000));
        let made = engine.create_session(&origin.url, HashMap::new(), None).await.unwrap();
        engine.ready(&made.session_id).await.unwrap();
        drop(engine);
    });
}
