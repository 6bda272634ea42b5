//! What every request passes: whose page sent it, who calls and may, how many come; that each error is a problem document,
//! and that each attempt to write is written down.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bellhop_api::{Problem, ProblemType, problem::PROBLEM_JSON};
use futures_util::FutureExt as _;
use http::{Method, StatusCode, header, request::Parts};
use jiff::Timestamp;

use self::attempt::Attempt;
use super::{Api, Failure};
use crate::{
    access::{Caller, Need, Peer, need, rates::Rate},
    telemetry::{Account, Asked},
};

mod attempt;
mod told;

/// Writes of all callers together. Far above what people and pipelines do; below what would keep the disk busy with
/// nothing else.
pub(super) const WRITES: Rate = Rate { each_second: 2_000.0, at_once: 10_000.0 };

/// A page that is sent to loopback, and a caller who may not, come no further.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let now = api.author.control.clock.now();
    let (head, body) = request.into_parts();
    let Some(attempt) = Attempt::of(&head, now) else {
        return answer(&api, (head, body), next, now, &mut None).await;
    };
    // a write that has begun comes to its end, and is written down, also where whoever asked for it has hung up meanwhile
    let ended = tokio::spawn(async move {
        let mut caller = None;
        // of what a panic leaves behind nothing is used again but who called, which is known or not
        let answering = AssertUnwindSafe(answer(&api, (head, body), next, now, &mut caller));
        let response = answering.catch_unwind().await.unwrap_or_else(|_| failed("it panicked"));
        if !api.audit.write(attempt.ended(caller.as_ref(), &response)).await {
            api.author.control.telemetry.not_audited();
        }
        response
    });
    ended.await.unwrap_or_else(|error| failed(&error.to_string()))
}

/// The answer where the program is at fault.
fn failed(why: &str) -> Response {
    tracing::error!(why, "a request failed");
    Failure(Problem::new(ProblemType::Internal, String::new())).into_response()
}

/// The answer. `caller` is told as soon as it is known.
async fn answer(
    api: &Api,
    (mut head, body): (Parts, Body),
    next: Next,
    now: Timestamp,
    caller: &mut Option<Caller>,
) -> Response {
    let (begun, method, matched) =
        (Instant::now(), head.method.clone(), head.extensions.get::<MatchedPath>().cloned());
    let mut account = Account::begin(&head, &api.spans);
    let response = match admit(api, &head, now, caller).await {
        Ok(()) => {
            if let Some(caller) = caller {
                head.extensions.insert(Caller::clone(caller));
            }
            as_problem(next.run(Request::from_parts(head, body)).await)
        }
        Err(problem) => Failure(problem).into_response(),
    };
    let asked = Asked { method: &method, path: matched.as_ref().map(MatchedPath::as_str) };
    api.author.control.telemetry.answered(asked, response.status(), begun.elapsed());
    account.answered(response.status(), caller.as_ref());
    told::when_ended(response, account)
}

/// Finds out who calls, and whether that one may. `caller` is told as soon as it is known.
async fn admit(api: &Api, head: &Parts, now: Timestamp, caller: &mut Option<Caller>) -> Result<(), Problem> {
    if api.loopback {
        local(head)?;
    }
    let matched = head.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let need = need(&head.method, matched, head.uri.path());
    if need == Need::Nothing {
        return Ok(());
    }
    let peer = head.extensions.get::<Peer>();
    let peer = peer.ok_or_else(|| Problem::new(ProblemType::Internal, "a request from nowhere"))?;
    let found = api.access.authenticate(&api.author.control.tokens, &head.headers, peer, now).await?;
    let found = caller.insert(found);
    found.may(need)?;
    api.access.count(found, need)?;
    let writes = !matches!(head.method, Method::GET | Method::HEAD);
    if writes && need != Need::Report && !api.writes.take(()) {
        let detail = format!("more than {} writes a second; try again in a moment", WRITES.each_second);
        return Err(Problem::new(ProblemType::TooManyRequests, detail));
    }
    Ok(())
}

/// A page in somebody's browser can send requests to loopback; it cannot help naming itself when it does (`Origin`), or
/// the name by which it got there (`Host`).
fn local(head: &Parts) -> Result<(), Problem> {
    let closed = |detail: String| Problem::new(ProblemType::Forbidden, detail);
    if let Some(origin) = head.headers.get(header::ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        let detail = "requests from web pages (with an Origin) are not answered on loopback";
        return Err(closed(detail.into()).at("Origin", Some(&origin), "must be absent"));
    }
    let mut hosts = head.headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    let host = match (head.uri.authority(), hosts.next()) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host,
        (None, None) => "",
    };
    if hosts.next().is_some() || !is_loopback(host) {
        let rule = "must be localhost, 127.0.0.1 or [::1], with or without a port";
        let detail = format!("this address is on loopback; Host {rule}");
        return Err(closed(detail).at("Host", Some(host), rule));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// Errors that the framework makes by itself get a problem document too.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON);
    if problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (kind, detail) = match status {
        // the router writes Allow after this
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemType::MethodNotAllowed, "the Allow field says which are".into())
        }
        StatusCode::NOT_FOUND => (ProblemType::NotFound, String::new()),
        status if status.is_server_error() => (ProblemType::Internal, String::new()),
        _ => (ProblemType::BadRequest, String::new()),
    };
    Failure(Problem::new(kind, detail)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b21_loopback_hosts_are_known_in_all_their_forms() {
        for host in [
            "localhost",
            "LOCALHOST:7070",
            "127.0.0.1",
            "127.0.0.9:80",
            "[::1]",
            "[::1]:7070",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1",
            "[::2]:7070",
            "localhost:x",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
