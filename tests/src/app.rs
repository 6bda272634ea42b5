//! Small servers of the harness, each in a host's network: what stands behind and beside a proxy where the real
//! services would be too many.

use std::{
    convert::Infallible,
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustix::net::{Shutdown, shutdown};
use serde_json::{Value, json};

use crate::net::Host;

/// A server that says who it is. Dropping it closes its listener.
#[derive(Debug)]
pub struct TestApp {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
    served: Arc<AtomicU64>,
    v4: SocketAddr,
    v6: SocketAddr,
}

impl TestApp {
    /// An HTTP server, 1.1 and 2, that answers each request with JSON: `service` (the host's name), `version`, the
    /// `target` and `headers` that arrived, and how many `body` bytes. The query `wait=MILLISECONDS` delays the answer.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn http(host: &Host, port: u16, version: &str) -> Result<Self> {
        let me = Arc::new((host.name.clone(), version.to_owned()));
        Self::start(host, port, move |listener, served| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(serve_http(listener, me, served));
        })
    }

    /// A server that hands each connection to `talk`, on a thread of its own.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn tcp(host: &Host, port: u16, talk: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<Self> {
        let talk = Arc::new(talk);
        Self::start(host, port, move |listener, served| {
            while let Ok((stream, _)) = listener.accept() {
                served.fetch_add(1, Ordering::Relaxed);
                let talk = Arc::clone(&talk);
                thread::spawn(move || talk(stream));
            }
        })
    }

    fn start(
        host: &Host,
        port: u16,
        serve: impl FnOnce(TcpListener, Arc<AtomicU64>) + Send + 'static,
    ) -> Result<Self> {
        let listener = host.enter(|| {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("port {port}"))
        })?;
        let port = listener.local_addr()?.port();
        let served = Arc::new(AtomicU64::new(0));
        let (theirs, counter, inside) = (listener.try_clone()?, Arc::clone(&served), host.clone());
        let thread = thread::spawn(move || {
            if inside.move_in().is_ok() {
                serve(theirs, counter);
            }
        });
        let (v4, v6) = ((host.v4, port).into(), (host.v6, port).into());
        Ok(Self { listener, thread: Some(thread), served, v4, v6 })
    }

    /// How many requests (of an HTTP server) or connections it has been given.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Where it is, IPv4.
    #[must_use]
    pub fn v4(&self) -> SocketAddr {
        self.v4
    }

    /// Where it is, IPv6.
    #[must_use]
    pub fn v6(&self) -> SocketAddr {
        self.v6
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Ends a blocked accept, too.
        let _ = shutdown(&self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve_http(listener: TcpListener, me: Arc<(String, String)>, served: Arc<AtomicU64>) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    // The runtime's end cuts what is still open.
    while let Ok((stream, _)) = listener.accept().await {
        let (me, served) = (Arc::clone(&me), Arc::clone(&served));
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                served.fetch_add(1, Ordering::Relaxed);
                answer(request, Arc::clone(&me))
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // A client that ends after its request still gets its answer.
            builder.http1().half_close(true);
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    me: Arc<(String, String)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().len()).unwrap_or_default();
    let wait = head.uri.query().and_then(|query| query.strip_prefix("wait=")?.parse().ok());
    if let Some(milliseconds) = wait {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    // One byte, one character (ISO 8859-1), so that what is no UTF-8 is seen as it came.
    let text = |bytes: &[u8]| Value::String(bytes.iter().map(|byte| char::from(*byte)).collect());
    let headers: Vec<_> =
        head.headers.iter().map(|(name, value)| json!([name.as_str(), text(value.as_bytes())])).collect();
    let (service, version) = &*me;
    let answer = json!({
        "service": service, "version": version, "target": head.uri.to_string(), "headers": headers, "body": body,
    });
    let answer = Response::builder()
        .header("content-type", "application/json")
        .body(Full::from(answer.to_string()))
        .unwrap_or_default();
    Ok(answer)
}
