//! The real services, each on a host of its own with an intercepting proxy beside it that it knows nothing of:
//!
//! `frontend` (Node) → `customer` (Java) → `route` (Python) → `driver` (Go, gRPC) → `database` (MariaDB, which speaks
//! first), and `frontend` → `chat` (Node, WebSocket). Half of the hops are IPv6.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use bellhop_e2e::{Host, Network, Process, TestControl, TestProxy, User, client, paths, wait};
use serde::Deserialize;

use crate::stage::{PORT, manifest, service};

const DATABASE_PORT: u16 = 3306;
/// Within this all services answer; the Java agent needs most of it.
const START: Duration = Duration::from_secs(120);

/// Everything that runs. Proxies go before the services, the network last.
pub(crate) struct Chain {
    pub(crate) proxies: BTreeMap<&'static str, TestProxy>,
    _services: Vec<Process>,
    pub(crate) control: TestControl,
    network: Network,
}

/// What a service said, with what those it called said.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Answer {
    service: String,
    version: Option<String>,
    failed: Option<String>,
    baggage: Option<String>,
    #[serde(default)]
    calls: Vec<Answer>,
}

/// Which version of each service answered, by what the services said; failures begin with `failed:`.
pub(crate) type Path = BTreeMap<String, String>;

/// All workloads: host, service, version.
const WORKLOADS: [(&str, &str, &str); 8] = [
    ("frontend", "frontend", "baseline"),
    ("chat", "chat", "baseline"),
    ("customer", "customer", "baseline"),
    ("route", "route", "baseline"),
    ("driver", "driver", "baseline"),
    ("chat-7", "chat", "pr-7"),
    ("route-15", "route", "pr-15"),
    ("driver-22", "driver", "pr-22"),
];

impl Chain {
    pub(crate) fn start() -> Result<Self> {
        let mut names: Vec<_> = WORKLOADS.iter().map(|(host, ..)| *host).collect();
        names.extend(["database", "control", "client", "outsider"]);
        let network = Network::with_hosts(&names)?;
        let control = TestControl::start(network.host("control"))?;
        let mut chain = Self { proxies: BTreeMap::new(), _services: Vec::new(), control, network };
        chain.start_proxies()?;
        chain.start_services()?;
        chain.control.apply(&chain.manifests()).context("services and sandboxes")?;
        Ok(chain)
    }

    fn start_proxies(&mut self) -> Result<()> {
        let url = self.control.url();
        let ports = |host: &str| match host {
            "client" => vec![],
            "database" => vec![DATABASE_PORT],
            _ => vec![PORT],
        };
        for host in WORKLOADS.iter().map(|(host, ..)| *host).chain(["database", "client"]) {
            let beside = self.network.host(host);
            let snapshot = TestProxy::snapshot(beside);
            let arguments = [
                "--control",
                &url,
                "--proxy-id",
                host,
                "--snapshot",
                &snapshot.to_string_lossy(),
                "--access-log",
                "keyed",
            ];
            self.proxies.insert(host, TestProxy::intercepting(beside, &ports(host), &arguments)?);
        }
        Ok(())
    }

    fn start_services(&mut self) -> Result<()> {
        let directory = self.network.directory();
        let database = self.network.host("database");
        self._services.push(Process::start("database", database_command(database)?, directory)?);
        for (host, service, version) in WORKLOADS {
            let mut command = service_command(self.host(host), service)?;
            command.envs([
                ("VERSION", version),
                ("PORT", &PORT.to_string()),
                ("CUSTOMER_URL", "http://customer:8080"),
                ("CHAT_URL", "ws://chat6:8080"),
                ("ROUTE_URL", "http://route6:8080"),
                ("DRIVER_ADDRESS", "driver:8080"),
                ("DATABASE", "lab@tcp(database6:3306)/"),
                ("OTEL_SERVICE_NAME", service),
                ("OTEL_PROPAGATORS", "tracecontext,baggage"),
                ("OTEL_TRACES_EXPORTER", "none"),
                ("OTEL_METRICS_EXPORTER", "none"),
                ("OTEL_LOGS_EXPORTER", "none"),
                // Nothing in a lab's network answers as a cloud's metadata server.
                ("OTEL_NODE_RESOURCE_DETECTORS", "none"),
            ]);
            self._services.push(Process::start(host, command, directory)?);
        }
        wait::until("all services to answer", START, || {
            self._services.iter_mut().try_for_each(Process::alive)?;
            for (host, ..) in WORKLOADS {
                let listens = self.host(host).enter(|| client::dial((Ipv4Addr::LOCALHOST, PORT).into()));
                listens.context(host)?;
            }
            let path = self.dispatch(&[])?;
            ensure!(path == baseline(), "{path:?}");
            Ok(())
        })
    }

    /// All objects that the cases start from. Each case that changes something makes its own.
    fn manifests(&self) -> String {
        let mut manifests = String::new();
        for name in ["frontend", "chat", "customer", "route", "driver"] {
            manifests += &service(self.host(name));
        }
        manifests += &manifest("pr-7", "chat", &self.endpoint6("chat-7"), "");
        manifests += &manifest("pr-15", "route", &self.endpoint("route-15"), "");
        manifests += &manifest("pr-22", "driver", &self.endpoint6("driver-22"), "");
        manifests
            + "apiVersion: bellhop.dev/v1alpha1\nkind: SandboxGroup\nmetadata: {name: team}\nspec: {sandboxes: [pr-15, pr-22]}\n"
    }

    pub(crate) fn endpoint(&self, host: &str) -> String {
        format!("{}:{PORT}", self.host(host).v4)
    }

    pub(crate) fn endpoint6(&self, host: &str) -> String {
        format!("[{}]:{PORT}", self.host(host).v6)
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        self.network.host(name)
    }

    /// Walks the whole chain, asked by a host without a proxy, with these values of `baggage`.
    pub(crate) fn dispatch(&self, baggage: &[&str]) -> Result<Path> {
        self.ask("outsider", "frontend", "/dispatch", baggage)
    }

    /// Asks one service from a host.
    pub(crate) fn ask(&self, from: &str, service: &str, path: &str, baggage: &[&str]) -> Result<Path> {
        let headers: Vec<_> = baggage.iter().map(|value| ("baggage", *value)).collect();
        let reply = client::get(self.host(from), (self.host(service).v4, PORT).into(), path, &headers)?;
        ensure!(reply.status == 200, "{service} answered {reply:?}");
        let answer: Answer = serde_json::from_value(reply.json()?)?;
        let mut path = Path::new();
        answer.walk(&mut path);
        Ok(path)
    }
}

impl Answer {
    fn walk(&self, path: &mut Path) {
        let said = match (&self.version, &self.failed) {
            (_, Some(failed)) => format!("failed: {failed}"),
            (Some(version), None) if version.contains("MariaDB") => "MariaDB".to_owned(),
            (version, None) => version.clone().unwrap_or_default(),
        };
        path.insert(self.service.clone(), said);
        if let Some(baggage) = &self.baggage {
            path.insert("baggage".to_owned(), baggage.clone());
        }
        self.calls.iter().for_each(|answer| answer.walk(path));
    }
}

/// The path of a request without baggage.
pub(crate) fn baseline() -> Path {
    expected("", &[])
}

/// The whole chain's path where these services answered in another version and the last one saw this baggage.
pub(crate) fn expected(baggage: &str, others: &[(&str, &str)]) -> Path {
    let services = ["frontend", "customer", "route", "driver", "chat"];
    let mut path: Path = services.map(|service| (service.to_owned(), "baseline".to_owned())).into();
    path.insert("database".to_owned(), "MariaDB".to_owned());
    path.insert("baggage".to_owned(), baggage.to_owned());
    path.extend(others.iter().map(|(service, version)| ((*service).to_owned(), (*version).to_owned())));
    path
}

fn service_command(host: &Host, service: &str) -> Result<Command> {
    let apps = paths::tests().join("apps");
    let mut command;
    match service {
        "frontend" => {
            command = host.command(User::App, "node");
            command.args(["--require", "@opentelemetry/auto-instrumentations-node/register", "server.js"]);
            command.current_dir(apps.join("frontend"));
            command.env("NODE_PATH", paths::cached("frontend")?.join("node_modules"));
        }
        "chat" => {
            command = host.command(User::App, "node");
            command.arg("chat.js").current_dir(apps.join("frontend"));
            command.env("NODE_PATH", paths::cached("frontend")?.join("node_modules"));
        }
        "customer" => {
            let agent = paths::cached("opentelemetry-javaagent.jar")?;
            command = host.command(User::App, "java");
            command.arg(format!("-javaagent:{}", agent.display()));
            command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
            command.arg(paths::cached("customer")?).arg("Customer");
        }
        "route" => {
            let bin = paths::cached("python")?.join("bin");
            command = host.command(User::App, bin.join("opentelemetry-instrument"));
            // Without the last flag uvicorn lets a request inherit the baggage of an earlier one on its connection.
            command.arg(bin.join("uvicorn")).args([
                "--host",
                "",
                "--port",
                &PORT.to_string(),
                "--reset-contextvars",
            ]);
            command.arg("app:app").current_dir(apps.join("route")).env("PYTHONDONTWRITEBYTECODE", "1");
        }
        "driver" => command = host.command(User::App, paths::cached("driver")?),
        other => return Err(anyhow!("no service {other}")),
    }
    Ok(command)
}

/// MariaDB on a fresh store.
fn database_command(host: &Host) -> Result<Command> {
    let data = host.directory().join("database");
    fs::create_dir_all(&data)?;
    let directory = format!("--datadir={}", data.display());
    host.run("mariadb-install-db", &["--no-defaults", "--user=mysql", &directory, "--skip-test-db"], "")?;
    let mut command = host.command(User::Root, "mariadbd");
    command.args(["--no-defaults", "--user=mysql", "--skip-grant-tables", "--skip-networking=0"]);
    command.args(["--bind-address=::", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M"]);
    command.arg(directory).arg(format!("--port={DATABASE_PORT}"));
    command.arg(format!("--socket={}", data.join("socket").display()));
    Ok(command)
}

impl Drop for Chain {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the services' output is in {}", self.network.directory().display());
        }
    }
}
