//! Last step: what the caller is told. The only place that knows statuses.

use std::{fmt::Write as _, net::SocketAddr};

use bellhop_route::{Decision, Reason, Verdict};

use crate::{
    config::ProxyStatus,
    connection::Client,
    context::caller_is_local,
    error::{ErrorKind, RequestError, Side},
};

/// An answer that this proxy gives itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// `grpc-status` and `grpc-message`, where the caller reads errors there; the status is then 200 and there is no body.
    pub(crate) grpc: Option<(u8, &'static str)>,
    /// The whole value of `Proxy-Status`.
    pub(crate) proxy_status: String,
    /// The body: one line of plain text.
    pub(crate) body: String,
    /// Whether an HTTP/1 connection ends with it. One whose sandbox could not be had goes on, and one whose time was over.
    pub(crate) close: bool,
}

impl Answer {
    /// The answer as HTTP/1 has it.
    pub(crate) fn http1(&self, to_head: bool, close: bool) -> Vec<u8> {
        let Self { status, proxy_status, body, .. } = self;
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let phrase = phrase(*status);
        let connection = if close { "Connection: close\r\n" } else { "" };
        let (length, body) = (body.len(), if to_head { "" } else { body });
        format!(
            "HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nProxy-Status: {proxy_status}\r\n{connection}\r\n{body}"
        )
        .into_bytes()
    }
}

/// The phrases of the statuses that [`status`] knows.
fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

/// gRPC's UNAVAILABLE and INTERNAL.
const UNAVAILABLE: u8 = 14;
const INTERNAL: u8 = 13;

/// What was decided of a request, and what became of it before it failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<'a> {
    /// What was decided.
    pub(crate) decision: &'a Decision,
    /// Whether the baseline was asked in a sandbox's place.
    pub(crate) fell_back: bool,
}

/// Turns an error into the answer that tells it. `outcome` is absent where the request failed before a decision.
pub(crate) fn answer(
    client: &Client,
    grpc: bool,
    outcome: Option<Outcome<'_>>,
    error: &RequestError,
) -> Answer {
    let reason = error.kind.reason().as_str();
    let status = status(error.kind, error.side);
    let (status, grpc) = match (grpc, status) {
        (false, status) => (status, None),
        (true, 502..=504) => (200, Some((UNAVAILABLE, reason))),
        (true, _) => (200, Some((INTERNAL, reason))),
    };
    let body = match error.kind {
        _ if grpc.is_some() => String::new(),
        ErrorKind::BadRequest(rule) | ErrorKind::BadResponse(rule) => format!("bellhop: {reason}: {rule}\n"),
        _ => format!("bellhop: {reason}\n"),
    };
    let mut proxy_status = format!("bellhop; error={}", error_type(error.kind));
    match outcome {
        Some(Outcome { fell_back: true, .. }) => proxy_status.push_str("; decision=baseline; fallback"),
        Some(Outcome { decision, .. }) => {
            let _ = write!(proxy_status, "; decision={}", verdict(decision));
        }
        None => {}
    }
    let _ = write!(proxy_status, "; reason={reason}");
    if let Some(Outcome { decision, .. }) = outcome {
        identify(&mut proxy_status, client, decision, None);
    }
    let sandbox_only = error.side == Side::Sandbox
        && (error.kind.is_unsent() || matches!(error.kind, ErrorKind::Refused(_)));
    let goes_on = sandbox_only || error.kind == ErrorKind::RequestTimeout;
    Answer { status, grpc, proxy_status, body, close: !goes_on }
}

/// What nearly every member for `Proxy-Status` has room in.
const EVIDENCE_BYTES: usize = 128;

/// The `Proxy-Status` member for an upstream's answer to a keyed request; `None` where nothing is to be said.
pub(crate) fn evidence(
    client: &Client,
    decision: &Decision,
    fell_back: bool,
    endpoint: Option<SocketAddr>,
) -> Option<String> {
    if client.worker.shared.config.telemetry.proxy_status == ProxyStatus::Errors || !is_keyed(decision) {
        return None;
    }
    let mut text = String::with_capacity(EVIDENCE_BYTES);
    text.push_str("bellhop; decision=");
    match &decision.verdict {
        Verdict::Sandbox(_) if fell_back => text.push_str("baseline; reason=fallback"),
        Verdict::Sandbox(_) => text.push_str("sandbox"),
        Verdict::Baseline(reason) | Verdict::Refused(reason) => {
            let _ = write!(text, "{}; reason={reason}", verdict(decision));
        }
    }
    identify(&mut text, client, decision, endpoint);
    Some(text)
}

/// The member for an answer of the proxy's own before anything was decided: 200 to a CONNECT.
pub(crate) fn presence(client: &Client) -> Option<&'static str> {
    let says = client.worker.shared.config.telemetry.proxy_status != ProxyStatus::Errors;
    says.then_some("bellhop")
}

/// Whether the request carried a key, or something that was meant to be one.
fn is_keyed(decision: &Decision) -> bool {
    decision.key.is_some() || !matches!(decision.verdict, Verdict::Baseline(Reason::NoKey))
}

fn verdict(decision: &Decision) -> &'static str {
    match &decision.verdict {
        Verdict::Sandbox(_) => "sandbox",
        Verdict::Baseline(_) => "baseline",
        Verdict::Refused(_) => "refused",
    }
}

/// Marks, and towards callers on this host key and endpoint. Keys need no escape, by their charset.
fn identify(text: &mut String, client: &Client, decision: &Decision, endpoint: Option<SocketAddr>) {
    if decision.marks.malformed {
        text.push_str("; malformed");
    }
    if decision.marks.stale {
        text.push_str("; stale");
    }
    if client.worker.shared.config.telemetry.proxy_status != ProxyStatus::Full || !caller_is_local(client) {
        return;
    }
    if let Some(key) = &decision.key {
        let _ = write!(text, "; key=\"{key}\"");
    }
    if let Some(endpoint) = endpoint {
        let _ = write!(text, "; next-hop=\"{endpoint}\"");
    }
}

/// A sandbox that does not answer is 503, a baseline 502 (DESIGN §3.8).
fn status(kind: ErrorKind, side: Side) -> u16 {
    let upstream = if side == Side::Sandbox { 503 } else { 502 };
    match kind {
        ErrorKind::BadRequest(_) | ErrorKind::ClientGone => 400,
        ErrorKind::HeadTooLarge => 431,
        ErrorKind::TargetTooLong => 414,
        ErrorKind::HeadTimeout => 408,
        ErrorKind::RequestTimeout => 504,
        ErrorKind::BadVersion => 505,
        ErrorKind::Refused(_) | ErrorKind::Overload => 503,
        ErrorKind::NotPermitted
        | ErrorKind::Loop
        | ErrorKind::NoHealthyEndpoint
        | ErrorKind::NameNotFound
        | ErrorKind::ConnectRefused
        | ErrorKind::ConnectTimeout
        | ErrorKind::ConnectFailed
        | ErrorKind::Closed
        | ErrorKind::Reset
        | ErrorKind::BadResponse(_)
        | ErrorKind::NotOffered => upstream,
    }
}

/// The registered error types of RFC 9209 §2.3.
fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadRequest(_)
        | ErrorKind::HeadTooLarge
        | ErrorKind::TargetTooLong
        | ErrorKind::HeadTimeout => "http_request_error",
        ErrorKind::RequestTimeout => "http_response_timeout",
        ErrorKind::BadVersion | ErrorKind::ClientGone => "http_request_error",
        ErrorKind::Refused(_) | ErrorKind::Overload => "http_request_denied",
        ErrorKind::NotPermitted => "destination_ip_prohibited",
        ErrorKind::Loop => "proxy_loop_detected",
        ErrorKind::NoHealthyEndpoint => "destination_unavailable",
        ErrorKind::NameNotFound => "dns_error",
        ErrorKind::ConnectRefused => "connection_refused",
        ErrorKind::ConnectTimeout => "connection_timeout",
        ErrorKind::ConnectFailed => "destination_ip_unroutable",
        ErrorKind::Closed | ErrorKind::Reset => "connection_terminated",
        ErrorKind::BadResponse(_) => "http_protocol_error",
        ErrorKind::NotOffered => "http_upgrade_failed",
    }
}
