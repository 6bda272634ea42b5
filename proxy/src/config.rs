//! Configuration: what was typed (flags and `BELLHOP_*` environment, same names; OpenTelemetry's own where there is one)
//! → typed values → one effective [`Config`], made once at start. No other file of the proxy reads the environment.
//!
//! Each section owns its flags, its typed form and its checks. All faults are told at once; each names the flag, the
//! value and what is allowed.

mod admin;
mod faults;
mod handover;
mod http2;
mod limits;
mod listeners;
mod process;
mod routing;
mod spans;
mod telemetry;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, builder::Resettable};
use serde::Serialize;

pub use admin::{Admin, AdminAddress};
pub use faults::{Fault, Faults};
pub use handover::{Activation, Handover};
pub use http2::Http2;
pub use limits::{Limits, MemoryBudget};
pub use listeners::{FixedPair, HostPort, Listeners};
pub use process::{LogFormat, LogLevel, Process};
pub use routing::Routing;
pub use spans::{Spans, SpansOf};
pub use telemetry::{AccessLog, ProxyStatus, Telemetry};

/// What was typed, section by section.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub struct Flags {
    #[command(flatten)]
    listeners: listeners::Flags,
    #[command(flatten)]
    routing: routing::Flags,
    #[command(flatten)]
    telemetry: telemetry::Flags,
    #[command(flatten)]
    spans: spans::Flags,
    #[command(flatten)]
    admin: admin::Flags,
    #[command(flatten)]
    handover: handover::Flags,
    #[command(flatten)]
    limits: limits::Flags,
    #[command(flatten)]
    http2: http2::Flags,
    #[command(flatten)]
    process: process::Flags,
}

/// The effective configuration.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Config {
    /// Where connections come in.
    pub listeners: Listeners,
    /// Where routes come from and how keys are read.
    pub routing: Routing,
    /// What is told about requests.
    pub telemetry: Telemetry,
    /// Which requests make a span, and where spans go.
    pub spans: Spans,
    /// The proxy's own HTTP listeners.
    pub admin: Admin,
    /// Listening sockets from elsewhere.
    pub handover: Handover,
    /// Bounds on what a peer may take.
    pub limits: Limits,
    /// Keep-alive of HTTP/2 connections.
    pub http2: Http2,
    /// Threads and the end of the process.
    pub process: Process,
}

impl Flags {
    /// Checks everything that was typed.
    ///
    /// # Errors
    /// All faults found, not only the first.
    pub fn resolve(self) -> Result<Config, Faults> {
        let mut faults = Faults::default();
        let config = Config {
            listeners: self.listeners.resolve(&mut faults),
            routing: self.routing.resolve(&mut faults),
            telemetry: self.telemetry.resolve(&mut faults),
            spans: self.spans.resolve(&mut faults),
            admin: self.admin.resolve(&mut faults),
            handover: self.handover.resolve(&mut faults),
            limits: self.limits.resolve(&mut faults),
            http2: self.http2.resolve(&mut faults),
            process: self.process.resolve(&mut faults),
        };
        faults.none_or(config)
    }
}

impl Config {
    /// Reads flags as [`main_from`](crate::app::main_from) does, without the program's name in front, and nothing else:
    /// the environment is for programs that people start, not for a proxy inside of another program.
    ///
    /// # Errors
    /// All faults found; a flag that does not exist is one.
    pub fn from_args<I, A>(args: I) -> Result<Self, Faults>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString> + Clone,
    {
        #[derive(clap::Parser)]
        #[command(no_binary_name = true)]
        struct Alone {
            #[command(flatten)]
            flags: Flags,
        }
        let command = Alone::command().mut_args(|flag| flag.env(Resettable::Reset));
        let matches = command.try_get_matches_from(args).map_err(Faults::from)?;
        let mut config = Alone::from_arg_matches(&matches).map_err(Faults::from)?.flags.resolve()?;
        config.handover.activation = None;
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
