//! The workloads: what each is, and the load that makes it.

mod command;
pub mod ghz;
pub mod h2load;
pub mod iperf3;
pub mod oha;
pub mod wrk;

use std::{net::SocketAddr, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use self::command::Files;
use crate::{
    peers::{KEY, Peer},
    tools::Tool,
    verify::Protocol,
};

/// Kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[rustfmt::skip]
pub enum Workload {
    /// HTTP/1.1 keep-alive, one connection: what a lone request waits.
    #[value(name = "h1-1")] #[serde(rename = "h1-1")] Http1x1,
    /// HTTP/1.1 keep-alive, 64 connections.
    #[value(name = "h1-64")] #[serde(rename = "h1-64")] Http1x64,
    /// The same without a routing key in the baggage.
    #[value(name = "h1-64-unkeyed")] #[serde(rename = "h1-64-unkeyed")] Http1x64Unkeyed,
    /// HTTP/1.1 keep-alive, 1,000 connections.
    #[value(name = "h1-1000")] #[serde(rename = "h1-1000")] Http1x1000,
    /// HTTP/1.1, a new connection for each request, 64 at a time.
    #[value(name = "h1-new")] #[serde(rename = "h1-new")] Http1New,
    /// HTTP/2, 8 connections of 16 streams.
    #[value(name = "h2-8x16")] #[serde(rename = "h2-8x16")] Http2x8,
    /// The same without a routing key.
    #[value(name = "h2-8x16-unkeyed")] #[serde(rename = "h2-8x16-unkeyed")] Http2x8Unkeyed,
    /// HTTP/2, one connection of 100 streams.
    #[value(name = "h2-1x100")] #[serde(rename = "h2-1x100")] Http2x1,
    /// gRPC, unary calls of 128 bytes, 8 connections of 16.
    #[value(name = "grpc-unary")] #[serde(rename = "grpc-unary")] GrpcUnary,
    /// gRPC, messages of 128 bytes both ways on long streams.
    #[value(name = "grpc-stream")] #[serde(rename = "grpc-stream")] GrpcStream,
    /// Answers of 64 KiB.
    #[value(name = "down-64k")] #[serde(rename = "down-64k")] Down64k,
    /// Requests of 64 KiB.
    #[value(name = "up-64k")] #[serde(rename = "up-64k")] Up64k,
    /// Answers of 10 MiB.
    #[value(name = "down-10m")] #[serde(rename = "down-10m")] Down10m,
    /// Requests of 10 MiB.
    #[value(name = "up-10m")] #[serde(rename = "up-10m")] Up10m,
    /// WebSocket messages of 128 bytes and their echo, 64 connections.
    #[value(name = "websocket")] #[serde(rename = "websocket")] WebSocket,
    /// An opaque stream, as fast as it goes.
    #[value(name = "tcp")] #[serde(rename = "tcp")] Tcp,
    /// HTTP/1.1 at half of the rate that saturates this peer.
    #[value(name = "open-50")] #[serde(rename = "open-50")] Open50,
    /// HTTP/1.1 at 80 % of it.
    #[value(name = "open-80")] #[serde(rename = "open-80")] Open80,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Request,
    /// gRPC or WebSocket messages that came to the backend.
    Message,
    /// MiB that came through.
    Mebibyte,
}

impl Unit {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Message => "message",
            Self::Mebibyte => "MiB",
        }
    }
}

/// How a workload is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// HTTP/1 over so many connections; a new one for each request where `close`.
    Wrk {
        /// Connections.
        connections: u32,
        /// One request for each.
        close: bool,
        /// Where.
        path: &'static str,
        /// Bytes of each request's body.
        upload: usize,
    },
    /// HTTP/2.
    H2load {
        /// Connections.
        clients: u32,
        /// Streams of each.
        streams: u32,
        /// Unary gRPC calls instead of plain requests.
        grpc: bool,
    },
    /// gRPC streams.
    Ghz,
    /// WebSockets.
    WebSocket,
    /// An opaque stream.
    Iperf3,
    /// At this part of the saturating rate.
    Oha(f64),
}

/// What a load tool said of its run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Said {
    /// Median latency in µs; the mean where the tool knows no percentiles (h2load).
    pub latency_us: Option<f64>,
    /// 99th percentile in µs, where the tool knows it.
    pub p99_us: Option<f64>,
    /// Requests that failed or were answered otherwise than 2xx.
    pub errors: u64,
    /// What the tool counted itself, where nobody else can: MiB, or requests per second.
    pub counted: Option<f64>,
}

/// The ordinary path.
pub const PATH: &str = "/api/v1/items?page=3";

impl Workload {
    /// Its name in tables and options.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
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
            Self::Http2x8Unkeyed => "HTTP/2, 8 connections × 16 streams, no key",
            Self::Http2x1 => "HTTP/2, 1 connection × 100 streams",
            Self::GrpcUnary => "gRPC, unary, 8 connections × 16 calls",
            Self::GrpcStream => "gRPC, bidirectional streams of 100 messages, 16 at a time",
            Self::Down64k => "HTTP/1.1, answers of 64 KiB, 16 connections",
            Self::Up64k => "HTTP/1.1, requests of 64 KiB, 16 connections",
            Self::Down10m => "HTTP/1.1, answers of 10 MiB, 4 connections",
            Self::Up10m => "HTTP/1.1, requests of 10 MiB, 4 connections",
            Self::WebSocket => "WebSocket echo of 128 bytes, 64 connections",
            Self::Tcp => "Opaque TCP, one stream",
            Self::Open50 => "HTTP/1.1 at 50 % of the peer's saturation, 64 connections, open loop",
            Self::Open80 => "HTTP/1.1 at 80 % of the peer's saturation, 64 connections, open loop",
        }
    }

    /// How it is made.
    #[must_use]
    pub fn load(self) -> Load {
        let wrk = |connections| Load::Wrk { connections, close: false, path: PATH, upload: 0 };
        let down = |connections, path| Load::Wrk { connections, close: false, path, upload: 0 };
        let up = |connections, upload| Load::Wrk { connections, close: false, path: "/upload", upload };
        match self {
            Self::Http1x1 => wrk(1),
            Self::Http1x64 | Self::Http1x64Unkeyed => wrk(64),
            Self::Http1x1000 => wrk(1000),
            Self::Http1New => Load::Wrk { connections: 64, close: true, path: PATH, upload: 0 },
            Self::Http2x8 | Self::Http2x8Unkeyed => Load::H2load { clients: 8, streams: 16, grpc: false },
            Self::Http2x1 => Load::H2load { clients: 1, streams: 100, grpc: false },
            Self::GrpcUnary => Load::H2load { clients: 8, streams: 16, grpc: true },
            Self::GrpcStream => Load::Ghz,
            Self::Down64k => down(16, "/bulk/64k"),
            Self::Down10m => down(4, "/bulk/10m"),
            Self::Up64k => up(16, 64 << 10),
            Self::Up10m => up(4, 10 << 20),
            Self::WebSocket => Load::WebSocket,
            Self::Tcp => Load::Iperf3,
            Self::Open50 => Load::Oha(0.5),
            Self::Open80 => Load::Oha(0.8),
        }
    }

    /// What is counted.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::GrpcStream | Self::WebSocket => Unit::Message,
            Self::Tcp => Unit::Mebibyte,
            _ => Unit::Request,
        }
    }

    /// The protocol whose routing is to be proved before; none for opaque streams.
    #[must_use]
    pub fn protocol(self) -> Option<Protocol> {
        match self.load() {
            Load::Wrk { .. } | Load::Oha(_) => Some(Protocol::Http1),
            Load::H2load { grpc: false, .. } => Some(Protocol::Http2),
            Load::H2load { grpc: true, .. } | Load::Ghz => Some(Protocol::Grpc),
            Load::WebSocket => Some(Protocol::WebSocket),
            Load::Iperf3 => None,
        }
    }

    /// The tool that makes it.
    #[must_use]
    pub fn tool(self) -> Tool {
        match self.load() {
            Load::Wrk { .. } => Tool::Wrk,
            Load::H2load { .. } => Tool::H2load,
            Load::Ghz => Tool::Ghz,
            Load::WebSocket => Tool::Own,
            Load::Iperf3 => Tool::Iperf3,
            Load::Oha(_) => Tool::Oha,
        }
    }

    /// How much longer than the window may be waited for a first request to be served: large ones take their time on a
    /// machine that does other things. Only where the load is told to end then.
    #[must_use]
    pub fn patience(self) -> Duration {
        match self {
            Self::Down10m | Self::Up10m => Duration::from_secs(10),
            _ => Duration::ZERO,
        }
    }

    /// Whether its requests carry the key.
    #[must_use]
    pub fn keyed(self) -> bool {
        !matches!(self, Self::Http1x64Unkeyed | Self::Http2x8Unkeyed)
    }

    /// Where `peer` serves it.
    #[must_use]
    pub fn address(self, peer: &Peer) -> Option<SocketAddr> {
        match self.load() {
            Load::Wrk { .. } | Load::Oha(_) | Load::WebSocket => Some(peer.http1),
            Load::H2load { .. } | Load::Ghz => Some(peer.http2),
            Load::Iperf3 => peer.tcp,
        }
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

/// A time such as `1.23ms` in µs; wrk and h2load write times so.
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

    #[test]
    fn a_workload_is_stored_under_the_name_that_chooses_it() {
        for workload in Workload::value_variants() {
            assert_eq!(serde_json::to_value(workload).unwrap(), workload.name());
        }
    }
}
