//! The REST API: what comes in is checked here, what goes out is JSON or a problem document.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    middleware,
    response::IntoResponse,
    routing::{delete, get, post},
};
use bellhop_api::{API_VERSION, Problem, ProblemType, answers::Version};
use http::header;
use tokio::sync::watch;

use crate::{
    access::{Access, audit::Audit, rates::Buckets},
    author::Author,
    server::Phase,
    telemetry::{self, spans::Queue},
};

mod backup;
mod body;
mod failure;
mod guard;
mod keys;
mod objects;
mod openapi;
mod patch;
mod proxies;
mod query;
mod replicas;
mod routes;
mod status;
mod tokens;

pub(crate) use failure::Failure;

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    author: Author,
    /// Only loopback names are answered.
    loopback: bool,
    phase: watch::Receiver<Phase>,
    access: Access,
    audit: Audit,
    writes: Buckets<()>,
    spans: Arc<Queue>,
}

/// The handlers' view of [`Api`].
type Shared = State<Arc<Api>>;

/// Whom the API answers.
#[derive(Debug)]
pub(crate) struct Door {
    /// The listener is on loopback, and answers nobody else's pages.
    pub(crate) loopback: bool,
    pub(crate) access: Access,
    pub(crate) audit: Audit,
    /// Where requests tell what became of them.
    pub(crate) spans: Arc<Queue>,
}

/// Every path of the API.
pub(crate) fn router(author: Author, door: Door, phase: watch::Receiver<Phase>) -> Router {
    let Door { loopback, access, audit, spans } = door;
    let writes = Buckets::new(guard::WRITES);
    let api = Arc::new(Api { author, loopback, phase, access, audit, writes, spans });
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .route("/openapi.json", get(openapi::document))
        .route("/metrics", get(metrics))
        .route("/v1/backup", get(backup::backup))
        .route("/v1/routes", get(routes::routes))
        .route("/v1/explain", get(routes::explain))
        .route("/v1/keys/{key}/in-force", get(keys::in_force))
        .route("/v1/proxies", get(proxies::list))
        .route("/v1/proxies/{id}", post(proxies::report))
        .route("/internal/v1/proxies", get(replicas::proxies))
        .route("/v1/status", get(status::status))
        .route("/internal/v1/status", get(status::replica))
        .route("/internal/v1/in-force", get(replicas::in_force))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/whoami", get(tokens::whoami))
        .route("/v1/{kind}", get(objects::list_all))
        .route("/v1/namespaces/{namespace}/{kind}", get(objects::list).post(objects::create))
        .route(
            "/v1/namespaces/{namespace}/{kind}/{name}",
            get(objects::read).put(objects::put).patch(objects::patch).delete(objects::delete),
        )
        .route("/v1/namespaces/{namespace}/{kind}/{name}/renew", post(objects::renew))
        .fallback(async || Failure(Problem::new(ProblemType::NotFound, "no such path; see /openapi.json")))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard::guard))
        .with_state(api)
}

/// Ready once the store was read, which is before anything is served; not while ending, nor while the others do not count
/// on this replica.
async fn ready(State(api): Shared) -> Result<&'static str, Failure> {
    api.stays()?;
    Ok("ok\n")
}

impl Api {
    /// Refuses what would not be served for long.
    fn stays(&self) -> Result<(), Problem> {
        if *self.phase.borrow() != Phase::Serving {
            return Err(Problem::new(ProblemType::Unavailable, "this replica is ending; come again"));
        }
        self.stands()
    }

    /// Refuses what the other replicas would not hear of.
    fn stands(&self) -> Result<(), Problem> {
        if self.author.control.fleet.replicas().standing().holds() {
            return Ok(());
        }
        let detail = "this replica has not reached its store for as long as its lease lasts, and the others will count \
                      without it; come again, or ask another one";
        Err(Problem::new(ProblemType::Unavailable, detail))
    }
}

async fn metrics(State(api): Shared) -> impl IntoResponse {
    let control = &api.author.control;
    ([(header::CONTENT_TYPE, telemetry::TEXT)], control.telemetry.render(control))
}

async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").into(), api_version: API_VERSION.into() })
}

#[cfg(test)]
mod tests;
