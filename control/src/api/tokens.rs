//! Tokens: made, listed, revoked. And who one is.

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
};
use bellhop_api::{
    Problem, ProblemType,
    access::{TokenCreated, TokenInfo, TokenList, TokenRequest, WhoAmI},
    manifest::typed,
};
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};

use super::{
    Failure, Shared, body,
    query::{NoQuery, Strict},
};
use crate::{
    access::{
        Caller,
        token::{NoRandom, StoredToken, fresh_id, fresh_token, token_record},
    },
    author::store_problem,
    control::Basis,
    store::{Expect, Write},
};

/// Tokens that may be stored.
const MOST: usize = 10_000;

/// Whom control takes the caller for.
pub(super) async fn whoami(
    Extension(caller): Extension<Caller>,
    Strict(NoQuery {}): Strict<NoQuery>,
) -> Json<WhoAmI> {
    Json(caller.whoami())
}

pub(super) async fn list(State(api): Shared, Strict(NoQuery {}): Strict<NoQuery>) -> Json<TokenList> {
    let tokens = api.author.control.tokens.all();
    Json(TokenList { items: tokens.iter().map(|token| token.info.clone()).collect() })
}

type Created = (StatusCode, [(header::HeaderName, String); 2], Json<TokenCreated>);

pub(super) async fn create(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    Strict(NoQuery {}): Strict<NoQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created, Failure> {
    let request: TokenRequest = typed(body::json(&headers, body, &["application/json"]).await?)?;
    let ttl = request.validate()?;
    let control = &api.author.control;
    let basis = control.basis();
    if control.tokens.all().len() >= MOST {
        let detail = format!("{MOST} tokens are stored, and no more are allowed; revoke some");
        return Err(Problem::new(ProblemType::Conflict, detail).into());
    }
    let (id, token) = (fresh_id().map_err(no_random)?, fresh_token().map_err(no_random)?);
    let now = control.clock.now();
    let life = SignedDuration::try_from(ttl.duration()).unwrap_or(SignedDuration::MAX);
    let info = TokenInfo {
        id,
        role: request.role,
        namespaces: request.namespaces,
        description: request.description,
        created_by: caller.name,
        created_at: now,
        expires_at: now.saturating_add(life).unwrap_or(Timestamp::MAX),
    };
    let value = Some(StoredToken::new(&token, info.clone()).value());
    commit(&api, &basis, Write { name: token_record(&info.id), expect: Expect::Absent, value }).await?;
    tracing::info!(id = info.id, role = %info.role, "token made");
    let place = [
        (header::LOCATION, format!("/v1/tokens/{}", info.id)),
        // the one answer that holds a secret
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, place, Json(TokenCreated { token, info })))
}

pub(super) async fn revoke(
    State(api): Shared,
    Path(id): Path<String>,
    Strict(NoQuery {}): Strict<NoQuery>,
) -> Result<Json<TokenInfo>, Failure> {
    let control = &api.author.control;
    let basis = control.basis();
    let token = control.tokens.get(&id);
    let token =
        token.ok_or_else(|| Problem::new(ProblemType::NotFound, format!("there is no token {id:?}")))?;
    let write = Write { name: token_record(&id), expect: Expect::At(token.revision), value: None };
    let info = token.info.clone();
    // those who hold it wait to see it dropped
    drop(token);
    commit(&api, &basis, write).await?;
    tracing::info!(id, "token revoked");
    Ok(Json(info))
}

async fn commit(api: &super::Api, basis: &Basis, write: Write) -> Result<(), Problem> {
    let control = &api.author.control;
    let outcome = async { control.applied(control.commit(basis, vec![write]).await?).await };
    outcome.await.map_err(|error| store_problem(&error))
}

fn no_random(error: NoRandom) -> Problem {
    Problem::new(ProblemType::Internal, error.to_string())
}
