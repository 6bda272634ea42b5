//! The bare-hyper relay: fixed target, no routing.

use anyhow::Context;

use super::{Kind, Peer};
use crate::{process::Process, stage, stage::Stage};

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    let target = stage.sandbox.to_string().into();
    let (process, line) = Process::start_and_read_line(
        Kind::HyperRelay.name(),
        stage.proxy_core,
        stage.programs.relay(),
        &[target],
        stage.dir(),
    )
    .await?;
    let [http1, http2] = stage::ports(&line).context("the relay told no two ports")?;
    Ok(Peer::of(Kind::HyperRelay, process, http1, http2))
}
