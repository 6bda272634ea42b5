use super::*;

fn parse(head: &str) -> Result<Request, ErrorKind> {
    Request::parse(head.as_bytes(), &Limits::default(), &Carriers::default(), Vec::new())
}

fn with(fields: &str) -> Result<Request, ErrorKind> {
    parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

#[test]
fn a_good_head_says_what_it_says() {
    let head = "GET /a?b=c HTTP/1.1\r\nHost: a:1\r\nBaggage: k=v\r\n\r\n";
    let request = parse(head).unwrap();
    let view = request.view(head.as_bytes());
    assert_eq!(view.method(), b"GET");
    assert_eq!(view.authority(), Some(&b"a:1"[..]));
    assert_eq!(view.path_and_query(), b"/a?b=c");
    assert_eq!(view.query(), Some(&b"b=c"[..]));
    assert_eq!(view.values("baggage").collect::<Vec<_>>(), [b"k=v"]);
    assert!(!view.target_has_authority());
    assert_eq!((request.framing, request.close), (Framing::Length(0), false));
}

#[test]
fn conflicting_differing_signed_and_overflowing_lengths_and_odd_transfer_codings_are_400() {
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \r\n",
    ] {
        assert!(matches!(with(fields), Err(ErrorKind::BadRequest(_))), "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(matches!(parse(old), Err(ErrorKind::BadRequest(_))));
}

#[test]
fn bare_carriage_returns_nul_folded_lines_and_blanks_before_the_colon_are_400() {
    for fields in [
        "A: b\rc\r\n",
        "A: b\0\r\n",
        "A: b\r\n c\r\n",
        "A : b\r\n",
        ": b\r\n",
        "A\r\n",
        "A: \x7f\r\n",
        "Ä: b\r\n",
    ] {
        assert!(matches!(with(fields), Err(ErrorKind::BadRequest(_))), "{fields:?}");
    }
    for line in [
        "GET  / HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert!(parse(&head).is_err(), "{line:?}");
    }
}

#[test]
fn http_1_1_without_a_host_with_two_or_with_an_invalid_one_is_400() {
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ] {
        assert!(matches!(parse(head), Err(ErrorKind::BadRequest(_))), "{head:?}");
    }
    assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    assert!(parse("GET / HTTP/1.1\r\nHost:\r\n\r\n").is_ok());
}

#[test]
fn a_connection_field_must_not_name_framing_host_or_carriers() {
    for name in ["Host", "content-length", "Transfer-Encoding", "Baggage", "bellhop-decided"] {
        assert!(
            matches!(with(&format!("Connection: close, {name}\r\n")), Err(ErrorKind::BadRequest(_))),
            "{name}"
        );
    }
    let odd = Carriers::new(["header=x-route".parse().unwrap()]);
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Route\r\n\r\n";
    assert!(Request::parse(head.as_bytes(), &Limits::default(), &odd, Vec::new()).is_err());
    assert!(parse(head).is_ok_and(|request| request.has_hop_fields));
}

#[test]
fn too_many_fields_too_many_bytes_and_too_long_a_target_have_statuses_of_their_own() {
    let many = |count: usize| with(&"A: b\r\n".repeat(count - 1)).map(|request| request.lines.len());
    assert_eq!(many(100), Ok(100));
    assert_eq!(many(101), Err(ErrorKind::HeadTooLarge));
    let long = |size: usize| with(&format!("A: {}\r\n", "b".repeat(size))).map(drop);
    assert_eq!(long(63 * 1024), Ok(()));
    assert_eq!(long(64 * 1024 + 1), Err(ErrorKind::HeadTooLarge));
    let target =
        |size: usize| parse(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "b".repeat(size - 1))).map(drop);
    assert_eq!(target(16 * 1024), Ok(()));
    assert_eq!(target(16 * 1024 + 1), Err(ErrorKind::TargetTooLong));
    assert_eq!(parse("GET / HTTP/3.0\r\nHost: a\r\n\r\n").map(drop), Err(ErrorKind::BadVersion));
}

#[test]
fn connections_end_where_the_client_says_so_and_upgrades_need_both_fields() {
    assert!(with("Connection: Close\r\n").unwrap().close);
    assert!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().close);
    assert!(!parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().close);
    assert!(with("Connection: upgrade\r\nUpgrade: websocket\r\n").unwrap().upgrade);
    assert!(!with("Upgrade: websocket\r\n").unwrap().upgrade);
    assert!(!with("Connection: upgrade\r\nUpgrade: h2c\r\n").unwrap().upgrade);
    assert!(matches!(
        parse("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"),
        Err(ErrorKind::BadRequest(_))
    ));
}
