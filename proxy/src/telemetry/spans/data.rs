//! An account as a span: names and values of OpenTelemetry's semantic conventions for HTTP servers, and Bellhop's own.

use bellhop_spans::{Maker, Seen};
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;

use crate::{context::split_authority, telemetry::account::Account};

/// Methods with a name of their own in the conventions; any other is `_OTHER`, so that span names stay few.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// Makes spans.
#[derive(Debug)]
pub(crate) struct Spans(Maker);

impl Default for Spans {
    fn default() -> Self {
        Self(Maker::new("bellhop-proxy"))
    }
}

impl Spans {
    /// The span of one request.
    pub(crate) fn of(&self, account: &Account) -> SpanData {
        self.0.make(Seen {
            parent: account.parent.as_ref(),
            name: method(account).unwrap_or("HTTP").into(),
            begun: account.time.checked_sub(account.duration).unwrap_or(account.time),
            ended: account.time,
            failure: failure(account),
            attributes: attributes(account),
        })
    }
}

fn method(account: &Account) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == account.method.as_str())
}

/// The value of `error.type`: the proxy's reason, or what the upstream answered.
fn failure(account: &Account) -> Option<String> {
    match (account.decision, account.status) {
        ("refused", _) => account.reason.map(str::to_owned),
        (_, 500..) => Some(account.status.to_string()),
        (_, 0) => Some("cancelled".to_owned()),
        _ => None,
    }
}

fn attributes(account: &Account) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(20);
    match method(account) {
        Some(method) => all.push(KeyValue::new("http.request.method", method)),
        None => {
            all.push(KeyValue::new("http.request.method", "_OTHER"));
            all.push(KeyValue::new("http.request.method_original", account.method.as_str().to_owned()));
        }
    }
    if account.status != 0 {
        all.push(KeyValue::new("http.response.status_code", i64::from(account.status)));
    }
    all.push(KeyValue::new("url.scheme", "http"));
    all.push(KeyValue::new("url.path", account.path.as_str().to_owned()));
    all.push(KeyValue::new("network.protocol.name", "http"));
    all.push(KeyValue::new("network.protocol.version", account.version));
    server(account, &mut all);
    if let Some(peer) = account.peer {
        let address = peer.ip().to_canonical().to_string();
        all.push(KeyValue::new("client.address", address.clone()));
        all.push(KeyValue::new("network.peer.address", address));
        all.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
    }
    decision(account, &mut all);
    all
}

/// Whom the request names as its server.
fn server(account: &Account, all: &mut Vec<KeyValue>) {
    let authority = account.authority.as_str();
    let (host, port) = split_authority(authority).unwrap_or((authority, 80));
    if !host.is_empty() {
        all.push(KeyValue::new("server.address", host.to_owned()));
        all.push(KeyValue::new("server.port", i64::from(port)));
    }
}

fn decision(account: &Account, all: &mut Vec<KeyValue>) {
    all.push(KeyValue::new("bellhop.listener", account.listener));
    all.push(KeyValue::new("bellhop.decision", account.decision));
    let texts = [
        ("bellhop.reason", account.reason.map(str::to_owned)),
        ("bellhop.routing_key", account.key.clone()),
        ("bellhop.destination", account.destination.clone()),
        ("bellhop.endpoint", account.endpoint.map(|endpoint| endpoint.to_string())),
    ];
    all.extend(texts.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text?))));
    for (name, mark) in [("bellhop.malformed", account.malformed), ("bellhop.stale", account.stale)] {
        if mark {
            all.push(KeyValue::new(name, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::Status;

    use super::*;

    fn account() -> Account {
        let decision = "baseline";
        Account { method: b"GET".as_slice().into(), status: 200, decision, ..Account::default() }
    }

    #[test]
    fn methods_that_nobody_knows_make_no_names() {
        let brew = Account { method: b"BREW".as_slice().into(), ..account() };
        let span = Spans::default().of(&brew);
        assert_eq!(span.name, "HTTP");
        assert!(span.attributes.contains(&KeyValue::new("http.request.method", "_OTHER")));
        assert!(span.attributes.contains(&KeyValue::new("http.request.method_original", "BREW")));
    }

    #[test]
    fn what_failed_says_so_and_what_the_caller_did_wrong_is_no_failure() {
        for (decision, reason, status, failure) in [
            ("sandbox", None, 200, None),
            ("baseline", Some("unknown-key"), 404, None),
            ("baseline", Some("unknown-key"), 500, Some("500")),
            ("refused", Some("connect-refused"), 503, Some("connect-refused")),
            // To a gRPC client.
            ("refused", Some("connect-refused"), 200, Some("connect-refused")),
            ("sandbox", None, 0, Some("cancelled")),
        ] {
            let span = Spans::default().of(&Account { decision, reason, status, ..account() });
            let told = span.attributes.iter().find(|pair| pair.key.as_str() == "error.type");
            assert_eq!(told.map(|pair| pair.value.to_string()).as_deref(), failure);
            assert_eq!(matches!(span.status, Status::Error { .. }), failure.is_some());
        }
    }

    #[test]
    fn the_server_is_the_one_that_the_request_names() {
        for (authority, host, port) in
            [("a.test", "a.test", 80), ("a:8080", "a", 8080), ("[::1]:9", "::1", 9)]
        {
            let account = Account { authority: authority.as_bytes().into(), ..account() };
            let attributes = attributes(&account);
            assert!(attributes.contains(&KeyValue::new("server.address", host)), "{attributes:?}");
            assert!(attributes.contains(&KeyValue::new("server.port", port)), "{attributes:?}");
        }
    }
}
