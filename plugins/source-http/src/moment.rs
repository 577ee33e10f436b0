//! Moments, as signed links and sentences write them. All of them are milliseconds since 1970 inside.

/// Bare numbers of seconds between these are taken for moments: September 2001 to October 2096.
const SECONDS: std::ops::RangeInclusive<u64> = 1_000_000_000..=4_000_000_000;

/// Seconds or milliseconds since 1970, told apart by their size.
pub fn from_unix(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = text.parse().ok()?;
    if SECONDS.contains(&number) {
        return Some(number * 1000);
    }
    SECONDS.contains(&(number / 1000)).then_some(number)
}

/// Seconds since 1970 in hexadecimal.
pub fn from_hex(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let seconds = u64::from_str_radix(text, 16).ok()?;
    SECONDS.contains(&seconds).then(|| seconds * 1000)
}

/// ISO 8601, extended (`2026-05-01T12:00:00Z`, `2026-05-01`, an offset or fractions of a second) or basic
/// (`20260501T120000Z`).
pub fn from_iso(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    let (year, month, day) = match *date.split('-').collect::<Vec<_>>() {
        [year, month, day] => (number(year, 4)?, number(month, 2)?, number(day, 2)?),
        [basic] if basic.len() == 8 && basic.is_ascii() => {
            (number(&basic[..4], 4)?, number(&basic[4..6], 2)?, number(&basic[6..], 2)?)
        }
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let at_s = days(year, month, day) * 86_400 + seconds_of_day(time)?;
    u64::try_from(at_s).ok()?.checked_mul(1000)
}

/// As people read it: `2026-05-01 12:00:00 UTC`.
pub fn to_text(at_ms: u64) -> String {
    let (day, second) = (at_ms / 86_400_000, at_ms / 1000 % 86_400);
    let (year, month, day) = date(day as i64);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Seconds since midnight UTC, which an offset may move into the day before or after. Fractions are dropped.
fn seconds_of_day(time: &str) -> Option<i64> {
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let clock = clock.split_once(['.', ',']).map_or(clock, |(whole, _)| whole);
    let offset_s = match zone {
        "" | "Z" | "z" => 0,
        _ if !zone.is_ascii() => return None,
        _ => clock_s(&zone[1..])? * if zone.starts_with('-') { -1 } else { 1 },
    };
    Some(clock_s(clock)? - offset_s)
}

/// `12:34:56`, `12:34`, `123456`, `1234` or nothing.
fn clock_s(clock: &str) -> Option<i64> {
    let digits = clock.replace(':', "");
    if !matches!(digits.len(), 0 | 2 | 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |i: usize| digits.get(2 * i..2 * i + 2).map_or(Some(0), |part| part.parse::<i64>().ok());
    let (hour, minute, second) = (part(0)?, part(1)?, part(2)?);
    (hour <= 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year) = (year / 400, year % 400);
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

/// The date of a day since 1970, the other way round.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-05-01T12:00:00Z", Some(1_777_636_800_000)),
            ("2026-05-01T12:00:00.500Z", Some(1_777_636_800_000)),
            ("2026-05-01T14:00:00+02:00", Some(1_777_636_800_000)),
            ("2026-05-01T07:00:00-0500", Some(1_777_636_800_000)),
            ("2026-05-01T12:00Z", Some(1_777_636_800_000)),
            ("20260501T120000Z", Some(1_777_636_800_000)),
            ("2026-05-01", Some(1_777_593_600_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2026-13-01", None),
            ("2026-05", None),
            ("2026-05-01T25:00Z", None),
            ("2026-05-01Tx", None),
            ("2026-05-01T12:00+é", None),
            ("é260501", None),
            ("", None),
        ] {
            assert_eq!(from_iso(text), expected, "{text}");
        }
    }

    #[test]
    fn bare_numbers_must_be_plausible() {
        for (text, expected) in [
            ("1777636800", Some(1_777_636_800_000)),
            ("1777636800123", Some(1_777_636_800_123)),
            ("90", None),
            ("3600", None),
            ("99999999999", None),
            ("99999999999999999999999", None),
            ("-1777636800", None),
            ("", None),
        ] {
            assert_eq!(from_unix(text), expected, "{text}");
        }
        assert_eq!(from_hex("69F495C0"), Some(1_777_636_800_000));
        assert_eq!(from_hex("ff"), None);
        assert_eq!(from_hex("+69F495C0"), None);
    }

    #[test]
    fn text_and_back() {
        for day in (0..40_000).step_by(17) {
            let at_ms = day * 86_400_000 + 3_723_000;
            let text = to_text(at_ms);
            assert_eq!(from_iso(text.trim_end_matches(" UTC")), Some(at_ms), "{text}");
        }
        assert_eq!(to_text(1_777_636_800_999), "2026-05-01 12:00:00 UTC");
    }
}
