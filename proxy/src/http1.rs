//! The HTTP/1 engine: messages are relayed, not rebuilt (DESIGN §3.2).
//!
//! A head is parsed in place ([`head`], [`request`], [`response`]), checked until one reading of it is left, and goes on
//! as the bytes it is; where a line must change it is re-emitted from slices ([`edit`]). Bodies are framed and never
//! unpacked ([`framing`], [`chunked`]). [`relay`] and [`download`] move the bytes of one exchange, both directions at once; [`exchange`]
//! finds its upstream and settles how it ended; [`session`] waits for the next request, and ends the connection.
//!
//! An idle connection holds no buffer and has armed no timer. A request that needs no change costs four system calls.

mod chunked;
mod connect;
mod download;
mod edit;
mod exchange;
mod framing;
mod head;
mod linger;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
mod over_http2;
mod relay;
mod request;
mod response;
mod session;
mod target;

use std::{rc::Rc, time::Instant};

use self::{
    exchange::Http1Exchange,
    request::Method,
    session::{Next, Session},
};
pub(crate) use self::{head::Lines, linger::linger};
use crate::{
    connection::{Client, Detected},
    handler,
    telemetry::{Listener, Protocol, RequestRecord},
};

/// A rule of HTTP that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault(&'static str);

/// Serves a client's connection to its end.
pub(crate) async fn serve(client: Rc<Client>, from: Detected) {
    let mut session = Session::new(&client, from);
    loop {
        let next = std::future::poll_fn(|cx| session.poll_next(cx)).await;
        let record = || {
            let listener = Listener::from(&client.arrival);
            RequestRecord::begin(&client.worker.telemetry, listener, Protocol::Http1, Instant::now())
        };
        match next {
            Next::Request(request) if session.explicit && request.method == Method::Connect => {
                client.activity.begin();
                return Box::pin(session.connect(request, record())).await;
            }
            Next::Request(request) => {
                let record = record();
                client.activity.begin();
                let choices = Rc::clone(&session.choices);
                let mut exchange = Http1Exchange::new(&mut session, request);
                handler::handle(&client, &choices, record, &mut exchange).await;
                exchange.finish();
                client.activity.rest();
            }
            // Boxed, as are the ends: an idle connection shall not carry the size of what happens once.
            Next::Faulty(error) => Box::pin(session.refuse(record(), &error)).await,
            Next::End(fate) => session.fate = fate,
        }
        if !session.goes_on() {
            return Box::pin(session.end()).await;
        }
    }
}
