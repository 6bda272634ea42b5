//! The comparison from its command line to its files, with windows too short to say anything about speed.

#![allow(clippy::expect_used, reason = "the helpers of a test are the test")]

use std::{path::Path, process::Command};

use serde_json::Value;

/// What every machine that runs the tests has; others join if they are there.
const SURE: [&str; 3] = ["direct", "hyper-relay", "bellhop"];

fn run(arguments: &[&str], json: &Path, html: &Path) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_bellhop-bench"));
    let mut command = Command::new(program);
    // those that were built for the tests, with the features that they have there
    command.args(arguments).arg("--programs").arg(program.parent().expect("a directory"));
    command.arg("--json").arg(json).arg("--html").arg(html);
    let output = command.output().expect("bellhop-bench starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_short_comparison_measures_every_peer_that_is_there_and_writes_all_it_found() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: the comparison needs two cores");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (json, html) = (dir.path().join("run.json"), dir.path().join("run.html"));
    let workloads = "h1-1,h1-64,h1-64-unkeyed,h2-8x16,grpc-unary,down-64k,up-64k,websocket";
    let arguments = ["compare", "--workloads", workloads, "--rounds", "1", "--seconds", "0.2"];
    let (success, said) = run(&arguments, &json, &html);
    assert!(success, "{said}");

    let text = std::fs::read_to_string(&json).expect("the JSON");
    let run_: Value = serde_json::from_str(&text).expect("JSON");
    let absent = run_["absent"].as_object().expect("absent peers").clone();
    let measured = run_["samples"].as_object().expect("samples").clone();
    assert_eq!(run_["failures"], 0, "{said}");
    assert!(measured.contains_key("websocket"), "{said}");
    for (workload, peers) in &measured {
        for peer in SURE {
            let blank = run_["blanks"][workload].get(peer).is_some();
            assert!(peers.get(peer).is_some() || blank, "{peer} is missing from {workload}: {said}");
        }
        for (peer, samples) in peers.as_object().expect("peers") {
            assert!(!absent.contains_key(peer), "{peer} is absent and measured");
            let sample = &samples[0];
            assert!(sample["rate"].as_f64().is_some_and(|rate| rate > 0.0), "{workload} {peer}: {sample}");
            assert_eq!(sample["cpu_us"].is_null(), peer == "direct", "{workload} {peer}: {sample}");
            if peer.starts_with("bellhop") {
                assert_eq!(sample["errors"], 0, "{workload} {peer}: {said}");
            }
        }
    }
    // As root the network of an intercepting proxy can be had, and nothing may quietly leave it out.
    if rustix::process::geteuid().is_root() && absent.get("bellhop-intercepted").is_some() {
        let why = absent["bellhop-intercepted"].as_str().unwrap_or_default();
        assert!(why.contains("nft"), "the intercepting proxy took no part: {why}");
    }
    let page = std::fs::read_to_string(&html).expect("the page");
    assert!(page.contains("<svg") && page.contains("WebSocket echo"), "no page");
    assert!(said.contains("CPU per request, HTTP/1.1 keep-alive, 64 connections"), "{said}");
}
