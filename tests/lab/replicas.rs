//! Several control replicas on a real etcd of three members: row F22.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bellhop_e2e::{Host, Network, Reply, TestApp, TestControl, TestProxy, client, etcd::TestEtcd, wait};
use libtest_mimic::Trial;

use crate::{
    apart,
    load::Load,
    stage::{PORT, manifest, service},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart(
            "f22_etcd_loses_its_leader_a_minority_and_its_quorum_and_no_acknowledged_write_is_lost",
            quorum,
        ),
        apart("a_replica_that_does_not_answer_is_named_by_proxies_and_by_wait", silent),
    ]
}

/// What a replica logs that takes the lease.
const HOLDS: &str = "this replica lets objects expire";
/// Within this writes go on, and a change is in force, once etcd can take them.
const RESUMED: Duration = Duration::from_secs(60);

/// Writes sandboxes one after another, at each replica in turn, and keeps the names of those that were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicUsize>,
    thread: JoinHandle<Result<()>>,
}

impl Writer {
    fn start(controls: [TestControlAt; 2]) -> Self {
        let (stop, refused) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let acknowledged = Arc::<Mutex<Vec<String>>>::default();
        let theirs = (Arc::clone(&stop), Arc::clone(&acknowledged), Arc::clone(&refused));
        let thread = thread::spawn(move || {
            let (stop, acknowledged, refused) = theirs;
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("w-{n}");
                let control = &controls[n % 2];
                match control.put(&name) {
                    200 | 201 => acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(name),
                    503 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                    // that replica is not there just now
                    0 => thread::sleep(Duration::from_millis(50)),
                    other => return Err(anyhow!("a write was answered with {other}")),
                }
            }
            Ok(())
        });
        Self { stop, acknowledged, refused, thread }
    }

    fn written(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until writes are acknowledged again.
    fn goes_on(&self, what: &str) -> Result<()> {
        let from = self.written();
        wait::until(what, RESUMED, || {
            ensure!(self.written() >= from + 4, "{} since", self.written() - from);
            Ok(())
        })
    }

    fn end(self) -> Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the writer panicked"))??;
        Ok(std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Where a control plane is written to.
struct TestControlAt(bellhop_e2e::Host, std::net::SocketAddr);

impl TestControlAt {
    /// The status; 0 where no answer came.
    fn put(&self, name: &str) -> u16 {
        let body = format!(
            r#"{{"apiVersion":"bellhop.dev/v1alpha1","kind":"Sandbox","metadata":{{"name":"{name}"}},
                "spec":{{"overrides":[{{"service":"other","port":80,"endpoints":["10.0.0.7"]}}]}}}}"#
        );
        let head = format!(
            "PUT /v1/namespaces/default/sandboxes/{name} HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = client::raw(&self.0, self.1, (head + &body).as_bytes());
        let answer =
            answer.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

/// F22.
fn quorum() -> Result<()> {
    let hosts = ["caller", "callee", "sandbox", "control", "second", "etcd0", "etcd1", "etcd2"];
    let network = Network::with_hosts(&hosts)?;
    let host = |name: &str| network.host(name);
    let mut etcd = TestEtcd::start(&[host("etcd0"), host("etcd1"), host("etcd2")])?;
    let store = format!("etcd://{}/lab", etcd.addresses());
    let share = |name: &str| {
        let advertise = format!("http://{}:7070", host(name).v4);
        TestControl::start_with(
            host(name),
            &["--store", &store, "--advertise", &advertise, "--replica-lease", "3s"],
        )
    };
    let (mut first, mut second) = (share("control")?, share("second")?);
    let (baseline, sandbox) =
        (TestApp::http(host("callee"), PORT, "baseline")?, TestApp::http(host("sandbox"), PORT, "pr")?);
    let url = first.url();
    let proxy = TestProxy::intercepting(host("caller"), &[], &["--control", &url, "--proxy-id", "caller"])?;
    let pr = manifest("pr", "callee", &sandbox.v4().to_string(), "");
    // asked at the one, held by a proxy of the other
    second.apply(&format!("{}{pr}", service(host("callee"))))?;
    let answered_by = |version: &'static str| {
        move |reply: &Reply| {
            ensure!(reply.version()? == version, "wanted {version}: {reply:?}");
            Ok(())
        }
    };
    let load = Load::start(host("caller"), baseline.v4(), 2, "pr", answered_by("pr"));
    load.flows(10)?;
    let at = |name: &str| TestControlAt(host("callee").clone(), (host(name).v4, 7070).into());
    let writer = Writer::start([at("control"), at("second")]);
    writer.goes_on("writes")?;

    without_the_leader(&mut etcd, &writer, &load)?;
    let leader = etcd.leads()?;
    etcd.cut(leader, true)?;
    load.flows(10)?;
    writer.goes_on("writes without the member that is cut off")?;
    second.apply(&manifest("in-the-partition", "callee", &sandbox.v4().to_string(), ""))?;
    load.flows(10)?;
    etcd.cut(leader, false)?;
    without_a_quorum(&mut etcd, &writer, &load, || {
        let said = second.command(&["apply", "-f", "-"], &pr)?;
        ensure!(said.code != Some(0) && said.err.contains("etcd"), "{said:#?}");
        let listed = first.bellhop(&["sandbox", "list"], "")?;
        ensure!(listed.contains("in-the-partition"), "reads go on: {listed}");
        Ok(())
    })?;
    cut_off(host("control"), &first, &second, sandbox.v4().to_string(), &load)?;
    takes_over(&etcd, &mut first, &mut second)?;
    load.flows(50)?;
    load.stop()?;
    none_is_lost(&writer.end()?, [&first, &second])?;
    drop(proxy);
    Ok(())
}

/// The leader dies: another one takes its place.
fn without_the_leader(etcd: &mut TestEtcd, writer: &Writer, load: &Load) -> Result<()> {
    let leader = etcd.leads()?;
    etcd.kill(leader);
    load.flows(10)?;
    writer.goes_on("writes without the leader")?;
    etcd.start_again(leader)
}

/// Two of three members die: writes are refused, what `meanwhile` does works, and all goes on once they are back.
fn without_a_quorum(
    etcd: &mut TestEtcd,
    writer: &Writer,
    load: &Load,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    etcd.kill(0);
    etcd.kill(1);
    let refused = writer.refused.load(Ordering::Relaxed);
    wait::until("writes are refused", RESUMED, || {
        ensure!(writer.refused.load(Ordering::Relaxed) > refused, "none was");
        Ok(())
    })?;
    meanwhile()?;
    load.flows(50)?;
    etcd.start_again(0)?;
    etcd.start_again(1)?;
    etcd.leads()?;
    writer.goes_on("writes once the quorum is back")
}

/// Both replicas have every write that either acknowledged.
fn none_is_lost(acknowledged: &[String], controls: [&TestControl; 2]) -> Result<()> {
    for control in controls {
        let listed = control.bellhop(&["sandbox", "list", "-o", "json"], "")?;
        let lost: Vec<_> =
            acknowledged.iter().filter(|name| !listed.contains(&format!("\"{name}\""))).collect();
        ensure!(
            lost.is_empty(),
            "{} of {} acknowledged writes are lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
    }
    Ok(())
}

/// The replica that the proxy watches does not reach etcd: it lets the proxy go, which routes on, and nobody says that a
/// change is in force which that proxy does not have.
fn cut_off(
    host: &Host,
    first: &TestControl,
    second: &TestControl,
    sandbox: String,
    load: &Load,
) -> Result<()> {
    const RULES: &str = "table inet lab { chain out { type filter hook output priority 0; tcp dport 2379 drop; }; \
                         chain in { type filter hook input priority 0; tcp sport 2379 drop; }; }";
    let ready = || -> Result<u16> { Ok(client::get(host, (host.v4, 7070).into(), "/readyz", &[])?.status) };
    wait::until("the first replica is ready", RESUMED, || {
        let status = ready()?;
        ensure!(status == 200, "{status}");
        Ok(())
    })?;
    host.run("nft", &["-f", "-"], RULES)?;
    let changed = manifest("meanwhile", "callee", &sandbox, "");
    wait::until("the other replica takes a change", RESUMED, || {
        second.bellhop(&["apply", "-f", "-"], &changed).map(drop)
    })?;
    wait::until("the replica without etcd is not ready", RESUMED, || {
        let status = ready()?;
        ensure!(status == 503, "{status}");
        Ok(())
    })?;
    ensure!(first.log().contains("its watches end"), "{}", first.log());
    let said = second.command(&["sandbox", "wait", "meanwhile", "--timeout", "8s"], "")?;
    ensure!(
        said.code != Some(0) && said.err.contains(&first.url()),
        "in force without that proxy: {said:#?}"
    );
    load.flows(50)?;
    host.run("nft", &["delete", "table", "inet", "lab"], "")?;
    second.bellhop(&["sandbox", "wait", "meanwhile", "--timeout", "60s"], "").map(drop)
}

/// The replica that holds the lease is killed: the other takes its place, and writes down what expires from then on.
fn takes_over(etcd: &TestEtcd, first: &mut TestControl, second: &mut TestControl) -> Result<()> {
    let count = |control: &TestControl| control.log().matches(HOLDS).count();
    let (dies, stays) = if holds(first, second)? { (first, second) } else { (second, first) };
    let before = count(stays);
    dies.kill();
    wait::until("the lease goes to the other replica", RESUMED, || {
        ensure!(count(stays) > before, "{}", stays.log());
        Ok(())
    })?;
    stays.bellhop(&["sandbox", "create", "short", "--override", "other:80=10.0.0.7", "--ttl", "1s"], "")?;
    wait::until("what has expired is written down", RESUMED, || {
        let record = ["get", "/lab/store/record/object/Sandbox/default/short", "--print-value-only"];
        let stored = etcd.ctl(&record)?;
        ensure!(stored.contains(r#""phase":"Expired""#), "{stored}");
        Ok(())
    })?;
    dies.start_again().context("the killed replica comes back")
}

/// Whether the first replica holds the lease: who took it last.
fn holds(first: &TestControl, second: &TestControl) -> Result<bool> {
    let last = |control: &TestControl| {
        let log = control.log();
        let line = log.lines().rfind(|line| line.contains(HOLDS));
        line.map(str::to_owned)
    };
    match (last(first), last(second)) {
        (Some(first), Some(second)) => Ok(first > second),
        (first, second) => {
            ensure!(first.is_some() || second.is_some(), "nobody holds the lease");
            Ok(first.is_some())
        }
    }
}

/// The others are told of a replica at an address where nobody answers.
fn silent() -> Result<()> {
    const NOBODY: &str = "http://10.77.0.250:7070";
    let network = Network::with_hosts(&["control", "etcd0"])?;
    let etcd = TestEtcd::start(&[network.host("etcd0")])?;
    let store = format!("etcd://{}/lab", etcd.addresses());
    let advertise = format!("http://{}:7070", network.host("control").v4);
    let control =
        TestControl::start_with(network.host("control"), &["--store", &store, "--advertise", &advertise])?;
    control.bellhop(&["apply", "-f", "-"], &manifest("pr", "callee", "10.77.0.9", ""))?;
    etcd.ctl(&["put", "/lab/replicas/ghost", NOBODY])?;
    let said = control.command(&["proxies"], "")?;
    ensure!(said.code == Some(0) && said.err.contains(NOBODY), "{said:#?}");
    let said = control.command(&["sandbox", "wait", "pr", "--timeout", "3s"], "")?;
    ensure!(said.code != Some(0), "it is in force without that replica: {said:#?}");
    ensure!(said.err.contains("do not answer") && said.err.contains(NOBODY), "{said:#?}");
    Ok(())
}
