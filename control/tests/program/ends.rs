//! The program is told to end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
};

use crate::harness::{Control, PATIENCE, put};

fn begin(control: &Control, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(control.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

#[test]
fn sigterm_ends_watches_with_a_last_bookmark_answers_what_waits_and_exits_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut control = Control::start(directory.path());
    assert!(put(control.address, "a").unwrap().starts_with("HTTP/1.1 201"));
    let mut watch = begin(&control, "/v1/routes?watch=true");
    let mut lines = watch.by_ref().lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("synced")));
    // both requests come at once: when the first is answered, the second has begun
    let both = "/livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/keys/a/in-force?waitSeconds=60";
    let mut waiting = begin(&control, both);
    assert!(waiting.by_ref().lines().map(Result::unwrap).any(|line| line == "ok"));
    let pid = control.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut rest = String::new();
    watch.read_to_string(&mut rest).unwrap();
    let lines: Vec<_> = rest.lines().filter(|line| line.starts_with('{')).collect();
    assert!(lines.last().is_some_and(|line| line.contains("bookmark")), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "a clean end: {rest:?}");
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("inForce"), "{answer}");
    assert_eq!(control.child.wait().unwrap().code(), Some(0));
}
