//! The configuration as text: the sample file with every key and its meaning, and the values in force.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::keys::{KEYS, Key, Reload};
use super::raw::Raw;
use super::resolve::{Config, value_of, variable};

/// Columns of a line of comment.
const WIDTH: usize = 100;

/// A file with every key at its default, commented out, and what it means. It parses, with or without the comment
/// signs before the keys.
pub fn sample() -> String {
    let mut text = String::from(
        "# Configuration of mediahost. Every key is shown with its default; remove the # before one to set it.\n\
         # It is read from the file named with --config, else from mediahost.toml in the current folder; then from the\n\
         # environment, where MEDIAHOST_SERVER__LISTEN stands for server.listen; then from flags.\n\
         # Keys marked (live) may change while the host runs: edit, then send SIGHUP.\n",
    );
    each_section(&mut text, |text, key| {
        text.push('\n');
        for line in wrap(&about(key)) {
            let _ = writeln!(text, "# {line}");
        }
        let default = if key.default.is_empty() { "\"\"" } else { key.default };
        let _ = writeln!(text, "# {} = {default}", short_name(key));
    });
    text
}

/// The values in force as TOML, each with where it comes from.
pub fn resolved(config: &Config, raw: &Raw) -> String {
    let mut text = String::new();
    each_section(&mut text, |text, key| {
        let (value, origin) = in_force(config, raw, key);
        if let Some(value) = value {
            let _ = writeln!(text, "{} = {value}  # {origin}", short_name(key));
        }
    });
    text.trim_start().to_owned()
}

/// The values in force as JSON: by key, the value, where it comes from, and whether it may change while running.
pub fn resolved_json(config: &Config, raw: &Raw) -> Value {
    let keys = KEYS.iter().map(|key| {
        let (value, origin) = in_force(config, raw, key);
        let value = value.and_then(|value| serde_json::to_value(value).ok());
        let live = key.reload == Reload::Live;
        (key.name.to_owned(), json!({"value": value, "from": origin, "live": live, "env": variable(key.name)}))
    });
    Value::Object(keys.collect())
}

fn in_force(config: &Config, raw: &Raw, key: &Key) -> (Option<toml::Value>, String) {
    let derived = match key.name {
        "data_dir" => Some(&config.data_dir),
        "plugins_dir" => Some(&config.plugins_dir),
        "cache.dir" => Some(&config.cache_dir),
        _ => None,
    };
    let given = value_of(raw, key.name);
    let origin = given.as_ref().map_or("default".to_owned(), |given| given.origin.to_string());
    let value = derived.map(|path| toml::Value::from(path.to_string_lossy().into_owned()));
    (value.or(given.map(|given| given.value)), origin)
}

fn each_section(text: &mut String, mut write: impl FnMut(&mut String, &Key)) {
    let mut section = "";
    for key in KEYS {
        let own = key.name.split_once('.').map_or("", |(section, _)| section);
        if own != section {
            let _ = write!(text, "\n[{own}]\n");
            section = own;
        }
        write(text, key);
    }
}

fn short_name(key: &Key) -> &str {
    key.name.rsplit('.').next().unwrap_or(key.name)
}

fn about(key: &Key) -> String {
    let mut about = key.about.to_owned();
    if !key.unit.is_empty() {
        let _ = write!(about, " Unit: {}.", key.unit);
    }
    if key.reload == Reload::Live {
        about.push_str(" (live)");
    }
    about
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.len() + word.len() + 1 > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
