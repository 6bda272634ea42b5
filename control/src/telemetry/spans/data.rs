//! An account as a span: names and values of OpenTelemetry's semantic conventions for HTTP servers, and Bellhop's own.

use bellhop_spans::{Maker, Seen};
use http::Version;
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;

use crate::telemetry::account::Account;

/// The span of one request.
pub(super) fn span(maker: &Maker, account: &Account) -> SpanData {
    maker.make(Seen {
        parent: account.parent.as_ref(),
        name: name(account).into(),
        begun: account.begun,
        ended: account.ended,
        failure: failure(account),
        attributes: attributes(account),
    })
}

fn name(account: &Account) -> String {
    let method = match account.method() {
        "other" => "HTTP",
        known => known,
    };
    match account.route() {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

/// The value of `error.type`. What the caller did wrong is no failure of the server's.
fn failure(account: &Account) -> Option<String> {
    match account.status {
        None => Some("cancelled".to_owned()),
        Some(status) => status.is_server_error().then(|| status.as_u16().to_string()),
    }
}

fn attributes(account: &Account) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(12);
    match account.method() {
        "other" => all.push(KeyValue::new("http.request.method", "_OTHER")),
        known => all.push(KeyValue::new("http.request.method", known)),
    }
    if let Some(route) = account.route() {
        all.push(KeyValue::new("http.route", route.to_owned()));
    }
    if let Some(status) = account.status {
        all.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }
    let version = match account.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    all.push(KeyValue::new("network.protocol.name", "http"));
    all.push(KeyValue::new("network.protocol.version", version));
    if let Some(peer) = account.peer {
        let address = peer.ip().to_canonical().to_string();
        all.push(KeyValue::new("client.address", address.clone()));
        all.push(KeyValue::new("network.peer.address", address));
        all.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
    }
    all.extend(account.who.clone().map(|who| KeyValue::new("bellhop.caller", who)));
    all
}
