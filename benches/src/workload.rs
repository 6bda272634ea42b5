//! The workloads, and the load tools that make them.

pub mod h2load;
pub mod wrk;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    peers::{KEY, Peer},
    process,
};

/// Kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Workload {
    /// HTTP/1.1 keep-alive, one connection: what a lone request waits.
    #[value(name = "h1-1")]
    Http1x1,
    /// HTTP/1.1 keep-alive, 64 connections.
    #[value(name = "h1-64")]
    Http1x64,
    /// The same without a routing key in the baggage.
    #[value(name = "h1-64-unkeyed")]
    Http1x64Unkeyed,
    /// HTTP/1.1 keep-alive, 1,000 connections.
    #[value(name = "h1-1000")]
    Http1x1000,
    /// HTTP/1.1, a new connection for each request, 64 at a time.
    #[value(name = "h1-new")]
    Http1New,
    /// HTTP/2, 8 connections of 16 streams.
    #[value(name = "h2-8x16")]
    Http2x8,
    /// HTTP/2, one connection of 100 streams.
    #[value(name = "h2-1x100")]
    Http2x1,
}

/// What a load tool said of its run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Said {
    /// Median latency in µs; the mean where the tool knows no percentiles (h2load).
    pub latency_us: f64,
    /// 99th percentile in µs, where the tool knows it.
    pub p99_us: Option<f64>,
    /// Requests that failed or were answered otherwise than 2xx.
    pub errors: u64,
}

impl Workload {
    /// Its name in tables and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1x1 => "h1-1",
            Self::Http1x64 => "h1-64",
            Self::Http1x64Unkeyed => "h1-64-unkeyed",
            Self::Http1x1000 => "h1-1000",
            Self::Http1New => "h1-new",
            Self::Http2x8 => "h2-8x16",
            Self::Http2x1 => "h2-1x100",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Http1x1 => "HTTP/1.1 keep-alive, 1 connection",
            Self::Http1x64 => "HTTP/1.1 keep-alive, 64 connections",
            Self::Http1x64Unkeyed => "HTTP/1.1 keep-alive, 64 connections, no key",
            Self::Http1x1000 => "HTTP/1.1 keep-alive, 1,000 connections",
            Self::Http1New => "HTTP/1.1, new connection per request, 64 at a time",
            Self::Http2x8 => "HTTP/2, 8 connections × 16 streams",
            Self::Http2x1 => "HTTP/2, 1 connection × 100 streams",
        }
    }

    /// Whether its requests carry the key.
    #[must_use]
    pub fn keyed(self) -> bool {
        self != Self::Http1x64Unkeyed
    }

    /// Whether it is HTTP/2.
    #[must_use]
    pub fn http2(self) -> bool {
        matches!(self, Self::Http2x8 | Self::Http2x1)
    }

    /// Where `peer` serves it.
    #[must_use]
    pub fn address(self, peer: &Peer) -> SocketAddr {
        if self.http2() { peer.http2 } else { peer.http1 }
    }

    /// The tool and its arguments for a load of `seconds` on `target`. It ends by itself.
    ///
    /// # Errors
    /// Where the tool is not installed.
    pub fn command(self, target: SocketAddr, seconds: u64) -> anyhow::Result<(PathBuf, Vec<OsString>)> {
        let (tool, shape): (&str, &[&str]) = match self {
            Self::Http1x1 => ("wrk", &["-c", "1"]),
            Self::Http1x64 | Self::Http1x64Unkeyed => ("wrk", &["-c", "64"]),
            Self::Http1x1000 => ("wrk", &["-c", "1000"]),
            Self::Http1New => ("wrk", &["-c", "64", "-H", "Connection: close"]),
            Self::Http2x8 => ("h2load", &["-c", "8", "-m", "16"]),
            Self::Http2x1 => ("h2load", &["-c", "1", "-m", "100"]),
        };
        let program = process::find(tool).with_context(|| format!("{tool} is not installed"))?;
        let mut args: Vec<OsString> = match tool {
            "wrk" => vec!["-t1".into(), format!("-d{seconds}s").into(), "--latency".into()],
            _ => vec!["-t1".into(), "-D".into(), seconds.to_string().into()],
        };
        args.extend(shape.iter().map(OsString::from));
        for (name, value) in fields(self.keyed()) {
            args.extend(["-H".into(), format!("{name}: {value}").into()]);
        }
        args.push(format!("http://{target}/api/v1/items?page=3").into());
        Ok((program, args))
    }

    /// Reads what its tool printed.
    ///
    /// # Errors
    /// Where that has not the shape expected.
    pub fn read(self, output: &str) -> anyhow::Result<Said> {
        let said = if self.http2() { h2load::parse(output) } else { wrk::parse(output) };
        said.with_context(|| format!("unexpected output of the load tool:\n{output}"))
    }
}

/// Header fields of each request, such as an instrumented service sends them.
#[must_use]
pub fn fields(keyed: bool) -> Vec<(&'static str, String)> {
    let key = if keyed { format!(",routing-key={KEY}") } else { String::new() };
    vec![
        ("accept", "application/json".to_owned()),
        ("user-agent", "bellhop-bench".to_owned()),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ("baggage", format!("session.id=8f14e45fceea167a{key},tenant=acme")),
    ]
}

/// A time such as `1.23ms` in µs; both tools write times so.
fn time_us(text: &str) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(split)?;
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_unit_and_nothing_else_is() {
        assert_eq!(time_us("12us"), Some(12.0));
        assert_eq!(time_us("1.50ms"), Some(1500.0));
        assert_eq!(time_us("2s"), Some(2e6));
        assert_eq!(time_us("12"), None);
        assert_eq!(time_us("1.2.3ms"), None);
        assert_eq!(time_us("xs"), None);
    }

    #[test]
    fn only_keyed_loads_carry_the_key() {
        let carries = |keyed| fields(keyed).iter().any(|(_, value)| value.contains("routing-key=pr-15"));
        assert!(carries(true));
        assert!(!carries(false));
    }
}
