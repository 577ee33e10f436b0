//! The layers as they were written: file, then environment, then flags; the later one wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use super::keys::{self, Key, Kind};
use super::{DEFAULT_FILE, ENV_PREFIX, Error};

/// Bytes of a configuration file, at most.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// In this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(path) => write!(f, "in {}", path.display()),
            Origin::Env(name) => write!(f, "in the environment variable {name}"),
            Origin::Flag(name) => write!(f, "in the flag {name}"),
        }
    }
}

/// Where the layers come from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file that was named; without one, [`DEFAULT_FILE`] in `folder` if it is there.
    pub file: Option<PathBuf>,
    /// The current folder.
    pub folder: PathBuf,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Values of flags: the flag, the key, the text.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Inputs {
    /// What this process was given: its environment and its current folder.
    pub fn of_this_process(file: Option<PathBuf>) -> Self {
        let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { file, folder: std::env::current_dir().unwrap_or_default(), env: env.collect(), flags: Vec::new() }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    pub value: Value,
    pub origin: Origin,
}

/// What was written, by key. Types and ranges are checked; what the values mean together is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw {
    pub values: BTreeMap<&'static str, Given>,
}

/// Reads the layers.
pub fn read(inputs: &Inputs) -> Result<Raw, Error> {
    let mut raw = Raw::default();
    if let Some((path, text)) = read_file(inputs)? {
        raw.add_file(&path, &text)?;
    }
    raw.add_env(inputs)?;
    for (flag, name, text) in &inputs.flags {
        let key = keys::find(name).expect("flags are tied to keys that exist");
        raw.put_text(key, Origin::Flag(flag), text, &inputs.folder)?;
    }
    Ok(raw)
}

fn read_file(inputs: &Inputs) -> Result<Option<(PathBuf, String)>, Error> {
    let path = inputs.folder.join(inputs.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE)));
    let failed = |source| Error::Read { path: path.clone(), source };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && inputs.file.is_none() => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(about) if about.len() > MAX_FILE_BYTES => {
            return Err(failed(std::io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes"))));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    Ok(Some((path, text)))
}

impl Raw {
    /// Adds what a file says.
    pub fn add_file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let syntax = |error: toml::de::Error| Error::Syntax { path: path.to_owned(), why: error.to_string() };
        let table: toml::Table = text.parse().map_err(syntax)?;
        self.add_table(path, "", table)
    }

    fn add_table(&mut self, path: &Path, prefix: &str, table: toml::Table) -> Result<(), Error> {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            let origin = Origin::File(path.to_owned());
            let section = format!("{name}.");
            match (keys::find(&name), value) {
                (Some(key), value) => self.put(key, origin, value, path.parent().unwrap_or(Path::new("")))?,
                (None, Value::Table(inner)) if keys::KEYS.iter().any(|key| key.name.starts_with(&section)) => {
                    self.add_table(path, &section, inner)?;
                }
                (None, Value::Table(_)) => return Err(unknown_section(name, origin)),
                (None, _) => return Err(unknown(name, origin)),
            }
        }
        Ok(())
    }

    /// Adds what the environment says. A variable with `__` is ours for certain, so that an unknown one is refused; one
    /// without may be somebody else's (Kubernetes sets `MEDIAHOST_PORT` for a service of this name) and is refused
    /// only when it is a misspelling.
    fn add_env(&mut self, inputs: &Inputs) -> Result<(), Error> {
        for (variable, text) in &inputs.env {
            let Some(rest) = variable.strip_prefix(ENV_PREFIX) else { continue };
            let name = rest.to_ascii_lowercase().replace("__", ".");
            let origin = Origin::Env(variable.clone());
            match keys::find(&name) {
                Some(key) => self.put_text(key, origin, text, &inputs.folder)?,
                None if name.contains('.') || top_level_misspelt(&name) => return Err(unknown(name, origin)),
                None => {}
            }
        }
        Ok(())
    }

    fn put_text(&mut self, key: &'static Key, origin: Origin, text: &str, folder: &Path) -> Result<(), Error> {
        let wrong = |why: &str| Error::Value { key: key.name, origin: origin.clone(), why: why.to_owned() };
        let value = match key.kind {
            Kind::Text | Kind::Path | Kind::OneOf(_) => Value::String(text.to_owned()),
            Kind::Bool => Value::Boolean(text.parse().map_err(|_| wrong("must be true or false"))?),
            Kind::Integer { .. } => Value::Integer(text.parse().map_err(|_| wrong("must be a whole number"))?),
            Kind::List => {
                Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect())
            }
        };
        self.put(key, origin, value, folder)
    }

    fn put(&mut self, key: &'static Key, origin: Origin, value: Value, folder: &Path) -> Result<(), Error> {
        let value = check_type(key, value, folder).map_err(|why| Error::Value {
            key: key.name,
            origin: origin.clone(),
            why,
        })?;
        self.values.insert(key.name, Given { value, origin });
        Ok(())
    }
}

/// Checks type and range, and joins a relative path to the folder it is relative to.
fn check_type(key: &Key, value: Value, folder: &Path) -> Result<Value, String> {
    match (key.kind, value) {
        (Kind::Text, value @ Value::String(_)) | (Kind::Bool, value @ Value::Boolean(_)) => Ok(value),
        (Kind::Path, Value::String(path)) if path.is_empty() => Ok(Value::String(path)),
        (Kind::Path, Value::String(path)) => {
            let joined = folder.join(path).into_os_string().into_string();
            joined.map(Value::String).map_err(|_| "must be a path in UTF-8".to_owned())
        }
        (Kind::Integer { min, max }, Value::Integer(number)) if (min..=max).contains(&number) => {
            Ok(Value::Integer(number))
        }
        (Kind::Integer { min, max }, Value::Integer(number)) => {
            Err(format!("is {number} and must be from {min} to {max} {}", key.unit))
        }
        (Kind::List, Value::Array(items)) if items.iter().all(Value::is_str) => Ok(Value::Array(items)),
        (Kind::OneOf(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(Value::String(word)),
        (Kind::OneOf(words), value) => Err(format!("is {value} and must be one of {}", words.join(", "))),
        (Kind::Text | Kind::Path, value) => Err(format!("is {value} and must be a text in quotes")),
        (Kind::Bool, value) => Err(format!("is {value} and must be true or false")),
        (Kind::Integer { .. }, value) => Err(format!("is {value} and must be a whole number")),
        (Kind::List, value) => Err(format!("is {value} and must be a list of texts")),
    }
}

fn unknown(key: String, origin: Origin) -> Error {
    let nearest = keys::nearest(&key).map(str::to_owned);
    Error::Unknown { key, origin, nearest }
}

fn unknown_section(section: String, origin: Origin) -> Error {
    let sections = keys::KEYS.iter().filter_map(|key| key.name.split_once('.')).map(|(section, _)| section);
    let nearest = sections
        .map(|known| (strsim::normalized_damerau_levenshtein(known, &section), known))
        .filter(|(similar, _)| *similar >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!("[{known}]"));
    Error::Unknown { key: format!("[{section}]"), origin, nearest }
}

fn top_level_misspelt(name: &str) -> bool {
    let near = |key: &&Key| !key.name.contains('.') && strsim::damerau_levenshtein(key.name, name) <= 2;
    keys::KEYS.iter().any(|key| near(&key))
}
