//! Speaks to the control API.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};
use tower::{ServiceBuilder, ServiceExt as _, timeout::Timeout};

use crate::exit::Failure;

/// How long one answer may take to begin.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Largest answer that is read whole, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Longest line of a watch, in bytes.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// A client of one control plane. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    server: String,
    http: Timeout<HttpClient<HttpConnector, Full<Bytes>>>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Bytes,
}

impl Client {
    /// Makes a client; connects to nobody yet.
    ///
    /// # Errors
    /// When `server` is not the base of an `http` URL.
    pub(crate) fn new(server: &str) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::Usage(format!("--server {server:?}: {why}; write it as http://127.0.0.1:7070"))
        };
        let uri: Uri = server.parse().map_err(|_| bad("is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("https is not spoken yet; use http on the loopback address")),
            _ => return Err(bad("has no http:// in front")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("has a path; only scheme, host and port are used"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let http = HttpClient::builder(TokioExecutor::new()).build(connector);
        let http = ServiceBuilder::new().timeout(ANSWER_WITHIN).service(http);
        Ok(Self { server: server.trim_end_matches('/').to_owned(), http })
    }

    /// Gets `path` as JSON.
    ///
    /// # Errors
    /// When control does not answer, says no, or answers something else.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send::<()>(Method::GET, path, None).await?.json()
    }

    /// Sends a request with an optional JSON body; any status but 2xx is a failure.
    ///
    /// # Errors
    /// When control does not answer, or says no.
    pub(crate) async fn send<T: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<Answer, Failure> {
        let answer = self.ask(method, path, body).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(Failure::Refused(answer.problem())) }
    }

    /// Sends a request; whatever the status is, the answer is the caller's to judge.
    ///
    /// # Errors
    /// When control does not answer.
    pub(crate) async fn ask<T: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<Answer, Failure> {
        let response = self.open(method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|why| self.unreachable(&*why))?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Opens a stream of lines.
    ///
    /// # Errors
    /// When control does not answer, or says no.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let response = self.open::<()>(Method::GET, path, None).await?;
        if response.status().is_success() {
            return Ok(Lines { body: response.into_body(), buffer: BytesMut::new() });
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|why| self.unreachable(&*why))?.to_bytes();
        Err(Failure::Refused(Answer { status, body }.problem()))
    }

    async fn open<T: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<Response<Incoming>, Failure> {
        let bytes = match body {
            Some(body) => {
                serde_json::to_vec(body).map_err(|why| Failure::Manifest(format!("cannot be sent: {why}")))?
            }
            None => Vec::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(bytes))
            .map_err(|why| Failure::Usage(format!("{path:?} cannot be asked for: {why}")))?;
        self.http.clone().oneshot(request).await.map_err(|why| self.unreachable(&*why))
    }

    fn unreachable(&self, why: &(dyn std::error::Error + 'static)) -> Failure {
        let mut cause = why;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Failure::Unreachable(format!(
            "control at {} does not answer: {cause}\nStart one with `bellhop control`, or name another with --server or BELLHOP_SERVER.",
            self.server
        ))
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|why| {
            Failure::Refused(format!(
                "control's answer is not what this version understands: {why}; is it of another version?"
            ))
        })
    }

    /// The fields that control's problem document names.
    pub(crate) fn fields(&self) -> Vec<String> {
        let problem = serde_json::from_slice::<bellhop_api::Problem>(&self.body).ok();
        problem.into_iter().flat_map(|problem| problem.errors).map(|each| each.field).collect()
    }

    /// What control said, for people: the problem document's detail with each field that it names.
    pub(crate) fn problem(&self) -> String {
        match serde_json::from_slice::<bellhop_api::Problem>(&self.body) {
            Ok(problem) => {
                let mut text = problem.to_string();
                for each in &problem.errors {
                    // some details name the field already
                    if !problem.detail.contains(&each.detail) {
                        text.push_str(&format!("\n  {each}"));
                    }
                }
                text
            }
            Err(_) => format!("control answered {}", self.status),
        }
    }
}

/// The lines of a stream, as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line without its end; nothing where the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks, or a line is longer than 16 MiB.
    ///
    /// # Cancel safety
    /// What was read stays for the next call.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(Failure::Refused("control sent a line of more than 16 MiB".to_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data))
                }
                Some(Err(why)) => return Err(Failure::Unreachable(format!("the stream broke: {why}"))),
            }
        }
    }
}
