//! How the volumes of a set are called.

/// A way of numbering, and the number of the file in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `film.part01.rar`, `film.part02.rar`, …; `film.001`, `film.002`, …
    Counted { stem: String, digits: usize, tail: String, number: usize },
    /// `film.rar`, `film.r00`, `film.r01`, …, `film.r99`, `film.s00`, …
    Lettered { stem: String, upper: bool, number: usize },
}

impl Scheme {
    /// What a name follows; `None` when no other follows from it.
    pub fn of(name: &str) -> Option<Scheme> {
        let (stem, ending) = name.rsplit_once('.')?;
        let lower = ending.to_ascii_lowercase();
        if lower == "rar" {
            return Some(Scheme::of_part(stem, ending).unwrap_or(Scheme::Lettered {
                stem: stem.into(),
                upper: ending.starts_with('R'),
                number: 0,
            }));
        }
        if ending.len() != 3 {
            return None;
        }
        if let Some(number) = digits(ending) {
            return Some(Scheme::Counted { stem: format!("{stem}."), digits: 3, tail: String::new(), number });
        }
        let letter = lower.bytes().next().filter(|letter| (b'r'..=b'z').contains(letter))?;
        let number = usize::from(letter - b'r') * 100 + digits(lower.get(1..)?)? + 1;
        Some(Scheme::Lettered {
            stem: stem.into(),
            upper: ending.starts_with(|c: char| c.is_ascii_uppercase()),
            number,
        })
    }

    fn of_part(stem: &str, ending: &str) -> Option<Scheme> {
        let (stem, part) = stem.rsplit_once('.')?;
        let (word, count) = (part.get(..4)?, part.get(4..)?);
        let number = digits(count).filter(|_| word.eq_ignore_ascii_case("part"))?;
        let (stem, tail) = (format!("{stem}.{word}"), format!(".{ending}"));
        Some(Scheme::Counted { stem, digits: count.len(), tail, number })
    }

    /// The number of the file in question, counted from 0.
    pub fn number(&self) -> usize {
        match self {
            Scheme::Counted { number, .. } => number.saturating_sub(1),
            Scheme::Lettered { number, .. } => *number,
        }
    }

    /// The first volume.
    pub fn first(&self) -> String {
        match self {
            Scheme::Counted { stem, digits, tail, .. } => format!("{stem}{:0digits$}{tail}", 1),
            Scheme::Lettered { stem, upper, .. } => format!("{stem}.{}", if *upper { "RAR" } else { "rar" }),
        }
    }

    /// The volume that comes so many behind the file in question.
    pub fn name(&self, behind: usize) -> Option<String> {
        match self {
            Scheme::Counted { stem, digits, tail, number } => {
                Some(format!("{stem}{:0digits$}{tail}", number.checked_add(behind)?))
            }
            Scheme::Lettered { stem, upper, number } => {
                let Some(count) = number.checked_add(behind)?.checked_sub(1) else { return Some(self.first()) };
                let letter = b'r'.checked_add(u8::try_from(count / 100).ok()?).filter(|letter| *letter <= b'z')?;
                let letter = char::from(if *upper { letter.to_ascii_uppercase() } else { letter });
                Some(format!("{stem}.{letter}{:02}", count % 100))
            }
        }
    }
}

fn digits(text: &str) -> Option<usize> {
    let all = !text.is_empty() && text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_volumes() {
        for (name, number, first, next, later) in [
            ("a.part1.rar", 0, "a.part1.rar", "a.part2.rar", "a.part121.rar"),
            ("a.b.part09.RAR", 8, "a.b.part01.RAR", "a.b.part10.RAR", "a.b.part129.RAR"),
            ("a.PART001.rar", 0, "a.PART001.rar", "a.PART002.rar", "a.PART121.rar"),
            ("a.rar", 0, "a.rar", "a.r00", "a.s19"),
            ("a.part.rar", 0, "a.part.rar", "a.part.r00", "a.part.s19"),
            ("A.RAR", 0, "A.RAR", "A.R00", "A.S19"),
            ("a.r99", 100, "a.rar", "a.s00", "a.t19"),
            ("ü.r00", 1, "ü.rar", "ü.r01", "ü.s20"),
            ("a.001", 0, "a.001", "a.002", "a.121"),
            (".rar", 0, ".rar", ".r00", ".s19"),
        ] {
            let scheme = Scheme::of(name).unwrap();
            assert_eq!((scheme.number(), scheme.first().as_str()), (number, first), "{name}");
            assert_eq!((scheme.name(0).as_deref(), scheme.name(1).as_deref()), (Some(name), Some(next)), "{name}");
            assert_eq!(scheme.name(120).as_deref(), Some(later), "{name}");
        }
        for name in ["", "rar", "a.zip", "a.r1", "a.rüx", "a.ü", "a.q00", "a.r000"] {
            assert_eq!(Scheme::of(name), None, "{name}");
        }
        assert_eq!(Scheme::of("a.z99").unwrap().name(1), None);
        assert_eq!(Scheme::of("a.rar").unwrap().name(usize::MAX), None);
    }
}
