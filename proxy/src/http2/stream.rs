//! stub
use std::rc::Rc;
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Request;
use tokio::net::TcpStream;
use super::{Engine, attempt::{self, Message}, exchange::Incoming, pool::Whither, head};
use crate::{connection::Arrival, error::{RequestError, ErrorKind, Side}};

/// Serves one request.
pub(crate) async fn serve(engine: Rc<Engine>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(body, respond);
    if head::check(&parts, &engine.client.worker.shared.config.limits).is_err() {
        incoming.reset(h2::Reason::PROTOCOL_ERROR);
        return;
    }
    let client = Rc::clone(&engine.client);
    let dial = move || { let client = Rc::clone(&client); async move {
        let to = match &client.arrival { Arrival::Fixed(f) => f.upstream.to_string(), Arrival::Outbound { original } => original.to_string(), _ => String::new() };
        let s = TcpStream::connect(to).await.map_err(|e| RequestError::upstream(Side::Baseline, ErrorKind::of_connect(&e), Some(e)))?;
        let _ = s.set_nodelay(true);
        Ok(s)
    }};
    let message = Message { head: Request::from_parts(parts, ()), idempotent: false };
    let done = attempt::run(&engine, &Whither::Baseline(None), dial, message, &mut incoming, |_| {}).await;
    if let Err(e) = done {
        tracing::info!(%e, "failed");
        let _ = incoming.respond.send_response(http::Response::builder().status(502).body(()).unwrap(), true);
    }
}
