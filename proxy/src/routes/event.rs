//! One line of the watch, read. Pure, and made for bytes that anybody may have sent.
//!
//! What this version does not know is skipped and counted: event types, kinds of unit, fields. What it does know and
//! cannot read is an error, and the stream that it came from is not believed any further.

use bellhop_api::watch::Event;
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// A line that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// What it says; none where its type or its unit is unknown.
    pub(super) event: Option<Event>,
    /// What of it was skipped.
    pub(super) skipped: Skipped,
}

/// How much of a line was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Skipped {
    /// The line, for its type.
    pub(super) types: u64,
    /// The line, for its unit.
    pub(super) units: u64,
    /// Fields.
    pub(super) fields: u64,
}

/// Reads one line.
///
/// # Errors
/// It is no JSON object with a type, or what it says of a type that is known cannot be read.
pub(super) fn read(line: &[u8]) -> Result<Line, serde_json::Error> {
    let value: Value = serde_json::from_slice(line)?;
    let mut skipped = Skipped::default();
    if unit_is_unknown(&value) {
        skipped.units = 1;
        return Ok(Line { event: None, skipped });
    }
    let event = Event::deserialize(&value)?;
    if event == Event::Unknown {
        skipped.types = 1;
        return Ok(Line { event: None, skipped });
    }
    skipped.fields = value.as_object().map_or(0, |event| unknown_fields(event, &EVENT));
    Ok(Line { event: Some(event), skipped })
}

/// The type of an event, as it is counted.
pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event::Reset(_) => "reset",
        Event::Put { .. } => "put",
        Event::Delete { .. } => "delete",
        Event::Synced(_) => "synced",
        Event::Bookmark(_) => "bookmark",
        Event::Ask { .. } => "ask",
        Event::Unknown => "unknown",
    }
}

/// A put or a delete of a kind of unit that came after this version. It has one field, named after the kind.
fn unit_is_unknown(value: &Value) -> bool {
    let unit = match value.get("type").and_then(Value::as_str) {
        Some("put" | "delete") => value.get("unit").and_then(Value::as_object),
        _ => None,
    };
    unit.is_some_and(|unit| unit.len() == 1 && unit.keys().all(|kind| kind != "service" && kind != "key"))
}

/// The fields of an object, and what those that hold objects hold.
struct Fields {
    plain: &'static [&'static str],
    nested: &'static [(&'static str, &'static Fields)],
}

const EVENT: Fields = Fields {
    plain: &["type", "token", "epoch", "revision", "keys"],
    nested: &[("position", &POSITION), ("unit", &UNIT)],
};
const POSITION: Fields = Fields { plain: &["token", "epoch", "revision"], nested: &[] };
const UNIT: Fields = Fields { plain: &[], nested: &[("service", &SERVICE), ("key", &KEY)] };
const SERVICE: Fields =
    Fields { plain: &["namespace", "name", "addresses", "names", "workloads"], nested: &[("ports", &PORT)] };
const PORT: Fields = Fields { plain: &["port", "targetPort"], nested: &[] };
const KEY: Fields = Fields { plain: &["key", "gone", "digest"], nested: &[("routes", &ROUTE)] };
const ROUTE: Fields = Fields {
    plain: &["destination", "state", "endpoints", "fallback", "protocol", "requires", "sandbox"],
    nested: &[],
};

fn unknown_fields(object: &Map<String, Value>, known: &Fields) -> u64 {
    let mut unknown = 0;
    for (name, value) in object {
        match known.nested.iter().find(|(nested, _)| nested == name) {
            Some((_, inner)) => {
                let one = value.as_object().map_or(0, |value| unknown_fields(value, inner));
                let items = value.as_array().into_iter().flatten().filter_map(Value::as_object);
                unknown += one + items.map(|item| unknown_fields(item, inner)).sum::<u64>();
            }
            None => unknown += u64::from(!known.plain.contains(&name.as_str())),
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &[&str] = &[
        r#"{"type":"reset","token":"t","epoch":"e","revision":7}"#,
        r#"{"type":"put","unit":{"service":{"namespace":"default","name":"route","ports":[{"port":80,"targetPort":8080}],
            "addresses":["10.0.0.1"],"names":["route.example"],"workloads":["10.0.0.2"]}},
            "position":{"token":"t","epoch":"e","revision":8}}"#,
        r#"{"type":"put","unit":{"key":{"key":"pr-15","gone":false,"digest":"0000000000000000","routes":[
            {"destination":"route.default:80","state":"active","endpoints":["10.0.0.7:8080"],"fallback":"baseline",
            "protocol":"http2","requires":["x"],"sandbox":"default/pr-15"}]}}}"#,
        r#"{"type":"delete","unit":{"key":"pr-15"},"position":{"token":"t","epoch":"e","revision":9}}"#,
        r#"{"type":"delete","unit":{"service":{"namespace":"default","name":"route"}}}"#,
        r#"{"type":"ask","keys":["pr-15"]}"#,
    ];

    #[test]
    fn what_the_api_has_is_known_to_the_last_field() {
        for line in FULL {
            let line = read(line.as_bytes()).unwrap();
            assert_eq!(line.skipped, Skipped::default(), "{line:?}");
            let written = serde_json::to_vec(&line.event.clone().unwrap()).unwrap();
            assert_eq!(read(&written).unwrap(), line);
        }
    }

    #[test]
    fn what_came_after_this_version_is_skipped_and_counted() {
        let known = Some(Event::Ask { keys: Vec::new() });
        for (line, event, types, units, fields) in [
            (r#"{"type":"later","a":1}"#, None, 1, 0, 0),
            (r#"{"type":"put","unit":{"gateway":{"a":1}}}"#, None, 0, 1, 0),
            (r#"{"type":"delete","unit":{"gateway":"g"}}"#, None, 0, 1, 0),
            (r#"{"type":"ask","later":{"a":1},"more":[]}"#, known, 0, 0, 2),
        ] {
            let read = read(line.as_bytes()).unwrap();
            assert_eq!(read, Line { event, skipped: Skipped { types, units, fields } }, "{line}");
        }
        let deep = FULL[2].replace("\"requires\"", "\"weight\":3,\"requires\"");
        assert_eq!(read(deep.as_bytes()).unwrap().skipped.fields, 1);
    }

    #[test]
    fn what_is_known_and_cannot_be_read_is_an_error() {
        for line in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"reset"}"#,
            r#"{"type":"put","unit":{}}"#,
            r#"{"type":"put","unit":{"key":{"key":"a/b","digest":""}}}"#,
            r#"{"type":"put","unit":{"key":{"key":"a","digest":"","routes":[{"destination":"x"}]}}}"#,
            r#"{"type":"bookmark","token":"t","epoch":"e","revision":-1}"#,
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line}");
        }
        assert!(read(&b"{\"type\":".repeat(10_000)).is_err(), "nested deeper than anybody needs");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_damaged_line_is_read_or_refused_and_never_panics(which in 0..FULL.len(), at in 0_usize..400, with in any::<u8>()) {
            let mut line = FULL[which].as_bytes().to_vec();
            let at = at % line.len();
            line[at] = with;
            let _ = read(&line);
        }
    }
}
