//! Many connections that have served a request each and then say nothing.

use std::{fmt::Write, net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{backend::body, workload::fields};

/// How long one connection may take to be opened and answered.
const DEADLINE: Duration = Duration::from_secs(10);

/// Opens `connections` to `address`, one request on each.
///
/// # Errors
/// Where one is not answered by the sandbox.
pub(super) async fn hold(address: SocketAddr, connections: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut request = format!("GET /api/v1/items?page=3 HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in fields(true) {
        write!(request, "{name}: {value}\r\n")?;
    }
    request.push_str("\r\n");
    let end = body("sandbox");
    let mut held = Vec::with_capacity(connections);
    for n in 0..connections {
        let stream = tokio::time::timeout(DEADLINE, open(address, request.as_bytes(), &end))
            .await
            .with_context(|| format!("connection {n} is not answered"))?
            .with_context(|| format!("connection {n}"))?;
        held.push(stream);
    }
    Ok(held)
}

async fn open(address: SocketAddr, request: &[u8], end: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(1024);
    while !answer.ends_with(end) {
        let n = stream.read_buf(&mut answer).await?;
        anyhow::ensure!(n > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(stream)
}

/// KiB for each of `connections`.
#[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^52")]
pub(super) fn each(before_kib: u64, after_kib: u64, connections: usize) -> f64 {
    after_kib.saturating_sub(before_kib) as f64 / connections.max(1) as f64
}
