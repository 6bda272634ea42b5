//! Heads re-emitted from slices of themselves, where a line must change on the way. Most heads go on as they are and do
//! not come here.

use bellhop_route::DECIDED_FIELD;
use httparse::EMPTY_HEADER;

use super::{head::Line, request::Request};
use crate::{
    buffer::{Buffer, Buffers, Writer},
    forward::DecidedField,
    validate::{
        fields::{is_h2c, is_kept_option, is_upgrade, members},
        target::Form,
    },
};

const PROXY_STATUS: &str = "Proxy-Status";

/// The head of a request as it goes on; none where nothing changes.
pub(super) fn request(
    request: &Request,
    bytes: &[u8],
    explicit: bool,
    decided: &DecidedField,
    buffers: &Buffers,
) -> Option<Buffer> {
    let for_origin = explicit && request.form == Form::Absolute;
    let plain = !request.has_hop_fields && !request.host_differs && !explicit;
    match decided {
        DecidedField::Keep if plain => return None,
        DecidedField::Add(value) if plain => return Some(with_field(bytes, DECIDED_FIELD, value, buffers)),
        DecidedField::Keep | DecidedField::Add(_) | DecidedField::Remove => {}
    }
    let mut out = Writer::new(buffers);
    let first_field = request.lines.first().map_or(bytes.len().saturating_sub(2), |line| line.name.start());
    let start_line = bytes.get(..first_field).unwrap_or_default();
    if for_origin {
        origin_line(&mut out, request, bytes)
    } else {
        out.put(start_line)
    }
    let authority = request.authority.map(|authority| authority.of_head(bytes)).unwrap_or_default();
    let replaces_host = request.host_differs || for_origin;
    if replaces_host {
        field(&mut out, b"Host", authority);
    }
    let named = named_by_connection(fields(request, bytes));
    for (at, line) in request.lines.iter().enumerate() {
        let (name, value) = (line.name.of_head(bytes), line.value.of_head(bytes));
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if named.iter().any(|hop| name.eq_ignore_ascii_case(hop))
            || (replaces_host && is("host"))
            || (*decided == DecidedField::Remove && is(DECIDED_FIELD))
            || (explicit && (is("proxy-connection") || is("proxy-authorization")))
            || is("http2-settings")
        {
            continue;
        }
        if is("connection") {
            listed(&mut out, name, value, |option| {
                is_kept_option(option) && (request.upgrade || !is_upgrade(option))
            });
        } else if is("upgrade") {
            listed(&mut out, name, value, |protocol| !is_h2c(protocol));
        } else {
            out.put(whole_line(&request.lines, at, *line, bytes));
        }
    }
    if let DecidedField::Add(value) = decided {
        field(&mut out, DECIDED_FIELD.as_bytes(), value);
    }
    out.put(b"\r\n");
    Some(out.done())
}

/// The head of an answer as it goes on; none where nothing changes.
#[inline]
pub(super) fn response(
    bytes: &[u8],
    has_hop_fields: bool,
    close: bool,
    proxy_status: Option<&str>,
    buffers: &Buffers,
) -> Option<Buffer> {
    if !has_hop_fields && !close && proxy_status.is_none() {
        return None;
    }
    if let (Some(member), false) = (proxy_status, has_hop_fields || close) {
        return Some(with_field(bytes, PROXY_STATUS, member.as_bytes(), buffers));
    }
    let mut out = Writer::new(buffers);
    without_hop_fields(&mut out, bytes, close);
    if let Some(member) = proxy_status {
        field(&mut out, PROXY_STATUS.as_bytes(), member.as_bytes());
    }
    out.put(b"\r\n");
    Some(out.done())
}

/// A head as it is, and one more field at its end: what becomes of nearly every keyed one.
#[inline]
fn with_field(head: &[u8], name: &str, value: &[u8], buffers: &Buffers) -> Buffer {
    let mut out = Writer::new(buffers);
    out.put(head.get(..head.len().saturating_sub(2)).unwrap_or_default());
    field(&mut out, name.as_bytes(), value);
    out.put(b"\r\n");
    out.done()
}

/// Copies the head of an answer up to its empty line; with `close`, `Connection` says that and no more.
#[cold]
fn without_hop_fields(out: &mut Writer<'_>, bytes: &[u8], close: bool) {
    let mut parsed = vec![EMPTY_HEADER; bytes.len() / 4];
    let mut answer = httparse::Response::new(&mut parsed);
    // The head was parsed before; a second time it cannot fail.
    let _ = answer.parse(bytes);
    let end_of_line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    out.put(bytes.get(..end_of_line).unwrap_or_default());
    let all = || answer.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    let named = named_by_connection(all());
    for (name, value) in all() {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if named.iter().any(|hop| name.eq_ignore_ascii_case(hop)) || (close && is("keep-alive")) {
            continue;
        }
        if is("connection") {
            listed(out, name, value, |option| is_kept_option(option) && !close);
        } else {
            field(out, name, value);
        }
    }
    if close {
        field(out, b"Connection", b"close");
    }
}

fn origin_line(out: &mut Writer<'_>, request: &Request, bytes: &[u8]) {
    let path = request.path.of_head(bytes);
    out.put(request.method_text.of_head(bytes));
    out.put(b" ");
    if !path.starts_with(b"/") {
        out.put(if path.is_empty() && request.method_text.of_head(bytes) == b"OPTIONS" {
            b"*"
        } else {
            b"/"
        });
    }
    out.put(path);
    out.put(if request.is_1_0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
}

fn fields<'a>(request: &'a Request, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    request.lines.iter().map(move |line| (line.name.of_head(bytes), line.value.of_head(bytes)))
}

/// What `Connection` names, apart from its own options.
fn named_by_connection<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<&'a [u8]> {
    let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    values.flat_map(|(_, value)| members(value)).filter(|option| !is_kept_option(option)).collect()
}

/// A list field with the members that `keep` keeps; none at all where it keeps none.
fn listed(out: &mut Writer<'_>, name: &[u8], value: &[u8], keep: impl Fn(&[u8]) -> bool) {
    let kept: Vec<_> = members(value).filter(|member| keep(member)).collect();
    if !kept.is_empty() {
        field(out, name, &kept.join(&b", "[..]));
    }
}

fn field(out: &mut Writer<'_>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.put(part);
    }
}

/// A line as it came, up to where the next one starts.
fn whole_line<'a>(lines: &[Line], at: usize, line: Line, bytes: &'a [u8]) -> &'a [u8] {
    let end = lines.get(at + 1).map_or(bytes.len().saturating_sub(2), |next| next.name.start());
    bytes.get(line.name.start()..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
