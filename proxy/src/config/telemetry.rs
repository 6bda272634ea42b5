//! What is told about requests.

use std::str::FromStr;

use serde::Serialize;

use super::faults::Faults;

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Telemetry")]
pub(super) struct Flags {
    /// What answers say in Proxy-Status: full (decision, reason, key, endpoint; towards this host alone), reason, or
    /// errors [default: full]
    #[arg(long, env = "BELLHOP_PROXY_STATUS", hide_env_values = true, value_name = "HOW")]
    proxy_status: Option<String>,
    /// Which requests make a JSON line on standard output: off, keyed, all [default: keyed]
    #[arg(long, env = "BELLHOP_ACCESS_LOG", hide_env_values = true, value_name = "WHICH")]
    access_log: Option<String>,
}

/// What is told about requests.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Telemetry {
    /// What answers say of the decision.
    pub proxy_status: ProxyStatus,
    /// Which requests are logged.
    pub access_log: AccessLog,
}

/// What answers say in `Proxy-Status` (RFC 9209); errors always say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyStatus {
    /// Keyed requests get decision and reason, and towards callers on this host also key and endpoint.
    #[default]
    Full,
    /// Keyed requests get decision and reason.
    Reason,
    /// Errors alone.
    Errors,
}

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    Off,
    /// Those with a routing key.
    #[default]
    Keyed,
    /// All.
    All,
}

impl FromStr for ProxyStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "full" => Ok(Self::Full),
            "reason" => Ok(Self::Reason),
            "errors" => Ok(Self::Errors),
            _ => Err(()),
        }
    }
}

impl FromStr for AccessLog {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "keyed" => Ok(Self::Keyed),
            "all" => Ok(Self::All),
            _ => Err(()),
        }
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Telemetry {
        let status = faults.optional("proxy-status", self.proxy_status.as_ref(), "full, reason, errors");
        let log = faults.optional("access-log", self.access_log.as_ref(), "off, keyed, all");
        Telemetry { proxy_status: status.unwrap_or_default(), access_log: log.unwrap_or_default() }
    }
}
