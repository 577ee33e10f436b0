//! What takes more than one origin, or somebody who acts while it is read.

use std::time::Duration;

use proxy::{Session, State};

use super::film::{Answer, Film, honest, whole};
use super::judge::Verdict;
use super::stage::{Stage, failed, in_step, ready};
use super::{Case, DEADLINE, SILENCE, described, left_alone, manners};
use crate::proxy;
use crate::raw::{Ask, RawOrigin, Script};

type Outcome = Result<(), String>;

pub fn cases() -> Vec<Case> {
    vec![
        scene("401 until there is a new token", new_token),
        scene("an expired link, and a new one while somebody reads", new_link),
        scene("an expired link, and nobody wants to go on", given_up),
        scene("an empty file", empty),
        scene("an empty file, as 416", empty_as_416),
        scene("a redirect to another port", other_port),
        scene("a redirect to another port that is permitted", other_port_permitted),
        scene("goes away and comes back", away_and_back),
        scene("goes away when everything is here", away_for_good),
        scene("an answer that never ends", endless),
        scene("many readers and an origin that breaks off", many_readers),
    ]
}

fn scene<F: Future<Output = Outcome> + Send + 'static>(name: &'static str, run: fn() -> F) -> Case {
    let late = move |_| Err(format!("still not over after {} s", DEADLINE.as_secs()));
    Case::new(name, async move { tokio::time::timeout(DEADLINE, run()).await.unwrap_or_else(late) })
}

async fn stage(film: Film, private: &[&str]) -> Stage {
    let other = film.other();
    Stage::new(film, other, SILENCE, private).await
}

fn origin(film: &Film, mut script: impl FnMut(&Ask, &Film) -> Script + Send + 'static) -> RawOrigin {
    let film = film.clone();
    RawOrigin::start(move |ask| script(ask, &film))
}

async fn until(session: &Session, state: State) {
    while session.state() != state {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The last word of a scene: what happened, and that the origin was treated well.
fn end(outcome: Outcome, origin: &RawOrigin) -> Outcome {
    let seen = origin.seen();
    let begun = seen.first().map_or_else(std::time::Instant::now, |seen| seen.at);
    outcome.and_then(|()| manners(&seen)).map_err(|why| format!("{why}\n{}", described(&seen, begun)))
}

async fn new_token() -> Outcome {
    let stage = stage(Film::short(), &[]).await;
    let origin = origin(&stage.film, |ask, film| match ask.field("authorization") {
        Some("good") => honest(ask, film).script(),
        _ => Answer::new("401 Unauthorized", "no").script(),
    });
    let url = origin.url("/film.bin");
    let play = async {
        let session = stage.open(&url).await;
        failed(&session, &["auth-required"])?;
        stage.renew(&session, r#"{"headers": {"Authorization": "bad"}}"#).await?;
        until(&session, State::AuthRequired).await;
        stage.renew(&session, r#"{"headers": {"Authorization": "good"}}"#).await?;
        until(&session, State::Ready).await;
        stage.exact(&session, None, 0).await?;
        // Somebody else has no token, and the bytes are not given to him because of ours.
        failed(&*stage.open(&url).await, &["auth-required"]).map_err(in_step("a second session"))
    };
    let outcome = play.await;
    end(outcome, &origin)
}

/// Gives a few answers for each key.
fn signed(ask: &Ask, film: &Film) -> Script {
    match ask.target.ends_with("key=1") && ask.turn > 0 {
        true => Answer::new("403 Forbidden", "this link has expired").script(),
        false => honest(ask, film).script(),
    }
}

async fn new_link() -> Outcome {
    let stage = stage(Film::long(), &[]).await;
    let origin = origin(&stage.film, signed);
    let play = async {
        let session = stage.open(&origin.url("/film.bin?key=1")).await;
        ready(&session)?;
        origin.turn();
        let renew = async {
            until(&session, State::AuthRequired).await;
            stage.renew(&session, &format!(r#"{{"url": "{}"}}"#, origin.url("/film.bin?key=2"))).await
        };
        let (read, renewed) = tokio::join!(stage.exact(&session, None, 0), renew);
        renewed.and(read)?;
        let fresh = |seen: &crate::raw::Seen| seen.ask.target.ends_with("key=2");
        let sent: u64 = origin.seen().iter().filter(|seen| fresh(seen)).map(|seen| seen.sent).sum();
        let most = stage.film.len() + 100_000;
        if sent <= most { Ok(()) } else { Err(format!("the new link was made to send {sent} bytes")) }
    };
    let outcome = play.await;
    end(outcome, &origin)
}

/// Whoever waits for credentials waits for them, and is let go when the session is ended.
async fn given_up() -> Outcome {
    let stage = stage(Film::long(), &[]).await;
    let origin = origin(&stage.film, signed);
    let play = async {
        let session = stage.open(&origin.url("/film.bin?key=1")).await;
        ready(&session)?;
        origin.turn();
        let delete = async {
            until(&session, State::AuthRequired).await;
            stage.delete(&session).await
        };
        let (read, deleted) = tokio::join!(stage.judged(&session, None), delete);
        match (read?, deleted.as_u16()) {
            (Verdict::Short(_), 204) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    let outcome = play.await;
    end(outcome, &origin)
}

async fn empty() -> Outcome {
    nothing(|_, film| whole(film).script()).await
}

async fn empty_as_416() -> Outcome {
    nothing(|ask, film| honest(ask, film).script()).await
}

/// It is named, and served as what it is.
async fn nothing(script: impl FnMut(&Ask, &Film) -> Script + Send + 'static) -> Outcome {
    let stage = stage(Film::of(0), &[]).await;
    let origin = origin(&stage.film, script);
    let play = async {
        let session = stage.open(&origin.url("/film.bin")).await;
        failed(&session, &["empty-file"])?;
        let answer = stage.read(&session, None).await;
        match (answer.status.as_u16(), answer.bytes.len(), answer.short) {
            (200, 0, false) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    let outcome = play.await;
    end(outcome, &origin)
}

/// One origin that sends to another, which stands on another port and is therefore a stranger.
fn two_origins(film: &Film) -> (RawOrigin, RawOrigin) {
    let there = origin(film, |ask, film| honest(ask, film).script());
    let place = there.url("/there.bin");
    let here = RawOrigin::start(move |_| Answer::new("302 Found", "").set("Location", place.as_str()).script());
    (here, there)
}

/// The user has named one origin of this machine, and by that no other one.
async fn other_port() -> Outcome {
    let stage = stage(Film::short(), &[]).await;
    let (here, there) = two_origins(&stage.film);
    let session = stage.open(&here.url("/film.bin")).await;
    let outcome = failed(&session, &["private-address"]).and_then(|()| match there.seen().len() {
        0 => Ok(()),
        asked => Err(format!("the other origin was asked {asked} times")),
    });
    end(outcome, &here)
}

async fn other_port_permitted() -> Outcome {
    let stage = stage(Film::short(), &["127.0.0.0/8"]).await;
    let (here, there) = two_origins(&stage.film);
    let play = async {
        let secrets = ["Authorization", "Cookie", "X-Api-Key"];
        let headers = secrets.map(|name| plugin::Header { name: name.into(), value: "secret".into() });
        let session = stage.session(&here.url("/film.bin"), headers.into()).await;
        until(&session, State::Ready).await;
        stage.exact(&session, None, 0).await?;
        let knows = |ask: &Ask| secrets.iter().any(|name| ask.field(&name.to_ascii_lowercase()).is_some());
        match (here.seen().iter().all(|seen| knows(&seen.ask)), there.seen().iter().any(|seen| knows(&seen.ask))) {
            (true, false) => Ok(()),
            (told, leaked) => Err(format!("told whom it should: {told}, told whom it should not: {leaked}")),
        }
    };
    let outcome = play.await;
    end(outcome, &there)
}

async fn away_and_back() -> Outcome {
    let stage = stage(Film::long(), &[]).await;
    let mut origin = origin(&stage.film, |ask, film| honest(ask, film).script());
    let session = stage.open(&origin.url("/film.bin")).await;
    let outcome = async {
        ready(&session)?;
        origin.leave().await;
        let back = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            origin.come_back();
        };
        let (read, ()) = tokio::join!(stage.exact(&session, Some(stage.middle()), 0), back);
        read.map_err(in_step("a reader that waits while it is away"))?;
        origin.leave().await;
        // It ends short; what came is right.
        stage.judged(&session, None).await?;
        origin.come_back();
        stage.exact(&session, None, 0).await
    }
    .await;
    end(outcome, &origin)
}

async fn away_for_good() -> Outcome {
    let stage = stage(Film::short(), &[]).await;
    let mut origin = origin(&stage.film, |ask, film| honest(ask, film).script());
    let url = origin.url("/film.bin");
    let session = stage.open(&url).await;
    let outcome = async {
        stage.exact(&session, None, 0).await?;
        origin.leave().await;
        stage.exact(&session, None, 0).await?;
        let second = stage.open(&url).await;
        ready(&second)?;
        stage.exact(&second, Some(stage.middle()), 0).await
    }
    .await;
    end(outcome, &origin)
}

/// Whether it plays or not, it ends when the session does.
async fn endless() -> Outcome {
    let stage = stage(Film::short(), &[]).await;
    let origin = origin(&stage.film, |_, film| {
        let head = whole(film).without("content-length").set("Connection", "close").head();
        Script::new().send(head).repeat(film.bytes.slice(..50_000), Duration::from_millis(1))
    });
    let session = stage.session(&origin.url("/film.bin"), Vec::new()).await;
    let read = stage.read(&session, None);
    let begun = async {
        while origin.sent() < 200_000 && session.state() != State::Failed {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stage.delete(&session).await
    };
    let (answer, deleted) = tokio::join!(read, begun);
    let whole = answer.status.is_success() && !answer.short;
    let outcome = match (whole, deleted.as_u16()) {
        (false, 204) => left_alone(&origin).await,
        other => Err(format!("{other:?}")),
    };
    end(outcome, &origin)
}

/// Everyone gets all of it, and the origin sends it about once.
async fn many_readers() -> Outcome {
    let stage = stage(Film::long(), &[]).await;
    let origin = origin(&stage.film, |ask, film| match honest(ask, film) {
        answer if answer.body.len() > 200_000 => answer.cut(200_000).reset(),
        answer => answer.script(),
    });
    let play = async {
        let session = stage.open(&origin.url("/film.bin")).await;
        let reads = (0..8u64).map(|i| {
            let (stage, session) = (&stage, &session);
            async move {
                let range = i * 350_000..stage.film.len();
                match stage.judged(session, Some(range.clone())).await? {
                    Verdict::Exact(0) => Ok(()),
                    other => Err(format!("{range:?}: {other:?}")),
                }
            }
        });
        futures_util::future::try_join_all(reads).await?;
        let (sent, most) = (origin.sent(), stage.film.len() * 6 / 5);
        if sent <= most { Ok(()) } else { Err(format!("it sent {sent} bytes")) }
    };
    let outcome = play.await;
    end(outcome, &origin)
}
