//! CONNECT to the explicit listener: gRPC and WebSocket clients that know a proxy tunnel plain HTTP this way
//! (DESIGN §3.6). What follows the answer is served as if it had been intercepted on its way to the authority.
//!
//! The HTTP/1 engine reads the CONNECT; it calls [`dial`], answers, and then hands its connection to [`inside`]. A
//! CONNECT inside is forwarded like any other request.

use std::{future::Future, io, pin::Pin, rc::Rc, sync::Arc};

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::{
    connection::{Arrival, Baseline, Client, converse},
    dialling,
};

/// A CONNECT that is to be answered with 200.
#[derive(Debug)]
pub(crate) struct Established {
    client: Rc<Client>,
    baseline: Baseline,
}

/// Dials `authority` (`host:port`, lower case) for a client of the explicit listener. Where the destination has a route
/// it does not wait for the dial, since a keyed request inside needs no baseline.
///
/// # Errors
/// When the baseline cannot be had.
pub(crate) async fn dial(outer: &Client, authority: Arc<str>) -> io::Result<Established> {
    let client = Rc::new(Client {
        arrival: Arrival::Connected { authority },
        peer: outer.peer,
        worker: Rc::clone(&outer.worker),
        activity: Rc::clone(&outer.activity),
    });
    let baseline = if client.worker.shared.has_route(&client.arrival) {
        Baseline::NotDialled
    } else {
        Baseline::Connected(dialling::baseline(Rc::clone(&client)).await?)
    };
    Ok(Established { client, baseline })
}

/// Serves what follows the answer; `first` are bytes that came with the CONNECT. Boxed, since the engine that calls it
/// begins again inside.
pub(crate) fn inside(
    established: Established,
    socket: TcpStream,
    first: BytesMut,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let Established { client, baseline } = established;
        // Nothing is in flight until something is said inside: a client that stays silent rests.
        client.activity.rest();
        converse(&client, socket, first, baseline).await;
    })
}
