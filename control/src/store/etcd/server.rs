//! A real etcd of one member, on loopback, for tests.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::Etcd;
use crate::config::EtcdConfig;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Ends with its value.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    port: u16,
    peer_port: u16,
    tls: bool,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody uses just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// `None` where there is no etcd, which is a failure in CI.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(false).await
    }

    /// The same; with TLS it makes its certificates, and wants one of its clients.
    pub(crate) async fn start_with(tls: bool) -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI this must run, and needs etcd (Debian: etcd-server)"
            );
            println!("skipped: there is no etcd (Debian: etcd-server)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        if tls {
            certificates(directory.path());
        }
        let mut server = Self { directory, port: free_port(), peer_port: free_port(), tls, child: None };
        server.start_again().await;
        Some(server)
    }

    /// Starts it on what it had before.
    pub(crate) async fn start_again(&mut self) {
        let begun = Instant::now();
        loop {
            self.child = Some(self.spawn());
            while begun.elapsed() < STARTS_WITHIN {
                if self.answers() {
                    return;
                }
                if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(begun.elapsed() < STARTS_WITHIN && log.contains("address already in use"), "{log}");
            // somebody else took the port meanwhile
            (self.port, self.peer_port) = (free_port(), free_port());
            std::fs::remove_dir_all(self.path("data")).ok();
        }
    }

    fn spawn(&self) -> Child {
        let scheme = if self.tls { "https" } else { "http" };
        let (url, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer_port));
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self.path("data")).args(["--name", "one", "--log-level", "warn"]);
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        if scheme == "https" {
            command
                .arg("--cert-file")
                .arg(self.path("server.crt"))
                .arg("--key-file")
                .arg(self.path("server.key"));
            command.arg("--trusted-ca-file").arg(self.path("ca.crt")).arg("--client-cert-auth");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn answers(&self) -> bool {
        let mut command = self.ctl();
        command.args(["--command-timeout=1s", "get", "nothing"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn ctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.endpoint()));
        if self.tls {
            let file = |flag: &str, name: &str| format!("{flag}={}", self.path(name).display());
            command.args([
                file("--cacert", "ca.crt"),
                file("--cert", "client.crt"),
                file("--key", "client.key"),
            ]);
        }
        command
    }

    /// Runs `etcdctl`.
    pub(crate) fn etcdctl(&self, args: &[&str]) -> String {
        self.etcdctl_told(args, "")
    }

    /// Runs `etcdctl` with something to read.
    pub(crate) fn etcdctl_told(&self, args: &[&str], input: impl AsRef<[u8]>) -> String {
        let told = self.path("input");
        std::fs::write(&told, input).unwrap();
        let done = self.ctl().args(args).stdin(std::fs::File::open(told).unwrap()).output().unwrap();
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "etcdctl {args:?}: {err}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Puts a backup in the place of what it has, and starts it.
    pub(crate) async fn restore(&mut self, backup: &Path) {
        self.kill();
        std::fs::remove_dir_all(self.path("data")).unwrap();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let data = self.path("data").display().to_string();
        let cluster = format!("one={peer}");
        let (backup, into) = (backup.display().to_string(), ["--data-dir", &data, "--name", "one"]);
        let cluster = ["--initial-cluster", &cluster, "--initial-advertise-peer-urls", &peer];
        self.etcdctl(&[&["snapshot", "restore", &backup][..], &into, &cluster].concat());
        self.start_again().await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self, prefix: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![self.endpoint()],
            prefix: prefix.into(),
            lease: Duration::from_secs(2),
            ..EtcdConfig::default()
        }
    }

    pub(crate) async fn open(&self, prefix: &str) -> Etcd {
        Etcd::open(self.config(prefix)).await.unwrap()
    }
}

/// A CA, and certificates of a server on loopback and of a client, by the command that is everywhere.
fn certificates(directory: &Path) {
    let openssl = |args: &str| {
        let done =
            Command::new("openssl").args(args.split_whitespace()).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca"));
    std::fs::write(
        directory.join("ext"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    for name in ["server", "client"] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}.example"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 -extfile ext"
        ));
    }
}
