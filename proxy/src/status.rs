//! What anybody may know of a proxy: that it lives, whether it is ready for traffic, and its metrics.

mod families;

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::{
    admin::{Page, text, typed},
    shared::SharedRef,
};

/// How long a proxy that has a control plane and no snapshot waits for its first table before it passes everything to
/// the baseline.
const FIRST_TABLE: Duration = Duration::from_secs(2);

/// Prometheus' text form.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page at this path, if there is one.
pub(crate) fn page<'a>(shared: &'a SharedRef, path: &str) -> Option<Page<'a>> {
    match path {
        "/livez" => Page::get(|| text(StatusCode::OK, "alive\n")),
        "/readyz" => Page::get(|| ready(shared)),
        "/metrics" => Page::get(|| {
            let body = shared.telemetry.render(families::of(shared));
            typed(StatusCode::OK, METRICS, body.into())
        }),
        _ => None,
    }
}

fn ready(shared: &SharedRef) -> Response<Full<Bytes>> {
    let (status, why) = match readiness(shared) {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::WithoutTable => {
            (StatusCode::OK, "ready, without routes: everything goes to the baseline\n")
        }
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Readiness::Waiting => (StatusCode::SERVICE_UNAVAILABLE, "no routes yet\n"),
    };
    text(status, why)
}

/// Whether traffic may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    WithoutTable,
    Draining,
    Waiting,
}

/// Whether traffic may come.
pub(crate) fn is_ready(shared: &SharedRef) -> bool {
    matches!(readiness(shared), Readiness::Ready | Readiness::WithoutTable)
}

fn readiness(shared: &SharedRef) -> Readiness {
    let routing = &shared.config.routing;
    if shared.drain.draining() {
        Readiness::Draining
    } else if shared.tables.loaded() {
        Readiness::Ready
    } else if routing.require_routes || (routing.control.is_some() && shared.started.elapsed() < FIRST_TABLE)
    {
        Readiness::Waiting
    } else {
        Readiness::WithoutTable
    }
}
