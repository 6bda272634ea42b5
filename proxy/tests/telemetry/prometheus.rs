//! The dashboard and the alert rules of `deploy/`, asked of a real Prometheus that scrapes a real proxy with traffic.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::HeaderValue;
use serde_json::Value;

use crate::{
    harness::{Conn, DEADLINE, control, echo, keyed, refusing, route},
    peer,
    program::Program,
};

/// Prometheus starts, scrapes and evaluates; on a busy machine that takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Whether Debian's package is there. As root it has to be, since `tests/run` installs it then.
fn is_installed(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(
        found || !rustix::process::geteuid().is_root(),
        "{program} is missing; `tests/run setup` installs it"
    );
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _home: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(proxy: SocketAddr) -> Self {
        let home = tempfile::tempdir().unwrap();
        let rules = deploy("prometheus/bellhop.rules.yaml").canonicalize().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 200ms }}\n\
             rule_files: [{}]\nscrape_configs:\n- job_name: bellhop-proxy\n  static_configs: [{{ targets: ['{proxy}'] }}]\n",
            rules.display()
        );
        let file = home.path().join("prometheus.yaml");
        fs::write(&file, config).unwrap();
        let address = refusing();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address, _home: home }
    }

    /// What its API says at this path; nothing while it starts.
    fn get(&self, path: &str) -> Option<Value> {
        let socket = std::net::TcpStream::connect(self.address).ok()?;
        let mut conn = Conn::new(socket);
        conn.send(&format!(
            "GET /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        ));
        serde_json::from_slice(&conn.message()?.body).ok()
    }

    fn query(&self, query: &str) -> Value {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("query?query={escaped}")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every query of the dashboard, as Grafana would send it.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(deploy("grafana/bellhop-proxy.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$__rate_interval", "10s").replace("$instance", ".*")).collect()
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("bellhop_proxy_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

/// Requests and connections of every kind that the dashboard shows, again and again.
fn traffic(proxy: SocketAddr, done: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    while !done.load(Ordering::Relaxed) {
        let mut client = Conn::connect(proxy);
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &keyed("k"),
            &keyed("broken"),
            &keyed("nobody"),
            &keyed("a%zz"),
        ] {
            client.send(request);
            client.message().unwrap();
        }
        let mut opaque = Conn::connect(proxy);
        opaque.send("\x01opaque");
        opaque.end();
        runtime.block_on(async {
            let send = peer::connect(proxy).await;
            let mut request = peer::get("/h2");
            request.headers_mut().insert("baggage", HeaderValue::from_static("routing-key=nobody"));
            // The baseline speaks HTTP/1 alone: refused, and that is a kind of its own.
            let _ = peer::call(&send, request, &[]).await;
        });
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_query_of_the_dashboard_finds_something_and_every_rule_can_be_evaluated() {
    if !is_installed("prometheus") {
        return;
    }
    let (baseline, sandbox) = (echo("baseline"), echo("sandbox"));
    let routes = vec![route("k", &[sandbox.address], false), route("broken", &[refusing()], false)];
    let control = format!("http://{}", control(routes));
    let spans = format!("--otlp-endpoint=http://{}", refusing());
    let proxy = Program::before(
        baseline.address,
        &["--control", &control, "--allow-loopback-endpoints=true", &spans],
    );
    let (prometheus, done) = (Prometheus::scraping(proxy.admin), Arc::new(AtomicBool::new(false)));
    let (at, stop) = (proxy.address, Arc::clone(&done));
    let load = thread::spawn(move || traffic(at, &stop));
    let queries = queries();
    assert!(queries.len() > 20, "{queries:?}");
    let end = Instant::now() + PATIENCE;
    let mut waiting: Vec<_> = queries.iter().map(|query| (query, Value::Null)).collect();
    while !waiting.is_empty() {
        waiting.retain_mut(|(query, answer)| {
            *answer = prometheus.query(query);
            answer["status"] != "success" || answer["data"]["result"].as_array().is_none_or(Vec::is_empty)
        });
        assert!(Instant::now() < end, "{waiting:#?}\n{}", proxy.metrics());
        thread::sleep(Duration::from_millis(100));
    }
    // Every rule was evaluated, and without a fault; those that look for what is wrong here have found it.
    let rules = loop {
        let answer = prometheus.get("rules").unwrap_or_default();
        let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        let found = rules
            .iter()
            .any(|rule| rule["name"] == "BellhopSandboxUnreachable" && rule["state"] == "pending");
        if found && rules.iter().all(|rule| rule["health"] == "ok") {
            break rules;
        }
        assert!(Instant::now() < end, "{rules:#?}");
        thread::sleep(Duration::from_millis(100));
    };
    // A busy machine may miss a scrape; two minutes of it would be another matter.
    assert!(rules.len() > 10 && rules.iter().all(|rule| rule["state"] != "firing"), "{rules:#?}");
    done.store(true, Ordering::Relaxed);
    load.join().unwrap();
    // No rule asks for what no proxy exposes.
    let exposed = metrics_in(&proxy.metrics());
    let asked = metrics_in(&fs::read_to_string(deploy("prometheus/bellhop.rules.yaml")).unwrap());
    let unknown: Vec<_> = asked.difference(&exposed).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// What is documented is exposed: a proxy that had traffic of every kind shows every metric of OPERATING.md, and no other.
#[test]
fn the_documentation_names_the_metrics_that_there_are() {
    let (baseline, sandbox) = (echo("baseline"), echo("sandbox"));
    let control = format!("http://{}", control(vec![route("k", &[sandbox.address], false)]));
    let flags = ["--control", &control, "--allow-loopback-endpoints=true", "--max-memory", "1024MiB"];
    let proxy = Program::before(baseline.address, &flags);
    let mut client = Conn::connect(proxy.address);
    client.send(&keyed("k"));
    client.message().unwrap();
    let documented = metrics_in(include_str!("../../OPERATING.md"));
    let end = Instant::now() + DEADLINE;
    loop {
        let text = proxy.metrics();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let exposed: BTreeSet<_> =
            types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
        if documented == exposed {
            return;
        }
        let difference: Vec<_> = documented.symmetric_difference(&exposed).collect();
        assert!(Instant::now() < end, "{difference:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_rules_alert_on_what_they_name_and_on_nothing_else() {
    if !is_installed("promtool") {
        return;
    }
    for (what, file) in [("check", "bellhop.rules.yaml"), ("test", "bellhop.rules.test.yaml")] {
        let mut promtool = Command::new("promtool");
        promtool.args([what, "rules", file]).current_dir(deploy("prometheus"));
        let output = promtool.output().unwrap();
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{told}");
    }
}
