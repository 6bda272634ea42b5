//! First step: what a request's head says that matters to the steps after it. Made once, then immutable.

use std::{net::SocketAddr, sync::Arc};

use bellhop_route::{DECIDED_FIELD, Decision, HeadView, Keys, Place};

use crate::{
    connection::{Arrival, Client},
    error::RequestError,
    listen,
    telemetry::Account,
};

/// The small view of a request's head that both engines show.
pub(crate) trait Head: HeadView {
    /// The method, as written.
    fn method(&self) -> &[u8];
    /// `host[:port]` of the target, or of `Host`.
    fn authority(&self) -> Option<&[u8]>;
    /// Whether the target itself names the authority: absolute-form, or HTTP/2's `:authority`.
    fn target_has_authority(&self) -> bool;
    /// Path and query, as written; empty for CONNECT.
    fn path_and_query(&self) -> &[u8];
    /// Whether the caller expects gRPC's way of telling errors.
    fn is_grpc(&self) -> bool;
    /// The version of HTTP: `1.0`, `1.1` or `2`.
    fn version(&self) -> &'static str;
}

/// What is known of a request. Nothing in it changes after it was made.
#[derive(Debug)]
pub(crate) struct RequestContext {
    /// The routing keys that it carries.
    pub(crate) keys: Keys,
    /// The values of `bellhop-decided`, joined by commas; absent where there is none.
    pub(crate) already: Option<Box<[u8]>>,
    /// In explicit mode, the request's own destination: `host:port`, lower case.
    pub(crate) authority: Option<Arc<str>>,
    /// Whether errors are told as gRPC does.
    pub(crate) grpc: bool,
    /// Whether a second try does no more than one (RFC 9110 §9.2.2).
    pub(crate) idempotent: bool,
}

/// Reads the context off a head.
///
/// # Errors
/// The caller's fault: an explicit request that names no destination.
#[inline]
pub(crate) fn read(client: &Client, head: &impl Head) -> Result<RequestContext, RequestError> {
    let authority = match &client.arrival {
        Arrival::Explicit => Some(explicit_authority(head)?),
        Arrival::Outbound { .. }
        | Arrival::Inbound { .. }
        | Arrival::Connected { .. }
        | Arrival::Fixed(_)
        | Arrival::Loop => None,
    };
    Ok(RequestContext {
        keys: client.worker.shared.carriers.read(head),
        already: already_decided(head),
        authority,
        grpc: head.is_grpc(),
        idempotent: is_idempotent(head.method()),
    })
}

impl RequestContext {
    /// Where the request was going; `None` where the connection's address is no text that has a port.
    pub(crate) fn place<'a>(&'a self, client: &'a Client) -> Option<Place<'a>> {
        match &client.arrival {
            Arrival::Outbound { original } => Some(Place::Dialled(*original)),
            Arrival::Inbound { original } => Some(Place::Workload(*original)),
            Arrival::Explicit => authority_place(self.authority.as_deref()?),
            Arrival::Connected { authority } => authority_place(authority),
            Arrival::Loop => None,
            Arrival::Fixed(fixed) => match &fixed.destination {
                Some(destination) => Some(Place::Named(destination)),
                None => authority_place(&fixed.upstream),
            },
        }
    }
}

/// Whether the caller shares the proxy's host, and may therefore read endpoints and keys.
pub(crate) fn caller_is_local(client: &Client) -> bool {
    is_local_caller(&client.arrival, client.peer, &client.worker.shared.config.listeners.outbound)
}

fn is_local_caller(arrival: &Arrival, peer: SocketAddr, outbound: &[SocketAddr]) -> bool {
    let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    match arrival {
        Arrival::Inbound { .. } | Arrival::Loop => false,
        // What was redirected to loopback came from here; another listener may have been opened to other hosts.
        Arrival::Outbound { .. } => {
            is_loopback(&peer) || outbound.iter().all(is_loopback) || listen::is_local(peer.ip())
        }
        Arrival::Explicit | Arrival::Connected { .. } | Arrival::Fixed(_) => is_loopback(&peer),
    }
}

/// What is to be told of a request, as far as its head and its decision say it; the query stays out, it may hold secrets.
pub(crate) fn describe(client: &Client, head: &impl Head, decision: &Decision, for_span: bool) -> Account {
    let path = head.path_and_query().split(|byte| *byte == b'?').next();
    Account {
        peer: Some(client.peer),
        method: head.method().into(),
        authority: head.authority().unwrap_or_default().into(),
        path: path.unwrap_or_default().into(),
        key: decision.key.as_ref().map(ToString::to_string),
        destination: decision.destination.as_ref().map(ToString::to_string),
        version: head.version(),
        parent: for_span.then(|| bellhop_spans::trace::parent(head)).flatten(),
        ..Account::default()
    }
}

/// Splits `host:port`; brackets of an IPv6 address are taken off.
pub(crate) fn split_authority(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

fn authority_place(authority: &str) -> Option<Place<'_>> {
    let (host, port) = split_authority(authority)?;
    match host.parse() {
        Ok(ip) => Some(Place::Dialled(SocketAddr::new(ip, port))),
        Err(_) => Some(Place::Authority { host, port }),
    }
}

/// The destination that an explicit request names: `host:port`, lower case.
///
/// # Errors
/// It names none, or one that plain HTTP cannot be spoken to.
pub(crate) fn explicit_authority(head: &impl Head) -> Result<Arc<str>, RequestError> {
    let missing = || RequestError::bad_request("an explicit proxy needs a target in absolute form");
    if !head.target_has_authority() {
        return Err(missing());
    }
    let text = head.authority().and_then(|a| std::str::from_utf8(a).ok()).ok_or_else(missing)?;
    let text = text.to_ascii_lowercase();
    let has_port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let text = if has_port { text } else { format!("{}:80", text.trim_end_matches(':')) };
    split_authority(&text).ok_or_else(missing)?;
    Ok(text.into())
}

#[inline]
fn already_decided(head: &impl Head) -> Option<Box<[u8]>> {
    let mut values = head.values(DECIDED_FIELD);
    let mut all = values.next()?.to_owned();
    for value in values {
        all.push(b',');
        all.extend_from_slice(value);
    }
    Some(all.into_boxed_slice())
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_from_another_host_is_not_local_even_where_the_outbound_listener_was_opened_to_it() {
        let original = "10.0.0.1:80".parse().unwrap();
        let (outbound, inbound) = (Arrival::Outbound { original }, Arrival::Inbound { original });
        let local = |arrival: &Arrival, peer: &str, listener: &str| {
            is_local_caller(arrival, peer.parse().unwrap(), &[listener.parse().unwrap()])
        };
        assert!(local(&outbound, "203.0.113.9:1", "127.0.0.1:15001"));
        assert!(local(&outbound, "127.0.0.1:1", "0.0.0.0:15001"));
        assert!(!local(&outbound, "203.0.113.9:1", "0.0.0.0:15001"));
        assert!(!local(&outbound, "[::ffff:203.0.113.9]:1", "[::]:15001"));
        assert!(!local(&inbound, "127.0.0.1:1", "127.0.0.1:15001"));
        assert!(local(&Arrival::Explicit, "[::ffff:127.0.0.1]:1", "127.0.0.1:15001"));
        assert!(!local(&Arrival::Explicit, "203.0.113.9:1", "127.0.0.1:15001"));
    }
}
