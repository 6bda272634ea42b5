//! `-o`: what programs read is JSON or YAML whatever the command is, and both have one shape.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout},
};

use serde_json::{Value, json};

use crate::{
    ALL_KINDS,
    desk::{Desk, command, run},
};

fn yaml(text: &str) -> Value {
    serde_norway::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_has_the_shape_of_json() {
    let desk = Desk::open().await;
    desk.run_with(&["apply", "-f", "-"], ALL_KINDS).await.done();
    for what in ["version", "header a b", "routes", "explain -k pr-15 -t route:8080", "whoami", "config view"]
    {
        let args: Vec<_> = what.split(' ').collect();
        let said = desk.run(&[&args[..], &["-o", "json"]].concat()).await.json();
        assert_eq!(yaml(&desk.run(&[&args[..], &["-o", "yaml"]].concat()).await.done()), said, "{what}");
    }
    assert_eq!(desk.run(&["header", "a", "b", "-o", "json"]).await.json()["baggage"], "routing-key=a:b");
    let version = desk.run(&["version", "-o", "json"]).await.json();
    assert_eq!(version["control"]["version"], version["bellhop"]);
    let alone = run(command("http://127.0.0.1:9", &["version", "-o", "json"]), "").await.json();
    assert!(alone["control"].is_null() && alone["problem"].as_str().unwrap().contains("127.0.0.1:9"));
    let wide = desk.run(&["explain", "-k", "pr-15", "-t", "route:8080", "-o", "wide"]).await.done();
    assert!(wide.contains("fallback   none") && wide.contains("protocol   same"), "{wide}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_the_objects_that_a_command_has_changed() {
    let desk = Desk::open().await;
    desk.run_with(&["apply", "-f", "-"], ALL_KINDS).await.done();
    let renewed = desk.run(&["sandbox", "renew", "pr-15", "-o", "json"]).await.json();
    assert_eq!((&renewed["kind"], &renewed["metadata"]["name"]), (&json!("Sandbox"), &json!("pr-15")));
    let nobody = ["group", "delete", "nobody", "--ignore-not-found", "-o", "json"];
    assert_eq!(desk.run(&nobody).await.json()["items"], json!([]));
    let deleted = yaml(&desk.run(&["group", "delete", "release-7", "-o", "yaml"]).await.done());
    assert_eq!(
        (&deleted["kind"], &deleted["metadata"]["name"]),
        (&json!("SandboxGroup"), &json!("release-7"))
    );
    // the second is refused, and the first is told nevertheless
    let both = desk.run(&["sandbox", "delete", "pr-15", "nobody", "-o", "json"]).await;
    assert_eq!(both.json()["metadata"]["name"], "pr-15");
    assert!(both.failed(1).contains("nobody"));
    let all = ["delete", "-f", "-", "--ignore-not-found", "-o", "json"];
    let all: Value = serde_json::from_str(&desk.run_with(&all, ALL_KINDS).await.done()).unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 3);

    let create = |name: &str| {
        ["token", "create", "--role", "proxy", "--description", name, "-o", "json"].map(str::to_owned)
    };
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let made = create(name);
        let made = desk.run(&made.each_ref().map(String::as_str)).await.json();
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let revoked = desk.run(&["token", "revoke", &ids[0], &ids[1], "-o", "json"]).await.json();
    assert_eq!(revoked["items"][1]["id"], ids[1].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_changes_contexts_is_shown_them() {
    let desk = Desk::open().await;
    let file = desk.files.path().join("config.yaml");
    let contexts = async |args: &[&str]| {
        let mut command = command(&desk.server(), &[args, &["-o", "json"]].concat());
        command.env("BELLHOP_CONFIG", &file);
        run(command, "").await.json()
    };
    let set = contexts(&["config", "set-context", "here"]).await;
    assert_eq!(set["contexts"]["here"]["server"], desk.server());
    assert_eq!(contexts(&["config", "use-context", "here"]).await["currentContext"], "here");
    assert_eq!(contexts(&["config", "delete-context", "here"]).await["contexts"], json!({}));
}

/// The first documents of a watch.
fn documents(watch: &mut Child, take: impl FnOnce(BufReader<ChildStdout>) -> Vec<Value>) -> Vec<Value> {
    let documents = take(BufReader::new(watch.stdout.take().unwrap()));
    watch.kill().unwrap();
    watch.wait().unwrap();
    documents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_prints_events_alone_each_a_document_of_one_shape() {
    let desk = Desk::open().await;
    desk.run_with(&["apply", "-f", "-"], ALL_KINDS).await.done();
    let units = desk.run(&["routes", "-o", "json"]).await.json().as_array().unwrap().len();
    let watch = |format| command(&desk.server(), &["routes", "--watch", "-o", format]).spawn().unwrap();
    let (mut lines, mut blocks) = (watch("json"), watch("yaml"));
    let both = tokio::task::spawn_blocking(move || {
        let lines = documents(&mut lines, |out| {
            out.lines().take(units).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        });
        let blocks = documents(&mut blocks, |mut out| {
            let mut first = String::new();
            out.read_line(&mut first).unwrap();
            assert_eq!(first, "---\n");
            let mut block = String::new();
            (0..units)
                .map(|_| {
                    block.clear();
                    while !block.ends_with("---\n") {
                        assert_ne!(out.read_line(&mut block).unwrap(), 0);
                    }
                    yaml(block.trim_end_matches("---\n"))
                })
                .collect()
        });
        (lines, blocks)
    });
    let (lines, blocks) = tokio::time::timeout(crate::desk::DEADLINE, both).await.unwrap().unwrap();
    assert_eq!(lines, blocks);
    let types: Vec<_> = lines.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[..2], ["reset", "put"]);
}
