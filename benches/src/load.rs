//! The load that no tool makes: WebSocket echo.
//!
//! `bench-load ADDRESS CONNECTIONS SECONDS`: each connection sends one message and waits until it comes back, then the
//! next. What it saw goes to standard output as one JSON object. It ends by itself.

use std::{
    cell::RefCell,
    io::Write,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, task::LocalSet};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{backend::WEBSOCKET, workload::fields};

/// Size of a message.
const MESSAGE_BYTES: usize = 128;

/// What the load saw.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Messages that came back.
    pub messages: u64,
    /// Median time until one came back, in µs.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Connections that failed, or brought back another message.
    pub errors: u64,
}

/// Makes the load.
///
/// # Errors
/// Where the arguments are none.
pub fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [address, connections, seconds] = args.as_slice() else {
        bail!("usage: bench-load ADDRESS:PORT CONNECTIONS SECONDS")
    };
    let address: SocketAddr = address.parse().context("no ADDRESS:PORT")?;
    let connections: usize = connections.parse().context("no number of connections")?;
    let until = Instant::now() + Duration::try_from_secs_f64(seconds.parse().context("no seconds")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = LocalSet::new().block_on(&runtime, load(address, connections, until))?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&seen)?)?;
    Ok(())
}

async fn load(address: SocketAddr, connections: usize, until: Instant) -> anyhow::Result<Seen> {
    let times = Rc::new(RefCell::new(Histogram::<u64>::new(3)?));
    let tasks: Vec<_> =
        (0..connections).map(|_| tokio::task::spawn_local(echo(address, until, Rc::clone(&times)))).collect();
    let mut errors = 0;
    for task in tasks {
        if let Err(error) = task.await? {
            eprintln!("bench-load: {error:#}");
            errors += 1;
        }
    }
    let times = times.borrow();
    Ok(Seen {
        messages: times.len(),
        p50_us: times.value_at_quantile(0.5),
        p99_us: times.value_at_quantile(0.99),
        errors,
    })
}

async fn echo(address: SocketAddr, until: Instant, times: Rc<RefCell<Histogram<u64>>>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = open(stream, address, true).await?;
    let message = Message::binary(vec![b'm'; MESSAGE_BYTES]);
    while Instant::now() < until {
        let begin = Instant::now();
        socket.send(message.clone()).await?;
        let back = socket.next().await.context("closed")??;
        anyhow::ensure!(back == message, "another message came back");
        let time = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        // It grows as it must: nothing is out of its range.
        times.borrow_mut().record(time)?;
    }
    // Whether the goodbye arrives is no matter of the measurement.
    let _ = socket.close(None).await;
    Ok(())
}

/// A WebSocket to the echo at `address`, over `stream`, and the version that accepted it.
///
/// # Errors
/// Where the handshake fails.
pub async fn open(
    stream: TcpStream,
    address: SocketAddr,
    keyed: bool,
) -> anyhow::Result<(WebSocketStream<TcpStream>, String)> {
    let mut request = format!("ws://{address}{WEBSOCKET}").into_client_request()?;
    for (name, value) in fields(keyed) {
        request.headers_mut().insert(name, value.parse()?);
    }
    let (socket, response) = client_async(request, stream).await?;
    let version = response.headers().get("x-version").and_then(|value| value.to_str().ok());
    Ok((socket, version.unwrap_or_default().to_owned()))
}
