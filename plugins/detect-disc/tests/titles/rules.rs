//! Which title is the film, by what is known of all of them.

use detect_disc::titles::rules::{Facts, main_title};

/// A line is a title: minutes and words about it. The one with a star is the film.
fn check(name: &str, titles: &str) {
    let lines: Vec<&str> = titles.split('|').map(str::trim).collect();
    let facts: Vec<Facts> = lines.iter().map(|line| facts(line)).collect();
    let expected = lines.iter().position(|line| line.starts_with('*'));
    assert_eq!(main_title(&facts), expected, "{name}");
}

fn facts(line: &str) -> Facts {
    let mut facts = Facts { size: 1, repeats: 1, is_full_picture: true, ..Facts::default() };
    for word in line.trim_start_matches('*').split_whitespace() {
        let (number, what) = word.split_at(word.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(word.len()));
        let number: u64 = number.parse().unwrap_or_default();
        match what {
            "m" => facts.duration_ms = number * 60_000,
            "s" => facts.duration_ms = number * 1000,
            "ch" => facts.chapters = number as usize,
            "snd" => facts.sounds = number as usize,
            "times" => facts.repeats = number as usize,
            "empty" => facts.size = 0,
            "incomplete" => facts.is_incomplete = true,
            "hidden" => facts.is_hidden = true,
            "duplicate" => facts.is_duplicate = true,
            "small" => facts.is_full_picture = false,
            _ => panic!("{word}"),
        }
    }
    facts
}

#[test]
fn the_film_is_found_among_decoys() {
    check("the longest", "90m | *91m | 20m");
    check("only one", "*3s");
    check("none has bytes", "90m empty | 3m empty");
    check("one without bytes", "90m empty | *3m");
    check("a loop", "*90m | 600m 100times");
    check("two times is still a film", "90m | *95m 2times");
    check("clips that are not there", "*90m | 200m incomplete");
    check("nothing but clips that are not there", "10m incomplete | *90m incomplete");
    check("not in the menu", "*90m | 200m hidden");
    check("short ones", "100s | *121s");
    check("nothing but short ones", "30s | *100s | 99s");
    check("short, but the rest loops", "*100s | 600m 100times");
    check("duplicates", "*90m | 90m duplicate 30ch");
    check("ties: chapters", "90m 3ch 9snd | *90m 4ch");
    check("ties: sounds", "90m 3ch 1snd | *90m 3ch 2snd | 90m 3ch 1snd");
    check("ties: the first", "*90m | 90m | 90m");
    check("long without chapters", "200m 1ch | *90m 12ch");
    check("long with few chapters", "*200m 2ch | 90m 12ch");
    check("short with chapters", "*90m 1ch | 10m 12ch");
    check("a small picture", "200m small | *90m");
    check("a small picture that is alone", "*200m small | 20m");
}
