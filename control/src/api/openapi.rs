//! `/openapi.json`.

use axum::response::IntoResponse;
use http::header;

/// The document, written by hand; a test holds it against the router and the types.
const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
