//! An answer that goes on for long is told of when it has ended, not when it begins: a watch, a backup.

use axum::response::Response;
use hyper::body::Body as _;

use crate::{answering, telemetry::Account};

/// Tells of a request when its answer has ended: at once, where all of it is there.
pub(super) fn when_ended(response: Response, account: Account) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| answering::until_its_end(body, account))
}
