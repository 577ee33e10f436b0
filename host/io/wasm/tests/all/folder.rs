//! Files come, change and go; what serves follows, and a bad file leaves the good one before it serving.

use mediahost_wasm::{Bundled, Origin, State};

use crate::{Platform, changed, first_party, guest};

fn bundled() -> Vec<Bundled> {
    vec![Bundled { id: "source-http", bytes: Box::leak(first_party("source-http").into_boxed_slice()) }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_is_refused_and_the_old_one_serves() {
    let wasm = first_party("source-http");
    let platform = Platform::with(&[("source-http.wasm", wasm.clone())], Vec::new()).await;
    platform.put("source-http.wasm", &wasm[..wasm.len() / 2]);
    let status = platform.until("source-http", |status| status.error.is_some()).await;
    assert_eq!((status.state, status.generation), (State::Serving, 1));
    platform.open("http://example.org/a").await.unwrap();
    platform.put("source-http.wasm", &wasm);
    let status = platform.until("source-http", |status| status.error.is_none()).await;
    assert_eq!((status.state, status.generation), (State::Serving, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_broken_file_is_named() {
    let wasm = first_party("source-http");
    let files = [
        ("text.wasm", b"not wasm at all".to_vec(), "not a WebAssembly component"),
        ("module.wasm", b"\0asm\x01\0\0\0".to_vec(), "core WebAssembly module"),
        ("half.wasm", wasm[..wasm.len() / 2].to_vec(), "not a"),
        ("empty.wasm", Vec::new(), "not a"),
    ];
    let there: Vec<_> = files.iter().map(|(name, bytes, _)| (*name, bytes.clone())).collect();
    let platform = Platform::with(&there, bundled()).await;
    for (name, _, words) in &files {
        let status = platform.host.status(name.trim_end_matches(".wasm")).unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.error.as_ref().unwrap().contains(words), "{status:?}");
    }
    platform.open("http://example.org/a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_overrides_the_bundled_plugin_until_it_is_removed() {
    let platform = Platform::with(&[], bundled()).await;
    assert_eq!(platform.host.status("source-http").unwrap().origin, Origin::Bundled);
    platform.put("mine.wasm", &changed(&first_party("source-http"), 1));
    let status = platform.until("source-http", |status| status.generation == 2).await;
    assert_eq!(status.origin, Origin::Folder);
    // The same id under another name is refused while the first is there.
    platform.put("other.wasm", &changed(&first_party("source-http"), 2));
    let refused = platform.until("other", |status| status.error.is_some()).await;
    assert!(refused.error.unwrap().contains("mine.wasm"));
    std::fs::remove_file(platform.plugins.join("other.wasm")).unwrap();
    std::fs::remove_file(platform.plugins.join("mine.wasm")).unwrap();
    let status = platform.until("source-http", |status| status.generation == 3).await;
    assert_eq!(status.origin, Origin::Bundled);
    platform.open("http://example.org/a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_plugin_is_gone() {
    let platform = Platform::of_guest("guest-trap").await;
    let held = platform.source("guest-trap");
    std::fs::remove_file(platform.plugins.join("guest-trap.wasm")).unwrap();
    let begun = std::time::Instant::now();
    while platform.host.status("guest-trap").is_some() {
        assert!(begun.elapsed() < crate::DEADLINE);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let open = plugin::source::Open { uri: "guest-trap:".into(), headers: Vec::new(), purpose: "check" };
    // Who still holds the plugin has its last generation, or is told that it is gone; never anything else.
    assert!(held.open(open).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_waits_to_be_enabled_and_can_be_switched_off() {
    let platform = Platform::with(&[], bundled()).await;
    let host = &platform.host;
    let status = host.install(&guest("guest-trap")).await.unwrap();
    assert_eq!((status.state, status.waiting.as_deref()), (State::Waiting, Some("0.1.0")));
    assert_eq!(host.set_enabled("guest-trap", true).await.unwrap().state, State::Serving);
    assert_eq!(host.set_enabled("guest-trap", false).await.unwrap().state, State::Disabled);
    assert_eq!(host.set_enabled("guest-trap", true).await.unwrap().state, State::Serving);
    assert!(host.remove("guest-trap").await.unwrap().is_none());
    assert!(host.status("guest-trap").is_none());
    assert_eq!(host.remove("source-http").await.unwrap_err().code(), "plugin-bundled");
    assert_eq!(host.install(b"nonsense").await.unwrap_err().code(), "not-a-plugin");
    assert_eq!(host.set_enabled("nobody", true).await.unwrap_err().code(), "no-such-plugin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_grants_limits_and_configures() {
    let platform = Platform::of_guest("guest-kv-probe").await;
    platform.put("guest-kv-probe.toml", b"[grants]\nkv = false\n");
    platform.until("guest-kv-probe", |status| status.generation == 2).await;
    let plugin::source::Opened::Plan(plan) = platform.open("guest-kv-probe:get/a").await.unwrap() else { panic!() };
    assert_eq!(plan.segments()[0].origin, plugin::source::Origin::Inline((&b"refused"[..]).into()));
    platform.put("guest-kv-probe.toml", b"[grnts]\n");
    let status = platform.until("guest-kv-probe", |status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains("grnts"));
    platform.put("guest-kv-probe.toml", b"enabled = false\n");
    platform.until("guest-kv-probe", |status| status.state == State::Disabled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_artifact_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let services = || mediahost_wasm::Services {
        fetcher: std::sync::Arc::new(crate::Never),
        kv: std::sync::Arc::new(crate::Shelf::default()),
    };
    let config = || mediahost_wasm::Config {
        plugins_dir: dir.path().join("plugins"),
        cache_dir: dir.path().join("compiled"),
        bundled: bundled(),
        poll: std::time::Duration::from_secs(1),
    };
    drop(mediahost_wasm::Host::start(config(), services()).await.unwrap());
    let artifact = std::fs::read_dir(dir.path().join("compiled")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&artifact).unwrap();
    for damage in [whole[..whole.len() / 2].to_vec(), vec![0; whole.len()], Vec::new(), {
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        flipped
    }] {
        std::fs::write(&artifact, &damage).unwrap();
        let host = mediahost_wasm::Host::start(config(), services()).await.unwrap();
        assert_eq!(host.status("source-http").unwrap().state, State::Serving);
        assert_eq!(std::fs::read(&artifact).unwrap().len(), whole.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_override_at_the_start_leaves_the_bundled_plugin_serving() {
    let wasm = first_party("source-http");
    let platform = Platform::with(&[("source-http.wasm", wasm[..wasm.len() / 2].to_vec())], bundled()).await;
    let status = platform.host.status("source-http").unwrap();
    assert_eq!((status.state, status.origin, status.error.is_some()), (State::Serving, Origin::Bundled, true));
    platform.open("http://example.org/a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_becomes_another_plugin_lets_go_of_the_first() {
    let platform = Platform::with(&[("any.wasm", guest("guest-trap"))], Vec::new()).await;
    assert_eq!(platform.host.status("guest-trap").unwrap().state, State::Serving);
    platform.put("any.wasm", &guest("guest-loop"));
    platform.until("guest-loop", |status| status.state == State::Serving).await;
    assert!(platform.host.status("guest-trap").is_none());
    // An upload takes the place of the file that provides the id, whatever its name.
    platform.host.install(&changed(&guest("guest-loop"), 9)).await.unwrap();
    let status = platform.host.set_enabled("guest-loop", true).await.unwrap();
    assert_eq!((status.generation > 1, &status.error, &status.waiting), (true, &None, &None));
    assert!(platform.host.remove("guest-loop").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_one_plugin_leave_nothing_behind() {
    let files: Vec<(String, Vec<u8>)> = (0..20).map(|i| (format!("copy{i}.wasm"), guest("guest-trap"))).collect();
    let there: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let platform = Platform::with(&there, Vec::new()).await;
    platform.until("guest-trap", |status| status.state == State::Serving).await;
    for (name, _) in &files {
        std::fs::remove_file(platform.plugins.join(name)).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(15)).await;
    }
    let begun = std::time::Instant::now();
    while !platform.host.list().is_empty() {
        assert!(begun.elapsed() < crate::DEADLINE, "{:#?}", platform.host.list());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
