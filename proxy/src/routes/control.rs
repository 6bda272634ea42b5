//! Speaking to the control plane: HTTP requests, their time-outs, and nothing else.

use std::{io, time::Duration};

use bellhop_api::report::ProxyReport;
use bellhop_client::{BaseUrl, Credentials, Reach, SendError, Timing};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use super::tables::SILENCE;

/// A lost SYN is sent again after 1 s; two chances.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A report is small and control only notes it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// An exchange that did not give what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    /// No connection, or it broke.
    #[error("control cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody can be trusted, or there is nothing to say who this is.
    #[error(transparent)]
    Credentials(SendError),
    /// Another status than asked for.
    #[error("control answers {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// After what time control wants to be asked again.
        retry_after: Option<Duration>,
    },
}

/// A client of one control plane, in the name of one proxy.
#[derive(Debug)]
pub(super) struct Control {
    id: String,
    reach: Reach,
}

impl Control {
    /// A client for the control plane at `url`.
    pub(super) fn new(url: BaseUrl, credentials: Credentials, id: &str) -> Self {
        let timing = Timing { connect: CONNECT_TIMEOUT, idle: Duration::from_secs(30) };
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC).to_string();
        Self { id, reach: Reach::new(url, credentials, timing) }
    }

    /// Opens the watch, from `since` on or with a list.
    ///
    /// # Errors
    /// Control is not there, is silent, or answers something else than a stream.
    pub(super) async fn watch(&self, since: Option<&str>) -> Result<Incoming, ControlError> {
        let mut uri = format!("{}/v1/routes?watch=true&proxy={}", self.reach.url(), self.id);
        if let Some(since) = since {
            uri.push_str("&since=");
            uri.extend(utf8_percent_encode(since, NON_ALPHANUMERIC));
        }
        let request = Request::get(uri).body(Full::default());
        Ok(self.send(request, SILENCE).await?.into_body())
    }

    /// Tells control what is held.
    ///
    /// # Errors
    /// Control is not there, is silent, or does not take it.
    pub(super) async fn report(&self, report: &ProxyReport) -> Result<(), ControlError> {
        let body = serde_json::to_vec(report).map_err(|error| ControlError::Unreachable(error.into()))?;
        let request = Request::post(format!("{}/v1/proxies/{}", self.reach.url(), self.id))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        self.send(request, REPORT_TIMEOUT).await.map(drop)
    }

    async fn send(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
        within: Duration,
    ) -> Result<Response<Incoming>, ControlError> {
        let mut request = request.map_err(|error| ControlError::Unreachable(error.into()))?;
        let agent = concat!("bellhop-proxy/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(agent));
        let response = match timeout(within, self.reach.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error @ (SendError::Credentials(_) | SendError::Readable(_)))) => {
                return Err(ControlError::Credentials(error));
            }
            Ok(Err(error)) => return Err(ControlError::Unreachable(error.into())),
            Err(_) => {
                let silent = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                return Err(ControlError::Unreachable(silent.into()));
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Err(ControlError::Status { status, retry_after })
    }
}
