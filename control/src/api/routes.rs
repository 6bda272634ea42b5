//! Routes: listed, watched, explained.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use bellhop_api::{
    Destination, Kind, Problem, ProblemType, RoutingKey,
    answers::{ExplainedKey, ExplainedRoute, Explanation, RouteList},
    watch::{Event, Fallback},
};
use bellhop_route::{Keys, Place, Route, Verdict, decide};
use futures_util::StreamExt as _;
use http::header;

use super::{
    Api, Failure, Shared, proxies,
    query::{Parameters, Query, Strict},
};
use crate::{
    access::Caller,
    feed::{Asks, WatchOptions, watch_lines},
    record::describe,
};

#[derive(Debug)]
pub(super) struct RoutesQuery {
    watch: bool,
    since: Option<String>,
    timeout_seconds: Option<u32>,
    proxy: Option<String>,
}

impl Parameters for RoutesQuery {
    fn read(query: &mut Query) -> Option<Self> {
        query.alias("timeoutSeconds", "timeout_seconds");
        Some(Self {
            watch: query.flag("watch"),
            since: query.text("since"),
            timeout_seconds: query.number("timeout_seconds", 0..=u32::MAX),
            proxy: query.text("proxy"),
        })
    }
}

/// All units, or a watch of them.
pub(super) async fn routes(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    Strict(mut query): Strict<RoutesQuery>,
) -> Result<Response, Failure> {
    if let Some(id) = &query.proxy {
        proxies::check_id(id)?;
    }
    let control = &api.author.control;
    if !query.watch {
        control.look().await;
        // first, so that a watch from here on repeats a change rather than missing one
        let position = control.feed.position();
        let units = control.feed.all();
        let units = units.iter().filter_map(|line| match serde_json::from_slice(line) {
            Ok(Event::Put { unit, .. }) => Some(unit),
            _ => None,
        });
        let list = RouteList { position, units: units.collect() };
        return Ok(Json(list).into_response());
    }
    api.stays()?;
    if let Some(seen) = query.since.as_deref().and_then(|since| control.feed.is_behind_token(since)) {
        let behind = |error| {
            let detail = format!("this replica has not yet seen what the token names: {error}");
            Problem::new(ProblemType::Unavailable, detail)
        };
        if !control.catch_up(seen).await.map_err(behind)? {
            query.since = None;
        }
    }
    let asks = match &query.proxy {
        Some(id) => Some(asks(&api, id)?),
        None => None,
    };
    let options = WatchOptions {
        since: query.since,
        lifetime: query.timeout_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        asks,
        phase: api.phase.clone(),
    };
    let standing = control.fleet.replicas().standing().ended();
    let lines = watch_lines(Arc::clone(&control.feed), options)
        .take_until(caller.ended(control.clock))
        .take_until(standing);
    // counted for as long as the stream is held
    let open = control.telemetry.watcher();
    let body = Body::from_stream(lines.inspect(move |_| _ = &open));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

fn asks(api: &Api, id: &str) -> Result<Asks, Problem> {
    let control = &api.author.control;
    let questions = control.registry.watching(id, control.clock.now());
    Ok(Asks { questions: questions.map_err(|error| proxies::too_many(&error))? })
}

/// Given keys and a destination: which route, why, from which sandbox or group.
pub(super) async fn explain(
    State(api): Shared,
    RawQuery(query): RawQuery,
) -> Result<Json<Explanation>, Failure> {
    let (texts, to) = explain_query(query.as_deref().unwrap_or_default())?;
    let parsed: Vec<&str> = texts.iter().flat_map(|text| text.split([':', ','])).collect();
    for key in &parsed {
        RoutingKey::check(key).map_err(|error| bad("key", Some(key), &error.to_string()))?;
    }
    api.author.control.look().await;
    Ok(Json(api.explain(&parsed, to)))
}

fn explain_query(query: &str) -> Result<(Vec<String>, Destination), Problem> {
    let (mut keys, mut to) = (Vec::new(), None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "key" => keys.push(value.into_owned()),
            "to" if to.is_none() => to = Some(value.into_owned()),
            other => {
                return Err(bad(other, Some(&value), "allowed are key (once or more often) and to (once)"));
            }
        }
    }
    let to = to.ok_or_else(|| bad("to", None, "must be given: SERVICE:PORT or SERVICE.NAMESPACE:PORT"))?;
    let destination = to.parse().map_err(|error| bad("to", Some(&to), &format!("{error}")))?;
    Ok((keys, destination))
}

fn bad(field: &str, value: Option<&str>, rule: &str) -> Problem {
    Problem::new(ProblemType::BadRequest, format!("{field}: {rule}")).at(field, value, rule)
}

impl Api {
    /// Asks the very function that proxies decide with.
    fn explain(&self, keys: &[&str], destination: Destination) -> Explanation {
        let table = &self.author.control.table;
        let ask = |keys: &[&str]| {
            decide(
                table,
                &keys.iter().collect::<Keys>(),
                &Place::Named(&destination),
                std::iter::empty::<&[u8]>(),
            )
        };
        let whole = ask(keys);
        let explained: Vec<_> = keys
            .iter()
            .map(|key| ExplainedKey {
                key: (*key).to_owned(),
                owner: self.author.control.world().owner(key).map(|(name, _)| describe(name)),
                outcome: outcome(&ask(&[key]).verdict).to_owned(),
            })
            .collect();
        let (decision, reason, route) = match &whole.verdict {
            Verdict::Sandbox(route) => ("sandbox", None, Some(self.explained(route, whole.key.as_ref()))),
            Verdict::Baseline(reason) => ("baseline", Some(reason.to_string()), None),
            Verdict::Refused(reason) => ("refused", Some(reason.to_string()), None),
        };
        let mut because: Vec<_> = explained.iter().map(|key| sentence(key, &destination)).collect();
        if keys.is_empty() {
            because.push("The request carries no key, so that the baseline answers.".into());
        } else if let Some(route) = &route {
            let all: Vec<_> = route.endpoints.iter().map(ToString::to_string).collect();
            because.push(match all.as_slice() {
                [] => "It goes nowhere and fails: no name among the endpoints has an address.".into(),
                all => format!("It goes to {}.", all.join(" or ")),
            });
        }
        Explanation {
            decision: decision.into(),
            reason,
            key: whole.key,
            route,
            keys: explained,
            because,
            destination,
        }
    }

    fn explained(&self, route: &Route, key: Option<&RoutingKey>) -> ExplainedRoute {
        let world = self.author.control.world();
        let owner = key.and_then(|key| world.owner(key.as_str())).map(|(name, _)| name);
        ExplainedRoute {
            endpoints: route.endpoints.to_vec(),
            fallback: if route.fallback { Fallback::Baseline } else { Fallback::None },
            protocol: route.protocol,
            sandbox: route.sandbox.as_deref().map(str::to_owned),
            group: owner.filter(|name| name.kind == Kind::SandboxGroup).map(|name| name.name.to_string()),
        }
    }
}

fn outcome(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Sandbox(_) => "sandbox",
        Verdict::Baseline(reason) | Verdict::Refused(reason) => reason.as_str(),
    }
}

fn sentence(key: &ExplainedKey, destination: &Destination) -> String {
    let owner = key.owner.as_deref().map(|owner| format!(" ({owner})")).unwrap_or_default();
    let what = match &*key.outcome {
        "sandbox" => format!("routes {destination}"),
        "unknown-key" => "is not known".into(),
        "no-route-here" => format!("has no route for {destination}"),
        "gone" => format!("is gone, or has lost its route for {destination}"),
        "conflict" => format!("has overrides that differ for {destination}"),
        other => format!("says {other}"),
    };
    format!("Key {:?}{owner} {what}.", key.key)
}
