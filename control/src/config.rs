//! What the user typed, and what the program uses.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, ValueEnum, builder::Resettable};
use ipnet::IpNet;

use crate::networks::Networks;

mod access;
mod etcd;
mod limits;
mod spans;
mod tls;

pub use access::AccessConfig;
pub(crate) use etcd::EtcdAccess;
pub use etcd::{EtcdConfig, PeerTrust};
pub use limits::Limits;
pub use spans::{Spans, SpansOf};
pub(crate) use tls::DevCerts;
pub use tls::{Certificates, TlsConfig, TrialConfig};

/// How to serve.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Where to listen. Loopback only, unless with TLS or --insecure
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7070", env = "BELLHOP_LISTEN")]
    listen: SocketAddr,

    /// Directory of the embedded store (file bellhop.redb); made, with mode 0700, if it is not there
    #[arg(long, value_name = "DIR", default_value = "./bellhop-data", env = "BELLHOP_DATA_DIR")]
    data_dir: PathBuf,

    /// Where objects are kept: `embedded` (a file in --data-dir), `memory` (gone with the process), or
    /// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]`, which several replicas may share (PREFIX is `bellhop` if none is given)
    #[arg(long, value_name = "STORE", default_value = "embedded", env = "BELLHOP_STORE")]
    store: String,

    #[command(flatten)]
    etcd: etcd::EtcdFlags,

    /// Networks in which endpoints of sandboxes may be; everything else is refused. Link-local, metadata, multicast and
    /// unspecified addresses are refused always. Default: private ranges, and loopback where --listen is on loopback
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "BELLHOP_ENDPOINT_NETWORKS")]
    endpoint_networks: Vec<IpNet>,

    /// How often DNS names of services and endpoints are resolved again. An address stays for 10 min after it was last seen
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration, env = "BELLHOP_RESOLVE_INTERVAL")]
    resolve_interval: Duration,

    /// Listen on any address without TLS and without asking who calls. For closed test networks
    #[arg(long, env = "BELLHOP_INSECURE")]
    insecure: bool,

    #[command(flatten)]
    tls: tls::Flags,

    #[command(flatten)]
    access: access::Flags,

    #[command(flatten)]
    limits: limits::Flags,

    #[command(flatten)]
    spans: spans::Flags,

    /// Form of the log on standard error; RUST_LOG chooses what is logged
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "BELLHOP_LOG")]
    log: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In `bellhop.redb` in this directory.
    Embedded(PathBuf),
    /// In memory, gone with the process.
    Memory,
    /// In etcd, together with other replicas.
    Etcd(Box<EtcdConfig>),
}

/// What the program uses.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Where objects are kept.
    pub store: StoreConfig,
    /// Directory of the embedded store, and of the first token.
    pub data_dir: PathBuf,
    /// TLS, where it is spoken.
    pub tls: Option<TlsConfig>,
    /// Who is asked who they are.
    pub access: AccessConfig,
    /// Where endpoints may be.
    pub endpoint_networks: Networks,
    /// How often names are resolved again.
    pub resolve_interval: Duration,
    /// How many connections there may be, and how long a peer may take.
    pub limits: Limits,
    /// What is told of requests to a receiver of spans.
    pub spans: Spans,
    /// Form of the log.
    pub log: LogFormat,
}

/// What is wrong with the flags, all of it; or the help that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// What clap says.
    #[error("{0}")]
    Flags(#[from] clap::Error),
    /// Flags that do not go together, or values that are not allowed.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
}

impl Config {
    /// Reads flags, without the program's name in front, and nothing else: the environment is for programs that people
    /// start, not for a control plane inside of another program.
    ///
    /// # Errors
    /// All faults found.
    pub fn from_args<I, A>(args: I) -> Result<Self, UsageError>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString> + Clone,
    {
        #[derive(Debug, clap::Parser)]
        #[command(name = "bellhop-control")]
        struct Alone {
            #[command(flatten)]
            flags: Flags,
        }
        let args = std::iter::once(OsString::from("bellhop-control")).chain(args.into_iter().map(Into::into));
        let command = Alone::command().mut_args(|flag| flag.env(Resettable::Reset));
        let matches = command.try_get_matches_from(args)?;
        Alone::from_arg_matches(&matches)?.flags.resolve()
    }
}

impl Flags {
    /// What the program uses.
    ///
    /// # Errors
    /// All faults found.
    pub(crate) fn resolve(self) -> Result<Config, UsageError> {
        let mut faults = Vec::new();
        let loopback = self.listen.ip().to_canonical().is_loopback();
        let (tls, identities) = self.tls.resolve(self.listen.ip(), &mut faults);
        if !loopback && !self.insecure && tls.is_none() {
            faults.push(format!(
                "--listen {}: this address is not loopback, and everybody who reaches it could change every route. \
                 Speak TLS and ask callers who they are (--tls-cert-file and --tls-key-file, or --dev-certs for a trial), \
                 listen on 127.0.0.1 or [::1], or say --insecure on a network that is closed to others.",
                self.listen
            ));
        }
        if self.insecure && tls.is_some() {
            faults.push("--insecure: does without TLS; leave out one of them".to_owned());
        }
        if !loopback && self.insecure && self.access.is_required() {
            faults.push(
                "--insecure --auth required: without TLS everybody on the way could read the tokens"
                    .to_owned(),
            );
        }
        let spans = self.spans.resolve(&mut faults);
        let listens = etcd::Listens { address: self.listen, tls: tls.as_ref() };
        let store = store(&self.store, self.data_dir.clone(), self.etcd, listens, &mut faults);
        if self.resolve_interval < Duration::from_secs(1) {
            faults.push(format!(
                "--resolve-interval {}: at least 1s is allowed",
                humantime::format_duration(self.resolve_interval)
            ));
        }
        let endpoint_networks = if self.endpoint_networks.is_empty() {
            Networks::private(loopback)
        } else {
            Networks::new(self.endpoint_networks)
        };
        match store {
            Some(store) if faults.is_empty() => Ok(Config {
                listen: self.listen,
                store,
                data_dir: self.data_dir,
                access: self.access.resolve(tls.is_none() && (loopback || self.insecure), identities),
                tls,
                endpoint_networks,
                resolve_interval: self.resolve_interval,
                limits: self.limits.resolve(),
                spans,
                log: self.log,
            }),
            _ => Err(UsageError::Faults(faults)),
        }
    }
}

/// Which store `--store` means.
fn store(
    text: &str,
    data_dir: PathBuf,
    etcd: etcd::EtcdFlags,
    listens: etcd::Listens<'_>,
    faults: &mut Vec<String>,
) -> Option<StoreConfig> {
    let address = text.strip_prefix("etcd://");
    if address.is_none() {
        faults.extend(etcd.unused(text));
    }
    match (text, address) {
        ("embedded", _) => Some(StoreConfig::Embedded(data_dir)),
        ("memory", _) => Some(StoreConfig::Memory),
        (_, Some(address)) if cfg!(feature = "etcd") => {
            Some(StoreConfig::Etcd(Box::new(etcd.resolve(address, listens, faults))))
        }
        (_, Some(_)) => {
            faults.push(format!(
                "--store {text}: this program was built without etcd. Build it with etcd, which needs protoc: \
                 cargo build --release -p bellhop --features etcd"
            ));
            None
        }
        _ => {
            faults.push(format!(
                "--store {text}: not a store; allowed are embedded, memory and etcd://HOST:PORT[,HOST:PORT…][/PREFIX]"
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b18_other_addresses_than_loopback_need_insecure_and_the_message_says_what_to_do() {
        let error = Config::from_args(["--listen=0.0.0.0:7070", "--store=disk"]).unwrap_err().to_string();
        assert!(error.contains("--insecure") && error.contains("127.0.0.1"), "{error}");
        assert!(error.contains("--store disk"), "all faults are told at once: {error}");
        assert!(Config::from_args(["--listen=0.0.0.0:7070", "--insecure"]).is_ok());
        assert!(Config::from_args(["--listen=[::1]:0"]).is_ok());
    }

    #[test]
    fn loopback_endpoints_are_allowed_where_control_is_on_loopback() {
        let allowed = |args: &[&str]| {
            Config::from_args(args.iter().copied())
                .unwrap()
                .endpoint_networks
                .check("127.0.0.1".parse().unwrap())
                .is_ok()
        };
        assert!(allowed(&[]));
        assert!(!allowed(&["--listen=10.0.0.1:7070", "--insecure"]));
        assert!(!allowed(&["--endpoint-networks=10.0.0.0/8,fd00::/8"]));
    }

    #[test]
    fn a_flag_that_does_not_exist_is_a_fault() {
        assert!(matches!(Config::from_args(["--nope"]), Err(UsageError::Flags(_))));
    }

    #[test]
    fn what_goes_with_etcd_alone_is_a_fault_with_another_store() {
        let error = Config::from_args(["--etcd-user=a", "--advertise=http://a:1"]).unwrap_err().to_string();
        assert!(error.contains("--etcd-user: goes with") && error.contains("--advertise: goes"), "{error}");
    }

    #[cfg(not(feature = "etcd"))]
    #[test]
    fn a_program_without_etcd_says_how_to_get_it() {
        let error = Config::from_args(["--store=etcd://127.0.0.1:2379"]).unwrap_err().to_string();
        assert!(error.contains("--features etcd") && error.contains("protoc"), "{error}");
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn an_etcd_store_names_endpoints_and_a_prefix_and_all_its_faults_are_told() {
        let etcd = |args: &[&str]| match Config::from_args(args.iter().copied()).map(|config| config.store) {
            Ok(StoreConfig::Etcd(etcd)) => Ok(*etcd),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        let plain = etcd(&["--store=etcd://a:1,[::1]:2"]).unwrap();
        assert_eq!(
            (plain.endpoints, &*plain.prefix),
            (vec!["http://a:1".into(), "http://[::1]:2".into()], "/bellhop")
        );
        let named = etcd(&["--store=etcd://a:1/some/where/", "--etcd-ca-file=system"]).unwrap();
        assert_eq!(
            (named.endpoints, &*named.prefix, named.ca_file),
            (vec!["https://a:1".into()], "/some/where", None)
        );
        let faults = etcd(&[
            "--store=etcd://a",
            "--listen=0.0.0.0:1",
            "--insecure",
            "--etcd-cert-file=c",
            "--etcd-user=u",
            "--replica-lease=1s",
        ]);
        let faults = faults.unwrap_err();
        for part in
            ["etcd://HOST:PORT", "--advertise", "needs --etcd-key-file", "needs --etcd-password-file", "2s"]
        {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        let fault = etcd(&["--store=etcd://a:1", "--advertise=http://b"]).unwrap_err();
        assert!(fault.contains("--advertise http://b: must be http://HOST:PORT"), "{fault}");
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn replicas_that_speak_tls_reach_each_other_over_tls_and_say_whom_they_trust() {
        const TLS: [&str; 2] = ["--tls-cert-file=c", "--tls-key-file=k"];
        let peers = |args: &[&str]| {
            let args = ["--store=etcd://a:1"].iter().chain(args).copied();
            match Config::from_args(args).map(|config| config.store) {
                Ok(StoreConfig::Etcd(etcd)) => Ok(etcd.peers),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(peers(&[]).unwrap(), PeerTrust::Plain);
        let file = |name: &str| PeerTrust::Tls(Some(name.into()));
        assert_eq!(peers(&[&TLS[..], &["--replica-ca-file=ca"]].concat()).unwrap(), file("ca"));
        assert_eq!(peers(&[&TLS[..], &["--replica-ca-file=system"]].concat()).unwrap(), PeerTrust::Tls(None));
        assert_eq!(peers(&["--dev-certs=d"]).unwrap(), file("d/ca.pem"));
        let behind = ["--advertise=https://b:1", "--replica-ca-file=ca"];
        assert_eq!(peers(&behind).unwrap(), file("ca"), "TLS may be left to what stands in front");
        let shouted = ["--advertise=HTTPS://B:1", "--replica-ca-file=ca"];
        assert_eq!(peers(&shouted).unwrap(), file("ca"), "a scheme has no case");
        assert_eq!(peers(&["--dev-certs=d", "--advertise=HTTPS://b:1"]).unwrap(), file("d/ca.pem"));
        for (args, part) in [
            (&TLS[..], "--replica-ca-file: needed"),
            (&["--advertise=HTTPS://b:1"], "--replica-ca-file: needed"),
            (&["--advertise=https://b:1"], "--replica-ca-file: needed"),
            (&["--replica-ca-file=ca"], "--replica-ca-file ca: goes with"),
            (&["--dev-certs=d", "--advertise=http://b:1"], "--advertise http://b:1: this replica speaks TLS"),
        ] {
            let fault = peers(args).unwrap_err();
            assert!(fault.contains(part), "{part}: {fault}");
        }
    }
}
