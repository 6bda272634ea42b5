//! Commands that tell: `header`, `proxies`, `routes`, `version`, `completion`.

use bellhop_api::{
    RoutingKey,
    answers::{ProxyInfo, ProxyList, RouteList, Version},
    watch::{Event, KeyUnit, RouteState, Unit, UnitName},
};
use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use super::{Session, objects::encode};
use crate::{
    args::{Cli, Format},
    exit::Failure,
    output,
};

/// Prints the header that marks a request with these keys.
pub(super) fn header(format: Format, keys: &[RoutingKey], member: &str) -> Result<(), Failure> {
    // RFC 9110 §5.6.2, which W3C Baggage takes for its keys
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if member.is_empty() || !member.bytes().all(token) {
        return Err(Failure::Usage(format!(
            "--member {member:?}: is no name of a baggage member; allowed are A-Z a-z 0-9 and ! # $ % & ' * + - . ^ _ ` | ~"
        )));
    }
    let keys: Vec<_> = keys.iter().map(RoutingKey::as_str).collect();
    let value = format!("{member}={}", keys.join(":"));
    output::print(format, &json!({ "baggage": value }), |_| format!("baggage: {value}"))
}

/// A completion script for a shell.
pub(super) fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bellhop", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Prints the versions of the command and, where one answers, of control.
pub(super) async fn version(session: &Session) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let (told, control) = match session.client.get::<Version>("/version").await {
        Ok(control) => (
            json!({ "bellhop": own, "control": control }),
            format!("control {} ({})", control.version, control.api_version),
        ),
        Err(why) => (json!({ "bellhop": own, "control": null, "problem": why.to_string() }), why.to_string()),
    };
    output::print(session.output, &told, |_| format!("bellhop {own}\n{control}"))
}

/// Lists the proxies that control has heard of.
pub(super) async fn proxies(session: &Session) -> Result<(), Failure> {
    let found: ProxyList = session.client.get("/v1/proxies").await?;
    if !found.unanswered.is_empty() {
        let silent = found.unanswered.join(", ");
        output::note(&format!(
            "control replicas that do not answer, and whose proxies are missing here: {silent}"
        ));
    }
    output::print(session.output, &found, |wide| {
        if found.items.is_empty() {
            return "Control has heard of no proxy. Start one with --control.".to_owned();
        }
        let mut head = vec!["PROXY", "WORKLOAD", "STATE", "KEYS", "CURRENT", "TABLE AGE", "VERSION"];
        if wide {
            head.extend(["LAST HEARD", "WATCHING", "TABLE"]);
        }
        output::table(&head, found.items.iter().map(|proxy| proxy_row(proxy, wide)).collect())
    })
}

pub(super) fn proxy_row(proxy: &ProxyInfo, wide: bool) -> Vec<String> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let workload = if proxy.workload.is_empty() { "-" } else { &proxy.workload };
    let mut row = vec![
        proxy.id.clone(),
        workload.to_owned(),
        output::word(proxy.state),
        proxy.keys.to_string(),
        yes(proxy.current),
        proxy.table_age_seconds.map_or_else(|| "-".to_owned(), age),
        proxy.version.clone(),
    ];
    if wide {
        row.extend([proxy.last_heard.to_string(), yes(proxy.watching), proxy.table_digest.clone()]);
    }
    row
}

/// A time in seconds, for people.
pub(super) fn age(seconds: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

/// Lists the compiled routes, and goes on with changes where `watch` says so.
pub(super) async fn routes(session: &Session, watch: bool) -> Result<(), Failure> {
    // a program that watches gets everything in one form, the events from the first on
    let path = if watch && !session.output.is_for_people() {
        "/v1/routes?watch=true".to_owned()
    } else {
        let list: RouteList = session.client.get("/v1/routes").await?;
        print_list(session, &list.units)?;
        if !watch {
            return Ok(());
        }
        format!("/v1/routes?watch=true&since={}", encode(&list.position.token))
    };
    let mut lines = session.client.lines(&path).await?;
    while let Some(line) = lines.next().await? {
        print_change(session, &line)?;
        if output::ended() {
            return Ok(());
        }
    }
    Err(Failure::Unreachable("control ended the watch".to_owned()))
}

fn print_list(session: &Session, units: &[Unit]) -> Result<(), Failure> {
    output::print(session.output, &units, |wide| {
        let keys = units.iter().filter_map(|unit| if let Unit::Key(key) = unit { Some(key) } else { None });
        let rows: Vec<_> = keys.flat_map(|key| route_rows(key, wide)).collect();
        if rows.is_empty() {
            return "There are no routes. Create a sandbox with `bellhop sandbox create`.".to_owned();
        }
        let mut head = vec!["KEY", "DESTINATION", "STATE", "ENDPOINTS", "SANDBOX"];
        if wide {
            head.extend(["FALLBACK", "PROTOCOL", "DIGEST"]);
        }
        output::table(&head, rows)
    })
}

fn route_rows(unit: &KeyUnit, wide: bool) -> Vec<Vec<String>> {
    if unit.routes.is_empty() {
        let state = if unit.gone { "gone" } else { "no routes" };
        return vec![vec![unit.key.to_string(), "-".to_owned(), state.to_owned()]];
    }
    let row = |route: &bellhop_api::watch::RouteUnit| {
        let endpoints: Vec<_> = route.endpoints.iter().map(ToString::to_string).collect();
        let mut row = vec![
            unit.key.to_string(),
            route.destination.to_string(),
            state(route.state).to_owned(),
            if endpoints.is_empty() { "-".to_owned() } else { endpoints.join(",") },
            route.sandbox.as_deref().unwrap_or("-").to_owned(),
        ];
        if wide {
            row.extend([output::word(route.fallback), output::word(route.protocol), unit.digest.clone()]);
        }
        row
    };
    unit.routes.iter().map(row).collect()
}

fn state(state: RouteState) -> &'static str {
    match state {
        RouteState::Active => "active",
        RouteState::Gone => "gone",
        RouteState::Conflict => "conflict",
        RouteState::Unknown => "unknown",
    }
}

fn print_change(session: &Session, line: &[u8]) -> Result<(), Failure> {
    if !session.output.is_for_people() {
        let event = serde_json::from_slice(line)
            .map_err(|why| Failure::Refused(format!("control sent a line that is no JSON: {why}")))?;
        return output::document(session.output, &event);
    }
    // a kind of unit that this version does not know is passed over, as the proxies do
    match serde_json::from_slice(line).unwrap_or(Event::Unknown) {
        Event::Put { unit: Unit::Key(unit), .. } => {
            for row in route_rows(&unit, session.output == Format::Wide) {
                output::line(&format!("{} {}", session.paint.bold("put"), row.join("  ")));
            }
        }
        Event::Delete { unit: UnitName::Key(key), .. } => {
            output::line(&format!("{} {key}", session.paint.bold("delete")));
        }
        _ => {}
    }
    Ok(())
}
