//! An HTTP/1 answer's head, read into HTTP/2's (MATRICES B20).

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, response::Parts};

use crate::{
    config::Limits,
    http2::{
        unpack::{Framing, Invalid, has_strict_lines},
        websocket::{self, Handshake, PROTOCOL},
    },
    validate::fields::belongs_to_the_connection,
};

/// What was asked, as far as the answer's meaning depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The method, as it was sent.
    pub(crate) method: &'a Method,
    /// The upgrade that was asked for.
    pub(crate) handshake: Option<&'a Handshake>,
}

impl<'a> From<&'a Method> for Asked<'a> {
    fn from(method: &'a Method) -> Self {
        Self { method, handshake: None }
    }
}

/// A final or informational answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// What goes to the HTTP/2 client.
    pub(crate) parts: Parts,
    /// What follows.
    pub(crate) framing: Framing,
    /// Whether the connection can be used again after it.
    pub(crate) reusable: bool,
    /// Whether the endpoint switched protocols: what follows is a tunnel's.
    pub(crate) switched: bool,
}

/// Takes a head off the front of `buffer`; `None` where it is not whole yet.
///
/// # Errors
/// The rule that the answer breaks.
pub(crate) fn take(
    buffer: &mut BytesMut,
    asked: Asked<'_>,
    limits: &Limits,
) -> Result<Option<Head>, Invalid> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.max_headers];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() > limits.max_header_bytes => {
            return Err(Invalid("the head is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Invalid("too many fields")),
        Err(_) => return Err(Invalid("the head cannot be read")),
    };
    if length > limits.max_header_bytes {
        return Err(Invalid("the head is too large"));
    }
    if !buffer.get(..length).is_some_and(has_strict_lines) {
        return Err(Invalid("a line ends without CR LF"));
    }
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else {
        return Err(Invalid("no status line"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Invalid("no such status"))?;
    let headers = read_fields(parsed.headers)?;
    buffer.advance(length);
    interpret(status, version, headers, asked).map(Some)
}

fn read_fields(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Invalid> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Invalid("a field's name"))?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Invalid("a field's value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn interpret(
    status: StatusCode,
    version: u8,
    mut headers: HeaderMap,
    asked: Asked<'_>,
) -> Result<Head, Invalid> {
    let switched = match (status, asked.handshake) {
        (StatusCode::SWITCHING_PROTOCOLS, None) => return Err(Invalid("101 was not asked for")),
        (StatusCode::SWITCHING_PROTOCOLS, Some(handshake)) => {
            check_switch(version, &headers, handshake)?;
            true
        }
        // To the client it would mean that a tunnel begins.
        (status, Some(_)) if status.is_success() => return Err(Invalid("the upgrade was not taken")),
        _ => false,
    };
    let mut options = Vec::new();
    for option in list(&headers, &header::CONNECTION)? {
        options.push(option);
    }
    let close = options.iter().any(|option| option == "close");
    let keep_alive = options.iter().any(|option| option == "keep-alive");
    let framing =
        if switched { Framing::UntilClose } else { framing(status, version, &headers, asked.method)? };
    headers.remove(header::TRANSFER_ENCODING);
    for option in &options {
        headers.remove(option.as_str());
    }
    let leaving: Vec<_> = headers.keys().filter(|name| belongs_to_the_connection(name)).cloned().collect();
    for name in leaving {
        headers.remove(name);
    }
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        // A switch of protocols has none either (RFC 9110 §8.6).
        headers.remove(header::CONTENT_LENGTH);
    } else if let Framing::Length(length) = framing {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let reusable = framing != Framing::UntilClose && !close && (version == 1 || keep_alive);
    let (mut parts, ()) = Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    if switched {
        // RFC 8441 §5: what 101 says, and a digest shows, 200 says alone.
        parts.status = StatusCode::OK;
        parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    }
    Ok(Head { parts, framing, reusable, switched })
}

/// RFC 6455 §4.1.
fn check_switch(version: u8, headers: &HeaderMap, handshake: &Handshake) -> Result<(), Invalid> {
    let switches = list(headers, &header::CONNECTION)?.iter().any(|option| option == "upgrade")
        && list(headers, &header::UPGRADE)?.iter().eq([PROTOCOL])
        && version == 1;
    let digests = websocket::is_exactly(headers, &header::SEC_WEBSOCKET_ACCEPT, &handshake.accept);
    match (switches, digests) {
        (true, true) => Ok(()),
        (false, _) => Err(Invalid("101 does not switch to what was asked for")),
        (true, false) => Err(Invalid("Sec-WebSocket-Accept does not answer the key")),
    }
}

/// The members of a list field, lower case.
fn list(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, Invalid> {
    let mut members = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| Invalid("a field of the connection is no text"))?;
        members.extend(text.split(',').map(|member| member.trim().to_ascii_lowercase()));
    }
    members.retain(|member| !member.is_empty());
    Ok(members)
}

/// RFC 9112 §6.3, without the choices it leaves.
fn framing(status: StatusCode, version: u8, headers: &HeaderMap, asked: &Method) -> Result<Framing, Invalid> {
    let codings = list(headers, &header::TRANSFER_ENCODING)?;
    let length = content_length(headers)?;
    let chunked = match codings.as_slice() {
        [] => headers
            .contains_key(header::TRANSFER_ENCODING)
            .then_some(Err(Invalid("an empty transfer coding"))),
        [one] if one == "chunked" => Some(Ok(())),
        _ => Some(Err(Invalid("a transfer coding that is not exactly chunked"))),
    }
    .transpose()?
    .is_some();
    if chunked && length.is_some() {
        return Err(Invalid("both Transfer-Encoding and Content-Length"));
    }
    if chunked && version == 0 {
        return Err(Invalid("a transfer coding in HTTP/1.0"));
    }
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *asked == Method::HEAD;
    Ok(match length {
        _ if bodiless => Framing::None,
        _ if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Invalid> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let whole = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let number = value.to_str().ok().filter(|_| whole).and_then(|digits| digits.parse().ok());
        let number: u64 = number.ok_or(Invalid("a length that is no number"))?;
        if length.replace(number).is_some_and(|other| other != number) {
            return Err(Invalid("lengths that differ"));
        }
    }
    Ok(length)
}
