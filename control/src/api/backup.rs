//! A backup of the store, as it stands now.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::header;

use super::{
    Failure, Shared,
    query::{NoQuery, Strict},
};
use crate::{
    author::store_problem,
    backup::{BackupError, Pages},
};

/// All records, one a line. What cannot be finished is broken off: the reader misses the last line.
pub(super) async fn backup(
    State(api): Shared,
    Strict(NoQuery {}): Strict<NoQuery>,
) -> Result<Response, Failure> {
    let control = &api.author.control;
    let listing = control.store.list().await.map_err(|error| store_problem(&error))?;
    let pages = Pages::new(listing, control.clock.now());
    let body = stream::try_unfold(pages, async |mut pages| {
        let piece = pages.piece().inspect_err(|error| tracing::error!(%error, "a backup cannot be made"))?;
        Ok::<_, BackupError>(piece.map(|piece| (piece, pages)))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(body)).into_response())
}
