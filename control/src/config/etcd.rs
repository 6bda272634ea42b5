//! The store of several replicas, and how replicas find each other.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgMatches, Args, parser::ValueSource};

use super::{Certificates, TlsConfig};

/// Where etcd is, and who this is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT` each.
    pub endpoints: Vec<String>,
    /// All keys begin so; no `/` at its end.
    pub prefix: String,
    /// Certificates of those who may vouch for etcd; none for those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this client.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User, and the file with the password.
    pub user: Option<(String, PathBuf)>,
    /// Where other replicas reach this one; none for where it listens.
    pub advertise: Option<String>,
    /// How replicas speak with one another.
    pub peers: PeerTrust,
    /// A replica that is silent for so long has lost its place.
    pub lease: Duration,
}

/// How replicas speak with one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PeerTrust {
    /// In plain HTTP.
    #[default]
    Plain,
    /// Over TLS alone; authorities in this file vouch for them, or those that the system trusts.
    Tls(Option<PathBuf>),
}

/// Where a replica listens, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listens<'a> {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<&'a TlsConfig>,
}

/// Who this is at etcd.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct EtcdAccess {
    /// Speak TLS with etcd, and trust the certificates in this file (PEM); `system` trusts those that the system does.
    /// Read again with each connection
    #[arg(long, value_name = "FILE", env = "BELLHOP_ETCD_CA_FILE")]
    etcd_ca_file: Option<PathBuf>,

    /// Certificate to show to etcd (PEM), with --etcd-key-file. Default: none. Read again with each connection
    #[arg(long, value_name = "FILE", env = "BELLHOP_ETCD_CERT_FILE")]
    etcd_cert_file: Option<PathBuf>,

    /// Key of --etcd-cert-file (PEM)
    #[arg(long, value_name = "FILE", env = "BELLHOP_ETCD_KEY_FILE")]
    etcd_key_file: Option<PathBuf>,

    /// User of etcd, with --etcd-password-file. Default: none. It must be able to read and write below the prefix
    #[arg(long, value_name = "NAME", env = "BELLHOP_ETCD_USER")]
    etcd_user: Option<String>,

    /// File with the password of --etcd-user. Read again with each connection
    #[arg(long, value_name = "FILE", env = "BELLHOP_ETCD_PASSWORD_FILE")]
    etcd_password_file: Option<PathBuf>,
}

/// Those of [`EtcdAccess`].
const FLAGS: [&str; 5] =
    ["--etcd-ca-file", "--etcd-cert-file", "--etcd-key-file", "--etcd-user", "--etcd-password-file"];

/// What goes with `--store etcd://…` alone.
#[derive(Debug, Clone, Args)]
pub(super) struct EtcdFlags {
    /// Where the other replicas reach this one: http://HOST:PORT, or https://HOST:PORT where it speaks TLS, or what stands
    /// in front of it. The same for all replicas. Default: http:// or https:// and --listen, which must then be no
    /// unspecified address
    #[arg(long, value_name = "URL", env = "BELLHOP_ADVERTISE")]
    advertise: Option<String>,

    /// Where replicas reach each other over TLS: the authorities that vouch for their certificates (PEM); `system` trusts
    /// those that the system does. Read again when it changes. With --dev-certs its own authority is the default
    #[arg(long, value_name = "FILE", env = "BELLHOP_REPLICA_CA_FILE")]
    replica_ca_file: Option<PathBuf>,

    #[command(flatten)]
    access: EtcdAccess,

    /// A replica that etcd has not heard for so long has lost its place: another lets objects expire and keeps names
    /// fresh, and it serves no watch until it has its place again. The others wait for its proxies 30 s longer. At least
    /// 2s; shorter takes over sooner, longer bears more trouble between replica and etcd [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, env = "BELLHOP_REPLICA_LEASE")]
    replica_lease: Option<Duration>,
}

/// A silent replica keeps its place so long.
const LEASE: Duration = Duration::from_secs(10);
/// etcd itself grants no less.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);
const PREFIX: &str = "/bellhop";

impl EtcdFlags {
    /// Flags that mean nothing where the store is another one.
    pub(super) fn unused(&self, store: &str) -> Vec<String> {
        let mut faults = self.access.unused(store);
        let given = [
            ("--advertise", self.advertise.is_some()),
            ("--replica-ca-file", self.replica_ca_file.is_some()),
            ("--replica-lease", self.replica_lease.is_some()),
        ];
        faults.extend(unused(&given, store));
        faults
    }

    /// The store at `HOST:PORT[,HOST:PORT…][/PREFIX]`, for a replica that listens there.
    pub(super) fn resolve(self, address: &str, listens: Listens<'_>, faults: &mut Vec<String>) -> EtcdConfig {
        let config = self.access.resolve(address, faults);
        // neither a scheme nor a host's name knows upper case
        let advertise = self.advertise.map(|url| url.trim_end_matches('/').to_ascii_lowercase());
        let peers = peers(advertise.as_deref(), self.replica_ca_file, listens, faults);
        let lease = self.replica_lease.unwrap_or(LEASE);
        if lease < SHORTEST_LEASE {
            faults.push(format!(
                "--replica-lease {}: at least 2s is allowed",
                humantime::format_duration(lease)
            ));
        }
        EtcdConfig { advertise, peers, lease, ..config }
    }
}

impl EtcdAccess {
    /// Flags that mean nothing where the store is another one.
    pub(crate) fn unused(&self, store: &str) -> Vec<String> {
        let given = [
            self.etcd_ca_file.is_some(),
            self.etcd_cert_file.is_some(),
            self.etcd_key_file.is_some(),
            self.etcd_user.is_some(),
            self.etcd_password_file.is_some(),
        ];
        let given: Vec<_> = FLAGS.into_iter().zip(given).collect();
        unused(&given, store)
    }

    /// The same, for what reads another store once: what its environment says is meant for the replica beside it.
    pub(crate) fn typed_in_vain(typed: &ArgMatches, store: &str) -> Vec<String> {
        let is_typed = |flag: &str| {
            let id = flag.trim_start_matches('-').replace('-', "_");
            typed.value_source(&id) == Some(ValueSource::CommandLine)
        };
        unused(&FLAGS.map(|flag| (flag, is_typed(flag))), store)
    }

    /// The etcd at `HOST:PORT[,HOST:PORT…][/PREFIX]`.
    pub(crate) fn resolve(self, address: &str, faults: &mut Vec<String>) -> EtcdConfig {
        let (hosts, prefix) = match address.split_once('/') {
            Some((hosts, prefix)) => (hosts, format!("/{}", prefix.trim_end_matches('/'))),
            None => (address, String::new()),
        };
        let scheme = if self.etcd_ca_file.is_some() { "https" } else { "http" };
        let endpoints: Vec<_> = hosts.split(',').map(|host| format!("{scheme}://{host}")).collect();
        if !endpoints.iter().all(|endpoint| is_authority(endpoint)) {
            faults.push(format!(
                "--store etcd://{address}: must be etcd://HOST:PORT[,HOST:PORT…][/PREFIX], as etcd://10.0.0.1:2379,10.0.0.2:2379/bellhop"
            ));
        }
        let identity =
            pair("--etcd-cert-file", self.etcd_cert_file, "--etcd-key-file", self.etcd_key_file, faults);
        if identity.is_some() && self.etcd_ca_file.is_none() {
            faults.push("--etcd-cert-file: needs --etcd-ca-file, without which TLS is not spoken".into());
        }
        let user =
            pair("--etcd-user", self.etcd_user, "--etcd-password-file", self.etcd_password_file, faults);
        EtcdConfig {
            endpoints,
            prefix: if prefix.len() > 1 { prefix } else { PREFIX.into() },
            ca_file: self.etcd_ca_file.filter(|path| path.as_os_str() != "system"),
            identity,
            user,
            lease: LEASE,
            ..EtcdConfig::default()
        }
    }
}

fn unused(given: &[(&str, bool)], store: &str) -> Vec<String> {
    let given = given.iter().filter(|(_, given)| *given);
    given.map(|(flag, _)| format!("{flag}: goes with --store etcd://… alone, not with {store}")).collect()
}

/// How the replicas speak with one another: as this one is reached.
fn peers(
    advertise: Option<&str>,
    ca_file: Option<PathBuf>,
    listens: Listens<'_>,
    faults: &mut Vec<String>,
) -> PeerTrust {
    let scheme = if listens.tls.is_some() { "https" } else { "http" };
    match advertise {
        Some(url) if !is_authority(url) => {
            faults.push(format!("--advertise {url}: must be {scheme}://HOST:PORT"));
        }
        Some(url) if listens.tls.is_some() && !url.starts_with("https:") => {
            faults.push(format!("--advertise {url}: this replica speaks TLS; say https://HOST:PORT"));
            return PeerTrust::Plain;
        }
        None if listens.address.ip().is_unspecified() => faults.push(format!(
            "--listen {}: no other replica can reach that address; say --advertise {scheme}://HOST:PORT",
            listens.address
        )),
        _ => {}
    }
    let trial = match listens.tls.map(|tls| &tls.certificates) {
        Some(Certificates::Trial(trial)) => Some(trial.directory.join(crate::trial::CA)),
        _ => None,
    };
    match (advertise.unwrap_or(scheme).starts_with("https"), ca_file.or(trial)) {
        (true, Some(file)) => PeerTrust::Tls(Some(file).filter(|file| file.as_os_str() != "system")),
        (true, None) => {
            faults.push(
                "--replica-ca-file: needed where replicas reach each other over TLS: the authorities that vouch for \
                 their certificates, or system"
                    .into(),
            );
            PeerTrust::Tls(None)
        }
        (false, None) => PeerTrust::Plain,
        (false, Some(file)) => {
            faults.push(format!(
                "--replica-ca-file {}: goes with an https:// address of this replica (--advertise)",
                file.display()
            ));
            PeerTrust::Plain
        }
    }
}

/// Two flags that go together.
fn pair<A, B>(
    a: &str,
    left: Option<A>,
    b: &str,
    right: Option<B>,
    faults: &mut Vec<String>,
) -> Option<(A, B)> {
    match (left, right) {
        (Some(left), Some(right)) => Some((left, right)),
        (None, None) => None,
        (Some(_), None) => {
            faults.push(format!("{a}: needs {b}"));
            None
        }
        (None, Some(_)) => {
            faults.push(format!("{b}: needs {a}"));
            None
        }
    }
}

/// `http://HOST:PORT` or `https://HOST:PORT`, and nothing behind it.
fn is_authority(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.port_u16().is_some()
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    })
}
