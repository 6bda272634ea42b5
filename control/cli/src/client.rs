//! Speaks to the control API.

use std::{error::Error, sync::Arc, time::Duration};

use bellhop_client::{BaseUrl, Credentials, Reach, SendError, Timing};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

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
    reach: Arc<Reach>,
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
    /// When `server` is not the base of a URL.
    pub(crate) fn new(server: &str, credentials: Credentials) -> Result<Self, Failure> {
        let url: BaseUrl =
            server.parse().map_err(|why| Failure::Usage(format!("--server {server:?}: {why}")))?;
        let timing = Timing { connect: Duration::from_secs(5), idle: Duration::from_secs(60) };
        Ok(Self { reach: Arc::new(Reach::new(url, credentials, timing)) })
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
            .uri(format!("{}{path}", self.reach.url()))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(bytes))
            .map_err(|why| Failure::Usage(format!("{path:?} cannot be asked for: {why}")))?;
        match timeout(ANSWER_WITHIN, self.reach.send(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(why @ SendError::Credentials(_))) => Err(Failure::NoInput(why.to_string())),
            Ok(Err(why @ SendError::Readable(_))) => Err(Failure::Usage(why.to_string())),
            Ok(Err(why)) => Err(match self.reach.advice(&why) {
                Some(advice) => self.no_answer(&why, &advice),
                None => self.unreachable(&why),
            }),
            Err(late) => Err(self.unreachable(&late)),
        }
    }

    fn unreachable(&self, why: &(dyn Error + 'static)) -> Failure {
        let help = if root(why).contains("certificate") {
            "Name the authority that vouches for it with --ca-file, or another server with --server."
        } else {
            "Start one with `bellhop control`, or name another with --server or BELLHOP_SERVER."
        };
        self.no_answer(why, help)
    }

    fn no_answer(&self, why: &(dyn Error + 'static), help: &str) -> Failure {
        let (url, cause) = (self.reach.url(), root(why));
        Failure::Unreachable(format!("control at {url} does not answer: {cause}\n{help}"))
    }
}

/// What all came of, in words.
fn root(why: &(dyn Error + 'static)) -> String {
    let mut cause = why;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
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
                if self.status == StatusCode::UNAUTHORIZED {
                    text.push_str("\nSay who you are: `bellhop login`, or --token-file.");
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
