use bellhop_route::Carriers;

use super::*;
use crate::config::Limits;

fn parse(head: &str) -> Request {
    Request::parse(head.as_bytes(), &Limits::default(), &Carriers::default(), Vec::new()).unwrap()
}

/// The head as it goes on.
fn on(head: &str, explicit: bool, decided: &DecidedField) -> String {
    match request(&parse(head), head.as_bytes(), explicit, decided, &Buffers::default()) {
        Some(edited) => String::from_utf8(edited.bytes().to_vec()).unwrap(),
        None => head.to_owned(),
    }
}

#[test]
fn a_head_that_needs_no_change_goes_on_as_it_is() {
    for head in [
        "GET / HTTP/1.1\r\nhOsT: a\r\nX:  odd  \r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: A\r\nKeep-Alive: 5\r\nConnection: close\r\n\r\n",
    ] {
        assert!(
            request(&parse(head), head.as_bytes(), false, &DecidedField::Keep, &Buffers::default()).is_none(),
            "{head:?}"
        );
    }
}

#[test]
fn the_targets_authority_replaces_a_host_that_differs() {
    let head = "GET http://a:1/x HTTP/1.1\r\nA: 1\r\nHost: b\r\nB: 2\r\n\r\n";
    let intercepted = "GET http://a:1/x HTTP/1.1\r\nHost: a:1\r\nA: 1\r\nB: 2\r\n\r\n";
    assert_eq!(on(head, false, &DecidedField::Keep), intercepted);
    let explicit = "GET /x HTTP/1.1\r\nHost: a:1\r\nA: 1\r\nB: 2\r\n\r\n";
    assert_eq!(on(head, true, &DecidedField::Keep), explicit);
}

#[test]
fn an_explicit_request_reaches_its_origin_in_origin_form_without_what_was_meant_for_the_proxy() {
    let head = "GET http://a HTTP/1.0\r\nProxy-Connection: x\r\nproxy-authorization: y\r\nA: 1\r\n\r\n";
    assert_eq!(on(head, true, &DecidedField::Keep), "GET / HTTP/1.0\r\nHost: a\r\nA: 1\r\n\r\n");
    let query = "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(on(query, true, &DecidedField::Keep), "GET /?q HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(on(all, true, &DecidedField::Keep), "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn hop_by_hop_fields_and_offers_of_h2c_are_left_out() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, keep-alive, TE\r\nX-Hop: 1\r\nTE: trailers\r\nB: 2\r\n\r\n";
    let without = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nB: 2\r\n\r\n";
    assert_eq!(on(head, false, &DecidedField::Keep), without);
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n";
    assert_eq!(on(h2c, false, &DecidedField::Keep), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let both = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n";
    let one = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(on(both, false, &DecidedField::Keep), one);
}

#[test]
fn what_was_decided_is_added_beside_what_is_there_or_removed() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nBellhop-Decided: x.y:1\r\n\r\n";
    let added = "GET / HTTP/1.1\r\nHost: a\r\nBellhop-Decided: x.y:1\r\nbellhop-decided: z.y:2\r\n\r\n";
    assert_eq!(on(head, false, &DecidedField::Add(b"z.y:2".to_vec())), added);
    assert_eq!(on(head, false, &DecidedField::Remove), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn an_answer_gets_its_evidence_behind_what_is_there() {
    let head = b"HTTP/1.1 200 OK\r\nProxy-Status: other\r\nContent-Length: 0\r\n\r\n";
    let on = response(head, false, false, Some("bellhop; decision=sandbox"), &Buffers::default()).unwrap();
    let expected = "HTTP/1.1 200 OK\r\nProxy-Status: other\r\nContent-Length: 0\r\nProxy-Status: bellhop; decision=sandbox\r\n\r\n";
    assert_eq!(String::from_utf8(on.bytes().to_vec()).unwrap(), expected);
    assert!(response(head, false, false, None, &Buffers::default()).is_none());
}

#[test]
fn an_answer_while_draining_says_close_and_hop_by_hop_fields_are_left_out() {
    let head = b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X\r\nKeep-Alive: 5\r\nX: 1\r\nA: 2\r\n\r\n";
    let on = response(head, true, true, None, &Buffers::default()).unwrap();
    assert_eq!(
        String::from_utf8(on.bytes().to_vec()).unwrap(),
        "HTTP/1.1 200 OK\r\nA: 2\r\nConnection: close\r\n\r\n"
    );
    let on = response(head, true, false, None, &Buffers::default()).unwrap();
    let expected = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nA: 2\r\n\r\n";
    assert_eq!(String::from_utf8(on.bytes().to_vec()).unwrap(), expected);
}
