//! The command line.

use std::path::PathBuf;

/// Where a host listens unless it is told otherwise.
pub const DEFAULT_HOST: &str = "http://127.0.0.1:7979";

pub const USAGE: &str = "\
usage: play-audio [--host URL] [--token-file FILE] [--seek SECONDS]... [--json] <url>

  --host URL         the mediahost (http://127.0.0.1:7979); without this and
                     --token-file, the host of your own data folder
  --token-file FILE  its token (admin.token in your data folder)
  --seek SECONDS     after the whole song, plays again from here; may be repeated
  --json             says what was heard as JSON";

#[derive(Debug, Default, PartialEq)]
pub struct Arguments {
    pub host: Option<String>,
    pub token_file: Option<PathBuf>,
    pub seeks: Vec<f64>,
    pub json: bool,
    pub url: String,
}

impl Arguments {
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--host" => arguments.host = Some(value()?),
                "--token-file" => arguments.token_file = Some(value()?.into()),
                "--seek" => arguments.seeks.push(seconds(&value()?)?),
                "--json" => arguments.json = true,
                option if option.starts_with("--") => return Err(format!("there is no option {option}")),
                url if arguments.url.is_empty() => arguments.url = url.into(),
                more => return Err(format!("one address is played at a time, and {more:?} is a second one")),
            }
        }
        if arguments.url.is_empty() { Err("what should be played?".into()) } else { Ok(arguments) }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or(format!("--seek takes seconds from the beginning, and {text:?} is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_command_line() {
        let expected = Arguments {
            host: Some("http://h".into()),
            token_file: Some("t".into()),
            seeks: vec![1.5, 20.0],
            json: true,
            url: "http://song".into(),
        };
        let line = "--host http://h --token-file t --seek 1.5 http://song --seek 20 --json";
        assert_eq!(parse(line), Ok(expected));
    }

    #[test]
    fn a_bad_one_is_explained() {
        for (line, word) in [
            ("", "what"),
            ("--seek", "needs a value"),
            ("--seek -1 x", "-1"),
            ("--seek NaN x", "NaN"),
            ("--loud x", "--loud"),
            ("x y", "\"y\""),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(word), "{line}: {why}");
        }
    }
}
