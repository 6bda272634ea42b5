//! The HTTP/1 engine: messages are relayed, not rebuilt (DESIGN §3.2).
//!
//! A head is parsed in place ([`head`], [`request`], [`response`]), validated until one reading of it is left, and goes on
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
mod reset_watch;
mod response;
mod session;

use std::{rc::Rc, time::Instant};

use self::{
    exchange::Http1Exchange,
    request::Request,
    session::{Next, Session},
};
pub(crate) use self::{head::Lines, linger::linger};
use crate::{
    connection::{Client, Detected},
    handler,
    telemetry::{Listener, Protocol, RequestRecord},
    validate::Method,
};

/// Serves a client's connection to its end.
///
/// An idle connection carries its [`Session`] alone: everything else is boxed. One small allocation for each request
/// costs less than a thousandth of it; carried all the time, the same state would double an idle connection.
pub(crate) fn serve(client: Rc<Client>, from: Detected) -> impl Future<Output = ()> {
    let mut session = Session::new(&client, from);
    async move {
        while session.goes_on() {
            match std::future::poll_fn(|cx| session.poll_next(cx)).await {
                Next::Request(request) if session.explicit && request.method == Method::Connect => {
                    client.activity.begin();
                    return Box::pin(session.connect(request, record(&client))).await;
                }
                Next::Request(request) => {
                    client.activity.begin();
                    Box::pin(relay_one(&client, &mut session, request)).await;
                    client.activity.rest();
                }
                Next::Faulty(error) => Box::pin(session.refuse(record(&client), &error)).await,
                Next::End(fate) => session.fate = fate,
            }
        }
        Box::pin(session.end()).await;
    }
}

/// One request, from its head to the end of its answer. What an `async fn` takes it keeps twice; this is boxed for each
/// request, and kept as long as its answer is awaited.
fn relay_one<'a>(
    client: &'a Client,
    session: &'a mut Session,
    request: Request,
) -> impl Future<Output = ()> + 'a {
    let choices = Rc::clone(&session.choices);
    let mut record = record(client);
    let mut exchange = Http1Exchange::new(session, request);
    async move {
        handler::handle(client, &choices, &mut record, &mut exchange).await;
        exchange.finish();
    }
}

fn record(client: &Client) -> RequestRecord {
    let listener = Listener::from(&client.arrival);
    RequestRecord::begin(&client.worker.telemetry, listener, Protocol::Http1, Instant::now())
}
