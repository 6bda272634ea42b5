//! Bounds on what a peer may take, each with its reason.

use std::{ops::RangeInclusive, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use super::faults::Faults;

const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Limits")]
pub(super) struct Flags {
    /// Header fields of one message; more is 431. Bounds the work a head can ask for [default: 100]
    #[arg(long, env = "BELLHOP_MAX_HEADERS", hide_env_values = true, value_name = "N")]
    max_headers: Option<String>,
    /// Bytes of one head; more is 431. Bounds the memory a head can ask for [default: 64KiB]
    #[arg(long, env = "BELLHOP_MAX_HEADER_BYTES", hide_env_values = true, value_name = "BYTES")]
    max_header_bytes: Option<String>,
    /// Bytes of a request target; more is 414. Bounds the memory that one line can ask for, and is more than servers
    /// take [default: 16KiB]
    #[arg(long, env = "BELLHOP_MAX_URI_BYTES", hide_env_values = true, value_name = "BYTES")]
    max_uri_bytes: Option<String>,
    /// Time for a whole head from its first byte; cuts slow senders [default: 10s]
    #[arg(long, env = "BELLHOP_HEADER_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    header_timeout: Option<String>,
    /// Time from a request's head until the head of its answer; over it 504, and the upstream's stream or connection is
    /// reset. For upstreams that hang; by default none, since nobody knows how long an answer may take
    /// [default: off]
    #[arg(long, env = "BELLHOP_REQUEST_TIMEOUT", hide_env_values = true, value_name = "TIME|off")]
    request_timeout: Option<String>,
    /// Streams that one HTTP/2 connection may have open. Bounds what one client can have in work at once; RFC 9113 advises
    /// no less than 100 [default: 100]
    #[arg(long, env = "BELLHOP_MAX_CONCURRENT_STREAMS", hide_env_values = true, value_name = "N")]
    max_concurrent_streams: Option<String>,
    /// Bytes in flight on one HTTP/2 stream: what one slow reader can make the proxy hold [default: 64KiB]
    #[arg(long, env = "BELLHOP_STREAM_WINDOW", hide_env_values = true, value_name = "BYTES")]
    stream_window: Option<String>,
    /// Bytes in flight on one HTTP/2 connection: bounds what all slow readers of it together can make the proxy hold
    /// [default: 1MiB]
    #[arg(long, env = "BELLHOP_CONNECTION_WINDOW", hide_env_values = true, value_name = "BYTES")]
    connection_window: Option<String>,
    /// Time for one connection to a sandbox endpoint, tried twice, since a lost SYN is repeated after 1 s [default: 1s]
    #[arg(long, env = "BELLHOP_CONNECT_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    connect_timeout: Option<String>,
    /// A connection on which nothing moves for this long is closed; peers that vanished leave theirs open [default: 1h]
    #[arg(long, env = "BELLHOP_IDLE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    idle_timeout: Option<String>,
    /// Connections held at once; at the limit new ones wait in the kernel's queue until one ends [default: 10000, or
    /// (descriptor limit - 100) / 3 if that is less: a connection takes up to three]
    #[arg(long, env = "BELLHOP_MAX_CONNECTIONS", hide_env_values = true, value_name = "N")]
    max_connections: Option<String>,
    /// Memory that the proxy may hold; above it requests are answered 503 (`overload`) until it was given back, since the
    /// kernel would end the process. `auto` is 85% of the container's limit where there is one [default: auto]
    #[arg(long, env = "BELLHOP_MAX_MEMORY", hide_env_values = true, value_name = "BYTES|auto|off")]
    max_memory: Option<String>,
    /// Requests that may be sent a second time, of 100: what retries add to an upstream that is in trouble. With 100 each
    /// may, once, so that no GET fails because its kept connection was closed just then; with less a worker saves up 100,
    /// and earns 10 a second at least; 0 is for those alone that no upstream saw a byte of [default: 100]
    #[arg(long, env = "BELLHOP_RETRY_BUDGET", hide_env_values = true, value_name = "PERCENT")]
    retry_budget: Option<String>,
    /// Idle upstream connections of one HTTP version that one client connection keeps besides the baseline's, since each
    /// holds a descriptor; the least recently used is closed first [default: 16]
    #[arg(long, env = "BELLHOP_MAX_IDLE_UPSTREAMS", hide_env_values = true, value_name = "N")]
    max_idle_upstreams: Option<String>,
    /// Bytes of baggage that are examined for a key, over all baggage fields: bounds the work for one request; all are
    /// forwarded. W3C Baggage asks for no less [default: 8192]
    #[arg(long, env = "BELLHOP_MAX_BAGGAGE_BYTES", hide_env_values = true, value_name = "BYTES")]
    max_baggage_bytes: Option<String>,
    /// Members of baggage that are examined for a key: bounds the work for one request [default: 64]
    #[arg(long, env = "BELLHOP_MAX_BAGGAGE_MEMBERS", hide_env_values = true, value_name = "N")]
    max_baggage_members: Option<String>,
}

/// Bounds on what a peer may take.
#[derive(Debug, Clone, Serialize)]
pub struct Limits {
    /// Header fields of one message.
    pub max_headers: usize,
    /// Bytes of one head.
    pub max_header_bytes: usize,
    /// Bytes of a request target.
    pub max_uri_bytes: usize,
    /// Time for a whole head from its first byte.
    #[serde(serialize_with = "in_words")]
    pub header_timeout: Duration,
    /// Time from a request's head until the head of its answer; none is no limit.
    #[serde(serialize_with = "in_words_or_off")]
    pub request_timeout: Option<Duration>,
    /// Streams open on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Bytes in flight on one HTTP/2 stream.
    pub stream_window: u32,
    /// Bytes in flight on one HTTP/2 connection.
    pub connection_window: u32,
    /// Time for one connection to a sandbox endpoint.
    #[serde(serialize_with = "in_words")]
    pub connect_timeout: Duration,
    /// Time without a byte after which a connection is closed.
    #[serde(serialize_with = "in_words")]
    pub idle_timeout: Duration,
    /// Connections held at once; none until [`start`](crate::app::start) has seen the descriptor limit.
    pub max_connections: Option<usize>,
    /// Memory above which requests are shed; settled by [`start`](crate::app::start).
    pub max_memory: MemoryBudget,
    /// Of 100 requests, how many may be sent a second time.
    pub retry_budget: u32,
    /// Idle upstream connections of one client connection.
    pub max_idle_upstreams: usize,
    /// Bytes of baggage examined.
    pub max_baggage_bytes: usize,
    /// Members of baggage examined.
    pub max_baggage_members: usize,
}

/// Memory that the proxy may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryBudget {
    /// Most of the container's limit, where there is one.
    Auto,
    /// No bound.
    Off,
    /// So many bytes.
    #[serde(untagged)]
    Bytes(usize),
}

impl Default for Limits {
    fn default() -> Self {
        Flags::default().resolve(&mut Faults::default())
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Limits {
        let mut typed = Typed { faults };
        let max_streams = typed.count("max-concurrent-streams", self.max_concurrent_streams, 1..=100_000);
        let stream_window = typed.size("stream-window", self.stream_window, 16 * KIB..=64 * MIB);
        let connection_window = typed.size("connection-window", self.connection_window, 64 * KIB..=256 * MIB);
        let max_header_bytes = typed.size("max-header-bytes", self.max_header_bytes, KIB..=MIB);
        let max_uri_bytes = typed.size("max-uri-bytes", self.max_uri_bytes, KIB..=MIB);
        let max_memory = typed.memory("max-memory", self.max_memory);
        let retry_budget = typed.count("retry-budget", self.retry_budget, 0..=100);
        let max_idle_upstreams = typed.count("max-idle-upstreams", self.max_idle_upstreams, 0..=1_000);
        let max_baggage_bytes = typed.size("max-baggage-bytes", self.max_baggage_bytes, 64..=MIB);
        let max_baggage_members = typed.count("max-baggage-members", self.max_baggage_members, 1..=10_000);
        Limits {
            max_headers: typed.count("max-headers", self.max_headers, 1..=10_000).unwrap_or(100),
            max_header_bytes: max_header_bytes.unwrap_or(64 * KIB),
            max_uri_bytes: max_uri_bytes.unwrap_or(16 * KIB),
            header_timeout: typed.time("header-timeout", self.header_timeout).unwrap_or(10 * SECOND),
            request_timeout: typed.faults.time_or_off("request-timeout", self.request_timeout),
            max_concurrent_streams: max_streams.map_or(100, narrow),
            stream_window: narrow(stream_window.unwrap_or(64 * KIB)),
            connection_window: narrow(connection_window.unwrap_or(MIB)),
            connect_timeout: typed.time("connect-timeout", self.connect_timeout).unwrap_or(SECOND),
            idle_timeout: typed.time("idle-timeout", self.idle_timeout).unwrap_or(3600 * SECOND),
            max_connections: typed.count("max-connections", self.max_connections, 1..=1_000_000),
            max_memory,
            retry_budget: retry_budget.map_or(100, narrow),
            max_idle_upstreams: max_idle_upstreams.unwrap_or(16),
            max_baggage_bytes: max_baggage_bytes.unwrap_or(8 * KIB),
            max_baggage_members: max_baggage_members.unwrap_or(64),
        }
    }
}

/// Reads numbers with their bounds.
struct Typed<'a> {
    faults: &'a mut Faults,
}

impl Typed<'_> {
    fn count(&mut self, flag: &str, typed: Option<String>, bounds: RangeInclusive<usize>) -> Option<usize> {
        let allowed = format!("a number from {} to {}", bounds.start(), bounds.end());
        let count = self.faults.optional(flag, typed.as_ref(), &allowed)?;
        self.within(flag, count, bounds, &allowed)
    }

    fn size(&mut self, flag: &str, typed: Option<String>, bounds: RangeInclusive<usize>) -> Option<usize> {
        let (least, most) = (bounds.start(), bounds.end());
        let allowed = format!("bytes from {least} to {most}, or with KiB or MiB, for example 64KiB");
        let Bytes(size) = self.faults.optional(flag, typed.as_ref(), &allowed)?;
        self.within(flag, size, bounds, &allowed)
    }

    fn memory(&mut self, flag: &str, typed: Option<String>) -> MemoryBudget {
        match typed.as_deref().map(str::trim) {
            None | Some("" | "auto") => MemoryBudget::Auto,
            Some("off") => MemoryBudget::Off,
            Some(_) => self
                .size(flag, typed, 8 * MIB..=1024 * 1024 * MIB)
                .map_or(MemoryBudget::Auto, MemoryBudget::Bytes),
        }
    }

    fn within(
        &mut self,
        flag: &str,
        value: usize,
        bounds: RangeInclusive<usize>,
        allowed: &str,
    ) -> Option<usize> {
        if bounds.contains(&value) {
            return Some(value);
        }
        self.faults.add(flag, value, format_args!("allowed: {allowed}"));
        None
    }

    fn time(&mut self, flag: &str, typed: Option<String>) -> Option<Duration> {
        self.faults.time(flag, typed.as_ref())
    }
}

impl Faults {
    /// A length of time, more than nothing.
    pub(super) fn time(&mut self, flag: &str, typed: Option<&String>) -> Option<Duration> {
        const ALLOWED: &str = "a time above zero with its unit, for example 500ms, 10s or 1h";
        let time: humantime::Duration = self.optional(flag, typed, ALLOWED)?;
        let time = Duration::from(time);
        if time.is_zero() {
            self.add(flag, "0s", format_args!("allowed: {ALLOWED}"));
        }
        Some(time)
    }

    /// The same, or none.
    pub(super) fn time_or_off(&mut self, flag: &str, typed: Option<String>) -> Option<Duration> {
        let typed = typed.filter(|text| text.trim() != "off");
        self.time(flag, typed.as_ref())
    }
}

/// A number of bytes, with or without a unit.
struct Bytes(usize);

impl FromStr for Bytes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (digits, unit) = match text.strip_suffix("KiB") {
            Some(digits) => (digits, KIB),
            None => match text.strip_suffix("MiB") {
                Some(digits) => (digits, MIB),
                None => (text.strip_suffix('B').unwrap_or(text), 1),
            },
        };
        let count: usize = digits.trim_end().parse().map_err(|_| ())?;
        count.checked_mul(unit).map(Self).ok_or(())
    }
}

/// Bounds above keep these within 32 bits.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(super) fn in_words<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_duration(*time))
}

pub(super) fn in_words_or_off<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => in_words(time, to),
        None => to.serialize_str("off"),
    }
}
