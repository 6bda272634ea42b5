//! Requests from a host of the lab.

use std::{
    future::Future,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::net::Host;

/// After this a request has failed, whatever the peer thinks.
pub const LIMIT: Duration = Duration::from_secs(30);

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body; what is no UTF-8 in it is replaced.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }

    /// The `version` that a [`TestApp`](crate::TestApp) says it is.
    ///
    /// # Errors
    /// When the body says none, as that of an error does not.
    pub fn version(&self) -> Result<String> {
        let version = self.json()?.get("version").and_then(Value::as_str).map(str::to_owned);
        version.with_context(|| format!("no version in {self:?}"))
    }

    /// All values of a header field, joined by `, `.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ")
    }
}

/// Runs a future in a host's network, on a runtime of its own.
///
/// # Errors
/// What the future fails with.
pub fn block_on<T: Send, F: Future<Output = Result<T>>>(
    host: &Host,
    work: impl FnOnce() -> F + Send,
) -> Result<T> {
    host.enter(|| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work()))
}

/// One GET over HTTP/1.1, on a connection of its own.
///
/// # Errors
/// When no whole answer comes.
pub fn get(from: &Host, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
    let request = request(to, path, headers)?;
    block_on(from, async || {
        within(async {
            let mut sender = connect(to).await?;
            whole(sender.send_request(request).await?).await
        })
        .await
    })
}

/// One GET over HTTP/2 with prior knowledge, on a connection of its own.
///
/// # Errors
/// When no whole answer comes.
pub fn get2(from: &Host, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
    let request = request(to, &format!("http://{to}{path}"), headers)?;
    block_on(from, async || {
        within(async {
            let stream = tokio::net::TcpStream::connect(to).await?;
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            whole(sender.send_request(request).await?).await
        })
        .await
    })
}

/// A request without a body.
///
/// # Errors
/// When a header field is none.
pub fn request(to: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(target);
    if !target.starts_with("http") {
        request = request.header("host", to.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(Empty::new())?)
}

/// An HTTP/1.1 connection, for requests one after the other.
///
/// # Errors
/// When it cannot be had.
pub async fn connect(to: SocketAddr) -> Result<http1::SendRequest<Empty<Bytes>>> {
    let stream =
        tokio::net::TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Reads an answer to its end.
///
/// # Errors
/// When it is cut.
pub async fn whole(answer: Response<Incoming>) -> Result<Reply> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(LIMIT, work).await.with_context(|| format!("no answer within {LIMIT:?}"))?
}

/// Sends bytes as they are, and reads until the peer ends: all that it sent, and whether it ended by a reset. A request
/// that is to be answered must ask for the connection's end: many a server drops the answer when its client ends first.
///
/// # Errors
/// When no connection can be had, or the peer neither ends nor resets in time.
pub fn raw(from: &Host, to: SocketAddr, bytes: &[u8]) -> Result<(Vec<u8>, bool)> {
    from.enter(|| {
        let mut stream = dial(to)?;
        // A peer that resets early makes this fail; what it answered is read all the same.
        let _ = stream.write_all(bytes);
        read_to_end(&mut stream)
    })
}

/// A plain connection with deadlines.
///
/// # Errors
/// When it cannot be had.
pub fn dial(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, LIMIT).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until the peer ends: all that it sent, and whether it ended by a reset.
///
/// # Errors
/// When it neither ends nor resets in time.
pub fn read_to_end(stream: &mut TcpStream) -> Result<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => Ok((all, false)),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok((all, true)),
        Err(error) => bail!("neither end nor reset ({error}) after {:?}", String::from_utf8_lossy(&all)),
    }
}
