//! A list of keys, as every carrier's value holds one.

use std::borrow::Cow;

use memchr::memchr;
use percent_encoding::percent_decode;

use crate::Keys;

/// Reads keys out of a value, separated by `:` or `,`; white space around one and empty ones do not count.
pub(super) fn read(value: &[u8], keys: &mut Keys) {
    for part in value.split(|b| matches!(b, b':' | b',')).map(trim).filter(|part| !part.is_empty()) {
        keys.push(part);
    }
}

/// Reads keys out of a percent-encoded value. An escape that is none stays as it is, and bytes that are no UTF-8 count as
/// U+FFFD: no key holds either, so that the key around them is malformed and its neighbours are not.
pub(super) fn read_encoded(value: &[u8], keys: &mut Keys) {
    if memchr(b'%', value).is_none() {
        return read(value, keys);
    }
    let decoded: Cow<'_, [u8]> = percent_decode(value).into();
    read(&decoded, keys);
}

/// Takes optional white space (RFC 9110 §5.6.3) off both ends.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_start(trim_end(text))
}

/// Takes optional white space off the start.
pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Takes optional white space off the end.
pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
