//! A request whose endpoint speaks HTTP/2: the connection is lent to that mapping, and taken back when the answer ended.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::{exchange::Http1Exchange, relay::Left, session::Fate};
use crate::{
    answer_wait::AnswerWait,
    error::RequestError,
    forward::Attempt,
    http2::from_http1::{self, Caller, End, Endpoints, Lent, Request},
    telemetry::RequestRecord,
    upstream::Whither,
    validate::framing::Framing,
};

impl Http1Exchange<'_> {
    /// Sends the request to `endpoint` over HTTP/2, and the answer back.
    ///
    /// # Errors
    /// As [`crate::handler::Exchange::send`].
    pub(super) async fn send_over_http2(
        &mut self,
        endpoint: SocketAddr,
        attempt: &Attempt,
        record: &mut RequestRecord,
        wait: &AnswerWait,
    ) -> Result<(), RequestError> {
        let session = &mut *self.session;
        let worker = &*session.client.worker;
        let (head, ahead) = session.input.bytes().split_at_checked(self.request.length).unwrap_or_default();
        let caller = Caller::new(&session.socket, &worker.telemetry.counters().http1);
        let mut lent = Lent { caller, ahead: BytesMut::from(ahead), request_is_done: false };
        let request = Request {
            head: self.request.view(head),
            framing: match self.request.framing {
                Framing::Length(length) => from_http1::Framing::Length(length),
                Framing::Chunked => from_http1::Framing::Chunked,
                Framing::UntilClose => from_http1::Framing::UntilClose,
            },
            is_1_0: self.request.is_1_0,
            close: self.request.close || worker.shared.drain.draining(),
            decided: &attempt.decided,
            upgrade: self.request.upgrade,
            wait,
        };
        let to = Endpoints { connections: &session.over_http2, worker, endpoint };
        let on_head = |head: &mut http::response::Parts| {
            wait.hold(true);
            record.status(head.status.as_u16());
            session.choices.succeeded(endpoint);
            if let Some(Ok(member)) = attempt.proxy_status.as_deref().map(http::HeaderValue::from_str) {
                head.headers.append("proxy-status", member);
            }
        };
        // What is read of the client meanwhile is nowhere else.
        self.left = Left::Part;
        let end = Box::pin(request.send(&to, &mut lent, on_head)).await;
        session.over_http2.trim(worker);
        let end = end.inspect_err(|_| self.left = Left::All)?;
        let (ahead, request_is_done) = (lent.ahead, lent.request_is_done);
        self.take_back(end, endpoint, ahead, request_is_done)
    }

    fn take_back(
        &mut self,
        end: End,
        endpoint: SocketAddr,
        ahead: BytesMut,
        request_is_done: bool,
    ) -> Result<(), RequestError> {
        let session = &mut *self.session;
        let buffers = &session.client.worker.buffers;
        session.input.consume(session.input.len());
        session.input.extend(&ahead, buffers);
        self.began = matches!(end, End::Cut(_) | End::Idle);
        self.client_is_gone = end == End::ClientGone;
        match end {
            End::Whole { close } => {
                session.upstreams.note_answer(&Whither::Endpoint(endpoint));
                if close || !request_is_done {
                    let all_is_read = request_is_done && session.input.is_empty();
                    session.fate = if all_is_read { Fate::Close } else { Fate::Linger };
                }
            }
            End::Cut(_) | End::Idle | End::ClientGone => session.fate = Fate::Reset,
            End::BadRequest(_) | End::Failed { .. } => {}
        }
        end.error().map_or(Ok(()), Err)
    }
}
