//! One exchange over one connection, in each protocol; each tells which version answered, and checks the whole answer.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    backend::{GRPC, body},
    load,
    workload::{PATH, fields},
};

/// A gRPC message of three bytes, with its prefix.
const MESSAGE: &[u8] = b"\0\0\0\0\x03\x0a\x01m";

fn get(uri: String, keyed: bool) -> http::request::Builder {
    let request = Request::builder().uri(uri);
    fields(keyed).into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// HTTP/1.1.
///
/// # Errors
/// Where no whole 200 comes.
pub async fn http1(stream: TcpStream, address: SocketAddr, keyed: bool) -> anyhow::Result<String> {
    let request = get(PATH.to_owned(), keyed).header("host", address.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    small(sender.send_request(request.body(Empty::<Bytes>::new())?).await?).await
}

/// HTTP/2 with prior knowledge.
///
/// # Errors
/// Where no whole 200 comes.
pub async fn http2(stream: TcpStream, address: SocketAddr, keyed: bool) -> anyhow::Result<String> {
    let request = get(format!("http://{address}{PATH}"), keyed);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    small(sender.send_request(request.body(Empty::<Bytes>::new())?).await?).await
}

async fn small(response: Response<Incoming>) -> anyhow::Result<String> {
    let (status, version) = told(&response)?;
    ensure!(status == StatusCode::OK, "answered {status}");
    let got = response.into_body().collect().await?.to_bytes();
    ensure!(got == body(&version), "the answer's body is not {version}'s");
    Ok(version)
}

fn told(response: &Response<Incoming>) -> anyhow::Result<(StatusCode, String)> {
    let version = response.headers().get("x-version").and_then(|value| value.to_str().ok());
    let status = response.status();
    let version = version.with_context(|| format!("the answer ({status}) names no version"))?;
    Ok((status, version.to_owned()))
}

/// A unary gRPC call.
///
/// # Errors
/// Where the message does not come back, or the status is not 0.
pub async fn grpc(stream: TcpStream, address: SocketAddr, keyed: bool) -> anyhow::Result<String> {
    let request = get(format!("http://{address}{GRPC}/Unary"), keyed)
        .method("POST")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request.body(Full::new(Bytes::from_static(MESSAGE)))?).await?;
    let (status, version) = told(&response)?;
    ensure!(status == StatusCode::OK, "answered {status}");
    let collected = response.into_body().collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "trailers: {trailers:?}");
    ensure!(collected.to_bytes() == MESSAGE, "another message came back");
    Ok(version)
}

/// A WebSocket, and one message.
///
/// # Errors
/// Where the handshake fails, or the message does not come back.
pub async fn websocket(stream: TcpStream, address: SocketAddr, keyed: bool) -> anyhow::Result<String> {
    let (mut socket, version) = load::open(stream, address, keyed).await?;
    let message = Message::text("there and back");
    socket.send(message.clone()).await?;
    let back = socket.next().await.context("closed")??;
    ensure!(back == message, "another message came back");
    ensure!(!version.is_empty(), "the handshake names no version");
    Ok(version)
}
