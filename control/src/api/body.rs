//! Bodies: bounded, JSON, and understood or refused with the place of the fault.

use std::{error::Error, time::Duration};

use axum::body::Body;
use bellhop_api::{Problem, ProblemType, Unique};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use tokio::time::timeout;

use crate::server::Late;

/// Largest body: far more than any object needs.
pub(super) const LARGEST: usize = 1 << 20;

/// Of a body that is too large so much is read and dropped, so long at most: over HTTP/1 a close with input unread can destroy
/// the answer on its way (RFC 9112 §9.6).
const DROPPED: usize = 32 << 20;
const DROPS_FOR: Duration = Duration::from_secs(5);

/// Reads a whole body.
pub(super) async fn read(mut body: Body) -> Result<Bytes, Problem> {
    match Limited::new(&mut body, LARGEST).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // what does not end in time is answered all the same
            timeout(DROPS_FOR, drop_rest(body)).await.ok();
            Err(Problem::new(ProblemType::TooLarge, format!("at most {LARGEST} bytes are allowed")))
        }
        Err(error) => Err(match late(&*error) {
            Some(late) => Problem::new(ProblemType::TimedOut, late.to_string()),
            None => Problem::new(ProblemType::BadRequest, format!("the body broke off: {error}")),
        }),
    }
}

async fn drop_rest(body: Body) {
    let mut rest = Limited::new(body, DROPPED);
    while let Some(Ok(_)) = rest.frame().await {}
}

/// What came too late, among the causes of an error.
fn late<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Late> {
    error.downcast_ref().or_else(|| late(error.source()?))
}

/// Reads a JSON body, of which the media type must be one of these.
pub(super) async fn json(headers: &HeaderMap, body: Body, types: &[&str]) -> Result<Value, Problem> {
    media_type(headers, types)?;
    parse(&read(body).await?)
}

/// The media type of a request, which must be one of these.
pub(super) fn media_type<'a>(headers: &HeaderMap, types: &[&'a str]) -> Result<&'a str, Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    types.iter().find(|allowed| **allowed == essence).copied().ok_or_else(|| {
        let rule = format!("must be {}", types.join(" or "));
        let detail = format!("Content-Type {rule}");
        Problem::new(ProblemType::UnsupportedMediaType, detail).at("Content-Type", given, rule)
    })
}

/// Parses JSON; its nesting is bounded by the parser (128), and no name may stand twice in an object.
pub(super) fn parse(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body)
        .map(|Unique(value)| value)
        .map_err(|error| Problem::new(ProblemType::BadRequest, format!("not JSON: {error}")))
}
