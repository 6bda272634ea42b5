//! `Proxy-Status` (RFC 9209) on every path that gives a keyed caller an answer, or on which the proxy answers itself.

use std::net::SocketAddr;

use bellhop_api::watch::Unit;
use bellhop_proxy::app;
use http::{HeaderValue, Request, response::Parts};

use crate::{
    harness::{Conn, Proxy, control, echo, keyed, refusing, route, serve},
    peer,
};

/// The members of all `Proxy-Status` fields of a head, each with its parameters.
fn members(head: &str) -> Vec<Member> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let values = lines.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-status")).map(|(_, value)| value);
    values.flat_map(list).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Member {
    fn says(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A list of RFC 8941 whose members are tokens with parameters, to the letter.
fn list(value: &str) -> Vec<Member> {
    let mut rest = value.as_bytes();
    let mut members = Vec::new();
    loop {
        let name = take_while(&mut rest, is_token);
        assert!(name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*'), "a token: {value}");
        let mut parameters = Vec::new();
        while skip(&mut rest, b";") {
            while skip(&mut rest, b" ") {}
            let key = take_while(&mut rest, |byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
            });
            assert!(key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*'), "a key: {value}");
            let bare = if skip(&mut rest, b"=") { item(&mut rest, value) } else { "?1".to_owned() };
            parameters.push((key, bare));
        }
        members.push(Member { name, parameters });
        while skip(&mut rest, b" ") {}
        if rest.is_empty() {
            return members;
        }
        assert!(skip(&mut rest, b","), "a comma: {value}");
        while skip(&mut rest, b" ") {}
    }
}

fn item(rest: &mut &[u8], value: &str) -> String {
    if skip(rest, b"\"") {
        let text = take_while(rest, |byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
        assert!(skip(rest, b"\""), "a string's end: {value}");
        return text;
    }
    let text = take_while(rest, is_token);
    assert!(!text.is_empty(), "an item: {value}");
    text
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

fn take_while(rest: &mut &[u8], holds: impl Fn(u8) -> bool) -> String {
    let count = rest.iter().take_while(|byte| holds(**byte)).count();
    let (taken, left) = rest.split_at(count);
    *rest = left;
    String::from_utf8(taken.to_vec()).unwrap()
}

fn skip(rest: &mut &[u8], what: &[u8]) -> bool {
    let found = rest.strip_prefix(what);
    *rest = found.unwrap_or(rest);
    found.is_some()
}

/// The one member of this proxy, the last of its head.
fn said(head: &str) -> Member {
    let all = members(head);
    let own: Vec<_> = all.iter().filter(|member| member.name == "bellhop").collect();
    assert_eq!((own.len(), all.last()), (1, own.last().copied()), "{head}");
    own[0].clone()
}

fn with_protocol(unit: Unit, protocol: &str) -> Unit {
    let mut unit = serde_json::to_value(unit).unwrap();
    unit["key"]["routes"][0]["protocol"] = protocol.into();
    serde_json::from_value(unit).unwrap()
}

/// The parts of an HTTP/2 answer's head as lines.
fn lines(head: &Parts) -> String {
    let fields = head.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
    fields.collect()
}

fn with_key(mut request: Request<()>, key: &str) -> Request<()> {
    let value = HeaderValue::from_str(&format!("routing-key={key}")).unwrap();
    request.headers_mut().insert("baggage", value);
    request
}

/// A proxy for an HTTP/2 baseline that holds `units`.
async fn http2_proxy(baseline: SocketAddr, units: Vec<Unit>) -> app::Running {
    let control = format!("http://{}", control(units));
    let flags = ["--destination", "app:80", "--control", &control, "--allow-loopback-endpoints=true"];
    let proxy = peer::proxy_with(baseline, &[&flags[..], &["--access-log=off"]].concat());
    let end = std::time::Instant::now() + peer::DEADLINE;
    loop {
        let send = peer::connect(peer::address(&proxy)).await;
        let (head, ..) = peer::call(&send, with_key(peer::get("/"), "nobody"), &[]).await.unwrap();
        if said(&lines(&head)).says("reason") == Some("unknown-key") {
            return proxy;
        }
        assert!(std::time::Instant::now() < end, "{head:?}");
    }
}

async fn http2_echo(name: &'static str) -> SocketAddr {
    peer::backend(move |(request, respond)| async move {
        peer::read(&mut request.into_body()).await.unwrap();
        peer::answer(respond, name);
    })
    .await
}

#[test]
fn every_refusal_of_a_head_over_http1_says_why() {
    let base = echo("base");
    let proxy = Proxy::start(base.address, &["--header-timeout=300ms"]);
    let long = "a".repeat(20_000);
    for (to, request, status, reason) in [
        (proxy.fixed, "GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad-request"),
        (proxy.fixed, "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), 400, "bad-request"),
        (proxy.fixed, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "uri-too-long"),
        (
            proxy.fixed,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(101)),
            431,
            "head-too-large",
        ),
        (proxy.fixed, "GET / HTTP/1.1\r\nHost:".to_owned(), 408, "head-timeout"),
        (proxy.explicit, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "bad-request"),
        (
            proxy.explicit,
            format!("CONNECT {} HTTP/1.1\r\nHost: a\r\n\r\n", refusing()),
            502,
            "connect-refused",
        ),
        (
            proxy.explicit,
            format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\n\r\n", refusing()),
            502,
            "connect-refused",
        ),
    ] {
        let mut client = Conn::connect(to);
        client.send(&request);
        let answer = client.message().unwrap();
        assert_eq!(answer.status(), status, "{request}: {answer:?}");
        let said = said(&answer.head);
        assert!(said.says("error").is_some() && said.says("reason") == Some(reason), "{said:?}");
    }
}

#[test]
fn what_an_upstream_spoils_is_said_over_http1_and_to_head_as_well() {
    let wrong = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    });
    for (base, method, status, error) in [
        (wrong.address, "GET", 502, "http_protocol_error"),
        (refusing(), "GET", 502, "connection_refused"),
        (refusing(), "HEAD", 502, "connection_refused"),
    ] {
        let proxy = Proxy::start(base, &[]);
        let mut client = proxy.client();
        client.send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer_to(method).unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(said(&answer.head).says("error"), Some(error));
    }
}

#[test]
fn every_answer_to_a_keyed_http1_request_says_what_was_decided_behind_what_was_there() {
    let base = serve(|mut conn, _| {
        while let Some(request) = conn.message() {
            let answer = match request.head.split(' ').nth(1).unwrap() {
                "/interim" => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                }
                "/other" => {
                    "HTTP/1.1 404 Not Found\r\nProxy-Status: cdn; error=x, edge\r\nContent-Length: 0\r\n\r\n"
                }
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/close" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            };
            conn.send(answer);
        }
    });
    let proxy = Proxy::start(base.address, &[]);
    for path in ["/", "/other", "/none", "/interim", "/close"] {
        let mut client = proxy.client();
        client.send(&keyed("k").replace("/k", path));
        let mut head = client.head();
        if path == "/interim" {
            assert!(head.starts_with("HTTP/1.1 103") && members(&head).is_empty(), "{head}");
            head = client.head();
        }
        let member = said(&head);
        assert_eq!((member.says("decision"), member.says("reason")), (Some("baseline"), Some("no-table")));
        assert_eq!(members(&head).len(), if path == "/other" { 3 } else { 1 });
        // Without a key the answer is the upstream's alone.
        let mut client = proxy.client();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(members(&client.head()).iter().all(|member| member.name != "bellhop"));
    }
}

#[test]
fn answers_that_begin_tunnels_say_it_too() {
    let base = serve(|mut conn, _| {
        let head = conn.head();
        let status =
            if head.starts_with("CONNECT") { "200 OK" } else { "101 Switching Protocols\r\nUpgrade: ws" };
        conn.send(&format!("HTTP/1.1 {status}\r\nConnection: upgrade\r\n\r\ntunnel"));
        conn.rest();
    });
    let proxy = Proxy::start(base.address, &[]);
    let upgrade =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ws\r\nBaggage: routing-key=k\r\n\r\n";
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nBaggage: routing-key=k\r\n\r\n";
    for request in [upgrade, connect] {
        let mut client = proxy.client();
        client.send(request);
        assert_eq!(said(&client.head()).says("decision"), Some("baseline"));
        assert_eq!(client.exactly(6), b"tunnel");
    }
    // The proxy's own: nothing is decided yet.
    for (level, expected) in [("full", true), ("reason", true), ("errors", false)] {
        let proxy = Proxy::start(base.address, &["--proxy-status", level]);
        let mut client = Conn::connect(proxy.explicit);
        client.send(&format!("CONNECT {} HTTP/1.1\r\nHost: a\r\n\r\n", base.address));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 "));
        let members = members(&head);
        assert_eq!(members.len(), usize::from(expected), "{head}");
        assert!(members.iter().all(|member| member.name == "bellhop" && member.parameters.is_empty()));
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ws\r\nBaggage: routing-key=k\r\n\r\n");
        assert_eq!(client.head().contains("bellhop; decision=baseline"), expected);
    }
}

#[test]
fn how_much_is_said_is_configured_and_errors_are_always_said() {
    let (base, sandbox) = (echo("base"), echo("sandbox"));
    for level in ["full", "reason", "errors"] {
        let units = vec![route("k", &[sandbox.address], false), route("broken", &[refusing()], false)];
        let proxy = Proxy::with_routes(base.address, units, &["--proxy-status", level]);
        let ask = |key: &str| {
            let mut client = proxy.client();
            client.send(&keyed(key));
            client.message().unwrap()
        };
        // Readiness cannot be seen where nothing is said.
        while ask("k").text().starts_with("base") {}
        let answer = ask("k");
        let endpoint = sandbox.address.to_string();
        let (key, hop) = if level == "full" { (Some("k"), Some(&*endpoint)) } else { (None, None) };
        if level == "errors" {
            assert!(members(&answer.head).is_empty(), "{answer:?}");
        } else {
            let said = said(&answer.head);
            assert_eq!(
                (said.says("decision"), said.says("key"), said.says("next-hop")),
                (Some("sandbox"), key, hop)
            );
        }
        let answer = ask("broken");
        let said = said(&answer.head);
        assert_eq!((answer.status(), said.says("error")), (503, Some("connection_refused")));
        assert_eq!((said.says("decision"), said.says("reason")), (Some("sandbox"), Some("connect-refused")));
        assert_eq!(said.says("key").is_some(), level == "full");
    }
}

#[tokio::test]
async fn http1_callers_of_http2_sandboxes_and_the_other_way_round_are_told() {
    let (base, sandbox) = (echo("base"), http2_echo("sandbox").await);
    let unit = with_protocol(route("k", &[sandbox], false), "http2");
    let proxy = tokio::task::spawn_blocking(move || {
        let proxy = Proxy::with_routes(base.address, vec![unit], &[]);
        let mut client = proxy.client();
        client.send(&keyed("k"));
        let answer = client.message().unwrap();
        assert_eq!(
            (answer.text().as_str(), said(&answer.head).says("decision")),
            ("sandbox", Some("sandbox"))
        );
    });
    proxy.await.unwrap();
    let unit = with_protocol(route("k", &[echo("sandbox").address], false), "http1");
    let proxy = http2_proxy(http2_echo("base").await, vec![unit]).await;
    let send = peer::connect(peer::address(&proxy)).await;
    let (head, ..) = peer::call(&send, with_key(peer::get("/"), "k"), &[]).await.unwrap();
    assert_eq!(said(&lines(&head)).says("decision"), Some("sandbox"));
}

#[tokio::test]
async fn http2_answers_say_the_same_and_grpc_reads_it_as_a_trailer() {
    let baseline = peer::backend(|(request, mut respond)| async move {
        let hints = http::Response::builder().status(103).body(()).unwrap();
        respond.send_informational(hints).unwrap();
        peer::read(&mut request.into_body()).await.unwrap();
        let mut answer = http::Response::new(());
        answer.headers_mut().insert("proxy-status", HeaderValue::from_static("cdn"));
        respond.send_response(answer, true).unwrap();
    })
    .await;
    let units = vec![route("broken", &[refusing()], false)];
    let proxy = http2_proxy(baseline, units).await;
    let mut send = peer::connect(peer::address(&proxy)).await.ready().await.unwrap();
    let (mut answer, _) = send.send_request(with_key(peer::get("/"), "nobody"), true).unwrap();
    let hints = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
    assert!(hints.headers().is_empty(), "{hints:?}");
    let (head, _) = answer.await.unwrap().into_parts();
    assert_eq!(members(&lines(&head)).len(), 2);
    assert_eq!(said(&lines(&head)).says("reason"), Some("unknown-key"));
    let (head, ..) = peer::call(&send, peer::get("/"), &[]).await.unwrap();
    assert_eq!(members(&lines(&head)).iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["cdn"]);

    let (head, ..) = peer::call(&send, with_key(peer::get("/"), "broken"), &[]).await.unwrap();
    assert_eq!((head.status.as_u16(), said(&lines(&head)).says("error")), (503, Some("connection_refused")));
    let mut grpc = with_key(peer::post("/a.B/C"), "broken");
    grpc.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let (head, body, trailers) = peer::call(&send, grpc, &[]).await.unwrap();
    // Trailers only: a head that ends the stream.
    assert!(body.is_empty() && trailers.is_none());
    assert_eq!((head.status.as_u16(), head.headers["grpc-status"].as_bytes()), (200, &b"14"[..]));
    assert_eq!(said(&lines(&head)).says("reason"), Some("connect-refused"));

    for (request, status, reason) in [
        (peer::get(&format!("/{}", "a".repeat(16_500))), 414, "uri-too-long"),
        (with_many_fields(peer::get("/")), 431, "head-too-large"),
    ] {
        let (head, ..) = peer::call(&send, request, &[]).await.unwrap();
        assert_eq!((head.status.as_u16(), said(&lines(&head)).says("reason")), (status, Some(reason)));
    }
}

fn with_many_fields(mut request: Request<()>) -> Request<()> {
    for _ in 0..101 {
        request.headers_mut().append("a", HeaderValue::from_static("b"));
    }
    request
}

#[test]
fn an_http2_baseline_that_refuses_is_said() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let proxy = peer::proxy_with(refusing(), &["--access-log=off"]);
        let send = peer::connect(peer::address(&proxy)).await;
        let (head, ..) = peer::call(&send, peer::get("/"), &[]).await.unwrap();
        assert_eq!(
            (head.status.as_u16(), said(&lines(&head)).says("error")),
            (502, Some("connection_refused"))
        );
    });
}
