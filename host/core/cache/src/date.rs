//! Dates of HTTP (RFC 9110 §5.6.7): the preferred form and the two obsolete ones.
//!
//! Owns: reading them into seconds. Leaves to others: what time it is.
//!
//! A two-digit year is taken as 1970–2069, since a core does not know today.

/// Seconds since 1970-01-01T00:00:00Z that an HTTP date names; `None` if it is not one.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim_matches([' ', '\t']);
    imf_fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<i64> {
    let (day_name, rest) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = fields(rest)? else { return None };
    (DAYS.contains(&day_name) && day.len() == 2 && year.len() == 4).then_some(())?;
    seconds(number(year)?, month, number(day)?, time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &str) -> Option<i64> {
    let (day_name, rest) = text.split_once(", ")?;
    let [date, time, "GMT"] = fields(rest)? else { return None };
    let mut date = date.split('-');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    (DAYS.contains(&day_name.get(..3)?) && date.next().is_none() && day.len() == 2 && year.len() == 2).then_some(())?;
    let year = number(year)?;
    seconds(if year < 70 { 2000 + year } else { 1900 + year }, month, number(day)?, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<i64> {
    let single_spaced = text.replacen("  ", " ", 1);
    let [day_name, month, day, time, year] = fields(&single_spaced)?;
    (DAYS.contains(&day_name) && year.len() == 4).then_some(())?;
    seconds(number(year)?, month, number(day)?, time)
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Exactly `N` fields with single spaces between them.
fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut parts = text.split(' ');
    let mut fields = [""; N];
    for field in &mut fields {
        *field = parts.next()?;
    }
    parts.next().is_none().then_some(fields)
}

fn number(digits: &str) -> Option<i64> {
    let plain = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn seconds(year: i64, month: &str, day: i64, time: &str) -> Option<i64> {
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let mut parts = time.split(':');
    let mut two = || parts.next().filter(|part| part.len() == 2).and_then(number);
    let (hour, minute, second) = (two()?, two()?, two()?);
    let in_bounds = (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    in_bounds.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, by counting from March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_forms_and_nothing_else() {
        let cases = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Mon, 01 Jan 2024 00:00:00 GMT", Some(1_704_067_200)),
            ("Thu, 29 Feb 2024 23:59:60 GMT", Some(1_709_251_200)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Friday, 01-Jan-69 00:00:00 GMT", Some(3_124_224_000)),
            ("Mon, 01 Jan 2024 00:00:00 UTC", None),
            ("Mon, 1 Jan 2024 00:00:00 GMT", None),
            ("Mon, 01 Jan 2024 24:00:00 GMT", None),
            ("Mon, 01 Foo 2024 00:00:00 GMT", None),
            ("Mon, 32 Jan 2024 00:00:00 GMT", None),
            ("Mon, 01 Jan +024 00:00:00 GMT", None),
            ("Mon, 01 Jan 2024 00:00:00:00 GMT", None),
            ("2024-01-01T00:00:00Z", None),
            ("\"e\"", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
