//! Writes down what is asked of control, and passes it on.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::Instant};

use crate::desk::DEADLINE;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Stands before a control plane; it ends with the test.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    address: SocketAddr,
    control: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Recorder {
    pub(super) async fn before(control: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap(),
            control,
            client: Client::builder(TokioExecutor::new()).build_http(),
            sent: Arc::default(),
        };
        let listening = recorder.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let recorder = listening.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| recorder.clone().pass_on(request));
                    // whoever breaks off may do so
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        recorder
    }

    async fn pass_on(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let sent =
            Sent { method: head.method.clone(), uri: head.uri.clone(), headers: head.headers.clone(), body };
        // one object a page, so that lists go on to a second one
        let target = head.uri.to_string().replace("limit=500", "limit=1");
        head.uri = format!("http://{}{target}", self.control).parse()?;
        let request = Request::from_parts(head, Full::new(sent.body.clone()));
        self.sent.lock().unwrap().push(sent);
        Ok(self.client.request(request).await?)
    }

    pub(super) fn server(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that has been asked.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// How many requests there were whose target begins so.
    pub(super) fn count(&self, target: &str) -> usize {
        self.sent().iter().filter(|sent| sent.uri.to_string().starts_with(target)).count()
    }

    /// Waits for one more of these requests.
    pub(super) async fn until_more_than(&self, before: usize, target: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.count(target) <= before {
            assert!(Instant::now() < deadline, "nobody asked for {target}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
