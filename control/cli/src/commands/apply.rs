//! `apply` and `delete`: all objects of some files.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use bellhop_api::{
    Kind, Manifest, Metadata, RoutingKey,
    manifest::{ReadError, read_documents},
};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Session,
    objects::{self, called, path, read},
    wait,
};
use crate::{
    args::{Apply, Delete, WaitArgs},
    client::Answer,
    exit::Failure,
    output,
};

/// Largest manifest file, in bytes.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

pub(super) async fn apply(session: &Session, what: &Apply) -> Result<(), Failure> {
    let mut objects = read_files(&what.files.filename, &session.namespace)?;
    objects.sort_by_key(Manifest::kind);
    write(session, &objects, what.dry_run, what.wait).await
}

pub(super) async fn delete(session: &Session, what: &Delete) -> Result<(), Failure> {
    let mut objects = read_files(&what.files.filename, &session.namespace)?;
    objects.sort_by_key(|object| std::cmp::Reverse(object.kind()));
    for object in &objects {
        let Metadata { namespace, name, .. } = object.metadata();
        objects::delete(session, object.kind(), namespace, name, what.ignore_not_found).await?;
    }
    Ok(())
}

/// Writes objects, in order, after control has found nothing wrong with any of them; then waits, if told so.
pub(super) async fn write(
    session: &Session,
    objects: &[Manifest],
    dry_run: bool,
    waiting: WaitArgs,
) -> Result<(), Failure> {
    check_all(session, objects).await?;
    let mut written = Vec::with_capacity(objects.len());
    for object in objects {
        let (word, stored) = put(session, object, dry_run).await?;
        if !session.quiet && matches!(session.output, crate::args::Format::Table | crate::args::Format::Wide)
        {
            report(session, &stored, word, dry_run);
        }
        written.push(stored);
    }
    match (session.output, written.as_slice()) {
        (crate::args::Format::Json | crate::args::Format::Yaml, [one]) => {
            output::print(session.output, one, |_| String::new())?;
        }
        (crate::args::Format::Json | crate::args::Format::Yaml, all) => {
            output::print(session.output, &all, |_| String::new())?;
        }
        _ => {}
    }
    if waiting.wait && !dry_run {
        for key in keys(&written) {
            wait::key_in_force(session, &key, waiting.timeout.timeout).await?;
        }
    }
    Ok(())
}

fn keys(objects: &[Manifest]) -> BTreeSet<RoutingKey> {
    objects.iter().filter_map(|object| object.status()?.routing_key.clone()).collect()
}

/// Says what became of an object, with what keeps it from routing.
fn report(session: &Session, object: &Manifest, word: &str, dry_run: bool) {
    let Metadata { namespace, name, .. } = object.metadata();
    let dry = if dry_run { " (dry run)" } else { "" };
    output::line(&format!("{} {}{dry}", called(object.kind(), namespace, name), session.paint.bold(word)));
    let conditions = object.status().map_or(&[][..], |status| &status.conditions);
    for condition in conditions.iter().filter(|condition| !condition.message.is_empty()) {
        output::line(&format!("  {}: {}", condition.kind, condition.message));
    }
}

/// Asks control about every object before the first is written. An object that leans on a service of the same files is
/// judged when it is written, after that service.
async fn check_all(session: &Session, objects: &[Manifest]) -> Result<(), Failure> {
    let services: BTreeSet<(&str, &str)> = objects
        .iter()
        .filter(|object| object.kind() == Kind::Service)
        .map(|object| (object.metadata().namespace.as_str(), object.metadata().name.as_str()))
        .collect();
    let mut faults = Vec::new();
    for object in objects.iter().filter(|object| !leans_on(object, &services)) {
        let answer = send(session, object, true).await?;
        if !answer.status.is_success() {
            faults.push(refusal(object, &answer));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Refused(format!("{}\nNothing was written.", faults.join("\n"))))
    }
}

fn leans_on(object: &Manifest, services: &BTreeSet<(&str, &str)>) -> bool {
    let Manifest::Sandbox(sandbox) = object else { return false };
    sandbox.spec.overrides.iter().any(|each| {
        let (name, namespace) =
            each.service.split_once('.').unwrap_or((&each.service, &sandbox.metadata.namespace));
        services.contains(&(namespace, name))
    })
}

/// Writes one object; says what that changed.
async fn put(
    session: &Session,
    object: &Manifest,
    dry_run: bool,
) -> Result<(&'static str, Manifest), Failure> {
    let Metadata { namespace, name, .. } = object.metadata();
    let path = path(object.kind(), namespace, name);
    let before = session.client.ask::<()>(Method::GET, &path, None).await?;
    let before = match before.status {
        StatusCode::NOT_FOUND => None,
        status if status.is_success() => Some(read(before.json()?)?),
        _ => return Err(Failure::Refused(refusal(object, &before))),
    };
    let answer = send(session, object, dry_run).await?;
    if !answer.status.is_success() {
        return Err(Failure::Refused(refusal(object, &answer)));
    }
    let word = match before {
        None => "created",
        Some(before) if before.same_spec(object) && before.metadata().labels == object.metadata().labels => {
            "unchanged"
        }
        Some(_) => "configured",
    };
    Ok((word, read(answer.json::<Value>()?)?))
}

async fn send(session: &Session, object: &Manifest, dry_run: bool) -> Result<Answer, Failure> {
    let Metadata { namespace, name, .. } = object.metadata();
    let path = path(object.kind(), namespace, name);
    let path = if dry_run { format!("{path}?dryRun=true") } else { path };
    session.client.ask(Method::PUT, &path, Some(object)).await
}

fn refusal(object: &Manifest, answer: &Answer) -> String {
    let Metadata { namespace, name, .. } = object.metadata();
    format!("{}: {}", called(object.kind(), namespace, name), answer.problem())
}

/// Reads the objects of all files; every fault of every file is told at once.
fn read_files(files: &[PathBuf], namespace: &str) -> Result<Vec<Manifest>, Failure> {
    let mut objects = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        let text = read_text(file)?;
        for found in read_documents(&text, namespace) {
            match found {
                Ok(object) => objects.push(object),
                Err(fault) => faults.push(describe(file, &fault)),
            }
        }
    }
    let mut seen = BTreeSet::new();
    for object in &objects {
        let Metadata { namespace, name, .. } = object.metadata();
        if !seen.insert((object.kind(), namespace, name)) {
            faults.push(format!("{} stands twice in these files", called(object.kind(), namespace, name)));
        }
    }
    if faults.is_empty() {
        Ok(objects)
    } else {
        Err(Failure::Manifest(format!("{}\nNothing was written.", faults.join("\n"))))
    }
}

fn describe(file: &Path, fault: &ReadError) -> String {
    format!("{}: {fault}", file.display())
}

fn read_text(file: &Path) -> Result<String, Failure> {
    let cannot = |why: &dyn std::fmt::Display| Failure::NoInput(format!("{}: {why}", file.display()));
    let input: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|why| cannot(&why))?)
    };
    let mut text = String::new();
    input.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(|why| cannot(&why))?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(cannot(&"larger than 64 MiB"));
    }
    Ok(text)
}
