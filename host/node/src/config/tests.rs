use std::path::{Path, PathBuf};

use super::keys::{KEYS, Reload};
use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let home = [("HOME", "/home/somebody")];
    home.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Resolves a file's text, an environment and flags, without touching the disk.
fn resolved(file: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let mut raw = Raw::default();
    raw.add_file(Path::new("/etc/mediahost/mediahost.toml"), file)?;
    // `read` adds the environment to what a file gave; here the file is a text.
    let inputs = Inputs { folder: "/nowhere".into(), env: env(variables), ..Inputs::default() };
    for (name, given) in raw::read(&inputs)?.values {
        raw.values.insert(name, given);
    }
    resolve::resolve(&raw, &inputs.env)
}

fn check(file: &str, variables: &[(&str, &str)], expected: Result<&str, &str>) {
    let found = resolved(file, variables).map(|config| format!("{config:?}")).map_err(|error| error.to_string());
    match (&found, expected) {
        (Ok(found), Ok(part)) if found.contains(part) => {}
        (Err(found), Err(part)) if found.contains(part) => {}
        _ => panic!("{file:?} {variables:?}\n  gives    {found:?}\n  expected {expected:?}"),
    }
}

#[test]
fn layers_win_in_order_and_mistakes_are_named() {
    check("", &[], Ok("listen: 127.0.0.1:7979"));
    check("", &[], Ok("data_dir: \"/home/somebody/"));
    check("", &[("MEDIAHOST_DATA_DIR", "/srv/m")], Ok("plugins_dir: \"/srv/m/plugins\""));
    check("data_dir = 'kept'", &[], Ok("cache_dir: \"/etc/mediahost/kept/cache\""));
    check("server.listen = '127.0.0.1:1'", &[("MEDIAHOST_SERVER__LISTEN", "127.0.0.1:2")], Ok("127.0.0.1:2"));
    check("server.listen = 'localhost:0'", &[], Ok("127.0.0.1:0"));
    check(
        "",
        &[("MEDIAHOST_NET__ALLOW_PRIVATE", "10.0.0.0/8, fd00::/8")],
        Ok("prefix: 8 }, Cidr { network: fd00::, prefix: 8 }]"),
    );
    check("net.allow_private = ['192.168.1.7']", &[], Ok("Cidr { network: 192.168.1.7, prefix: 32 }"));
    check("proxy.read_ahead_bytes = 1048576", &[], Ok("read_ahead_bytes: 1048576"));
    check("log.level = 'info,mediahost_proxy=debug'", &[], Ok("mediahost_proxy=debug"));
    check("server.cors_origins = ['App://Player']", &[], Ok("[\"app://player\"]"));
    check("server.hosts = ['*.Example.org', '*']", &[], Ok("[\"*.example.org\", \"*\"]"));
    check("server.public_url = 'https://media.example/'", &[], Ok("media.example"));
    check("server.cors_origins = ['HTTPS://Player.example:443']", &[], Ok("[\"https://player.example\"]"));
    // Kubernetes sets these for a service of this name.
    check("", &[("MEDIAHOST_PORT", "tcp://10.0.0.1:7979"), ("MEDIAHOST_SERVICE_HOST", "10.0.0.1")], Ok(""));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_name() {
    check(
        "server.lisen = ''",
        &[],
        Err("there is no key server.lisen (in /etc/mediahost/mediahost.toml); did you mean server.listen?"),
    );
    check("listen = ''", &[], Err("did you mean server.listen?"));
    check("datadir = ''", &[], Err("did you mean data_dir?"));
    check("server.allow_private = []", &[], Err("did you mean net.allow_private?"));
    check(
        "[sever]\nlisten = ''",
        &[],
        Err("there is no key [sever] (in /etc/mediahost/mediahost.toml); did you mean [server]?"),
    );
    check("", &[("MEDIAHOST_NET__ALOW_PRIVATE", "")], Err("did you mean net.allow_private?"));
    check("", &[("MEDIAHOST_DATADIR", "/x")], Err("MEDIAHOST_DATADIR); did you mean data_dir?"));
    check("zzz = 1", &[], Err("there is no key zzz (in /etc/mediahost/mediahost.toml)"));
}

#[test]
fn bad_values_are_refused_with_what_would_be_good() {
    check("server.listen = 7979", &[], Err("must be a text in quotes"));
    check("server.listen = 'here'", &[], Err("such as 127.0.0.1:7979"));
    check("server.listen = '0.0.0.0:7979'", &[], Err("server.allow_insecure = true"));
    check("server.listen = '0.0.0.0:7979'\nserver.allow_insecure = true", &[], Ok("0.0.0.0:7979"));
    check("server.listen = '0.0.0.0:7979'\ntls.cert = 'c'\ntls.key = 'k'", &[], Ok("/etc/mediahost/c"));
    check("tls.cert = 'c'", &[], Err("tls.cert (in /etc/mediahost/mediahost.toml) needs tls.key beside it"));
    check("server.max_connections = 1", &[], Err("must be from 8 to 100000 connections"));
    check("", &[("MEDIAHOST_SERVER__MAX_CONNECTIONS", "many")], Err("must be a whole number"));
    check("server.cors_origins = ['*']", &[], Err("must name each origin"));
    check("server.cors_origins = ['app://player/x']", &[], Err("which is not an origin"));
    check("server.public_url = 'https://media.example/sub'", &[], Err("scheme, host and port alone"));
    check("server.public_url = 'ftp://media.example'", &[], Err("must begin with http:// or https://"));
    check("server.hosts = ['a:80']", &[], Err("without a port"));
    check("net.allow_private = ['10.0.0.0/33']", &[], Err("\"10.0.0.0/33\""));
    check("net.allow_private = '10.0.0.0/8'", &[], Err("must be a list of texts"));
    check("log.format = 'xml'", &[], Err("must be one of text, json"));
    check("log.level = 'a=b=c'", &[], Err("is not a level"));
    check("server = 3", &[], Err("there is no key server"));
    check("server.listen = ", &[], Err("is not valid TOML"));
}

#[test]
fn a_file_that_is_named_must_be_there_and_the_default_one_need_not() {
    let folder = PathBuf::from("/nowhere");
    let inputs = Inputs { folder: folder.clone(), env: env(&[]), ..Inputs::default() };
    assert!(load(&inputs).is_ok());
    let error = load(&Inputs { file: Some("x.toml".into()), ..inputs }).unwrap_err().to_string();
    assert!(error.contains("/nowhere/x.toml cannot be read"), "{error}");
}

#[test]
fn the_sample_parses_commented_and_uncommented_and_changes_nothing() {
    let plain = resolved("", &[]).unwrap();
    let sample = print::sample();
    assert_eq!(resolved(&sample, &[]).unwrap(), plain);
    let is_key =
        |line: &str| KEYS.iter().any(|key| line.starts_with(&format!("# {} = ", key.name.rsplit('.').next().unwrap())));
    let uncommented = sample.lines().map(|line| if is_key(line) { &line[2..] } else { line });
    let uncommented = uncommented.collect::<Vec<_>>().join("\n");
    assert_eq!(uncommented.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count(), KEYS.len());
    assert_eq!(resolved(&uncommented, &[]).unwrap(), plain);
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let inputs = Inputs {
        folder: "/nowhere".into(),
        env: env(&[("MEDIAHOST_NET__ALLOW_PRIVATE", "10.0.0.0/8"), ("MEDIAHOST_LOG__FORMAT", "json")]),
        flags: vec![("--listen", "server.listen", "127.0.0.1:0".into())],
        ..Inputs::default()
    };
    let (config, raw) = load(&inputs).unwrap();
    let text = print::resolved(&config, &raw);
    assert!(text.contains("listen = \"127.0.0.1:0\"  # in the flag --listen"), "{text}");
    assert_eq!(resolved(&text, &[]).unwrap(), config);
    let json = print::resolved_json(&config, &raw);
    assert_eq!(json["log.format"]["value"], "json");
    assert_eq!(json["log.level"]["live"], true);
}

#[test]
fn a_reload_applies_all_or_names_the_key_that_cannot_change() {
    let raw = |text: &str| {
        let mut raw = Raw::default();
        raw.add_file(Path::new("/m.toml"), text).unwrap();
        raw
    };
    let old = raw("log.level = 'info'");
    assert_eq!(reload::changes(&old, &raw("")), Ok(vec![]));
    assert_eq!(reload::changes(&old, &raw("log.level = 'debug'")), Ok(vec!["log.level"]));
    let refused = reload::changes(&old, &raw("log.level = 'debug'\nserver.listen = '127.0.0.1:1'")).unwrap_err();
    assert_eq!(refused.key, "server.listen");
    assert!(refused.to_string().contains("restart to apply it"));
}

#[test]
fn the_table_is_in_order() {
    for key in KEYS {
        assert!(!key.about.is_empty() && key.about.ends_with('.'), "{} is explained in sentences", key.name);
        if let Reload::Fixed(why) = key.reload {
            assert!(!why.is_empty(), "{} says why it is fixed", key.name);
        }
        assert_eq!(KEYS.iter().filter(|other| other.name == key.name).count(), 1, "{} is there once", key.name);
    }
}
