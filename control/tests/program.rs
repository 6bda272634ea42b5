//! The real program: killed in the middle of its work, on a full disk, told to listen where it must not.
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
        Self::run(Command::new(env!("CARGO_BIN_EXE_bellhop-control")), data)
    }

    /// Runs a command that becomes the program.
    fn run(mut command: Command, data: &Path) -> Self {
        let mut child = command
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

/// A small disk of its own for the program alone, which needs a mount namespace and so root.
#[test]
fn f21_a_full_disk_refuses_writes_clearly_while_reads_go_on_and_writes_resume_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run, and needs root");
        println!("skipped: mounting a small disk needs root");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=3m tmpfs \"$6\" && exec \"$0\" \"$@\"";
    command.args([
        "--mount",
        "sh",
        "-c",
        mount,
        env!("CARGO_BIN_EXE_bellhop-control"),
        "--store=embedded",
        "--resolve-interval=1h",
    ]);
    let control = Control::run(command, data.path());
    let created =
        |answer: &Option<String>| answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 201"));
    assert!(created(&put(control.address, "before")));

    // the program's own view of that directory; writing there fills its disk, and no other
    let disk = Path::new("/proc")
        .join(control.child.id().to_string())
        .join("root")
        .join(data.path().strip_prefix("/").unwrap());
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let mut refused = None;
    for n in 0..500 {
        refused =
            put(control.address, &format!("full-{n}")).filter(|answer| answer.starts_with("HTTP/1.1 503"));
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("a full disk refuses");
    assert!(refused.contains("application/problem+json") && refused.contains("No space left"), "{refused}");
    assert!(names(control.address).contains(&"before".to_owned()), "reads go on");

    std::fs::remove_file(&filler).unwrap();
    assert!(created(&put(control.address, "after")), "and so do writes, once there is room");
    let held = names(control.address);
    assert!(held.contains(&"before".to_owned()) && held.contains(&"after".to_owned()));
}

#[test]
fn another_address_than_loopback_is_refused_with_what_to_do() {
    let refused =
        Command::new(env!("CARGO_BIN_EXE_bellhop-control")).arg("--listen=0.0.0.0:0").output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{message}");
    assert!(message.contains("--insecure") && message.contains("127.0.0.1"), "{message}");
}
