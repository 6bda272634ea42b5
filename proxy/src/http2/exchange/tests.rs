use std::{cell::Cell, time::Duration};

use h2::{client, server};
use http::{Request, Response};
use tokio::{io::DuplexStream, task::JoinHandle};

use super::*;
use crate::{config::Config, counters::Event, shared::Shared, telemetry::Tunnel, worker::Worker};

#[test]
fn a_cut_answer_never_looks_whole_and_never_promises_that_nothing_was_done() {
    // `h2` builds such errors itself; one made from a bare reason stands for a connection's.
    for reason in [Reason::NO_ERROR, Reason::REFUSED_STREAM, Reason::CANCEL] {
        assert_eq!(cut_answer(&reason.into()), Reason::INTERNAL_ERROR);
    }
}

/// The two ends of an HTTP/2 connection in memory, driven by tasks.
async fn pair() -> (client::SendRequest<Bytes>, server::Connection<DuplexStream, Bytes>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (connecting, accepting) = tokio::join!(client::handshake(near), server::handshake(far));
    let (send, connection) = connecting.unwrap();
    tokio::spawn(connection);
    (send, accepting.unwrap())
}

/// What one request is on both ends of its stream.
struct Ends {
    response: ResponseFuture,
    to: SendStream<Bytes>,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

/// Opens a CONNECT on a connection of its own.
async fn open() -> (Ends, client::SendRequest<Bytes>, JoinHandle<()>) {
    let (mut send, mut connection) = pair().await;
    let (response, to) =
        send.send_request(Request::connect("db.test:5432").body(()).unwrap(), false).unwrap();
    let (request, respond) = connection.accept().await.unwrap().unwrap();
    let driving = tokio::spawn(async move { while connection.accept().await.is_some() {} });
    (Ends { response, to, body: request.into_body(), respond }, send, driving)
}

async fn one(from: &mut RecvStream) -> Bytes {
    let data = from.data().await.unwrap().unwrap();
    from.flow_control().release_capacity(data.len()).unwrap();
    data
}

/// DESIGN §5: a tunnel lasts as long as something moves on it, either way, and not much longer.
#[tokio::test(start_paused = true)]
async fn a_tunnel_between_streams_is_cut_towards_both_when_nothing_moved_for_the_idle_time_out() {
    let config = Config::from_args(["--explicit", "127.0.0.1:0", "--admin", "off"]).unwrap();
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(3600));
    let worker = Worker::new(std::sync::Arc::new(Shared::new(config, false).unwrap()), 0);
    let (near, _near_send, _near_driver) = open().await;
    let (far, _far_send, _far_driver) = open().await;
    let (mut client, mut to_proxy) = (near.response, near.to);
    let (mut upstream, mut respond) = (far.body, far.respond);
    let mut incoming = Incoming::new(near.body, near.respond);
    let outgoing = Outgoing { body: far.to, response: far.response };
    let carrying = Carrying::new(&worker, Tunnel::Connect);
    let exchanging = run(&mut incoming, outgoing, |_| Some(carrying));

    let quiet_since = Cell::new(tokio::time::Instant::now());
    let talking = async {
        let mut from_upstream = respond.send_response(Response::new(()), false).unwrap();
        let mut from_proxy = (&mut client).await.unwrap().into_body();
        for n in 0..4 {
            tokio::time::sleep(Duration::from_secs(3000)).await;
            if n % 2 == 0 {
                to_proxy.send_data(Bytes::from_static(b"up"), false).unwrap();
                assert_eq!(one(&mut upstream).await, "up");
            } else {
                from_upstream.send_data(Bytes::from_static(b"down"), false).unwrap();
                assert_eq!(one(&mut from_proxy).await, "down");
            }
            quiet_since.set(tokio::time::Instant::now());
        }
        let error = from_proxy.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        let error = upstream.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
    };
    let (outcome, ()) = tokio::join!(exchanging, talking);
    assert!(matches!(outcome, Outcome::Idle), "{outcome:?}");
    let quiet = quiet_since.get().elapsed();
    assert!((3600..3602).contains(&quiet.as_secs()), "{quiet:?}");
    assert_eq!(worker.shared.counters.of(Event::IdleTimeout), 1);
}

/// An answer that takes its time is no tunnel.
#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_no_tunnel_may_be_quiet_for_days() {
    let (near, _near_send, _near_driver) = open().await;
    let (far, _far_send, _far_driver) = open().await;
    let (client, mut to_proxy) = (near.response, near.to);
    let (mut upstream, mut respond) = (far.body, far.respond);
    let mut incoming = Incoming::new(near.body, near.respond);
    let exchanging = run(&mut incoming, Outgoing { body: far.to, response: far.response }, |_| None);
    let talking = async {
        let mut from_upstream = respond.send_response(Response::new(()), false).unwrap();
        let mut from_proxy = client.await.unwrap().into_body();
        tokio::time::sleep(Duration::from_hours(48)).await;
        from_upstream.send_data(Bytes::from_static(b"down"), true).unwrap();
        assert_eq!(one(&mut from_proxy).await, "down");
        to_proxy.send_data(Bytes::new(), true).unwrap();
        assert!(upstream.data().await.is_none_or(|data| data.unwrap().is_empty()));
    };
    let (outcome, ()) = tokio::join!(exchanging, talking);
    assert!(matches!(outcome, Outcome::Answered), "{outcome:?}");
}
