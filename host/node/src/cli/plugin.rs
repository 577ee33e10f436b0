//! `mediahost plugin`: see, check and write plugins.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::args::{Plugin, Shared};
use super::client::Client;
use super::scaffold;
use crate::embedded;

pub async fn run(shared: &Shared, command: Plugin) -> anyhow::Result<()> {
    match command {
        Plugin::List => list(shared).await,
        Plugin::Inspect { file } => inspect(shared, &file),
        Plugin::New(new) => scaffold::run(shared, &new),
    }
}

async fn list(shared: &Shared) -> anyhow::Result<()> {
    let (config, ..) = super::configuration(shared)?;
    let answer = match Client::find(&config).await? {
        Some(client) => client.get("/api/v1/plugins").await?,
        None => json!({"plugins": on_disk(&config.plugins_dir)}),
    };
    super::print(shared, &answer, &table(answer["plugins"].as_array().map_or(&[], Vec::as_slice)));
    Ok(())
}

/// What a host would load: the files of the folder, and what the binary carries unless a file overrides it.
fn on_disk(folder: &Path) -> Vec<Value> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let mut plugins: Vec<Value> = files.map(|path| file_of(&path)).collect();
    for (id, bytes) in embedded::PLUGINS {
        if !plugins.iter().any(|plugin| plugin["id"] == *id) {
            plugins.push(described(id, "bundled", wasm::inspect(bytes)));
        }
    }
    plugins.sort_by_key(|plugin| plugin["id"].as_str().unwrap_or_default().to_owned());
    plugins
}

fn file_of(path: &Path) -> Value {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    match fs::read(path) {
        Ok(bytes) => described(&name, "folder", wasm::inspect(&bytes)),
        Err(error) => json!({"id": name, "origin": "folder", "state": "failed", "error": error.to_string()}),
    }
}

fn described(name: &str, origin: &str, found: Result<wasm::Inspection, wasm::Error>) -> Value {
    match found {
        Ok(found) => json!({
            "id": found.manifest.id, "version": found.manifest.version, "kind": found.manifest.kind,
            "sha256": found.sha256, "summary": found.manifest.summary, "schemes": found.manifest.schemes,
            "priority": found.manifest.priority, "origin": origin, "state": "not-running",
        }),
        Err(error) => json!({"id": name, "origin": origin, "state": "failed", "error": error.to_string()}),
    }
}

/// Columns as wide as their widest cell; an error stands below its plugin.
fn table(plugins: &[Value]) -> String {
    let cell = |plugin: &Value, field: &str| match &plugin[field] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let fields = ["id", "version", "kind", "state", "generation", "origin"];
    let mut rows = vec![fields.map(str::to_uppercase)];
    rows.extend(plugins.iter().map(|plugin| fields.map(|field| cell(plugin, field))));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        if let Some(error) = i.checked_sub(1).and_then(|i| plugins[i]["error"].as_str()) {
            let _ = writeln!(text, "    {error}");
        }
    }
    text
}

fn inspect(shared: &Shared, file: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let found = wasm::inspect(&bytes).with_context(|| format!("{} is not a plugin", file.display()))?;
    super::print(shared, &serde_json::to_value(&found)?, &summary(&found));
    Ok(())
}

fn summary(found: &wasm::Inspection) -> String {
    let manifest = &found.manifest;
    let mut text =
        format!("{} {}, a {} for {}\n", manifest.id, manifest.version, manifest.kind.name(), manifest.contract);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<11} {value}");
        }
    };
    line("summary", manifest.summary.clone());
    line("author", manifest.author.clone());
    line("licence", manifest.licence.clone());
    line("schemes", manifest.schemes.join(", "));
    line("extensions", manifest.extensions.join(", "));
    line("titles", if manifest.titles { "it may find several in a file".into() } else { String::new() });
    for magic in &manifest.magic {
        line("magic", format!("{} at {}", magic.hex, magic.offset));
    }
    for want in &manifest.wants {
        let hosts = if want.hosts.is_empty() { String::new() } else { format!(" ({})", want.hosts.join(", ")) };
        line("asks for", format!("{}{hosts}: {}", want.interface, want.why));
    }
    let limits = &manifest.limits;
    line(
        "limits",
        format!("{} MiB of memory, {} ms CPU, {} ms in all", limits.memory_bytes >> 20, limits.cpu_ms, limits.wall_ms),
    );
    line("imports", found.imports.join(", "));
    line("exports", found.exports.join(", "));
    line("file", format!("{} bytes, sha256 {}", found.bytes, found.sha256));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_errors_stand_below() {
        let plugins = [
            json!({"id": "source-http", "version": "1.0.0", "kind": "media-source", "state": "serving",
                   "generation": 12, "origin": "bundled", "error": null}),
            json!({"id": "x", "state": "failed", "generation": 0, "origin": "folder", "error": "not a component"}),
        ];
        let expected = "\
ID           VERSION  KIND          STATE    GENERATION  ORIGIN
source-http  1.0.0    media-source  serving  12          bundled
x            -        -             failed   0           folder
    not a component
";
        assert_eq!(table(&plugins), expected);
    }
}
