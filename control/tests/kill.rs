//! The real program, killed in the middle of its work.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Control {
    child: Child,
    address: SocketAddr,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Control {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bellhop-control"))
            .args(["--listen=127.0.0.1:0", "--log=json", "--data-dir"])
            .arg(data)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        // read on to the end, so that the program never waits for its log to be taken
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = line["fields"]["address"].as_str() {
                    found.send(address.parse().unwrap()).ok();
                }
            }
        });
        let address = address.recv_timeout(PATIENCE).expect("control listens");
        Self { child, address }
    }
}

/// Sends one request; gives the whole answer, or nothing where the connection broke.
fn send(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("\r\n\r\n").then_some(answer)
}

fn put(address: SocketAddr, name: &str) -> Option<String> {
    let body = format!(
        r#"{{"apiVersion":"bellhop.dev/v1alpha1","kind":"Sandbox","metadata":{{"name":"{name}"}},
            "spec":{{"overrides":[{{"service":"route","port":80,"endpoints":["10.0.0.7"]}}]}}}}"#
    );
    let length = body.len();
    let head = format!(
        "PUT /v1/namespaces/default/sandboxes/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    send(address, &(head + &body))
}

fn names(address: SocketAddr) -> Vec<String> {
    let get = "GET /v1/sandboxes?limit=5000 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = send(address, get).unwrap();
    let list: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn f20_every_write_that_was_acknowledged_survives_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut control = Control::start(data.path());
        let address = control.address;
        let (written, heard) = mpsc::channel();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let written = written.clone();
                thread::spawn(move || {
                    for n in 0.. {
                        let name = format!("s-{round}-{writer}-{n}");
                        match put(address, &name) {
                            Some(answer) if answer.starts_with("HTTP/1.1 201") => written.send(name).unwrap(),
                            _ => break,
                        }
                    }
                })
            })
            .collect();
        drop(written);
        for _ in 0..20 {
            acknowledged.push(heard.recv_timeout(PATIENCE).expect("writes go on"));
        }
        control.child.kill().unwrap();
        control.child.wait().unwrap();
        acknowledged.extend(heard);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
    let control = Control::start(data.path());
    let held = names(control.address);
    let lost: Vec<_> = acknowledged.iter().filter(|name| !held.contains(name)).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert!(held.len() <= acknowledged.len() + 5 * 4, "of the others at most those in flight are there");
}

#[test]
fn another_address_than_loopback_is_refused_with_what_to_do() {
    let refused =
        Command::new(env!("CARGO_BIN_EXE_bellhop-control")).arg("--listen=0.0.0.0:0").output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{message}");
    assert!(message.contains("--insecure") && message.contains("127.0.0.1"), "{message}");
}
