//! TLS on the control API's listener, and the roles of client certificates.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use bellhop_api::access::Role;
use clap::Args;

use super::UsageError;
use crate::access::IdentityRule;

/// Flags of this section.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// The listener's certificate with the chain behind it, PEM. Read again within seconds of a change, and on SIGHUP
    #[arg(long, value_name = "FILE", env = "BELLHOP_TLS_CERT_FILE")]
    tls_cert_file: Option<PathBuf>,

    /// The key of that certificate, PEM
    #[arg(long, value_name = "FILE", env = "BELLHOP_TLS_KEY_FILE")]
    tls_key_file: Option<PathBuf>,

    /// For a trial: makes an authority and certificates in this directory, as `bellhop-control dev-certs` does, uses them,
    /// and renews each after 2/3 of its life
    #[arg(long, value_name = "DIR", env = "BELLHOP_DEV_CERTS")]
    dev_certs: Option<PathBuf>,

    /// Authorities of client certificates, PEM; several in one file overlap while one takes the other's place. Read again
    /// like the certificate. Callers may still show a token instead
    #[arg(long, value_name = "FILE", env = "BELLHOP_CLIENT_CA_FILE")]
    client_ca_file: Option<PathBuf>,

    /// What the bearer of a client certificate may do: IDENTITY=proxy, IDENTITY=admin or IDENTITY=developer:NAMESPACE,…
    /// (* for all). IDENTITY is a URI among the certificate's names, such as a SPIFFE id, or cn:NAME; * in it stands for
    /// anything without a slash. Several, separated by spaces or repeated; the first that fits counts
    #[arg(long, value_name = "RULE", value_delimiter = ' ', env = "BELLHOP_CLIENT_IDENTITY")]
    client_identity: Vec<IdentityRule>,
}

/// Make an authority and certificates for a trial, or renew those that are past 2/3 of their life
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct DevCerts {
    /// Directory to make them in: ca.pem, control.pem for --tls-cert-file, proxy.pem for a proxy, and their keys
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Name or address by which the control plane is reached, besides those of loopback; repeat it for several
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,

    /// How long a certificate lives; the authority lives ten times as long
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    life: Duration,
}

impl DevCerts {
    /// Checks what was typed.
    pub(crate) fn resolve(self) -> Result<TrialConfig, UsageError> {
        if !(SHORTEST..=LONGEST).contains(&self.life) {
            let given = humantime::format_duration(self.life);
            return Err(UsageError::Faults(vec![format!("--life {given}: allowed are 1m to 90d")]));
        }
        Ok(TrialConfig { directory: self.dir, hosts: self.hosts, life: self.life })
    }
}

/// Bounds of `--life`: control looks every 2 s, and a trial of a quarter of a year is none.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

/// TLS on the control API's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where certificate and key come from.
    pub certificates: Certificates,
    /// Authorities of client certificates.
    pub client_ca: Option<PathBuf>,
}

/// Where certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// Files that somebody else keeps.
    Files {
        /// The certificate with its chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Made for a trial.
    Trial(TrialConfig),
}

/// An authority and certificates for a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialConfig {
    /// Where they are kept.
    pub directory: PathBuf,
    /// Names and addresses by which the control plane is reached, besides those of loopback.
    pub hosts: Vec<String>,
    /// How long a certificate lives; the authority lives ten times as long.
    pub life: Duration,
}

impl TrialConfig {
    /// Where nobody says how long: long enough for a trial, short enough to see a renewal.
    pub const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
}

impl Flags {
    pub(super) fn resolve(
        self,
        listen: IpAddr,
        faults: &mut Vec<String>,
    ) -> (Option<TlsConfig>, Vec<IdentityRule>) {
        let hosts = if listen.is_unspecified() { Vec::new() } else { vec![listen.to_string()] };
        let certificates = match (self.tls_cert_file, self.tls_key_file, self.dev_certs) {
            (None, None, None) => None,
            (Some(certificate), Some(key), None) => Some(Certificates::Files { certificate, key }),
            (None, None, Some(directory)) => {
                Some(Certificates::Trial(TrialConfig { directory, hosts, life: TrialConfig::LIFE }))
            }
            (_, _, Some(_)) => {
                faults.push(
                    "--dev-certs: makes its own certificates; leave out --tls-cert-file and --tls-key-file"
                        .into(),
                );
                None
            }
            (_, _, None) => {
                faults.push("--tls-cert-file and --tls-key-file: both are needed, or neither".into());
                None
            }
        };
        let mut rules = self.client_identity;
        let client_ca = match (&certificates, self.client_ca_file) {
            (Some(Certificates::Trial(trial)), None) => {
                rules.push(IdentityRule::exact(crate::trial::PROXY, Role::Proxy));
                Some(trial.directory.join(crate::trial::CA))
            }
            (None, Some(file)) => {
                faults.push(format!(
                    "--client-ca-file {}: needs TLS (--tls-cert-file, --tls-key-file)",
                    file.display()
                ));
                None
            }
            (_, file) => file,
        };
        if client_ca.is_none() && !rules.is_empty() {
            faults.push(
                "--client-identity: needs --client-ca-file, the authorities of these certificates".into(),
            );
        }
        (certificates.map(|certificates| TlsConfig { certificates, client_ca }), rules)
    }
}
