//! The programs as people run them, where callers must say who they are.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of a test may fail it")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Whatever is waited for comes within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self.err
    }
}

/// A directory of this test, a control plane in it, and the command.
struct Desk {
    files: tempfile::TempDir,
    address: String,
    _control: Running,
}

impl Desk {
    fn open(control: &[&str], before: impl FnOnce(&Path), environment: &[(&str, String)]) -> Self {
        let files = tempfile::tempdir().unwrap();
        before(files.path());
        let mut command = bellhop(files.path());
        command.arg("control").args(control).args(["--listen=127.0.0.1:0", "--log=json", "--data-dir=data"]);
        for (name, value) in environment {
            command.env(name, value.replace("DIR", &files.path().display().to_string()));
        }
        let mut child = command.env("RUST_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        // read on to the end, so that the program never waits for its log to be taken
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let address = line.pointer("/fields/address").and_then(serde_json::Value::as_str);
                if let Some(address) = address {
                    found.send(address.to_owned()).ok();
                }
            }
        });
        let control = Running(child);
        let address = address.recv_timeout(DEADLINE).expect("control listens");
        Self { files, address, _control: control }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn run(&self, args: &[&str], input: &str) -> Ended {
        let mut command = bellhop(self.files.path());
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // one that reads nothing may have ended already
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Desk {
    /// A proxy called `p1`.
    fn proxy(&self, more: &[&str]) -> Running {
        let mut proxy = bellhop(self.files.path());
        proxy.args(["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9", "--destination=route:80"]);
        proxy.args(["--admin=off", "--proxy-id=p1", "--workers=1"]).args(more);
        Running(proxy.stderr(Stdio::null()).spawn().unwrap())
    }

    /// Makes a sandbox, and waits until the one proxy has it.
    fn in_force(&self, name: &str) {
        let create =
            ["sandbox", "create", name, "--override", "route:80=10.0.0.7:80", "--ttl", "90d", "--wait"];
        let said = self.run(&create, "").done();
        assert!(said.contains("1 proxy"), "{said}");
    }
}

/// The command, in a directory where nobody's own contexts are.
fn bellhop(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop"));
    command.current_dir(directory).env("BELLHOP_CONFIG", directory.join("config.yaml"));
    for name in
        ["BELLHOP_SERVER", "BELLHOP_NAMESPACE", "BELLHOP_CONTEXT", "BELLHOP_TOKEN_FILE", "BELLHOP_CA_FILE"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_login_is_kept_for_its_owner_alone_and_its_token_goes_to_no_other_server() {
    let desk = Desk::open(&["--auth=required", "--audit-log=off"], |_| {}, &[]);
    let server = format!("http://{}", desk.address);
    let refused = desk.run(&["--server", &server, "proxies"], "").failed(1);
    assert!(refused.contains("401") && refused.contains("bellhop login"), "{refused}");
    let wrong = desk.run(&["--server", &server, "login"], "bh_guess\n").failed(1);
    assert!(wrong.contains("401") && !wrong.contains("bh_guess"), "{wrong}");
    assert!(!desk.path("config.yaml").exists(), "nothing is kept of a login that failed");

    let token = fs::read_to_string(desk.path("data/bootstrap-token")).unwrap();
    let said = desk.run(&["--server", &server, "--context", "here", "-n", "shop", "login"], &token).done();
    assert!(said.contains("token:bootstrap is admin"), "{said}");
    let mode = fs::metadata(desk.path("config.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(desk.run(&["whoami"], "").done().contains("token:bootstrap"));
    let shown = desk.run(&["config", "view"], "").done() + &desk.run(&["config", "get-contexts"], "").done();
    assert!(shown.contains("here") && shown.contains("shop") && !shown.contains("bh_"), "{shown}");

    // the current context's token is for its own server
    let elsewhere = desk.run(&["--server", &server, "whoami"], "").failed(1);
    assert!(elsewhere.contains("401"), "{elsewhere}");
    let foreign = "http://192.0.2.1:1";
    let refused = desk.run(&["--server", foreign, "--context", "here", "whoami"], "").failed(64);
    for part in [foreign, &server, "bellhop login"] {
        assert!(refused.contains(part) && !refused.contains("bh_"), "{part}: {refused}");
    }
    let own = format!("{server}/");
    assert!(desk.run(&["--server", &own, "--context", "here", "whoami"], "").done().contains("bootstrap"));
    let file = ["--server", foreign, "--context", "here", "--token-file", "data/bootstrap-token", "whoami"];
    let readable = desk.run(&file, "").failed(64);
    assert!(readable.contains("https://"), "{readable}");

    // a context that moves leaves what it had behind; one that stays keeps it
    let kept = || fs::read_to_string(desk.path("config.yaml")).unwrap();
    let (token_file, certificate) =
        ("data/bootstrap-token", ["--client-cert-file", "c", "--client-key-file", "k"]);
    let set = |server: &str, more: &[&str]| {
        let args = [&["--server", server][..], more, &["config", "set-context", "moving"]].concat();
        desk.run(&args, "").done();
    };
    set(&server, &[&["--token-file", token_file][..], &certificate].concat());
    set(&own, &["-n", "pay"]);
    assert!(kept().contains(token_file) && kept().contains("clientCertFile"), "{}", kept());
    set(foreign, &[]);
    let moved = kept();
    assert!(moved.contains(foreign) && moved.contains("pay"), "{moved}");
    assert!(!moved.contains(token_file) && !moved.contains("client"), "{moved}");
    desk.run(&["--context", "moving", "--server", &server, "login"], &token).done();
    assert!(!kept().contains(foreign) && desk.run(&["whoami"], "").done().contains("bootstrap"));
    desk.run(&["config", "delete-context", "moving"], "").done();
    desk.run(&["config", "use-context", "here"], "").done();

    // a developer's token, made, used in a context of its own, and revoked
    let made =
        desk.run(&["token", "create", "--role", "developer", "--namespaces", "shop", "--out", "ci"], "");
    let id = made.done().split_once('/').unwrap().1.split(' ').next().unwrap().to_owned();
    assert_eq!(fs::metadata(desk.path("ci")).unwrap().permissions().mode() & 0o777, 0o600);
    desk.run(&["--server", &server, "--token-file", "ci", "config", "set-context", "ci"], "").done();
    desk.run(&["config", "use-context", "ci"], "").done();
    let create = ["sandbox", "create", "pr-15", "--override", "route:80=10.0.0.7:80"];
    desk.run(&[&["-n", "shop"], &create[..]].concat(), "").done();
    let foreign = desk.run(&[&["-n", "pay"], &create[..]].concat(), "").failed(1);
    assert!(foreign.contains("403") && foreign.contains("shop alone"), "{foreign}");
    let listed = desk.run(&["--context", "here", "token", "list"], "").done();
    assert!(listed.contains(&id) && !listed.contains("bh_"), "{listed}");
    desk.run(&["--context", "here", "token", "revoke", &id], "").done();
    assert!(desk.run(&["whoami"], "").failed(1).contains("401"));
    desk.run(&["config", "delete-context", "here"], "").done();
    assert!(!fs::read_to_string(desk.path("config.yaml")).unwrap().contains("bh_"));
}

#[test]
fn a_proxy_whose_token_expires_watches_on_with_the_one_that_takes_its_place_in_the_file() {
    let desk = Desk::open(&["--auth=required", "--audit-log=off"], |_| {}, &[]);
    let server = format!("http://{}", desk.address);
    let token = fs::read_to_string(desk.path("data/bootstrap-token")).unwrap();
    desk.run(&["--server", &server, "login"], &token).done();
    let make = |ttl: &str, out: &str| {
        desk.run(&["token", "create", "--role", "proxy", "--ttl", ttl, "--out", out], "").done();
    };
    let watches = || {
        let listed = desk.run(&["-o", "json", "proxies"], "").done();
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed.pointer("/items/0/watching") == Some(&true.into())
    };
    // the proxy alone must have begun within it
    make("15s", "proxy.token");
    let _proxy = desk.proxy(&["--control", &server, "--token-file=proxy.token"]);
    until("the proxy watches with the first token", watches);
    until("the watch ends with its token", || !watches());
    make("1h", "next.token");
    fs::rename(desk.path("next.token"), desk.path("proxy.token")).unwrap();
    until("the proxy watches again", watches);
    desk.in_force("after");
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Control's clock alone is set forward: first by an hour, past 2/3 of the life of its certificates, then by two days, past
/// the end of the first token.
#[test]
fn f19_control_whose_clock_jumps_renews_its_certificates_and_refuses_what_has_expired_while_its_proxies_go_on()
 {
    if !Path::new(FAKETIME).exists() {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run, and needs Debian's faketime");
        println!("skipped: needs Debian's faketime");
        return;
    }
    let clock = [
        ("LD_PRELOAD", FAKETIME.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", "DIR/clock".to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let prepare = |files: &Path| {
        fs::write(files.join("clock"), "+0\n").unwrap();
        let made = bellhop(files).args(["control", "dev-certs", "--dir", "certs", "--life", "80m"]).status();
        assert!(made.unwrap().success());
    };
    let desk = Desk::open(&["--dev-certs=certs", "--audit-log=off"], prepare, &clock);
    let server = format!("https://{}", desk.address);
    let _proxy = desk.proxy(&[
        "--control",
        &server,
        "--ca-file=certs/ca.pem",
        "--client-cert-file=certs/proxy.pem",
        "--client-key-file=certs/proxy-key.pem",
    ]);
    let login =
        ["--server", &server, "--ca-file", "certs/ca.pem", "--token-file", "data/bootstrap-token", "login"];
    desk.run(&login, "").done();
    // the login keeps a copy of the authorities; the file is the one that follows
    desk.run(
        &["--context", &desk.address, "--ca-file", "certs/ca.pem", "config", "set-context", &desk.address],
        "",
    )
    .done();
    desk.in_force("before");
    let held = fs::read(desk.path("certs/control.pem")).unwrap();
    fs::write(desk.path("clock"), "+1h\n").unwrap();
    until("a renewed certificate", || {
        fs::read(desk.path("certs/control.pem")).is_ok_and(|now| now != held)
            && fs::read(desk.path("certs/proxy.pem")).is_ok()
    });
    desk.in_force("an-hour-later");
    fs::write(desk.path("clock"), "+2d\n").unwrap();
    until("the first token has expired", || {
        let said = desk.run(&["whoami"], "");
        said.code == Some(1) && said.err.contains("has expired")
    });
}

#[test]
fn where_control_speaks_tls_whoever_asks_otherwise_is_told_what_to_say() {
    let desk = Desk::open(&["--dev-certs=certs", "--audit-log=off"], |_| {}, &[]);
    let (plain, secure) = (format!("http://{}", desk.address), format!("https://{}", desk.address));
    let asked = desk.run(&["--server", &plain, "status"], "").failed(69);
    let backup = desk.run(&["control", "backup", "--server", &plain, "bellhop.backup"], "").failed(1);
    for told in [asked, backup] {
        assert!(told.contains(&format!("try {secure}")) && !told.contains("not running"), "{told}");
        assert!(!told.contains("`bellhop control`"), "{told}");
    }
    let version = desk.run(&["--server", &secure, "version"], "").done();
    assert!(version.starts_with("bellhop ") && version.contains("--ca-file"), "{version}");
}

#[test]
fn an_admin_whom_a_certificate_names_takes_a_backup_where_there_is_no_token() {
    let identity = "--client-identity=spiffe://bellhop.internal/proxy=admin";
    let desk = Desk::open(&["--dev-certs=certs", "--audit-log=off", identity], |_| {}, &[]);
    assert!(!desk.path("data/bootstrap-token").exists());
    let server = format!("https://{}", desk.address);
    let ask = ["control", "backup", "--server", &server, "--ca-file", "certs/ca.pem", "bellhop.backup"];
    assert!(desk.run(&ask, "").failed(1).contains("401"));
    let half = [&ask[..], &["--client-cert-file", "certs/proxy.pem"]].concat();
    assert!(desk.run(&half, "").failed(64).contains("--client-key-file"));
    desk.run(&[&half[..], &["--client-key-file", "certs/proxy-key.pem"]].concat(), "").done();
    desk.run(&["control", "restore", "--check", "bellhop.backup"], "").done();
}
