//! A place that wants to know who asks.
//!
//! Headers go from the session through the plugin's plan into requests that the host makes much later; a test of one of
//! them would not show that they arrive.

use mediahost_e2e::{Host, Nginx, media, until};
use serde_json::json;

const GOOD: &str = "Basic YW5uOnNlY3JldA==";

#[test]
fn headers_of_a_session_reach_the_origin_and_nobody_else() {
    let origin = Nginx::serve(media::folder());
    let host = Host::start();
    let url = origin.url("private/song.mp3");
    let made = host.api("POST", "/sessions").json(&json!({"url": url, "headers": {"Authorization": GOOD}})).send();
    let id = made.expect(201)["session_id"].as_str().unwrap().to_owned();
    let session = host.verdict(&id);
    assert_eq!(session["state"], "ready", "{session}");
    assert!(host.whole(&id) == media::bytes("song.mp3"));
    let secret = GOOD.trim_start_matches("Basic ");
    assert!(!session.to_string().contains(secret), "the session shows its credentials: {session}");
    assert!(!host.log().contains(secret), "the log shows credentials");
}

#[test]
fn a_session_that_was_refused_goes_on_with_new_credentials() {
    let origin = Nginx::serve(media::folder());
    let host = Host::start();
    let id = host.open(&origin.url("private/song.mp3"));
    let session = host.verdict(&id);
    assert_eq!(session["error"]["code"], "auth-required", "{session}");
    let auth = host.api("PUT", &format!("/sessions/{id}/auth")).json(&json!({"headers": {"Authorization": GOOD}}));
    let status = auth.send().status;
    assert!((200..300).contains(&status), "{status}");
    until("the session with its new credentials", std::time::Duration::from_secs(20), || {
        (host.session(&id)["state"] == "ready").then_some(())
    });
    assert!(host.whole(&id) == media::bytes("song.mp3"));
}
