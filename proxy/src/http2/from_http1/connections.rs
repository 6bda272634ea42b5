//! The HTTP/2 connections of one HTTP/1 client.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::{
    dial,
    error::{ErrorKind, RequestError, Side},
    http2::upstream::Upstream,
    telemetry::{self, Open},
    worker::Worker,
};

/// The connections, least recently used first; they end with their client's. One that the endpoint closes is just dropped.
#[derive(Debug, Default)]
pub(crate) struct Connections(RefCell<Vec<Connection>>);

#[derive(Debug)]
struct Connection {
    endpoint: SocketAddr,
    upstream: Rc<Upstream>,
    driver: JoinHandle<()>,
    _open: Open<telemetry::Side>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connections {
    /// The connection to `endpoint`, dialled where there is none; and whether it had been there.
    pub(super) async fn get(
        &self,
        worker: &Worker,
        endpoint: SocketAddr,
    ) -> Result<(Rc<Upstream>, bool), RequestError> {
        if let Some(upstream) = self.find(endpoint) {
            return Ok((upstream, true));
        }
        let socket = dial::sandbox(&worker.shared, endpoint).await?;
        let begun = Upstream::begin(socket, Bytes::new(), &worker.shared.config).await;
        let failed = |error| RequestError::upstream(Side::Sandbox, ErrorKind::Reset, Some(error));
        let (upstream, driver) = begun.map_err(failed)?;
        let upstream = Rc::new(upstream);
        let shared = Arc::clone(&worker.shared);
        let driver = tokio::task::spawn_local(async move {
            let ending = driver.await;
            shared.telemetry.upstream_ended(telemetry::Side::Sandbox, ending.into());
        });
        let _open = worker.telemetry.upstream(telemetry::Side::Sandbox);
        self.keep(Connection { endpoint, upstream: Rc::clone(&upstream), driver, _open }, worker);
        Ok((upstream, false))
    }

    /// The one that stands there, which goes to the end of the row.
    fn find(&self, endpoint: SocketAddr) -> Option<Rc<Upstream>> {
        let mut held = self.0.borrow_mut();
        held.retain(|held| held.upstream.is_usable());
        let at = held.iter().position(|held| held.endpoint == endpoint)?;
        let found = held.remove(at);
        let upstream = Rc::clone(&found.upstream);
        held.push(found);
        Some(upstream)
    }

    fn keep(&self, connection: Connection, worker: &Worker) {
        // One request is in flight at a time, so that all the others are idle.
        self.trim(worker);
        self.0.borrow_mut().push(connection);
    }

    /// Closes those that are too many while none is in use; the least recently used comes first.
    pub(crate) fn trim(&self, worker: &Worker) {
        let mut held = self.0.borrow_mut();
        let over = held.len().saturating_sub(worker.shared.config.limits.max_idle_upstreams);
        held.drain(..over);
    }
}
