//! The OpenAPI document, held against every request that the command can send: each command is run with each of its flags,
//! and what it asks of control is written down on its way there and looked up in the document.

mod document;
mod recorder;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use self::{document::Document, recorder::Recorder};
use crate::{
    ALL_KINDS,
    desk::{Desk, command, run},
};

/// What is run, in this order, and the code that it ends with. `ID` is a token's.
const BEFORE_ANY_PROXY: &[(i32, &str)] = &[
    (0, "apply --filename all.yaml --dry-run"),
    (0, "apply --filename all.yaml"),
    (75, "sandbox wait pr-15 --timeout 2s"),
];
const EXERCISES: &[(i32, &str)] = &[
    (0, "apply --filename all.yaml --wait --timeout 1m"),
    (0, "sandbox wait pr-15 --timeout 1m"),
    (0, "group wait release-7 --timeout 1m"),
    (
        0,
        "sandbox create pr-20 --override route:8080=10.0.0.7:8080 --key k20 --ttl 4h --label a=b \
         --fallback-to-baseline --protocol http2 --dry-run",
    ),
    (0, "sandbox create pr-20 --override route:8080=10.0.0.7:8080 --label a=b --wait --timeout 1m"),
    (0, "sandbox get pr-20"),
    (0, "sandbox list --selector a=b"),
    (0, "sandbox list --all-namespaces"),
    (0, "sandbox renew pr-20"),
    (0, "group create g --sandbox pr-20 --key kg --ttl 4h --dry-run"),
    (0, "group create g --selector a=b --wait --timeout 1m"),
    (0, "group get g"),
    (0, "group list --selector a!=b"),
    (0, "group list --all-namespaces"),
    (0, "group renew g"),
    (0, "service get route"),
    (0, "service list --selector a!=b"),
    (0, "service list --all-namespaces"),
    (0, "status"),
    (0, "proxies"),
    (0, "routes"),
    (0, "explain --key pr-15 --key nobody --to route:8080"),
    (0, "version"),
    (0, "token create --role developer --namespaces shop,pay --ttl 30d --description ci --out token"),
    (0, "token list"),
    (0, "login --token-file token"),
    (0, "whoami --token-file token"),
    (0, "token revoke ID"),
    (0, "control backup bellhop.backup"),
    (0, "group delete g nobody --ignore-not-found"),
    (0, "sandbox delete pr-20 nobody --ignore-not-found"),
    (0, "delete --filename all.yaml --ignore-not-found"),
    (0, "service delete route nobody --ignore-not-found"),
];
/// These go on until they are ended.
const ENDLESS: [&str; 2] = ["routes --watch", "routes --watch -o json"];

/// Commands that ask control nothing.
const WITHOUT_CONTROL: [&str; 8] = [
    "completion",
    "config delete-context",
    "config get-contexts",
    "config set-context",
    "config use-context",
    "config view",
    "demo", // asks one of its own, as `apply` and `wait` do
    "header",
];

/// All that is ever asked, with the names of the query's parameters; a proxy's two requests and the backup included.
const REQUESTS: [&str; 41] = [
    "DELETE /v1/namespaces/{namespace}/groups/{name}",
    "DELETE /v1/namespaces/{namespace}/sandboxes/{name}",
    "DELETE /v1/namespaces/{namespace}/services/{name}",
    "DELETE /v1/tokens/{id}",
    "GET /v1/backup",
    "GET /v1/explain?key&to",
    "GET /v1/groups?continue&limit",
    "GET /v1/groups?limit",
    "GET /v1/keys/{key}/in-force",
    "GET /v1/keys/{key}/in-force?waitSeconds",
    "GET /v1/namespaces/{namespace}/groups/{name}",
    "GET /v1/namespaces/{namespace}/groups?continue&labelSelector&limit",
    "GET /v1/namespaces/{namespace}/groups?labelSelector&limit",
    "GET /v1/namespaces/{namespace}/sandboxes/{name}",
    "GET /v1/namespaces/{namespace}/sandboxes?labelSelector&limit",
    "GET /v1/namespaces/{namespace}/services/{name}",
    "GET /v1/namespaces/{namespace}/services?continue&labelSelector&limit",
    "GET /v1/namespaces/{namespace}/services?labelSelector&limit",
    "GET /v1/proxies",
    "GET /v1/routes",
    "GET /v1/routes?proxy&watch",
    "GET /v1/routes?since&watch",
    "GET /v1/routes?watch",
    "GET /v1/sandboxes?continue&limit",
    "GET /v1/sandboxes?limit",
    "GET /v1/services?continue&limit",
    "GET /v1/services?limit",
    "GET /v1/status",
    "GET /v1/tokens",
    "GET /v1/whoami",
    "GET /version",
    "POST /v1/namespaces/{namespace}/groups/{name}/renew",
    "POST /v1/namespaces/{namespace}/sandboxes/{name}/renew",
    "POST /v1/proxies/{id}",
    "POST /v1/tokens",
    "PUT /v1/namespaces/{namespace}/groups/{name}",
    "PUT /v1/namespaces/{namespace}/groups/{name}?dryRun",
    "PUT /v1/namespaces/{namespace}/sandboxes/{name}",
    "PUT /v1/namespaces/{namespace}/sandboxes/{name}?dryRun",
    "PUT /v1/namespaces/{namespace}/services/{name}",
    "PUT /v1/namespaces/{namespace}/services/{name}?dryRun",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_the_command_can_send_is_in_the_openapi_document() {
    let desk = Desk::open().await;
    let recorder = Recorder::before(desk.control.addr()).await;
    desk.file("all.yaml", ALL_KINDS);
    run_all(&desk, &recorder, BEFORE_ANY_PROXY).await;
    let proxy = desk.proxy_of(&recorder.server()).await;
    run_all(&desk, &recorder, EXERCISES).await;
    for line in ENDLESS {
        let before = recorder.count("/v1/routes?watch");
        let mut child = typed(&desk, &recorder, line).spawn().unwrap();
        recorder.until_more_than(before, "/v1/routes?watch").await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    proxy.drain();

    let document = Document::of(desk.control.addr());
    let asked: BTreeSet<_> = recorder.sent().iter().map(|sent| document.look_up(sent)).collect();
    let asked: Vec<_> = asked.iter().map(String::as_str).collect();
    assert_eq!(asked, REQUESTS, "what is asked has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_and_every_flag_has_its_place_in_the_test_of_the_openapi_document() {
    let lines = BEFORE_ANY_PROXY.iter().chain(EXERCISES).map(|(_, line)| *line).chain(ENDLESS);
    let lines: Vec<Vec<_>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let (_, global) = help(&[]).await;
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let (commands, flags) = help(&path).await;
        // the two programs' own commands and flags are not this command's
        if matches!(path[..], ["proxy" | "control"]) || WITHOUT_CONTROL.contains(&path.join(" ").as_str()) {
            continue;
        }
        if !commands.is_empty() {
            let below = commands.into_iter().map(|name| [&path[..], &[name.leak() as &str]].concat());
            open.extend(below);
            continue;
        }
        let runs: Vec<_> = lines.iter().filter(|line| line.starts_with(&path)).collect();
        assert!(!runs.is_empty(), "`bellhop {}` is not run here", path.join(" "));
        for flag in flags.difference(&global) {
            let typed = runs.iter().any(|line| line.contains(&flag.as_str()));
            assert!(typed, "`bellhop {} {flag}` is not run here", path.join(" "));
        }
    }
}

/// The commands and the flags that the help of a command names.
async fn help(path: &[&str]) -> (Vec<String>, BTreeSet<String>) {
    let said = run(command("not an address", &[path, &["--help"]].concat()), "").await.done();
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut section = "";
    for line in said.lines() {
        if let Some(title) = line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            section = title;
        } else {
            sections.entry(section).or_default().push(line);
        }
    }
    let lines = |title| sections.get(title).into_iter().flatten().copied();
    // what belongs to a line stands deeper
    let commands = lines("Commands").filter_map(|line| line.strip_prefix("  "));
    let commands = commands.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    let commands = commands.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect();
    let flags = lines("Options").filter(|line| line.trim_start().starts_with('-'));
    let flags = flags.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--")));
    (commands, flags.map(str::to_owned).collect())
}

async fn run_all(desk: &Desk, recorder: &Recorder, exercises: &[(i32, &str)]) {
    let mut token = String::new();
    for (code, line) in exercises {
        let ended = run(typed(desk, recorder, &line.replace("ID", &token)), "").await;
        assert_eq!(ended.code, *code, "{line}: {}{}", ended.out, ended.err);
        // `token/ID is …`
        let id = ended.out.strip_prefix("token/").and_then(|rest| rest.split(' ').next());
        token = id.map_or(token, str::to_owned);
    }
}

/// The command, asking by way of the recorder, where its files are.
fn typed(desk: &Desk, recorder: &Recorder, line: &str) -> Command {
    let mut command = command(&recorder.server(), &line.split_whitespace().collect::<Vec<_>>());
    command.current_dir(desk.files.path()).env("BELLHOP_CONFIG", desk.files.path().join("config.yaml"));
    command
}
