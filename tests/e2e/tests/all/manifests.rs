//! HLS and DASH through the host: what a player decodes is what the origin has, and comes from it once.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mediahost_e2e::relay::Line;
use mediahost_e2e::{Home, Host, Nginx, Relay, manifests, media, until};
use tempfile::TempDir;

/// What the origin may send beyond the files: header fields, questions whether a file is still the same, manifests.
const SLACK_BYTES: u64 = 400 << 10;
/// How long a camera of ours runs before it is given up.
const LIVE: Duration = Duration::from_secs(60);

fn plays(manifest: &str) -> String {
    plays_like(manifest, manifest)
}

/// What a manifest leads to are the pictures and the sound of another one on the disk.
fn plays_like(manifest: &str, same: &str) -> String {
    let origin = Nginx::serve(manifests::folder());
    let relay = Relay::start(origin.address(), Line::of(200, Duration::from_millis(20)));
    let host = Host::start();
    let (id, session) = host.ready(&relay.url(manifest));
    let url = session["playback_url"].as_str().unwrap().to_owned();
    let local = manifests::folder().join(same).display().to_string();
    let there = media::probe(&url);
    assert!(there == media::probe(&local), "{manifest}: another film than {local}: {session}");
    // A second look costs manifests alone.
    let before = relay.count().down;
    assert!(media::probe(&url) == there, "{manifest}: another film the second time");
    let again = relay.count().down - before;
    assert!(again <= SLACK_BYTES, "{manifest}: {again} bytes for the second look");
    let folder = manifests::folder().join(manifest);
    let size: u64 =
        fs::read_dir(folder.parent().unwrap()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let sent = relay.count().down;
    assert!(sent <= size + SLACK_BYTES, "{manifest}: {sent} bytes of {size}");
    let ms = session["duration_ms"].as_u64().unwrap_or_else(|| panic!("no duration: {session}"));
    let expected = if manifest.starts_with("master") { 12_000 } else { 20_000 };
    assert!(u64::abs_diff(ms, expected) <= expected / 100, "{manifest}: {ms} ms");
    drop((host, id));
    session["tracks"].to_string()
}

#[test]
fn hls_of_transport_streams() {
    let tracks = plays("ts/index.m3u8");
    assert!(tracks.contains("h264") && tracks.contains("aac"), "{tracks}");
}

#[test]
fn hls_of_fragmented_mp4() {
    let tracks = plays("fmp4/index.m3u8");
    assert!(tracks.contains("h264") && tracks.contains("aac"), "{tracks}");
}

#[test]
fn hls_of_one_file() {
    plays("single/index.m3u8");
}

#[test]
fn hls_with_a_key() {
    // From the disk ffmpeg takes no key whose name has no extension.
    plays_like("aes/index.m3u8", "ts/index.m3u8");
}

#[test]
fn hls_with_variants() {
    let tracks = plays("master/film.m3u8");
    assert!(tracks.contains("1080") && tracks.contains("360"), "{tracks}");
}

#[test]
fn dash_with_templates() {
    let tracks = plays("dash/film.mpd");
    assert!(tracks.contains("h264") && tracks.contains("aac"), "{tracks}");
}

#[test]
fn dash_with_one_file_each() {
    plays("ondemand/film.mpd");
}

/// A process that sends until nobody wants it any more.
struct Camera(Child);

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_live_stream_is_followed() {
    let folder = TempDir::new().unwrap();
    // It loses segments as it goes on, as real ones do.
    let camera = Command::new("ffmpeg")
        .current_dir(folder.path())
        .args("-nostdin -v error -re -f lavfi -i testsrc2=size=320x180:rate=25 -t".split(' '))
        .arg(LIVE.as_secs().to_string())
        .args("-c:v libx264 -preset ultrafast -tune zerolatency -g 25 -f hls -hls_time 1 -hls_list_size 4".split(' '))
        .args(["-hls_flags", "delete_segments", "live.m3u8"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("ffmpeg: {error}; `make tools` installs it"));
    let _camera = Camera(camera);
    let segment = folder.path().join("live3.ts");
    until("the camera sends", LIVE, || segment.exists().then_some(()));
    let origin = Nginx::serve(folder.path());
    let host = Host::start();
    let (_, session) = host.ready(&origin.url("live.m3u8"));
    assert_eq!((session["live"].as_bool(), session["duration_ms"].as_u64()), (Some(true), None), "{session}");
    let url = session["playback_url"].as_str().unwrap();
    // More pictures than the window holds: the player has to come back for the manifest, and find what is new.
    let watched = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i", url, "-frames:v", "200", "-f", "framecrc", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let frames = String::from_utf8(watched.stdout).unwrap();
    let frames: Vec<&str> = frames.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(frames.len(), 200, "{}", String::from_utf8_lossy(&watched.stderr));
    let times: Vec<i64> = frames.iter().map(|line| line.split(',').nth(1).unwrap().trim().parse().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 1), "pictures are missing: {times:?}");
}

#[test]
fn a_manifest_that_leads_into_the_own_network_is_refused() {
    let (outside, inside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(inside.path().join("secret.ts"), vec![0x47; 188 * 100]).unwrap();
    let inner = Nginx::serve(inside.path());
    let list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n", inner.url("secret.ts"));
    fs::write(outside.path().join("list.m3u8"), list).unwrap();
    let origin = Nginx::serve(outside.path());
    let host = Home::new().start();
    let error = host.failed(&origin.url("list.m3u8"));
    assert_eq!(error["code"], "private-address", "{error}");
}
