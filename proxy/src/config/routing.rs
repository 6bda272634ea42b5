//! Where routes come from and how routing keys are read.

use std::path::PathBuf;

use bellhop_api::DnsLabel;
use bellhop_client::{BaseUrl, BaseUrlError, Credentials, Source};
use serde::Serialize;

use super::faults::Faults;

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Routes")]
pub(super) struct Flags {
    /// Base URL of the control plane that routes are watched from, for example `https://control.example.org:7070` or
    /// `http://127.0.0.1:7070`
    #[arg(long, env = "BELLHOP_CONTROL", hide_env_values = true, value_name = "URL")]
    control: Option<String>,
    /// File with the token that tells control who this proxy is; read again when it changes. Sent over https, or to
    /// loopback, alone
    #[arg(long, env = "BELLHOP_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<String>,
    /// File with the authorities (PEM, several may overlap) that vouch for control; read again when it changes
    /// [default: those that this host trusts]
    #[arg(long, env = "BELLHOP_CA_FILE", hide_env_values = true, value_name = "FILE")]
    ca_file: Option<String>,
    /// File with the certificate (PEM, its chain behind it) that tells control who this proxy is; read again when it
    /// changes
    #[arg(long, env = "BELLHOP_CLIENT_CERT_FILE", hide_env_values = true, value_name = "FILE")]
    client_cert_file: Option<String>,
    /// File with the key of that certificate (PEM); read again when it changes
    #[arg(long, env = "BELLHOP_CLIENT_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    client_key_file: Option<String>,
    /// Name of this proxy towards the control plane [default: host name and process id]
    #[arg(long, env = "BELLHOP_PROXY_ID", hide_env_values = true, value_name = "ID")]
    proxy_id: Option<String>,
    /// Name of the workload that this proxy stands beside
    #[arg(long, env = "BELLHOP_WORKLOAD", hide_env_values = true, value_name = "NAME")]
    workload: Option<String>,
    /// Namespace of the workload; short service names are read in it [default: default]
    #[arg(long, env = "BELLHOP_NAMESPACE", hide_env_values = true, value_name = "NS")]
    namespace: Option<String>,
    /// File that keeps the last routes, so that a restart without a control plane loses none
    #[arg(long, env = "BELLHOP_SNAPSHOT", hide_env_values = true, value_name = "FILE")]
    snapshot: Option<String>,
    /// Stays unready until routes are loaded, instead of passing everything to the baseline after 2 s
    #[arg(long, env = "BELLHOP_REQUIRE_ROUTES", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_routes: Option<String>,
    /// Where a routing key rides, in order: baggage[=MEMBER], tracestate=MEMBER, ot-baggage=MEMBER, uberctx=MEMBER,
    /// header=NAME, query=NAME [default: baggage]
    #[arg(
        long,
        env = "BELLHOP_CARRIERS",
        hide_env_values = true,
        value_name = "CARRIER,…",
        value_delimiter = ','
    )]
    carriers: Vec<String>,
    /// Lets routes point at loopback addresses, which otherwise are this host's own affairs
    #[arg(long, env = "BELLHOP_ALLOW_LOOPBACK_ENDPOINTS", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_loopback_endpoints: Option<String>,
}

/// Where routes come from and how routing keys are read.
#[derive(Debug, Clone, Serialize)]
pub struct Routing {
    /// Base URL of the control plane.
    #[serde(serialize_with = "shown")]
    pub control: Option<BaseUrl>,
    /// File with the token for control.
    pub token_file: Option<PathBuf>,
    /// File with the authorities that vouch for control; absent, those of the host.
    pub ca_file: Option<PathBuf>,
    /// File with this proxy's certificate.
    pub client_cert_file: Option<PathBuf>,
    /// File with the key of that certificate.
    pub client_key_file: Option<PathBuf>,
    /// Name of this proxy towards the control plane; absent, host name and process id.
    pub proxy_id: Option<String>,
    /// Name of the workload beside the proxy.
    pub workload: Option<String>,
    /// Namespace in which short names are read.
    pub namespace: String,
    /// File that keeps the last routes.
    pub snapshot: Option<PathBuf>,
    /// Unready until routes are loaded.
    pub require_routes: bool,
    /// Carriers as typed, in order.
    pub carriers: Vec<String>,
    /// Routes may point at loopback.
    pub allow_loopback_endpoints: bool,
}

impl Default for Routing {
    fn default() -> Self {
        Flags::default().resolve(&mut Faults::default())
    }
}

impl Routing {
    /// Whom this proxy trusts, and who it says it is.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            token: self.token_file.clone().map(Source::File),
            ca: self.ca_file.clone().map(Source::File),
            certificate: self.client_cert_file.clone().zip(self.client_key_file.clone()),
        }
    }
}

fn shown<S: serde::Serializer>(url: &Option<BaseUrl>, into: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(BaseUrl::as_str).serialize(into)
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Routing {
        let carriers: Vec<String> = self.carriers.into_iter().filter(|carrier| !carrier.is_empty()).collect();
        for carrier in &carriers {
            faults.explained::<bellhop_route::Carrier>("carriers", Some(carrier));
        }
        let control = control_url(self.control, faults);
        let file = |given: Option<String>| given.filter(|file| !file.is_empty()).map(PathBuf::from);
        let (token_file, ca_file) = (file(self.token_file), file(self.ca_file));
        let (client_cert_file, client_key_file) = (file(self.client_cert_file), file(self.client_key_file));
        let routing = Routing {
            control,
            token_file,
            ca_file,
            client_cert_file,
            client_key_file,
            proxy_id: proxy_id(self.proxy_id, faults),
            workload: self.workload.filter(|name| !name.is_empty()),
            namespace: faults
                .explained::<DnsLabel>("namespace", self.namespace.as_ref())
                .map_or_else(|| "default".to_owned(), |namespace| namespace.to_string()),
            snapshot: self.snapshot.filter(|file| !file.is_empty()).map(PathBuf::from),
            require_routes: faults.switch("require-routes", self.require_routes.as_ref()),
            carriers: if carriers.is_empty() { vec!["baggage".to_owned()] } else { carriers },
            allow_loopback_endpoints: faults
                .switch("allow-loopback-endpoints", self.allow_loopback_endpoints.as_ref()),
        };
        check_credentials(&routing, faults);
        routing
    }
}

fn control_url(typed: Option<String>, faults: &mut Faults) -> Option<BaseUrl> {
    let typed = typed.filter(|url| !url.is_empty())?;
    typed.parse().map_err(|error: BaseUrlError| faults.add("control", &typed, error)).ok()
}

/// Files that do not go together, or with the URL.
fn check_credentials(routing: &Routing, faults: &mut Faults) {
    let Routing { control, token_file, client_cert_file, client_key_file, .. } = routing;
    if let (Some(file), Some(url)) = (token_file, control)
        && !url.keeps_secrets()
    {
        let why = format!("not sent to {url}, where everybody on the way could read it; use https://");
        faults.add("token-file", file.display(), why);
    }
    let (flag, file) = match (client_cert_file, client_key_file) {
        (Some(file), None) => ("client-cert-file", file),
        (None, Some(file)) => ("client-key-file", file),
        _ => return,
    };
    faults.add(flag, file.display(), "needs both --client-cert-file and --client-key-file");
}

fn proxy_id(typed: Option<String>, faults: &mut Faults) -> Option<String> {
    let typed = typed.filter(|id| !id.is_empty())?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if typed.len() <= 253 && typed.bytes().all(allowed) {
        return Some(typed);
    }
    faults.add("proxy-id", &typed, "allowed: 1 to 253 of A-Z a-z 0-9 . _ -");
    None
}
