//! AMF0, as far as `onMetaData` uses it. What breaks off keeps what was read up to there.

use mediahost_plugin_sdk::detect::bytes::Cursor;

/// Objects within objects, at most.
const MAX_DEPTH: u32 = 8;
/// Properties of one object that are kept, at most; so many more objects than numbers make no sense.
const MAX_PROPERTIES: usize = 512;
/// Numbers of one array that are kept, at most.
const MAX_NUMBERS: usize = 1 << 20;
/// Whole numbers up to here are exact; beyond it nothing is a length of time or a size.
const MAX_EXACT: f64 = (1u64 << 53) as f64;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Bool(bool),
    Text(String),
    /// A strict array: its numbers, up to the first element that is none.
    Numbers(Vec<f64>),
    Object(Object),
    Other,
}

/// The properties of an object or of an associative array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// The first property of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// A number that is not below 0 and no larger than numbers of this kind are exact.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Some(Value::Number(number)) if (0.0..=MAX_EXACT).contains(number) => Some(*number),
            _ => None,
        }
    }

    /// The numbers of an array.
    pub fn numbers(&self, name: &str) -> &[f64] {
        match self.get(name) {
            Some(Value::Numbers(numbers)) => numbers,
            _ => &[],
        }
    }
}

/// The object of a script tag that is called `onMetaData`.
pub fn metadata(script: &[u8]) -> Option<Object> {
    let mut cursor = Cursor::new(script);
    match value(&mut cursor, 0) {
        (Value::Text(name), true) if name == "onMetaData" => {}
        _ => return None,
    }
    match value(&mut cursor, 0).0 {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The next value, and whether it was whole.
fn value(cursor: &mut Cursor, depth: u32) -> (Value, bool) {
    let whole = |value: Option<Value>| value.map_or((Value::Other, false), |value| (value, true));
    match cursor.u8() {
        Some(0) => whole(number(cursor).map(Value::Number)),
        Some(1) => whole(cursor.u8().map(|byte| Value::Bool(byte != 0))),
        Some(2) => whole(text(cursor, 2).map(Value::Text)),
        Some(3) if depth < MAX_DEPTH => properties(cursor, depth),
        // The number of properties in front is often wrong.
        Some(8) if depth < MAX_DEPTH && cursor.skip(4).is_some() => properties(cursor, depth),
        Some(10) if depth < MAX_DEPTH => numbers(cursor, depth),
        Some(5 | 6 | 13) => (Value::Other, true),
        Some(7) => whole(cursor.skip(2).map(|_| Value::Other)),
        Some(11) => whole(cursor.skip(10).map(|_| Value::Other)),
        Some(12) => whole(text(cursor, 4).map(Value::Text)),
        _ => (Value::Other, false),
    }
}

fn number(cursor: &mut Cursor) -> Option<f64> {
    cursor.be(8).map(f64::from_bits)
}

fn text(cursor: &mut Cursor, width: usize) -> Option<String> {
    let length = cursor.be(width)? as usize;
    Some(String::from_utf8_lossy(cursor.take(length)?).into_owned())
}

fn properties(cursor: &mut Cursor, depth: u32) -> (Value, bool) {
    let mut found = Vec::new();
    let whole = loop {
        if cursor.rest().starts_with(&[0, 0, 9]) {
            break cursor.skip(3).is_some();
        }
        let Some(name) = text(cursor, 2) else { break false };
        let (value, whole) = value(cursor, depth + 1);
        if found.len() < MAX_PROPERTIES {
            found.push((name, value));
        }
        if !whole {
            break false;
        }
    };
    (Value::Object(Object(found)), whole)
}

fn numbers(cursor: &mut Cursor, depth: u32) -> (Value, bool) {
    let mut found = Vec::new();
    let mut only_numbers = true;
    let Some(count) = cursor.be32() else { return (Value::Other, false) };
    for _ in 0..count {
        let (value, whole) = value(cursor, depth + 1);
        match value {
            Value::Number(number) if only_numbers && found.len() < MAX_NUMBERS => found.push(number),
            _ => only_numbers = false,
        }
        if !whole {
            return (Value::Numbers(found), false);
        }
    }
    (Value::Numbers(found), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: &[u8]) -> Vec<u8> {
        [&(name.len() as u16).to_be_bytes()[..], name.as_bytes(), value].concat()
    }

    fn number(value: f64) -> Vec<u8> {
        [&[0][..], &value.to_be_bytes()].concat()
    }

    #[test]
    fn metadata_of_all_kinds() {
        let times = [&[10, 0, 0, 0, 2][..], &number(0.0), &number(2.5)].concat();
        let mut script = [&[2][..], &property("onMetaData", &[8, 0, 0, 0, 9])].concat();
        script.extend(property("duration", &number(4.0)));
        script.extend(property("stereo", &[1, 1]));
        script.extend(property("creationdate", &[11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        script.extend(property("encoder", &[2, 0, 2, b'm', b'e']));
        script.extend(property("keyframes", &[&[3][..], &property("times", &times), &[0, 0, 9]].concat()));
        script.extend(property("width", &number(640.0)));
        let found = metadata(&[&script[..], &[0, 0, 9]].concat()).unwrap();
        assert_eq!((found.number("duration"), found.number("width")), (Some(4.0), Some(640.0)));
        assert_eq!(
            (found.get("stereo"), found.get("encoder")),
            (Some(&Value::Bool(true)), Some(&Value::Text("me".into())))
        );
        let Some(Value::Object(frames)) = found.get("keyframes") else { panic!("{found:?}") };
        assert_eq!(frames.numbers("times"), [0.0, 2.5]);
        // What breaks off keeps what was there.
        assert_eq!(metadata(&script[..script.len() - 3]).unwrap().number("duration"), Some(4.0));
        assert_eq!(metadata(b"\x02\0\x09onCuePoint\x03"), None);
    }

    #[test]
    fn numbers_that_measure_nothing() {
        for (value, expected) in [
            (12.5, Some(12.5)),
            (MAX_EXACT, Some(MAX_EXACT)),
            (1e300, None),
            (f64::INFINITY, None),
            (f64::NAN, None),
            (-1.0, None),
        ] {
            let object = Object(vec![("duration".into(), Value::Number(value))]);
            assert_eq!(object.number("duration"), expected, "{value}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut script = [&[2][..], &property("onMetaData", &[])].concat();
        script.extend([3, 0, 1, b'a'].repeat(100_000));
        assert!(metadata(&script).is_some());
        let arrays =
            [&[2][..], &property("onMetaData", &[3, 0, 1, b'a']), &[10, 0xFF, 0xFF, 0xFF, 0xFF].repeat(100_000)];
        assert!(metadata(&arrays.concat()).is_some());
    }
}
