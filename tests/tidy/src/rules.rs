//! The rules, one function each.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::manifest::{self, Dependency};
use crate::rust;
use crate::tables::{
    CORE_WORDS, EDGES, HEAVY, MADE_UP, NAMES, NOT_IN_A_CORE, NOT_IN_PUBLIC, UNBOUNDED, WITH_HEADS, WITHOUT_LINTS,
    allowed, fits,
};
use crate::tree::Tree;

/// A promise and its check.
pub type Rule = (&'static str, fn(&Tree) -> Vec<String>);

/// All of them.
pub const RULES: &[Rule] = &[
    ("manifests can be read", readable),
    ("edges stand in the table", edges),
    ("a heavy library has one owner", heavy),
    ("cores depend on nothing that acts", core_manifests),
    ("cores reach for nothing outside", core_sources),
    ("queues have a bound", bounded),
    ("members take the workspace's lints", lints),
    ("packages are called after their folders", names),
    ("files say what they are for", heads),
    ("texts are fit for the public", public),
];

fn readable(tree: &Tree) -> Vec<String> {
    manifest::read(tree).1
}

fn edges(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for manifest in manifest::read(tree).0 {
        let folder = &manifest.folder;
        let Some((row, may_know)) = EDGES.iter().find(|(row, _)| fits(folder, row)) else {
            complaints.push(format!("{folder}/Cargo.toml: the folder has no row in the table of edges"));
            continue;
        };
        for dependency in &manifest.dependencies {
            let Dependency::Inside(to) = dependency else { continue };
            if !allowed(to, may_know) {
                complaints.push(format!(
                    "{folder}/Cargo.toml: the edge {folder} -> {to} is not in the table ({row} may know {may_know:?})"
                ));
            }
        }
    }
    complaints
}

fn heavy(tree: &Tree) -> Vec<String> {
    let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut complaints = Vec::new();
    for manifest in manifest::read(tree).0.into_iter().filter(|manifest| manifest.folder.starts_with("host/")) {
        for dependency in &manifest.dependencies {
            let Dependency::Outside(name) = dependency else { continue };
            let Some((library, owner)) = HEAVY.iter().find(|(library, _)| is_part_of(name, library)) else { continue };
            let users = named.entry(library).or_default();
            if !users.contains(&manifest.folder) {
                users.push(manifest.folder.clone());
            }
            if manifest.folder != *owner {
                complaints.push(format!("{}/Cargo.toml: names {name}, which belongs to {owner}", manifest.folder));
            }
        }
    }
    complaints.extend(
        named
            .iter()
            .filter(|(_, users)| users.len() > 1)
            .map(|(library, users)| format!("{}/Cargo.toml: {library} is named by {}", users[1], users.join(" and "))),
    );
    complaints
}

fn is_part_of(name: &str, library: &str) -> bool {
    name.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn core_manifests(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for manifest in manifest::read(tree).0.into_iter().filter(|manifest| fits(&manifest.folder, "host/core/*")) {
        for dependency in &manifest.dependencies {
            let Dependency::Outside(name) = dependency else { continue };
            if NOT_IN_A_CORE.contains(&name.as_str()) || HEAVY.iter().any(|(library, _)| is_part_of(name, library)) {
                complaints.push(format!("{}/Cargo.toml: a core may not name {name}", manifest.folder));
            }
        }
    }
    complaints
}

fn core_sources(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.sources().filter(|(path, _)| path.starts_with("host/core/") && !rust::is_test(path)) {
        let code = rust::without_tests(&rust::code(text));
        for (word, what) in CORE_WORDS {
            for line in rust::lines_with(&code, word) {
                complaints.push(format!("{path}:{line}: {word} is {what}"));
            }
        }
    }
    complaints
}

fn bounded(tree: &Tree) -> Vec<String> {
    let ours = |path: &str| (path.starts_with("host/") || path.starts_with("sdk/")) && !rust::is_test(path);
    let mut complaints = Vec::new();
    for (path, text) in tree.sources().filter(|(path, _)| ours(path)) {
        let code = rust::without_tests(&rust::code(text));
        let words = UNBOUNDED.iter().flat_map(|word| rust::lines_with(&code, word)).map(|line| (line, "a queue"));
        let bare = ["mpsc::channel()", "mpsc::channel::<"].iter().flat_map(|word| {
            // A turbofish is fine where a bound follows it.
            rust::lines_with(&code, word)
                .into_iter()
                .filter(|line| code.lines().nth(line - 1).is_some_and(|text| text.contains("()")))
                .map(|line| (line, "a queue"))
        });
        let mut found: Vec<_> = words.chain(bare).collect();
        found.sort_unstable();
        found.dedup();
        complaints.extend(found.iter().map(|(line, what)| format!("{path}:{line}: {what} without a bound")));
    }
    complaints
}

fn lints(tree: &Tree) -> Vec<String> {
    manifest::read(tree)
        .0
        .iter()
        .filter(|manifest| !manifest.has_lints && !allowed(&manifest.folder, WITHOUT_LINTS))
        .map(|manifest| format!("{}/Cargo.toml: has no `[lints] workspace = true`", manifest.folder))
        .collect()
}

fn names(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for manifest in manifest::read(tree).0 {
        let Some((_, pattern)) = NAMES.iter().find(|(row, _)| fits(&manifest.folder, row)) else { continue };
        let expected = pattern.replace("{}", manifest.folder.rsplit('/').next().unwrap_or_default());
        if manifest.name != expected {
            complaints.push(format!("{}/Cargo.toml: is called {}, not {expected}", manifest.folder, manifest.name));
        }
    }
    complaints
}

fn heads(tree: &Tree) -> Vec<String> {
    tree.sources()
        .filter(|(path, _)| allowed(path, WITH_HEADS) && !path.ends_with("/tests.rs"))
        .filter(|(_, text)| !text.trim_start_matches("#![no_std]").trim_start().starts_with("//!"))
        .map(|(path, _)| format!("{path}: does not begin with `//!` and what the file is for"))
        .collect()
}

fn public(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.files() {
        let text = without_made_up_homes(text);
        for (word, what) in NOT_IN_PUBLIC {
            for line in rust::lines_with(&text, word) {
                complaints.push(format!("{path}:{line}: {word} is {what}"));
            }
        }
    }
    complaints
}

fn without_made_up_homes(text: &str) -> Cow<'_, str> {
    let (homes, _) = NOT_IN_PUBLIC[0];
    if !text.contains(homes) {
        return text.into();
    }
    let ends = ["/", "\"", "'", "`"];
    MADE_UP
        .iter()
        .flat_map(|name| ends.map(|end| (name, end)))
        .fold(text.to_owned(), |text, (name, end)| text.replace(&format!("{homes}{name}{end}"), &format!("~{end}")))
        .into()
}
