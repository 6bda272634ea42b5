//! Speaking to the control plane: HTTP requests, their time-outs, and nothing else.

use std::{io, time::Duration};

use bellhop_api::report::ProxyReport;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use super::tables::SILENCE;

/// A lost SYN is sent again after 1 s; two chances.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A report is small and control only notes it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a URL does not lead to a control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no base URL of a control plane; allowed is http://HOST[:PORT], without a path")]
pub(crate) struct BadUrl {
    url: String,
}

/// Checks the base URL of a control plane, and gives `http://HOST[:PORT]`.
///
/// # Errors
/// It has another scheme, no host, a path or a query.
pub(crate) fn check_url(url: &str) -> Result<String, BadUrl> {
    let bad = || BadUrl { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    if plain { Ok(format!("http://{authority}")) } else { Err(bad()) }
}

/// An exchange that did not give what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    /// No connection, or it broke.
    #[error("control cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    base: String,
    id: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Control {
    /// A client for the control plane at `url`.
    ///
    /// # Errors
    /// See [`check_url`].
    pub(super) fn new(url: &str, id: &str) -> Result<Self, BadUrl> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .build(connector);
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC).to_string();
        Ok(Self { base: check_url(url)?, id, client })
    }

    /// Opens the watch, from `since` on or with a list.
    ///
    /// # Errors
    /// Control is not there, is silent, or answers something else than a stream.
    pub(super) async fn watch(&self, since: Option<&str>) -> Result<Incoming, ControlError> {
        let mut uri = format!("{}/v1/routes?watch=true&proxy={}", self.base, self.id);
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
        let request = Request::post(format!("{}/v1/proxies/{}", self.base, self.id))
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
        let response = match timeout(within, self.client.request(request)).await {
            Ok(Ok(response)) => response,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_url_is_a_scheme_and_an_authority() {
        for good in
            ["http://127.0.0.1:7070", "http://127.0.0.1:7070/", "http://[::1]:7070", "http://control.bellhop"]
        {
            assert_eq!(check_url(good).unwrap(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "127.0.0.1:7070",
            "https://control",
            "http://",
            "http://a/b",
            "http://a/?x",
            "http://u:p@a",
            "unix:/x",
        ] {
            let error = check_url(bad).unwrap_err();
            assert!(error.to_string().contains("http://HOST[:PORT]"), "{bad}");
        }
    }
}
