//! What the fuzz targets do with their bytes. `tests/corpora.rs` runs the same over the committed corpora.

use std::net::SocketAddr;

use bellhop_api::watch::{Event, Unit, UnitName};
use bellhop_route::{Carrier, Carriers, Digest, HeadView, Keys, Place, RouteTable, RoutingKey, TableBuilder};

/// A head whose header fields and query come from foreign bytes.
pub(crate) struct Head<'a> {
    /// The fields.
    pub(crate) fields: Vec<(&'a [u8], &'a [u8])>,
    /// The query.
    pub(crate) query: Option<&'a [u8]>,
}

impl HeadView for Head<'_> {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().copied()
    }

    fn query(&self) -> Option<&[u8]> {
        self.query
    }
}

/// Each line is the value of one `baggage` header: the reader finds what the plain reading of the grammar finds, and as
/// much in one header as in several.
pub(crate) fn baggage(data: &[u8]) {
    let values: Vec<&[u8]> = data.split(|b| *b == b'\n').collect();
    let read = |values: &[&[u8]]| {
        let fields: Vec<_> = values.iter().map(|value| (&b"Baggage"[..], *value)).collect();
        Carriers::default().read(&Head { fields, query: None })
    };
    let several = read(&values);
    assert_eq!(several, by_the_book(&values), "{:?}", data.escape_ascii().to_string());
    assert_eq!(several, read(&[&values.join(&b',')]), "joined {:?}", data.escape_ascii().to_string());
    check(&several);
}

/// Lines `name: value`, the first is the query: no carrier panics or gives what is no key.
pub(crate) fn carriers(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let query = lines.next();
    let fields: Vec<_> = lines
        .map(|line| {
            let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        })
        .collect();
    let head = Head { fields, query };
    let all = ["baggage", "tracestate", "ot-baggage", "uberctx", "header=x-route", "query=route"];
    let mut together = Keys::default();
    for carrier in all.map(|text| text.parse::<Carrier>().expect("a carrier")) {
        let keys = Carriers::new([carrier]).read(&head);
        check(&keys);
        keys.iter().for_each(|key| together.push(key.as_bytes()));
        (together.malformed, together.over_limit) =
            (together.malformed | keys.malformed, together.over_limit | keys.over_limit);
    }
    let carriers = Carriers::new(all.map(|text| text.parse().expect("a carrier")));
    assert_eq!(carriers.read(&head), together);
}

/// Lines of the watch: each is taken whole or not at all, the digest of the table is that of its keys, and any question
/// has an answer.
pub(crate) fn watch(data: &[u8]) {
    let namespace = "default".parse().expect("a name");
    let table = TableBuilder::new(namespace).finish();
    for line in data.split(|b| *b == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Event::Put { unit, .. }) => put(&table, &unit),
            Ok(Event::Delete { unit, .. }) => {
                let held = table.len();
                let was_there = table.delete(&unit);
                if let UnitName::Key(key) = unit {
                    assert_eq!(table.len() + usize::from(was_there), held);
                    assert!(table.key(key.as_str()).is_none());
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    let keys = table.keys();
    let digest = keys.iter().fold(Digest::default(), |sum, key| sum ^ key.digest);
    assert_eq!((table.digest(), table.len()), (digest, keys.len()));
    let all: Keys = keys.iter().map(|key| key.key.as_str()).collect();
    for address in ["10.0.0.1:80", "[::1]:8080"].map(|text| text.parse::<SocketAddr>().expect("an address")) {
        let host = address.ip().to_string();
        let authority = Place::Authority { host: &host, port: address.port() };
        for place in [Place::Dialled(address), Place::Workload(address), authority] {
            let decision = bellhop_route::decide(&table, &all, &place, [data]);
            let mut field = Vec::new();
            decision.decided.write(&table, Some(address), &mut field);
            assert_eq!(field.is_empty(), decision.decided.is_empty());
        }
    }
}

fn put(table: &RouteTable, unit: &Unit) {
    let (digest, keys) = (table.digest(), table.len());
    match (table.put(unit), unit) {
        (Ok(()), Unit::Key(unit)) => {
            let held = table.key(unit.key.as_str()).expect("just put");
            assert_eq!(held.digest, bellhop_route::digest(unit));
            assert!(held.routes.is_sorted_by(|a, b| a.destination < b.destination));
        }
        (Ok(()), Unit::Service(_)) => assert_eq!((table.digest(), table.len()), (digest, keys)),
        (Err(error), _) => {
            assert!(!error.to_string().is_empty());
            assert_eq!((table.digest(), table.len()), (digest, keys));
        }
    }
}

fn check(keys: &Keys) {
    let list: Vec<_> = keys.iter().collect();
    assert!(list.len() <= Keys::MAX);
    for (at, key) in list.iter().enumerate() {
        RoutingKey::check(key).expect("a key");
        assert!(!list.get(..at).is_some_and(|before| before.contains(key)), "{key} twice");
    }
}

/// The grammar, read slowly: all values joined, cut at the limits, member by member.
pub(crate) fn by_the_book(values: &[&[u8]]) -> Keys {
    let mut keys = Keys::default();
    let mut joined = values.join(&b',');
    if joined.len() > Carriers::MAX_BYTES {
        keys.over_limit = true;
        let end = joined.iter().take(Carriers::MAX_BYTES + 1).rposition(|b| *b == b',');
        joined.truncate(end.unwrap_or(0));
    }
    let members: Vec<_> = joined.split(|b| *b == b',').collect();
    keys.over_limit |= members.len() > Carriers::MAX_MEMBERS;
    let mut behind = false;
    for member in members.into_iter().take(Carriers::MAX_MEMBERS).map(trim).filter(|m| !m.is_empty()) {
        let end = member.iter().position(|b| matches!(b, b'=' | b';')).unwrap_or(member.len());
        let (name, rest) = member.split_at(end);
        let ours = trim(name) == b"routing-key";
        match rest.first() {
            Some(b'=') if ours => {
                let value = rest[1..].split(|b| *b == b';').next().unwrap_or_default();
                decode(value).split([':', ',']).map(|key| key.trim_matches([' ', '\t'])).for_each(|key| {
                    match RoutingKey::check(key) {
                        Ok(()) => keys.push(key.as_bytes()),
                        Err(_) if key.is_empty() => {}
                        Err(_) => keys.malformed = true,
                    }
                });
            }
            Some(b'=') => {}
            _ => keys.malformed |= ours || behind,
        }
        behind = ours && rest.first() == Some(&b'=');
    }
    keys
}

fn decode(value: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let Some((first, behind)) = rest.split_first() {
        let digits = rest.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = digits.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn trim(text: &[u8]) -> &[u8] {
    let space = |b: &u8| matches!(b, b' ' | b'\t');
    let start = text.iter().position(|b| !space(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !space(b)).map_or(start, |at| at + 1);
    text.get(start..end).unwrap_or_default()
}
