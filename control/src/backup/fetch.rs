//! A backup from a control plane that runs.

use std::{
    io::{self, Write},
    time::Duration,
};

use bellhop_client::{Credentials, Reach, SendError, Timing};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;

/// Nothing new for this long: it hangs.
const SILENCE: Duration = Duration::from_secs(30);
/// Of a refusal's text.
const REFUSAL_BYTES: usize = 64 << 10;

/// Why there is no backup from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The address is none.
    #[error("{0:?} is no address of a control plane; {1}")]
    Address(String, bellhop_client::BaseUrlError),
    /// Nobody answers.
    #[error(
        "{server} does not answer: {source}. For a control plane that is not running, say --data-dir DIR"
    )]
    Connect {
        /// Who was asked.
        server: String,
        /// Why.
        source: SendError,
    },
    /// It answers, and not in HTTP.
    #[error("{server} does not answer: {source}. {advice}")]
    NoHttp {
        /// Who was asked.
        server: String,
        /// Why.
        source: SendError,
        /// What may help.
        advice: String,
    },
    /// It does not give it.
    #[error("{server} answers {status}: {text}")]
    Refused {
        /// Who was asked.
        server: String,
        /// The answer's status.
        status: http::StatusCode,
        /// What it says.
        text: String,
    },
    /// It broke off.
    #[error("the backup broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// Nothing comes any more.
    #[error("the backup broke off: nothing came for {} s", SILENCE.as_secs())]
    Silent(#[from] tokio::time::error::Elapsed),
    /// It cannot be written here.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Copies the backup that `server` gives to whoever has these credentials.
pub(crate) async fn fetch(
    server: &str,
    credentials: Credentials,
    mut into: impl Write,
) -> Result<(), FetchError> {
    let url = server.parse().map_err(|error| FetchError::Address(server.to_owned(), error))?;
    let reach = Reach::new(url, credentials, Timing { connect: SILENCE, idle: SILENCE });
    let mut request = Request::new(Full::default());
    *request.uri_mut() = format!("{}/v1/backup", reach.url())
        .parse()
        .map_err(|_| FetchError::Address(server.to_owned(), bellhop_client::BaseUrlError))?;
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/x-ndjson"));
    let connect = |source| {
        let server = server.to_owned();
        match reach.advice(&source) {
            Some(advice) => FetchError::NoHttp { server, source, advice },
            None => FetchError::Connect { server, source },
        }
    };
    let answer = timeout(SILENCE, reach.send(request)).await?.map_err(connect)?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let text = Limited::new(body, REFUSAL_BYTES).collect().await.map(http_body_util::Collected::to_bytes);
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        return Err(FetchError::Refused { server: server.to_owned(), status, text });
    }
    while let Some(frame) = timeout(SILENCE, body.frame()).await? {
        if let Ok(data) = frame?.into_data() {
            into.write_all(&data)?;
        }
    }
    Ok(())
}
