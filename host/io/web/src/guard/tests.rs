use super::*;

fn rules(bound: &str) -> Rules {
    let policy = Policy {
        bound: bound.parse().unwrap(),
        public_url: Some("https://Media.example.org/mediahost".into()),
        hosts: vec!["nas".into(), "*.lan".into()],
        cors_origins: vec!["https://player.example.org".into(), "tauri://localhost/".into(), "http://dev:3000".into()],
    };
    Rules::new(policy).unwrap()
}

/// A request as `METHOD target`, then fields `Name: value`; what becomes of it in a word or two.
fn verdict(rules: &Rules, request: &str) -> String {
    let mut lines = request.split(" | ");
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    match rules.judge(&method.parse().unwrap(), &target.parse().unwrap(), &headers) {
        Verdict::Refuse(problem) => format!("{} {}", problem.status.as_u16(), problem.code),
        Verdict::Preflight { private_network: true, .. } => "preflight to a private network".into(),
        Verdict::Preflight { .. } => "preflight".into(),
        Verdict::Pass { origin: Some(_) } => "pass with CORS".into(),
        Verdict::Pass { origin: None } => "pass".into(),
    }
}

#[test]
fn answers_to_its_own_names_alone() {
    let check = |bound: &str, host: &str, expected: &str| {
        assert_eq!(verdict(&rules(bound), &format!("GET / | Host: {host}")), expected, "{bound} {host}");
    };
    const LOOPBACK: &str = "127.0.0.1:7979";
    for host in [
        "127.0.0.1:7979",
        "127.0.0.1",
        "localhost:7979",
        "LOCALHOST",
        "localhost.:7979",
        "app.localhost",
        "[::1]:7979",
        "127.8.8.8",
        "media.example.org",
        "MEDIA.example.org:443",
        "nas:7979",
        "nas.",
        "tv.lan",
        "a.b.lan",
    ] {
        check(LOOPBACK, host, "pass");
    }
    for host in [
        "evil.example",
        "evil.example:7979",
        "192.168.1.2",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "lan",
        "notlan",
        "example.org",
        "nas.evil",
    ] {
        check(LOOPBACK, host, "421 host-unknown");
    }
    for host in ["", "a b", "user@localhost", "localhost/x"] {
        check(LOOPBACK, host, "400 host-missing");
    }
    check("0.0.0.0:7979", "192.168.1.2:7979", "pass");
    check("0.0.0.0:7979", "evil.example", "421 host-unknown");
    check("[::]:7979", "[fd00::1]:7979", "pass");
    check("192.168.1.2:7979", "192.168.1.2:7979", "pass");
    check("192.168.1.2:7979", "192.168.1.3:7979", "421 host-unknown");
}

#[test]
fn takes_the_target_before_the_field() {
    let rules = rules("127.0.0.1:7979");
    let check = |request: &str, expected: &str| assert_eq!(verdict(&rules, request), expected, "{request}");
    check("GET /", "400 host-missing");
    check("GET / | Host: localhost | Host: evil.example", "400 host-missing");
    check("GET http://evil.example/ | Host: localhost", "421 host-unknown");
    check("GET http://localhost/ | Host: evil.example", "pass");
}

#[test]
fn foreign_pages_change_nothing() {
    let rules = rules("127.0.0.1:7979");
    let check = |request: &str, expected: &str| assert_eq!(verdict(&rules, request), expected, "{request}");
    let asked = "Access-Control-Request-Method: PUT";
    check("POST / | Host: localhost:7979", "pass");
    check("POST / | Host: localhost:7979 | Origin: http://localhost:7979", "pass");
    check("POST / | Host: localhost:7979 | Origin: http://localhost", "403 origin-refused");
    check("POST / | Host: localhost:7979 | Origin: http://127.0.0.1:7979", "403 origin-refused");
    check("POST / | Host: localhost | Origin: http://localhost", "pass");
    check("POST / | Host: media.example.org | Origin: https://media.example.org", "pass");
    check("POST / | Host: 127.0.0.1:7979 | Origin: https://media.example.org", "pass");
    check("POST / | Host: localhost | Origin: null", "403 origin-refused");
    check("POST / | Host: localhost | Origin: https://evil.example", "403 origin-refused");
    check("DELETE / | Host: localhost | Origin: https://evil.example", "403 origin-refused");
    check("GET / | Host: localhost | Origin: https://evil.example", "pass");
    check("GET / | Host: localhost | Origin: https://evil.example | Cookie: a=b", "403 origin-refused");
    check("GET / | Host: localhost | Origin: https://evil.example | Upgrade: websocket", "403 origin-refused");
    check("POST / | Host: localhost | Origin: https://player.example.org", "pass with CORS");
    check("GET / | Host: localhost | Origin: https://PLAYER.example.org", "pass with CORS");
    check("GET / | Host: localhost | Origin: tauri://localhost", "pass with CORS");
    check("GET / | Host: localhost | Origin: http://dev:3000", "pass with CORS");
    check("GET / | Host: localhost | Origin: http://dev:3001", "pass");
    check("GET / | Host: localhost | Origin: http://player.example.org", "pass");
    check(&format!("OPTIONS / | Host: localhost | Origin: https://player.example.org | {asked}"), "preflight");
    check(
        &format!(
            "OPTIONS / | Host: localhost | Origin: https://player.example.org | {asked} | Access-Control-Request-Private-Network: true"
        ),
        "preflight to a private network",
    );
    check(&format!("OPTIONS / | Host: localhost | Origin: https://evil.example | {asked}"), "403 origin-refused");
    check("OPTIONS / | Host: localhost | Origin: https://player.example.org", "pass with CORS");
    check("OPTIONS / | Host: localhost", "pass");
}

#[test]
fn nonsense_in_the_configuration_is_refused() {
    let check = |change: fn(&mut Policy), expected: Option<&str>| {
        let mut policy =
            Policy { bound: "127.0.0.1:1".parse().unwrap(), public_url: None, hosts: vec![], cors_origins: vec![] };
        change(&mut policy);
        let refused = Guard::new(policy).err().map(|error| error.to_string());
        match expected {
            None => assert_eq!(refused, None),
            Some(value) => assert!(refused.as_ref().is_some_and(|text| text.contains(value)), "{refused:?} {value}"),
        }
    };
    check(|_| {}, None);
    check(|policy| policy.hosts = vec!["*".into(), "a.b".into(), "*.c".into()], None);
    check(|policy| policy.hosts = vec!["http://nas".into()], Some("http://nas"));
    check(|policy| policy.hosts = vec!["nas:80".into()], Some("nas:80"));
    check(|policy| policy.hosts = vec!["a.*".into()], Some("a.*"));
    check(|policy| policy.hosts = vec!["".into()], Some("\"\""));
    check(|policy| policy.public_url = Some("media.example.org".into()), Some("media.example.org"));
    check(|policy| policy.public_url = Some("https://a;script-src *".into()), Some("script-src"));
    check(|policy| policy.public_url = Some("https://a;b".into()), Some("a;b"));
    check(|policy| policy.cors_origins = vec!["https://a/path".into()], Some("/path"));
    check(|policy| policy.cors_origins = vec!["*".into()], Some("\"*\""));
    check(|policy| policy.cors_origins = vec!["null".into()], Some("null"));
}

#[test]
fn a_policy_can_be_replaced() {
    let policy = |hosts: &[&str]| Policy {
        bound: "127.0.0.1:1".parse().unwrap(),
        public_url: None,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        cors_origins: vec![],
    };
    let guard = Guard::new(policy(&[])).unwrap();
    let shared = guard.clone();
    assert!(!shared.rules().answers_to("nas"));
    guard.replace(policy(&["nas"])).unwrap();
    assert!(shared.rules().answers_to("nas"));
    assert!(guard.replace(policy(&["a b"])).is_err());
    assert!(shared.rules().answers_to("nas"));
}
