//! `get`, `list`, `delete`, `renew`: what works alike for every kind.

use bellhop_api::{Kind, Manifest, Phase, answers::List as Page};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::Session;
use crate::{
    args::{Format, List, Named, ObjectCommand},
    exit::Failure,
    output,
};

/// How many objects one page of a list brings.
const PAGE: usize = 500;

/// Path of an object.
pub(super) fn path(kind: Kind, namespace: &str, name: &str) -> String {
    format!("/v1/namespaces/{}/{}/{}", encode(namespace), kind.plural(), encode(name))
}

/// A text as part of a URL.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;

    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// How people call an object: `sandbox/pr-15`, with its namespace where that is not `default`.
pub(super) fn called(kind: Kind, namespace: &str, name: &str) -> String {
    let kind = match kind {
        Kind::Service => "service",
        Kind::Sandbox => "sandbox",
        Kind::SandboxGroup => "group",
    };
    if namespace == bellhop_api::DEFAULT_NAMESPACE {
        format!("{kind}/{name}")
    } else {
        format!("{kind}/{name} in {namespace}")
    }
}

pub(super) async fn run(session: &Session, kind: Kind, what: ObjectCommand) -> Result<(), Failure> {
    match what {
        ObjectCommand::Get(what) => {
            let mut object = fetch(session, kind, &session.namespace, &what.name).await?;
            make_applicable(session.output, std::slice::from_mut(&mut object));
            output::print(session.output, &object, |wide| rows(kind, &[&object], wide, false))
        }
        ObjectCommand::List(what) => list(session, kind, &what).await,
        ObjectCommand::Delete(what) => {
            let names = what.names.iter().map(|name| (kind, session.namespace.as_str(), name.as_str()));
            delete(session, names, what.ignore_not_found).await
        }
    }
}

/// Gets one object.
pub(super) async fn fetch(
    session: &Session,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Manifest, Failure> {
    read(session.client.get::<Value>(&path(kind, namespace, name)).await?)
}

/// Reads an object that control sent.
pub(super) fn read(object: Value) -> Result<Manifest, Failure> {
    Manifest::from_value(object).map_err(|why| {
        Failure::Refused(format!("control's answer is not what this version understands: {why}"))
    })
}

/// YAML is for files that are applied again, perhaps elsewhere and often: what would tie it to this one state of this one
/// object is left out. JSON has everything.
pub(super) fn make_applicable(format: Format, objects: &mut [Manifest]) {
    if format == Format::Yaml {
        for object in objects {
            let metadata = object.metadata_mut();
            (metadata.resource_version, metadata.uid) = (None, None);
        }
    }
}

async fn list(session: &Session, kind: Kind, what: &List) -> Result<(), Failure> {
    let base = if what.all_namespaces {
        format!("/v1/{}", kind.plural())
    } else {
        format!("/v1/namespaces/{}/{}", encode(&session.namespace), kind.plural())
    };
    let mut query = format!("?limit={PAGE}");
    if let Some(selector) = &what.selector {
        query.push_str(&format!("&labelSelector={}", encode(selector)));
    }
    let mut objects = Vec::new();
    let mut next = String::new();
    loop {
        let page: Page<Value> = session.client.get(&format!("{base}{query}{next}")).await?;
        for object in page.items {
            objects.push(read(object)?);
        }
        match page.metadata.continue_token {
            Some(token) => next = format!("&continue={}", encode(&token)),
            None => break,
        }
    }
    make_applicable(session.output, &mut objects);
    let found = Listed::of(&objects);
    output::print(session.output, &found, |wide| {
        if objects.is_empty() {
            let wherein = if what.all_namespaces { "any namespace" } else { &session.namespace };
            return format!("No {} in {wherein}.", kind.plural());
        }
        rows(kind, &objects.iter().collect::<Vec<_>>(), wide, what.all_namespaces)
    })
}

/// A list as `apply -f` takes it back.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [Manifest],
}

impl<'a> Listed<'a> {
    pub(super) fn of(items: &'a [Manifest]) -> Self {
        Self { api_version: bellhop_api::API_VERSION, kind: "List", items }
    }
}

/// Prints what became of some objects, for programs: one as it is, others as a list.
pub(super) fn print_all(session: &Session, mut objects: Vec<Manifest>) -> Result<(), Failure> {
    if session.output.is_for_people() {
        return Ok(());
    }
    make_applicable(session.output, &mut objects);
    match objects.as_slice() {
        [one] => output::print(session.output, one, |_| String::new()),
        all => output::print(session.output, &Listed::of(all), |_| String::new()),
    }
}

/// Deletes objects and says so of each; programs get those that were there.
pub(super) async fn delete(
    session: &Session,
    objects: impl Iterator<Item = (Kind, &str, &str)>,
    ignore_not_found: bool,
) -> Result<(), Failure> {
    let mut gone = Vec::new();
    let mut refused = None;
    for (kind, namespace, name) in objects {
        let answer = session.client.ask::<()>(Method::DELETE, &path(kind, namespace, name), None).await?;
        let word = if answer.status.is_success() {
            gone.push(read(answer.json()?)?);
            "deleted"
        } else if answer.status == StatusCode::NOT_FOUND && ignore_not_found {
            "was not there"
        } else {
            refused = Some(format!("{}: {}", called(kind, namespace, name), answer.problem()));
            break;
        };
        session.say(&format!("{} {word}", called(kind, namespace, name)));
    }
    print_all(session, gone)?;
    refused.map_or(Ok(()), |why| Err(Failure::Refused(why)))
}

/// Starts an object's time to live again.
pub(super) async fn renew(session: &Session, kind: Kind, what: &Named) -> Result<(), Failure> {
    let path = format!("{}/renew", path(kind, &session.namespace, &what.name));
    let object = read(session.client.send::<()>(Method::POST, &path, None).await?.json()?)?;
    let expires = object.status().and_then(|status| status.expires_at);
    let expires = expires.map_or_else(|| "does not expire".to_owned(), |at| format!("expires {at}"));
    session.say(&format!("{} renewed, {expires}", called(kind, &session.namespace, &what.name)));
    print_all(session, vec![object])
}

/// A table of objects of one kind.
fn rows(kind: Kind, objects: &[&Manifest], wide: bool, with_namespace: bool) -> String {
    let mut head = vec!["NAME"];
    if with_namespace || wide {
        head.insert(0, "NAMESPACE");
    }
    head.extend(match kind {
        Kind::Service => &["PORTS", "ADDRESSES"][..],
        Kind::Sandbox => &["KEY", "PHASE", "OVERRIDES", "EXPIRES"][..],
        Kind::SandboxGroup => &["KEY", "PHASE", "MEMBERS", "EXPIRES"][..],
    });
    if wide {
        head.extend(["LABELS", "CONDITIONS"]);
    }
    let rows = objects.iter().map(|object| {
        let mut row = vec![object.metadata().name.clone()];
        if with_namespace || wide {
            row.insert(0, object.metadata().namespace.clone());
        }
        row.extend(cells(object));
        if wide {
            let labels = object.metadata().labels.iter().map(|(k, v)| format!("{k}={v}"));
            row.push(labels.collect::<Vec<_>>().join(","));
            row.push(conditions(object));
        }
        row
    });
    output::table(&head, rows.collect())
}

fn cells(object: &Manifest) -> Vec<String> {
    let status = object.status();
    let key = || status.and_then(|s| s.routing_key.as_ref()).map_or("-".to_owned(), ToString::to_string);
    let phase = || status.map_or(Phase::Unknown, |s| s.phase).to_string();
    let expires = || status.and_then(|s| s.expires_at).map_or("never".to_owned(), |at| at.to_string());
    match object {
        Manifest::Service(service) => {
            let ports = service.spec.ports.iter().map(|port| match port.target() {
                target if target == port.port => port.port.to_string(),
                target => format!("{}→{target}", port.port),
            });
            vec![ports.collect::<Vec<_>>().join(","), or_dash(service.spec.addresses.join(","))]
        }
        Manifest::Sandbox(sandbox) => {
            let overrides = sandbox.spec.overrides.iter().map(|each| {
                let port = each.port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}{port}={}", each.service, each.endpoints.join("+"))
            });
            vec![key(), phase(), overrides.collect::<Vec<_>>().join(","), expires()]
        }
        Manifest::SandboxGroup(_) => {
            let members = status.map(|s| s.members.join(",")).unwrap_or_default();
            vec![key(), phase(), or_dash(members), expires()]
        }
    }
}

fn conditions(object: &Manifest) -> String {
    let all = object.status().map_or(&[][..], |status| &status.conditions);
    let said = all.iter().map(|c| match c.message.as_str() {
        "" => format!("{}={:?}", c.kind, c.status),
        message => format!("{}={:?} ({message})", c.kind, c.status),
    });
    or_dash(said.collect::<Vec<_>>().join("; "))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}
