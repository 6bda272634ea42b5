//! Services, sandboxes and groups: read, list, write.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bellhop_api::{
    API_VERSION, DnsLabel, Kind, Manifest, Problem, ProblemType, Selector,
    answers::{List, ListMetadata},
};
use bellhop_route::plan::{FullName, ObjectName};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Api, Failure, Shared, body, patch as patches,
    query::{ListQuery, NoQuery, Strict, WriteQuery},
};
use crate::{
    author::{How, Precondition, Written, not_found},
    world::Held,
};

/// Objects on a page where nobody says how many.
const PAGE: usize = 500;
const JSON: &[&str] = &["application/json"];
/// The least that sorts before and after every name.
const FIRST: &str = "0";

type Named = Path<(String, String, String)>;

pub(super) async fn list_all(
    State(api): Shared,
    Path(kind): Path<String>,
    Strict(query): Strict<ListQuery>,
) -> Result<Json<List<Manifest>>, Failure> {
    api.author.control.look().await;
    Ok(Json(page(&api, self::kind(&kind)?, None, &query)?))
}

pub(super) async fn list(
    State(api): Shared,
    Path((namespace, kind)): Path<(String, String)>,
    Strict(query): Strict<ListQuery>,
) -> Result<Json<List<Manifest>>, Failure> {
    let namespace = label("namespace", &namespace)?;
    api.author.control.look().await;
    Ok(Json(page(&api, self::kind(&kind)?, Some(&namespace), &query)?))
}

pub(super) async fn read(
    State(api): Shared,
    Path(path): Named,
    Strict(NoQuery {}): Strict<NoQuery>,
) -> Result<Response, Failure> {
    let name = name(&path)?;
    api.author.control.look().await;
    let held = api.author.control.world().get(&name).cloned().ok_or_else(|| not_found(&name))?;
    Ok(answer(StatusCode::OK, &held.manifest()))
}

pub(super) async fn create(
    State(api): Shared,
    Path((namespace, kind)): Path<(String, String)>,
    Strict(query): Strict<WriteQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let (namespace, kind) = (label("namespace", &namespace)?, self::kind(&kind)?);
    let value = body::json(&headers, body, JSON).await?;
    let given = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let name = ObjectName { kind, name: FullName { namespace, name: label("metadata.name", given)? } };
    let wanted = wanted(value, &name)?;
    let when = Precondition { creates: true, ..Precondition::default() };
    let how = How { when, dry_run: query.dry_run, renew: true };
    let written = api.author.write(&name, &|_| Ok(wanted.clone()), &how).await?;
    let mut response = answer(StatusCode::CREATED, &written.object);
    let location = format!("/v1/namespaces/{}/{}/{}", name.name.namespace, kind.plural(), name.name.name);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn put(
    State(api): Shared,
    Path(path): Named,
    Strict(query): Strict<WriteQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let name = name(&path)?;
    let how = How { when: precondition(&headers)?, dry_run: query.dry_run, renew: true };
    let wanted = wanted(body::json(&headers, body, JSON).await?, &name)?;
    let written = api.author.write(&name, &|_| Ok(wanted.clone()), &how).await?;
    Ok(answer_written(&written))
}

pub(super) async fn patch(
    State(api): Shared,
    Path(path): Named,
    Strict(query): Strict<WriteQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let name = name(&path)?;
    let how = How { when: precondition(&headers)?, dry_run: query.dry_run, renew: false };
    let kind = body::media_type(&headers, &[patches::MERGE, patches::JSON])?;
    let patch = body::parse(&body::read(body).await?)?;
    let make = |held: Option<&Held>| {
        let held = held.ok_or_else(|| not_found(&name))?;
        wanted(patches::apply(kind, &patch, &held.manifest())?, &name)
    };
    let written = api.author.write(&name, &make, &how).await?;
    Ok(answer_written(&written))
}

pub(super) async fn delete(
    State(api): Shared,
    Path(path): Named,
    Strict(query): Strict<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let how = How { when: precondition(&headers)?, dry_run: query.dry_run, renew: false };
    let deleted = api.author.delete(&name(&path)?, &how).await?;
    Ok(answer(StatusCode::OK, &deleted))
}

pub(super) async fn renew(
    State(api): Shared,
    Path(path): Named,
    Strict(query): Strict<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let name = name(&path)?;
    if name.kind == Kind::Service {
        return Err(Problem::new(ProblemType::NotFound, "services have no time to live").into());
    }
    let how = How { when: precondition(&headers)?, dry_run: query.dry_run, renew: true };
    let make = |held: Option<&Held>| {
        let mut object = held.ok_or_else(|| not_found(&name))?.stored.object.clone();
        object.metadata_mut().resource_version = None;
        Ok(object)
    };
    let written = api.author.write(&name, &make, &how).await?;
    Ok(answer_written(&written))
}

/// A page of objects.
fn page(
    api: &Arc<Api>,
    kind: Kind,
    namespace: Option<&DnsLabel>,
    query: &ListQuery,
) -> Result<List<Manifest>, Problem> {
    let bad = |field: &str, value: &str, rule: String| {
        Problem::new(ProblemType::BadRequest, format!("{field}: {rule}")).at(field, Some(value), rule)
    };
    let selector: Selector = match &query.label_selector {
        Some(text) => text.parse().map_err(|error| bad("labelSelector", text, format!("{error}")))?,
        None => Selector::default(),
    };
    let limit = query.limit.unwrap_or(PAGE);
    let from = match &query.continue_token {
        Some(token) => {
            read_token(token).ok_or_else(|| bad("continue", token, "not a token of ours".into()))?
        }
        None => FullName { namespace: namespace.cloned().unwrap_or_else(first), name: first() },
    };
    let control = &api.author.control;
    let world = control.world();
    let from = ObjectName { kind, name: from };
    let mut found = world
        .list(&from)
        .take_while(|(name, _)| namespace.is_none_or(|namespace| name.name.namespace == *namespace))
        .filter(|(_, held)| selector.matches(&held.stored.object.metadata().labels));
    let items = found.by_ref().take(limit).map(|(_, held)| held.manifest()).collect();
    let metadata = ListMetadata {
        resource_version: control.revision().to_string(),
        continue_token: found.next().map(|(name, _)| write_token(&name.name)),
    };
    Ok(List { api_version: API_VERSION.into(), kind: format!("{kind}List"), metadata, items })
}

fn first() -> DnsLabel {
    FIRST.parse().unwrap_or_else(|_| DnsLabel::default_namespace())
}

/// A page goes on at a name, so that what is written meanwhile neither repeats nor hides anything else.
fn write_token(name: &FullName) -> String {
    URL_SAFE_NO_PAD.encode(name.to_string())
}

fn read_token(token: &str) -> Option<FullName> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (namespace, name) = text.split_once('/')?;
    Some(FullName { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
}

/// The object in a body. Name and namespace may be left out; where they stand they must be those of the path.
fn wanted(mut value: Value, name: &ObjectName) -> Result<Manifest, Problem> {
    if let Some(object) = value.as_object_mut() {
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.entry("name").or_insert_with(|| name.name.name.as_str().into());
            metadata.entry("namespace").or_insert_with(|| name.name.namespace.as_str().into());
        }
        // a status is the server's; that of a newer or older version need not be understood
        object.remove("status");
    }
    let manifest = Manifest::from_value(value)?;
    let metadata = manifest.metadata();
    for (field, given, expected) in [
        ("kind", manifest.kind().as_str(), name.kind.as_str()),
        ("metadata.namespace", &metadata.namespace, name.name.namespace.as_str()),
        ("metadata.name", &metadata.name, name.name.name.as_str()),
    ] {
        if given != expected {
            let rule = format!("the path says {expected:?}");
            let problem = Problem::new(ProblemType::Invalid, format!("{field}: {rule}"));
            return Err(problem.at(field, Some(given), rule));
        }
    }
    Ok(manifest)
}

fn kind(plural: &str) -> Result<Kind, Problem> {
    Kind::from_plural(plural).ok_or_else(|| {
        let allowed = Kind::ALL.map(Kind::plural).join(", ");
        Problem::new(ProblemType::NotFound, format!("{plural:?} is none of {allowed}"))
    })
}

fn label(field: &str, text: &str) -> Result<DnsLabel, Problem> {
    text.parse().map_err(|error| {
        let rule = format!("{error}");
        Problem::new(ProblemType::Invalid, format!("{field}: {rule}")).at(field, Some(text), rule)
    })
}

fn name((namespace, plural, name): &(String, String, String)) -> Result<ObjectName, Problem> {
    let kind = kind(plural)?;
    let name = FullName { namespace: label("namespace", namespace)?, name: label("name", name)? };
    Ok(ObjectName { kind, name })
}

/// `If-Match` and `If-None-Match: *`.
fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let list = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        let text: Vec<_> = values.map(|value| value.to_str().unwrap_or("?")).collect();
        (!text.is_empty()).then(|| text.join(","))
    };
    let matches = list(&header::IF_MATCH)
        .map(|text| text.split(',').map(|tag| tag.trim().trim_matches('"').to_owned()).collect());
    let none_matches = match list(&header::IF_NONE_MATCH).as_deref().map(str::trim) {
        None => false,
        Some("*") => true,
        Some(other) => {
            let rule = "only * is understood here: write only where there is nothing yet";
            let problem = Problem::new(ProblemType::BadRequest, format!("If-None-Match: {rule}"));
            return Err(problem.at("If-None-Match", Some(other), rule));
        }
    };
    Ok(Precondition { matches, none_matches, creates: false })
}

fn answer_written(written: &Written) -> Response {
    answer(if written.created { StatusCode::CREATED } else { StatusCode::OK }, &written.object)
}

fn answer(status: StatusCode, object: &Manifest) -> Response {
    let mut response = (status, Json(object)).into_response();
    let version = object.metadata().resource_version.as_deref();
    if let Some(Ok(tag)) = version.map(|version| HeaderValue::from_str(&format!("\"{version}\""))) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
