//! How long a proxy takes from its start until it is ready.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::{
    measure::statistics::Summary,
    peers::{Bellhop, Fixed, Kind},
    process::START_DEADLINE,
    stage::Stage,
};

/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// Starts `kind` several times. Bellhop is ready when `/readyz` says so, with its routes loaded; the others when their
/// port accepts.
///
/// # Errors
/// Where it does not become ready.
pub(super) async fn measure(kind: Kind, starts: usize, stage: &Stage) -> anyhow::Result<Summary> {
    let control = match kind {
        Kind::Bellhop => Some(Bellhop::control(stage, 0).await?),
        _ => None,
    };
    let mut times = Vec::new();
    for _ in 0..starts {
        let begin = Instant::now();
        match &control {
            Some(bellhop) => {
                let fixed = Fixed::before(stage.ground.baseline)?;
                let process = bellhop.proxy(stage, "bellhop-start", &fixed)?;
                until_ready(fixed.admin)?;
                times.push(begin.elapsed());
                process.stop().await?;
            }
            None => {
                let peer = kind.start(stage).await?;
                times.push(begin.elapsed());
                drop(peer);
            }
        }
    }
    Summary::of(times.iter().map(|time| time.as_secs_f64() * 1e3)).context("no starts")
}

/// Blocks the harness's only thread on purpose: a timer of the runtime looks once a millisecond at best.
fn until_ready(admin: SocketAddr) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !ready(admin) {
        ensure!(begin.elapsed() < START_DEADLINE, "bellhop-proxy is not ready: see its log");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether `/readyz` of the proxy with this admin listener answers 200.
pub(crate) fn ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(admin)?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
