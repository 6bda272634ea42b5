//! What every request passes: whose page sent it, how many come, and that each error is a problem document.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bellhop_api::{Problem, ProblemType, problem::PROBLEM_JSON};
use http::{Method, StatusCode, header};
use tokio::time::Instant;

use super::{Api, Failure};

/// Writes a second, and how many may come at once. Far above what people and pipelines do; below what would keep the
/// disk busy with nothing else.
const RATE: f64 = 2_000.0;
const BURST: f64 = 10_000.0;

/// A bucket of tokens; each write takes one.
#[derive(Debug)]
pub(super) struct Rate(Mutex<(f64, Instant)>);

impl Default for Rate {
    fn default() -> Self {
        Self(Mutex::new((BURST, Instant::now())))
    }
}

impl Rate {
    fn take(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (tokens, last) = *bucket;
        let tokens = (tokens + now.duration_since(last).as_secs_f64() * RATE).min(BURST);
        *bucket = (if tokens < 1.0 { tokens } else { tokens - 1.0 }, now);
        tokens >= 1.0
    }
}

pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if api.loopback
        && let Err(problem) = local(&request)
    {
        return Failure(problem).into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let reports = request.uri().path().starts_with("/v1/proxies/");
    if !reads && !reports && !api.rate.take() {
        let detail = format!("more than {RATE} writes a second; try again in a moment");
        return Failure(Problem::new(ProblemType::TooManyRequests, detail)).into_response();
    }
    as_problem(next.run(request).await)
}

/// A page in somebody's browser can send requests to loopback; it cannot help naming itself when it does (`Origin`), or
/// the name by which it got there (`Host`).
fn local(request: &Request) -> Result<(), Problem> {
    let closed = |detail: String| Problem::new(ProblemType::Forbidden, detail);
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        let detail = "requests from web pages (with an Origin) are not answered on loopback";
        return Err(closed(detail.into()).at("Origin", Some(&origin), "must be absent"));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    let host = match (request.uri().authority(), hosts.next()) {
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

    #[tokio::test(start_paused = true)]
    async fn writes_are_limited_and_the_limit_recovers() {
        let rate = Rate::default();
        let taken = (0..20_000).filter(|_| rate.take()).count();
        assert_eq!(taken, 10_000);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!((0..5_000).filter(|_| rate.take()).count(), 2_000);
    }
}
