//! Dates by counting days, and the three forms in which they are written (§5.6.7).
//!
//! Owns: writing them, and reading what is written exactly so. Leaves to others: what lenient readers make of the rest.

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Date {
    /// A date, in seconds since 1970.
    At(i64),
    /// Nearly one: a wrong day of the week, a leap second, a day that the month has not.
    Open,
    /// Nothing of the kind.
    None,
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The forms, preferred one first.
pub const FORMS: [fn(i64) -> String; 3] = [preferred, rfc850, asctime];

/// Reads a text by guessing what its words are and writing that down again: it is a date if the same comes out.
pub fn read(text: &str) -> Date {
    let text = text.trim_matches([' ', '\t']);
    let words: Vec<&str> = text.split([' ', ',', '-', ':']).filter(|word| !word.is_empty()).collect();
    let guess = match words[..] {
        [_, day, month, year, hour, minute, second, "GMT"] => seconds(year, month, day, [hour, minute, second]),
        [_, month, day, hour, minute, second, year] => seconds(year, month, day, [hour, minute, second]),
        _ => None,
    };
    let exact = guess.filter(|guess| FORMS.iter().any(|write| write(*guess) == text));
    match exact {
        Some(seconds) => Date::At(seconds),
        // Each form has a time of the day with two colons.
        None if text.matches(':').count() == 2 => Date::Open,
        None => Date::None,
    }
}

fn seconds(year: &str, month: &str, day: &str, time: [&str; 3]) -> Option<i64> {
    let number = |text: &str| text.parse::<u16>().ok().map(i64::from);
    let year = match (year.len(), number(year)?) {
        (2, year) if year < 70 => 2000 + year,
        (2, year) => 1900 + year,
        (4, year) => year,
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let days = first_of(year) + (0..month).map(|month| days_in(year, month)).sum::<i64>() + number(day)? - 1;
    Some(((days * 24 + number(time[0])?) * 60 + number(time[1])?) * 60 + number(time[2])?)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn preferred(seconds: i64) -> String {
    let (year, month, day, name, time) = civil(seconds);
    format!("{}, {day:02} {} {year:04} {time} GMT", &name[..3], MONTHS[month])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(seconds: i64) -> String {
    let (year, month, day, name, time) = civil(seconds);
    format!("{name}, {day:02}-{}-{:02} {time} GMT", MONTHS[month], year % 100)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(seconds: i64) -> String {
    let (year, month, day, name, time) = civil(seconds);
    format!("{} {} {day:2} {time} {year:04}", &name[..3], MONTHS[month])
}

fn civil(seconds: i64) -> (i64, usize, i64, &'static str, String) {
    let days = seconds.div_euclid(86_400);
    let mut year = 1970;
    while first_of(year) > days {
        year -= 1;
    }
    while first_of(year + 1) <= days {
        year += 1;
    }
    let (mut month, mut day) = (0, days - first_of(year));
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    let rest = seconds.rem_euclid(86_400);
    let time = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    // 1970 began on a Thursday.
    (year, month, day + 1, DAYS[(days + 3).rem_euclid(7) as usize], time)
}

/// Days from the beginning of 1970 to that of a year.
fn first_of(year: i64) -> i64 {
    let leap_days = |year: i64| (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400);
    (year - 1970) * 365 + leap_days(year) - leap_days(1970)
}

fn days_in(year: i64, month: usize) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
}
