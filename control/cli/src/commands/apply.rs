//! `apply` and `delete`: all objects of some files.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use bellhop_api::{Manifest, Metadata, RoutingKey, manifest::read_documents};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Session,
    objects::{self, called, path, read},
    together::{self, Services},
    wait,
};
use crate::{
    args::{Apply, Delete, WaitArgs},
    client::Answer,
    exit::Failure,
};

/// Largest manifest file, in bytes.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

pub(super) async fn apply(session: &Session, what: &Apply) -> Result<(), Failure> {
    let mut objects = read_files(&what.files.filename, &session.namespace)?;
    let faults = together::faults(&objects);
    if !faults.is_empty() {
        return Err(invalid(&faults));
    }
    objects.sort_by_key(Manifest::kind);
    write(session, &objects, what.dry_run, what.wait).await
}

pub(super) async fn delete(session: &Session, what: &Delete) -> Result<(), Failure> {
    let mut objects = read_files(&what.files.filename, &session.namespace)?;
    let faults = together::twice(&objects);
    if !faults.is_empty() {
        return Err(invalid(&faults));
    }
    objects.sort_by_key(|object| std::cmp::Reverse(object.kind()));
    let names = objects.iter().map(|object| {
        let Metadata { namespace, name, .. } = object.metadata();
        (object.kind(), namespace.as_str(), name.as_str())
    });
    objects::delete(session, names, what.ignore_not_found).await
}

/// Writes objects, in order, after control has found nothing wrong with any of them; then waits, if told so.
pub(super) async fn write(
    session: &Session,
    objects: &[Manifest],
    dry_run: bool,
    waiting: WaitArgs,
) -> Result<(), Failure> {
    let later = check_all(session, objects).await?;
    let mut written = Vec::with_capacity(objects.len());
    for (n, object) in objects.iter().enumerate() {
        if dry_run && later.contains(&n) {
            session.say(&checked_later(object));
            continue;
        }
        let (word, stored) =
            put(session, object, dry_run).await.map_err(|why| partly(why, n, objects.len()))?;
        report(session, &stored, word, dry_run);
        written.push(stored);
    }
    let keys = keys(&written);
    objects::print_all(session, written)?;
    if waiting.wait && !dry_run {
        for key in keys {
            // to programs the objects were the result
            wait::key_in_force(session, &key, waiting.timeout.timeout).await?;
        }
    }
    Ok(())
}

fn keys(objects: &[Manifest]) -> BTreeSet<RoutingKey> {
    objects.iter().filter_map(|object| object.status()?.routing_key.clone()).collect()
}

fn checked_later(object: &Manifest) -> String {
    let Metadata { namespace, name, .. } = object.metadata();
    let name = called(object.kind(), namespace, name);
    format!("{name} depends on a service of these files, and is judged once that is there (dry run)")
}

/// A failure between two writes says how far they came.
fn partly(why: Failure, done: usize, all: usize) -> Failure {
    match why {
        Failure::Refused(text) if done > 0 => {
            Failure::Refused(format!("{text}\n{done} of {all} objects were written before this one."))
        }
        other => other,
    }
}

/// Says what became of an object, with what keeps it from routing.
fn report(session: &Session, object: &Manifest, word: &str, dry_run: bool) {
    let Metadata { namespace, name, .. } = object.metadata();
    let dry = if dry_run { " (dry run)" } else { "" };
    session.say(&format!("{} {}{dry}", called(object.kind(), namespace, name), session.paint.bold(word)));
    let conditions = object.status().map_or(&[][..], |status| &status.conditions);
    for condition in conditions.iter().filter(|condition| !condition.message.is_empty()) {
        session.say(&format!("  {}: {}", condition.kind, condition.message));
    }
}

/// Asks control about every object before the first is written. Returns which of them control can only judge once a
/// service of the same files is there; what can be judged of them now, is.
async fn check_all(session: &Session, objects: &[Manifest]) -> Result<BTreeSet<usize>, Failure> {
    let services = Services::of(objects);
    let (mut faults, mut later) = (Vec::new(), BTreeSet::new());
    for (n, object) in objects.iter().enumerate() {
        let answer = send(session, object, true).await?;
        if answer.status == StatusCode::FORBIDDEN && waits_for_service(object, &answer, &services) {
            later.insert(n);
        } else if !answer.status.is_success() {
            faults.push(refusal(object, &answer));
        }
    }
    if faults.is_empty() {
        Ok(later)
    } else {
        Err(Failure::Refused(format!("{}\nNothing was written.", faults.join("\n"))))
    }
}

/// Whether all that control holds against a sandbox is the want of permission by services of the same files, which give it.
fn waits_for_service(object: &Manifest, answer: &Answer, services: &Services<'_>) -> bool {
    let Manifest::Sandbox(sandbox) = object else { return false };
    let namespace = &sandbox.metadata.namespace;
    let leaning = sandbox.spec.overrides.iter().enumerate();
    let leaning = leaning.filter(|(_, each)| services.of_override(each, namespace).is_some());
    let leaning: BTreeSet<_> = leaning.map(|(n, _)| format!("spec.overrides[{n}].service")).collect();
    let fields = answer.fields();
    !fields.is_empty() && fields.iter().all(|field| leaning.contains(field))
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
        Some(before) if unchanged(&before, object) => "unchanged",
        Some(_) => "configured",
    };
    Ok((word, read(answer.json::<Value>()?)?))
}

fn unchanged(before: &Manifest, object: &Manifest) -> bool {
    let (old, new) = (before.metadata(), object.metadata());
    before.same_spec(object) && (&old.labels, &old.annotations) == (&new.labels, &new.annotations)
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
    let (mut objects, mut faults, mut readable) = (Vec::new(), Vec::new(), true);
    for file in files {
        let bytes = match read_bytes(file) {
            Ok(bytes) => bytes,
            Err(why) => {
                readable = false;
                faults.push(describe(file, &why));
                continue;
            }
        };
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(why) => {
                faults.push(describe(file, &format_args!("not UTF-8 at byte {}", why.valid_up_to())));
                continue;
            }
        };
        for found in read_documents(text, namespace) {
            match found {
                Ok(object) => objects.push(object),
                Err(fault) => faults.push(describe(file, &fault)),
            }
        }
    }
    if !readable {
        return Err(Failure::NoInput(format!("{}\nNothing was done.", faults.join("\n"))));
    }
    if faults.is_empty() { Ok(objects) } else { Err(invalid(&faults)) }
}

fn invalid(faults: &[String]) -> Failure {
    Failure::Manifest(format!("{}\nNothing was done.", faults.join("\n")))
}

fn describe(file: &Path, fault: &dyn std::fmt::Display) -> String {
    format!("{}: {fault}", file.display())
}

fn read_bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    let input: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file)?)
    };
    let mut bytes = Vec::new();
    input.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other("larger than 64 MiB"));
    }
    Ok(bytes)
}
