//! What a plugin asks for, what the operator allows, and what of it is granted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{Limits, Manifest};

/// The operator's word on one plugin: the file `<id>.toml` in the plugins folder.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sidecar {
    /// Whether the plugin serves at all. Default: yes.
    pub enabled: Option<bool>,
    /// What is granted. Without it, what the manifest asks for except secrets, roots and private addresses.
    pub grants: Option<Grants>,
    /// Settings, handed to the plugin as JSON.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Limits in place of the manifest's.
    pub limits: LimitsPatch,
}

/// What is granted to a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// May read its secrets.
    pub secrets: bool,
    /// May keep values.
    pub kv: bool,
    /// May send requests, to these hosts with these methods.
    pub fetch: Option<FetchRules>,
    /// Folders it may name in `file` segments, by name.
    pub roots: BTreeMap<String, String>,
}

/// Where a plugin may send requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchRules {
    /// Host names: exact, `*.example.org` for everything below, or `*` for all.
    pub hosts: Vec<String>,
    /// Methods in capitals. Empty means `GET` and `HEAD`.
    pub methods: Vec<String>,
    /// Whether addresses of private networks may be reached.
    pub private: bool,
}

impl FetchRules {
    /// Whether a host may be spoken to. `host` is a name or a literal address without brackets or port.
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|rule| {
            let rule = rule.to_ascii_lowercase();
            match rule.strip_prefix("*.") {
                Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
                None => rule == "*" || rule == host,
            }
        })
    }

    /// Whether a method may be used.
    pub fn allows_method(&self, method: &str) -> bool {
        if self.methods.is_empty() {
            return matches!(method, "GET" | "HEAD");
        }
        self.methods.iter().any(|allowed| allowed == method)
    }
}

/// Limits of which some are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsPatch {
    pub memory_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub wall_ms: Option<u64>,
    pub output_bytes: Option<u64>,
    pub fetches: Option<u32>,
    pub fetch_bytes: Option<u64>,
    pub kv_bytes: Option<u64>,
    pub instances: Option<u32>,
}

impl LimitsPatch {
    /// Refuses limits under which no call could ever succeed; the error names the limit.
    pub fn check(&self) -> Result<(), String> {
        for (name, set, least) in [
            ("memory_bytes", self.memory_bytes, 1 << 20),
            ("cpu_ms", self.cpu_ms, 10),
            ("wall_ms", self.wall_ms, 10),
            ("output_bytes", self.output_bytes, 1 << 10),
            ("instances", self.instances.map(u64::from), 1),
        ] {
            if let Some(set) = set.filter(|set| *set < least) {
                return Err(format!("{name} is {set}, and below {least} no call can succeed"));
            }
        }
        Ok(())
    }

    /// These limits in place of those of `base`.
    pub fn over(&self, base: &Limits) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes.unwrap_or(base.memory_bytes),
            cpu_ms: self.cpu_ms.unwrap_or(base.cpu_ms),
            wall_ms: self.wall_ms.unwrap_or(base.wall_ms),
            output_bytes: self.output_bytes.unwrap_or(base.output_bytes),
            fetches: self.fetches.unwrap_or(base.fetches),
            fetch_bytes: self.fetch_bytes.unwrap_or(base.fetch_bytes),
            kv_bytes: self.kv_bytes.unwrap_or(base.kv_bytes),
            instances: self.instances.unwrap_or(base.instances),
        }
    }
}

/// What a plugin is granted: what its manifest asks for and the operator allows. Without a sidecar that is everything
/// asked for except secrets, roots and private addresses.
pub fn grant(manifest: &Manifest, sidecar: Option<&Sidecar>) -> Grants {
    let asked = |interface: &str| manifest.wants.iter().find(|want| want.interface == interface);
    let allowed = sidecar.and_then(|sidecar| sidecar.grants.as_ref());
    let fetch = asked("fetch").and_then(|want| {
        let wanted = FetchRules { hosts: want.hosts.clone(), methods: want.methods.clone(), private: false };
        let Some(grants) = allowed else { return Some(wanted) };
        let rules = grants.fetch.as_ref()?;
        // Empty means GET and HEAD on either side, so the two sets are written out before they are compared.
        let methods: Vec<String> =
            rules.written_out().into_iter().filter(|method| wanted.allows_method(method)).collect();
        let hosts: Vec<String> = rules.hosts.iter().filter(|host| wanted.allows_rule(host)).cloned().collect();
        (!methods.is_empty() && !hosts.is_empty()).then_some(FetchRules { hosts, methods, private: rules.private })
    });
    Grants {
        secrets: asked("secrets").is_some() && allowed.is_some_and(|grants| grants.secrets),
        kv: asked("kv").is_some() && allowed.is_none_or(|grants| grants.kv),
        fetch,
        roots: match (asked("files"), allowed) {
            (Some(_), Some(grants)) => grants.roots.clone(),
            _ => BTreeMap::new(),
        },
    }
}

impl FetchRules {
    fn written_out(&self) -> Vec<String> {
        if self.methods.is_empty() { vec!["GET".into(), "HEAD".into()] } else { self.methods.clone() }
    }

    /// Whether everything that `rule` stands for is allowed.
    fn allows_rule(&self, rule: &str) -> bool {
        self.hosts.iter().any(|own| own == "*" || own == rule)
            || (!rule.starts_with('*') && self.allows_host(rule))
            || rule.strip_prefix("*.").is_some_and(|domain| self.allows_host(&format!("x.{domain}")))
                && self.hosts.iter().any(|own| own.starts_with("*."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_exactly_below_a_domain_or_all() {
        let rules = |host: &str| FetchRules { hosts: vec![host.into()], ..FetchRules::default() };
        for (rule, host, expected) in [
            ("example.org", "example.org", true),
            ("example.org", "EXAMPLE.org.", true),
            ("example.org", "a.example.org", false),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "evilexample.org", false),
            ("*", "anything", true),
        ] {
            assert_eq!(rules(rule).allows_host(host), expected, "{rule} {host}");
        }
    }

    fn manifest(json: serde_json::Value) -> Manifest {
        let mut whole = serde_json::json!({
            "id": "source-x", "version": "1.0.0", "kind": "media-source",
            "contract": "mediahost:media-source@0.1.0", "schemes": ["x"],
        });
        whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        Manifest::parse(whole.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn without_a_sidecar_all_is_granted_but_secrets_roots_and_private_addresses() {
        let manifest = manifest(serde_json::json!({"wants": [
            {"interface": "fetch", "hosts": ["*.example.org"], "why": "feeds"},
            {"interface": "kv", "why": "k"}, {"interface": "secrets", "why": "s"}, {"interface": "files", "why": "f"},
        ]}));
        let grants = grant(&manifest, None);
        assert!(grants.kv && !grants.secrets && grants.roots.is_empty());
        let fetch = grants.fetch.unwrap();
        assert_eq!((fetch.hosts, fetch.private), (vec!["*.example.org".to_owned()], false));
    }

    #[test]
    fn methods_that_nobody_asked_for_are_not_granted() {
        let manifest = manifest(
            serde_json::json!({"wants": [{"interface": "fetch", "hosts": ["a.org"], "methods": ["POST"], "why": "x"}]}),
        );
        let rules = FetchRules { hosts: vec!["a.org".into()], methods: vec!["GET".into()], private: false };
        let sidecar =
            Sidecar { grants: Some(Grants { fetch: Some(rules), ..Grants::default() }), ..Sidecar::default() };
        assert_eq!(grant(&manifest, Some(&sidecar)).fetch, None);
    }

    #[test]
    fn limits_that_break_every_call_are_refused() {
        let none = LimitsPatch { instances: Some(0), ..LimitsPatch::default() };
        assert!(none.check().unwrap_err().contains("instances is 0"));
        assert_eq!(LimitsPatch { cpu_ms: Some(50), ..LimitsPatch::default() }.check(), Ok(()));
    }

    #[test]
    fn a_sidecar_cannot_grant_what_the_manifest_does_not_ask_for() {
        let manifest = manifest(serde_json::json!({"wants": [{"interface": "fetch", "hosts": ["a.org"], "why": "x"}]}));
        let sidecar = Sidecar {
            grants: Some(Grants {
                secrets: true,
                kv: true,
                fetch: Some(FetchRules { hosts: vec!["a.org".into(), "b.org".into()], ..FetchRules::default() }),
                roots: BTreeMap::from([("r".to_owned(), "/".to_owned())]),
            }),
            ..Sidecar::default()
        };
        let grants = grant(&manifest, Some(&sidecar));
        assert!(!grants.kv && !grants.secrets && grants.roots.is_empty());
        assert_eq!(grants.fetch.unwrap().hosts, ["a.org"]);
    }
}
