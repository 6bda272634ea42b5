//! Who is asked who they are, and what is written down of it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::access::{AuditTarget, IdentityRule};

/// Flags of this section.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Whether callers must say who they are (a token or a client certificate). `loopback-open`: not on a loopback address
    /// without TLS, where whoever has an account on this machine may do everything; everywhere else they must.
    /// `required`: always. A start without any admin's token makes one for 24 h, in the file bootstrap-token in --data-dir
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Auth::LoopbackOpen, env = "BELLHOP_AUTH")]
    auth: Auth,

    /// Where to write a JSON line for every attempt to write: `-` (standard output), `off`, or a file, made for its owner
    /// alone and opened anew on SIGHUP [default: `-` where callers must say who they are, else off]
    #[arg(long, value_name = "FILE", env = "BELLHOP_AUDIT_LOG")]
    audit_log: Option<String>,
}

/// `--auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Auth {
    /// Always.
    Required,
    /// Everywhere but on loopback without TLS.
    LoopbackOpen,
}

/// Who is asked who they are, and what is written down of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// Callers must say who they are.
    pub required: bool,
    /// The roles of client certificates.
    pub identities: Vec<IdentityRule>,
    /// Where attempts to write are written down.
    pub audit: AuditTarget,
}

impl Flags {
    /// `open`: nobody needs to be asked (loopback without TLS, or --insecure).
    pub(super) fn resolve(self, open: bool, identities: Vec<IdentityRule>) -> AccessConfig {
        let required = self.auth == Auth::Required || !open;
        let audit = match self.audit_log.as_deref() {
            None | Some("") if required => AuditTarget::Stdout,
            None | Some("" | "off") => AuditTarget::Off,
            Some("-") => AuditTarget::Stdout,
            Some(file) => AuditTarget::File(PathBuf::from(file)),
        };
        AccessConfig { required, identities, audit }
    }

    pub(super) fn is_required(&self) -> bool {
        self.auth == Auth::Required
    }
}
