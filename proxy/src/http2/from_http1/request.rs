//! A request's head, as HTTP/2 takes it (RFC 9113 §8.2, §8.3.1).

use bellhop_route::DECIDED_FIELD;
use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, uri};

use crate::{
    context::Head,
    error::RequestError,
    forward::DecidedField,
    http2::websocket::{Handshake, PROTOCOL},
    validate::fields::belongs_to_the_connection,
};

/// Makes the head: `Host` becomes `:authority`, and fields of the connection stay behind, those that `Connection` names
/// among them. A WebSocket's handshake becomes an extended CONNECT; any other wish to upgrade stays behind with them, and
/// goes unanswered, as HTTP/1 allows.
///
/// # Errors
/// CONNECT, and what only HTTP/1 lets pass.
pub(super) fn write(
    head: &impl Head,
    method: &Method,
    decided: &DecidedField,
    handshake: Option<&Handshake>,
) -> Result<Request<()>, RequestError> {
    if *method == Method::CONNECT {
        return Err(RequestError::bad_request("CONNECT cannot be sent to an HTTP/2 endpoint"));
    }
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = target(head)?;
    *request.headers_mut() = fields(head, decided)?;
    if handshake.is_some() {
        // RFC 8441 §5.
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static(PROTOCOL));
        for name in [header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH] {
            request.headers_mut().remove(name);
        }
    }
    // Without an authority it is a request of HTTP/1 that came this way.
    let with_authority = request.uri().authority().is_some();
    *request.version_mut() = if with_authority { Version::HTTP_2 } else { Version::HTTP_11 };
    Ok(request)
}

fn target(head: &impl Head) -> Result<Uri, RequestError> {
    let bad = |_| RequestError::bad_request("a target that HTTP/2 cannot carry");
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(path(head).map_err(bad)?);
    if let Some(authority) = head.authority().filter(|authority| !authority.is_empty()) {
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority = Some(uri::Authority::try_from(authority).map_err(bad)?);
    }
    Uri::from_parts(parts).map_err(|_| RequestError::bad_request("a target that HTTP/2 cannot carry"))
}

/// What an absolute target leaves out is said here: `/`, or `*` for OPTIONS (RFC 9113 §8.3.1).
fn path(head: &impl Head) -> Result<uri::PathAndQuery, uri::InvalidUri> {
    match head.path_and_query() {
        b"" if head.method() == b"OPTIONS" => uri::PathAndQuery::try_from("*"),
        b"" => uri::PathAndQuery::try_from("/"),
        query if query.starts_with(b"?") => {
            uri::PathAndQuery::from_maybe_shared(Bytes::from([b"/", query].concat()))
        }
        path => uri::PathAndQuery::try_from(path),
    }
}

fn fields(head: &impl Head, decided: &DecidedField) -> Result<HeaderMap, RequestError> {
    let bad = || RequestError::bad_request("a field that HTTP/2 cannot carry");
    let named: Vec<Vec<u8>> = head
        .values("connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|option| option.trim_ascii().to_ascii_lowercase())
        .collect();
    let mut fields = HeaderMap::with_capacity(16);
    for (name, value) in head.headers() {
        let name = HeaderName::from_bytes(name).map_err(|_| bad())?;
        let stays = belongs_to_the_connection(&name)
            || name == header::HOST
            || named.iter().any(|option| option == name.as_str().as_bytes())
            || (*decided == DecidedField::Remove && name.as_str() == DECIDED_FIELD);
        if !stays {
            let value = HeaderValue::from_bytes(value).map_err(|_| bad())?;
            fields.try_append(name, value).map_err(|_| bad())?;
        }
    }
    if let DecidedField::Add(value) = decided {
        let value = HeaderValue::from_bytes(value).map_err(|_| bad())?;
        fields.append(HeaderName::from_static(DECIDED_FIELD), value);
    }
    Ok(fields)
}
