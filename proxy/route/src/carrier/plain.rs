//! Carriers whose whole value is the list of keys: a field of its own, or a parameter of the query.

use std::borrow::Cow;

use memchr::memchr;

use super::{Limits, list};
use crate::Keys;

/// Reads fields that hold nothing but keys. A value that the limit does not let in whole is not read.
pub(super) fn read_fields<'v>(values: impl Iterator<Item = &'v [u8]>, limits: Limits, keys: &mut Keys) {
    let mut left = limits.bytes;
    for value in values {
        match left.checked_sub(value.len()) {
            Some(still) => left = still,
            None => return keys.over_limit = true,
        }
        list::read_encoded(value, keys);
    }
}

/// Reads the parameters called `name` of a query, in which `+` is a space.
pub(super) fn read_query(query: Option<&[u8]>, name: &str, limits: Limits, keys: &mut Keys) {
    let Some(mut query) = query else { return };
    if query.len() > limits.bytes {
        keys.over_limit = true;
        let within = query.get(..=limits.bytes).unwrap_or_default();
        let end = memchr::memrchr(b'&', within).unwrap_or(0);
        query = query.get(..end).unwrap_or_default();
    }
    for pair in query.split(|b| *b == b'&') {
        if let Some([b'=', value @ ..]) = pair.strip_prefix(name.as_bytes()) {
            list::read_encoded(&spaces(value), keys);
        }
    }
}

fn spaces(value: &[u8]) -> Cow<'_, [u8]> {
    match memchr(b'+', value) {
        None => value.into(),
        Some(_) => value.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect(),
    }
}
