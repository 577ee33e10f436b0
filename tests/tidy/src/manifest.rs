//! The manifests of a tree, with each dependency resolved to a folder of the tree or to the name of an outside crate.

use toml::{Table, Value};

use crate::tree::Tree;

/// The manifest of one package.
pub struct Manifest {
    /// The package's folder from the root.
    pub folder: String,
    /// The package's name.
    pub name: String,
    /// Whether it takes the workspace's lints.
    pub has_lints: bool,
    /// Everything it depends on: to run, to build and to test.
    pub dependencies: Vec<Dependency>,
}

/// What a package names.
#[derive(Debug, PartialEq, Eq)]
pub enum Dependency {
    /// The crate in a folder of the tree.
    Inside(String),
    /// A crate from elsewhere, by its real name.
    Outside(String),
}

/// Reads every manifest of the tree but the root's; a manifest that cannot be understood is a complaint.
pub fn read(tree: &Tree) -> (Vec<Manifest>, Vec<String>) {
    let mut manifests = Vec::new();
    let mut complaints = Vec::new();
    let root = tree.get("Cargo.toml").unwrap_or_default().parse::<Table>().unwrap_or_default();
    let shared = table(&root, &["workspace", "dependencies"]);
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let folder = path.trim_end_matches("/Cargo.toml");
        match text.parse::<Table>() {
            Ok(manifest) if manifest.contains_key("package") => {
                manifests.push(resolve(folder, &manifest, shared, &mut complaints));
            }
            Ok(_) => {}
            Err(error) => complaints.push(format!("{path}: is not TOML: {}", error.message())),
        }
    }
    (manifests, complaints)
}

fn resolve(folder: &str, manifest: &Table, shared: Option<&Table>, complaints: &mut Vec<String>) -> Manifest {
    let mut dependencies = Vec::new();
    for (key, value) in sections(manifest).into_iter().flatten() {
        let from_shared = value.get("workspace").and_then(Value::as_bool) == Some(true);
        let (base, value) = match shared.and_then(|shared| shared.get(key)) {
            Some(entry) if from_shared => ("", entry),
            None if from_shared => {
                complaints.push(format!("{folder}/Cargo.toml: {key} is not in the workspace's table"));
                continue;
            }
            _ => (folder, value),
        };
        dependencies.push(match value.get("path").and_then(Value::as_str) {
            Some(path) => Dependency::Inside(join(base, path)),
            None => Dependency::Outside(value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned()),
        });
    }
    Manifest {
        folder: folder.to_owned(),
        name: table(manifest, &["package"])
            .and_then(|package| package.get("name"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        has_lints: table(manifest, &["lints"]).and_then(|lints| lints.get("workspace")) == Some(&Value::Boolean(true)),
        dependencies,
    }
}

/// The tables of dependencies, those for one platform included.
fn sections(manifest: &Table) -> Vec<&Table> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let platforms = table(manifest, &["target"]).into_iter().flat_map(Table::values).filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(platforms)
        .flat_map(|place| KINDS.iter().filter_map(|kind| table(place, &[kind])))
        .collect()
}

fn table<'a>(mut place: &'a Table, path: &[&str]) -> Option<&'a Table> {
    for key in path {
        place = place.get(*key)?.as_table()?;
    }
    Some(place)
}

/// `host/io/web` and `../../core/cache` make `host/core/cache`.
fn join(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
