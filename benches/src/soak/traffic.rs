//! The traffic: connections of every protocol that check each answer, again and again, until told to stop.
//!
//! A connection lives for a while only: a proxy that drains is left in time. What a proxy may do between two requests (close, GOAWAY) is no failure; everything else is.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::ledger::{Failure, Ledger, Traffic};
use crate::{
    backend::{BULK, body_of},
    load,
    workload::PATH,
};

/// Between two requests of one connection.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one exchange may take.
const LATE: Duration = Duration::from_secs(30);
/// How long a connection lives: less than a third of a drain.
const LIFE: Duration = Duration::from_secs(8);
/// Size of an opaque piece.
const PIECE_BYTES: usize = 4096;

/// Which version must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// This one.
    Version(&'static str),
    /// Either: its route is being changed. Its body must still be of one piece.
    Either,
}

/// One kind of client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Where to go.
    pub(super) target: SocketAddr,
    /// The routing key; none for the baseline.
    pub(super) key: Option<String>,
    /// Who must answer.
    pub(super) expect: Expect,
    /// The books.
    pub(super) ledger: Rc<Ledger>,
}

type Outcome = Result<(), (Failure, String)>;

fn broken(error: impl std::fmt::Display) -> (Failure, String) {
    (Failure::Broken, error.to_string())
}

impl Client {
    /// Opens connection after connection of `traffic` until the books say stop.
    pub(super) async fn run(self, traffic: Traffic) {
        while !self.ledger.stopping() {
            let life = async {
                match traffic {
                    Traffic::Http1 => self.http1().await,
                    Traffic::Http2 => self.http2().await,
                    Traffic::Grpc => self.grpc().await,
                    Traffic::WebSocket => self.websocket().await,
                    Traffic::Opaque => self.opaque().await,
                }
            };
            if let Err((failure, example)) = life.await {
                self.ledger.failed(traffic, failure, format_args!("key {:?}: {example}", self.key));
                // A peer that fails at once is not asked a million times.
                sleep(10 * PAUSE).await;
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, (Failure, String)> {
        let target = self.target;
        let connected = timeout(LATE, TcpStream::connect(target)).await;
        let stream = connected
            .map_err(|_| (Failure::Late, format!("connecting to {target}")))?
            .map_err(|error| (Failure::Connect, error.to_string()))?;
        stream.set_nodelay(true).map_err(broken)?;
        Ok(stream)
    }

    fn ends(&self, since: Instant) -> bool {
        since.elapsed() > LIFE || self.ledger.stopping()
    }

    fn request(&self, uri: &str, nth: u64) -> Result<Request<Full<Bytes>>, (Failure, String)> {
        let key = self.key.as_ref().map(|key| format!(",routing-key={key}")).unwrap_or_default();
        let request = Request::builder().header("baggage", format!("session.id=8f14e45f{key}"));
        let [(bulk, bytes), _] = BULK;
        let (method, path, body) = match nth % 10 {
            3 => (Method::GET, bulk, Bytes::new()),
            7 => (Method::POST, PATH, Bytes::from(vec![b'u'; bytes])),
            _ => (Method::GET, PATH, Bytes::new()),
        };
        let request = request.method(method).uri(format!("{uri}{path}"));
        let request = if uri.is_empty() { request.header("host", "items") } else { request };
        request.body(Full::new(body)).map_err(broken)
    }

    async fn http1(&self) -> Outcome {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(broken)?;
        let driver = tokio::task::spawn_local(connection);
        let begin = Instant::now();
        for nth in 0.. {
            if self.ends(begin) || sender.ready().await.is_err() {
                break;
            }
            let exchange = async {
                match sender.send_request(self.request("", nth)?).await {
                    // It was closed while idle, before a byte of the request went out.
                    Err(error) if error.is_canceled() => Ok(false),
                    Err(error) => Err(broken(full(&error))),
                    Ok(response) => self.check(response).await.map(|()| true),
                }
            };
            match timeout(LATE, exchange).await.map_err(|_| (Failure::Late, "no answer".to_owned()))?? {
                true => self.ledger.well(Traffic::Http1),
                false => break,
            }
            sleep(PAUSE).await;
        }
        driver.abort();
        Ok(())
    }

    async fn http2(&self) -> Outcome {
        let target = self.target;
        let io = TokioIo::new(self.connect().await?);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        tokio::task::spawn_local(connection);
        let begin = Instant::now();
        for nth in 0.. {
            if self.ends(begin) || sender.ready().await.is_err() {
                break;
            }
            let uri = format!("http://{target}");
            let exchange = async {
                // Two at once: a slow one must not hold the other up.
                let (first, second) = (self.request(&uri, nth)?, self.request(&uri, nth + 1)?);
                let (first, second) =
                    tokio::join!(sender.send_request(first), sender.clone().send_request(second));
                for response in [first, second] {
                    match response {
                        Err(error) if error.is_canceled() => return Ok(false),
                        Err(error) if unprocessed(&error) => {
                            self.ledger.again(Traffic::Http2);
                            return Ok(false);
                        }
                        Err(error) => return Err(broken(full(&error))),
                        Ok(response) => self.check(response).await?,
                    }
                    self.ledger.well(Traffic::Http2);
                }
                Ok(true)
            };
            if !timeout(LATE, exchange).await.map_err(|_| (Failure::Late, "no answer".to_owned()))?? {
                break;
            }
            sleep(2 * PAUSE).await;
        }
        Ok(())
    }

    async fn check(&self, response: Response<Incoming>) -> Outcome {
        let status = response.status();
        let version =
            response.headers().get("x-version").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let said = response.headers().get("proxy-status").cloned();
        if status != StatusCode::OK {
            return Err((Failure::Status, format!("{status}, Proxy-Status {said:?}")));
        }
        let version = version.ok_or((Failure::Wrong, "the answer names no version".to_owned()))?;
        let body = response.into_body().collect().await.map_err(|error| broken(full(&error)))?.to_bytes();
        if body != body_of(&version, body.len()) {
            return Err((Failure::Wrong, format!("{} bytes that are not {version}'s", body.len())));
        }
        self.expects(&version).map_err(|what| (Failure::Wrong, format!("{what}, Proxy-Status {said:?}")))
    }

    fn expects(&self, version: &str) -> Result<(), String> {
        match self.expect {
            Expect::Version(expected) if expected != version => {
                Err(format!("{version} answered, not {expected}"))
            }
            _ => Ok(()),
        }
    }

    /// One long stream: a message, its echo, the next.
    async fn grpc(&self) -> Outcome {
        let stream = self.connect().await?;
        let (mut sender, connection) = h2::client::handshake(stream).await.map_err(broken)?;
        tokio::task::spawn_local(connection);
        let key = self.key.clone().unwrap_or_default();
        let request = Request::post(format!("http://items{}/Stream", crate::backend::GRPC))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("baggage", format!("routing-key={key}"))
            .body(())
            .map_err(broken)?;
        sender = sender.ready().await.map_err(broken)?;
        let (response, mut send) = sender.send_request(request, false).map_err(broken)?;
        let message = Bytes::from_static(b"\0\0\0\0\x03\x0a\x01m");
        send.send_data(message.clone(), false).map_err(broken)?;
        let within = |what: &'static str| move |_| (Failure::Late, what.to_owned());
        let response = timeout(LATE, response).await.map_err(within("no head"))?.map_err(broken)?;
        if response.status() != StatusCode::OK || response.headers().contains_key("grpc-status") {
            return Err((Failure::Status, format!("{:?}", response.headers())));
        }
        let version =
            response.headers().get("x-version").and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.expects(version).map_err(|what| (Failure::Wrong, what))?;
        let mut body = response.into_body();
        let begin = Instant::now();
        loop {
            let mut echo = Vec::new();
            while echo.len() < message.len() {
                let data = timeout(LATE, body.data()).await.map_err(within("no echo"))?;
                let data = data.ok_or((Failure::Broken, "the stream ended".to_owned()))?.map_err(broken)?;
                body.flow_control().release_capacity(data.len()).map_err(broken)?;
                echo.extend_from_slice(&data);
            }
            if echo != message {
                return Err((Failure::Wrong, "another message came back".to_owned()));
            }
            self.ledger.well(Traffic::Grpc);
            if self.ends(begin) {
                break;
            }
            sleep(PAUSE).await;
            send.send_data(message.clone(), false).map_err(broken)?;
        }
        send.send_data(Bytes::new(), true).map_err(broken)?;
        let trailers =
            timeout(LATE, body.trailers()).await.map_err(within("no trailers"))?.map_err(broken)?;
        match trailers.as_ref().and_then(|trailers| trailers.get("grpc-status")) {
            Some(status) if status == "0" => Ok(()),
            _ => Err((Failure::Status, format!("trailers {trailers:?}"))),
        }
    }

    async fn websocket(&self) -> Outcome {
        let stream = self.connect().await?;
        let target = self.target;
        let opened = timeout(LATE, load::open(stream, target, self.key.is_some())).await;
        let (mut socket, version) = opened
            .map_err(|_| (Failure::Late, "no handshake".to_owned()))?
            .map_err(|error| (Failure::Status, format!("{error:#}")))?;
        self.expects(&version).map_err(|what| (Failure::Wrong, what))?;
        let begin = Instant::now();
        while !self.ends(begin) {
            let message = Message::text(format!("{:?}", begin.elapsed()));
            socket.send(message.clone()).await.map_err(broken)?;
            let back =
                timeout(LATE, socket.next()).await.map_err(|_| (Failure::Late, "no echo".to_owned()))?;
            match back {
                Some(Ok(back)) if back == message => self.ledger.well(Traffic::WebSocket),
                other => return Err((Failure::Broken, format!("{other:?}"))),
            }
            sleep(PAUSE).await;
        }
        socket.close(None).await.map_err(broken)?;
        // The other side's goodbye, and then the end.
        while let Some(Ok(_)) =
            timeout(LATE, socket.next()).await.map_err(|_| (Failure::Late, "no end".to_owned()))?
        {}
        Ok(())
    }

    async fn opaque(&self) -> Outcome {
        let mut stream = self.connect().await?;
        let begin = Instant::now();
        for nth in 0..=250_u8 {
            if self.ends(begin) {
                break;
            }
            // No protocol begins with a zero.
            let mut piece = vec![nth; PIECE_BYTES];
            if let Some(first) = piece.first_mut() {
                *first = 0;
            }
            let exchange = async {
                stream.write_all(&piece).await?;
                let mut back = vec![0; PIECE_BYTES];
                stream.read_exact(&mut back).await?;
                std::io::Result::Ok(back)
            };
            let back = timeout(LATE, exchange).await.map_err(|_| (Failure::Late, "no echo".to_owned()))?;
            if back.map_err(broken)? != piece {
                return Err((Failure::Wrong, "another piece came back".to_owned()));
            }
            self.ledger.well(Traffic::Opaque);
            sleep(PAUSE).await;
        }
        stream.shutdown().await.map_err(broken)?;
        match timeout(LATE, stream.read(&mut [0; 8])).await {
            Ok(Ok(0)) => Ok(()),
            other => Err((Failure::Broken, format!("instead of an end: {other:?}"))),
        }
    }
}

/// Whether a GOAWAY without a fault says that this request's stream was never processed (RFC 9113 §6.8). A stream that was,
/// and is cut, ends in an I/O error or a reset.
fn unprocessed(error: &hyper::Error) -> bool {
    let h2 = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR))
}

/// With its sources.
fn full(error: &hyper::Error) -> String {
    format!("{error:?}")
}
