//! A client of one control plane, which follows the changes of its credentials.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::{BaseUrl, Credentials, CredentialsError, Stamps};

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long things take at most.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// Until a connection that nobody uses is closed.
    pub idle: Duration,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Credentials cannot be used, and never could.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A token would go over the network in the clear.
    #[error("a token is not sent to {0}: without TLS everybody on the way could read it; use https://")]
    Readable(BaseUrl),
    /// No connection, or it broke.
    #[error(transparent)]
    Http(#[from] hyper_util::client::legacy::Error),
}

impl SendError {
    /// Whether what answered does not speak HTTP.
    fn is_no_http(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A client of the control plane at one URL. HTTP/1.1, so that a request that comes after a dead watch gets a connection
/// of its own.
#[derive(Debug)]
pub struct Reach {
    url: BaseUrl,
    credentials: Credentials,
    timing: Timing,
    current: Mutex<Option<Current>>,
}

#[derive(Debug, Clone)]
struct Current {
    stamps: Stamps,
    http: Http,
    authorization: Option<HeaderValue>,
}

impl Reach {
    /// Reads nothing and connects to nobody yet.
    #[must_use]
    pub fn new(url: BaseUrl, credentials: Credentials, timing: Timing) -> Self {
        Self { url, credentials, timing, current: Mutex::new(None) }
    }

    /// Where it leads.
    #[must_use]
    pub fn url(&self) -> &BaseUrl {
        &self.url
    }

    /// What may help where a request got no answer for this reason; nothing where that is not known.
    #[must_use]
    pub fn advice(&self, why: &SendError) -> Option<String> {
        let plain = self.url.as_str().strip_prefix("http://").filter(|_| why.is_no_http());
        plain.map(|authority| {
            format!("Something answers there, but not in HTTP. It may speak TLS: try https://{authority}")
        })
    }

    /// Sends a request, of which the URI must begin with the base URL.
    ///
    /// # Errors
    /// Credentials that cannot be used; a connection that cannot be had, or that breaks.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let Current { http, authorization, .. } = self.current()?;
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(http.request(request).await?)
    }

    /// The client and the token as the files say now.
    fn current(&self) -> Result<Current, SendError> {
        let stamps = self.credentials.stamps();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_ref().filter(|current| current.stamps == stamps) {
            return Ok(current.clone());
        }
        match (self.load(stamps.clone()), &mut *current) {
            (Ok(fresh), held) => {
                if held.is_some() {
                    tracing::info!(control = %self.url, "credentials have changed and were read again");
                }
                *held = Some(fresh.clone());
                Ok(fresh)
            }
            (Err(error), Some(held)) => {
                tracing::warn!(%error, "credentials have changed and cannot be used; those of before stay");
                // told once for each change
                held.stamps = stamps;
                Ok(held.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn load(&self, stamps: Stamps) -> Result<Current, SendError> {
        let authorization = self.credentials.authorization()?;
        if authorization.is_some() && !self.url.keeps_secrets() {
            return Err(SendError::Readable(self.url.clone()));
        }
        let tls = if self.url.is_tls() { self.credentials.tls()? } else { nobody()? };
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(self.timing.connect));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.timing.idle)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Current { stamps, http, authorization })
    }
}

/// Where TLS is not spoken, nobody is trusted.
fn nobody() -> Result<ClientConfig, CredentialsError> {
    Ok(ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CredentialsError::Certificate)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
