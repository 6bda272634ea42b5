//! CONNECT to the explicit listener: answered here, not forwarded; what follows begins with detection
//! ([`crate::explicit`]).

use std::pin::pin;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use super::{request::Request, session::Session};
use crate::{
    answer_wait::AnswerWait,
    context::Head as _,
    dial,
    error::{ErrorKind, RequestError, Side},
    explicit, respond,
    telemetry::RequestRecord,
};

/// It ends with its empty line: RFC 9110, 9.3.6, forbids it any framing.
fn established(proxy_status: Option<&str>) -> String {
    let field = proxy_status.map(|member| format!("Proxy-Status: {member}\r\n")).unwrap_or_default();
    format!("HTTP/1.1 200 Connection established\r\n{field}\r\n")
}

impl Session {
    /// Serves a CONNECT, whose head stands at the front of the input, and everything after it.
    pub(super) async fn connect(mut self, request: Request, mut record: RequestRecord) {
        let head = self.input.bytes().get(..request.length).unwrap_or_default();
        let view = request.view(head);
        let authority = view.authority().and_then(|text| std::str::from_utf8(text).ok());
        let Some(authority) = authority.map(str::to_ascii_lowercase) else {
            return self.turn_down(record, &RequestError::bad_request("CONNECT without an authority")).await;
        };
        let wait = AnswerWait::new(self.client.worker.shared.config.limits.request_timeout);
        let dialled = wait.bound(pin!(explicit::dial(&self.client, authority.into()))).await;
        let inside = match dialled {
            Some(Ok(inside)) => inside,
            None => {
                let error = RequestError::upstream(Side::Baseline, ErrorKind::RequestTimeout, None);
                return self.turn_down(record, &error).await;
            }
            Some(Err(error)) => return self.turn_down(record, &dial::failed(Side::Baseline, error)).await,
        };
        let answer = established(respond::presence(&self.client));
        if self.socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        self.client.worker.telemetry.counters().http1.received.add(answer.len() as u64);
        record.status(200);
        drop(record);
        self.input.consume(request.length);
        let first = BytesMut::from(self.input.bytes());
        let Self { socket, input, .. } = self;
        drop(input);
        explicit::inside(inside, socket, first).await;
    }

    async fn turn_down(mut self, record: RequestRecord, error: &RequestError) {
        self.refuse(record, error).await;
        self.end().await;
    }
}
