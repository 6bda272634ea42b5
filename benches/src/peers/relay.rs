//! The bare-hyper relay: fixed target, no routing.

use std::net::Ipv4Addr;

use anyhow::Context;

use super::{Kind, Peer};
use crate::{ground, process::Process, stage::Stage};

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    let target = stage.ground.sandbox.to_string().into();
    let (process, line) = Process::start_and_read_line(
        Kind::HyperRelay.name(),
        &stage.proxy_seat(),
        stage.programs.relay(),
        &[target],
        stage.dir(),
    )
    .await?;
    let ports: [u16; 2] = ground::ports(&line).context("the relay told no two ports")?;
    let [http1, http2] = ports.map(|port| (Ipv4Addr::LOCALHOST, port).into());
    Ok(Peer::of(Kind::HyperRelay, process, (http1, http2), &stage.ground))
}
