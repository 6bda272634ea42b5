//! The command, as people type it, against a real control plane and a real proxy.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

mod desk;
mod formats;
mod openapi;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
};

use desk::{DEADLINE, Desk, command, run};

const ALL_KINDS: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: SandboxGroup
metadata: { name: release-7 }
spec: { sandboxes: [pr-15, team-a/pr-16] }
---
apiVersion: bellhop.dev/v1alpha1
kind: Sandbox
metadata: { name: pr-15, annotations: { by: me } }
spec: { ttl: 4h, overrides: [{ service: route, endpoints: [10.0.0.7] }] }
---
apiVersion: bellhop.dev/v1alpha1
kind: Sandbox
metadata: { name: pr-16, namespace: team-a }
spec: { overrides: [{ service: driver.default, endpoints: ['10.0.0.8:80'] }] }
---
apiVersion: bellhop.dev/v1alpha1
kind: Service
metadata: { name: route }
spec: { ports: [{ port: 8080 }], addresses: [10.1.0.1] }
---
apiVersion: bellhop.dev/v1alpha1
kind: Service
metadata: { name: driver }
spec: { ports: [{ port: 9090 }], addresses: [10.1.0.2], overrideFrom: [team-a] }
";

/// A sandbox of one override, as a document of a file.
fn sandbox(name: &str, key: &str, endpoint: &str) -> String {
    format!(
        "---\napiVersion: bellhop.dev/v1alpha1\nkind: Sandbox\nmetadata: {{ name: {name} }}\n\
         spec: {{ routingKey: {key}, overrides: [{{ service: route, port: 8080, endpoints: ['{endpoint}'] }}] }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_in_one_file_are_written_in_the_order_in_which_they_lean_on_one_another() {
    let desk = Desk::open().await;
    let dry = desk.run_with(&["apply", "--dry-run", "-f", "-"], ALL_KINDS).await.done();
    assert!(
        dry.contains("service/route created (dry run)") && dry.contains("pr-16 in team-a depends on"),
        "{dry}"
    );
    assert!(desk.run(&["routes"]).await.done().contains("no routes"), "a dry run writes nothing");
    let said = desk.run_with(&["apply", "-f", "-"], ALL_KINDS).await.done();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "service/route created",
            "service/driver created",
            "sandbox/pr-15 created",
            "sandbox/pr-16 in team-a created",
            "group/release-7 created",
        ]
    );
    let again = desk.run_with(&["apply", "-f", "-"], ALL_KINDS).await.done();
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    let noted = desk.run_with(&["apply", "-f", "-"], &ALL_KINDS.replace("by: me", "by: you")).await.done();
    assert!(noted.contains("sandbox/pr-15 configured"), "{noted}");
    let gone = desk.run_with(&["delete", "-f", "-"], ALL_KINDS).await.done();
    assert!(
        gone.starts_with("group/release-7 deleted") && gone.ends_with("service/driver deleted\n"),
        "{gone}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_validated_before_the_first_write_and_all_faults_are_told() {
    let desk = Desk::open().await;
    let service = "apiVersion: bellhop.dev/v1alpha1\nkind: Service\nmetadata: { name: route }\nspec: { ports: [{ port: 8080 }] }\n";
    let closed = "apiVersion: bellhop.dev/v1alpha1\nkind: Sandbox\nmetadata: { name: x, namespace: team-b }\n\
                  spec: { overrides: [{ service: route.default, endpoints: [10.0.0.7] }] }\n";
    let group = "---\napiVersion: bellhop.dev/v1alpha1\nkind: SandboxGroup\nmetadata: { name: g }\nspec: { sandboxes: [a, b] }\n";
    let (a, b) = (sandbox("a", "a", "10.0.0.7:80"), sandbox("b", "b", "10.0.0.8:80"));
    for (code, what, text) in [
        (65, "stands twice", format!("{service}---\n{service}")),
        (65, "spec.tll", format!("{service}{}", a.replace("routingKey: a", "tll: 4h"))),
        (
            65,
            "routing key a is that of sandbox/a",
            format!("{service}{a}{}", sandbox("b", "a", "10.0.0.8:80")),
        ),
        (65, "override route.default:8080 differently", format!("{service}{a}{b}{group}")),
        (65, "spec.overrideFrom", format!("{service}---\n{closed}")),
        // control alone knows where endpoints may be, also where the service is of the same file
        (1, "8.8.8.8", format!("{service}{}", sandbox("a", "a", "8.8.8.8:80"))),
    ] {
        let why = desk.run_with(&["apply", "-f", "-"], &text).await.failed(code);
        assert!(why.contains(what) && why.contains("Nothing was"), "{what}: {why}");
        let there = desk.run(&["service", "list", "-o", "json"]).await.json();
        assert_eq!(there["items"].as_array().unwrap().len(), 0, "{what}");
    }
    let both = format!("{}{}", sandbox("a", "a/b", "10.0.0.7:80"), sandbox("b", "b", "nowhere:0"));
    let why = desk.run_with(&["apply", "-f", "-"], &both).await.failed(65);
    assert!(why.contains("spec.routingKey") && why.contains("endpoints[0]"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exit_code_means_what_the_help_says() {
    let desk = Desk::open().await;
    desk.run(&["--help"]).await.done();
    desk.run(&["header", "a/b"]).await.failed(64);
    desk.run(&["sandbox", "create", "x", "--override", "route"]).await.failed(64);
    desk.run(&["--server", "ftp://x", "proxies"]).await.failed(64);
    desk.run(&["sandbox", "get", "nobody"]).await.failed(1);
    desk.run(&["sandbox", "delete", "nobody"]).await.failed(1);
    desk.run(&["sandbox", "delete", "--ignore-not-found", "nobody"]).await.done();
    let latin = desk.file("latin", b"kind: Sandb\xf6x\n");
    assert!(desk.run(&["apply", "-f", &latin]).await.failed(65).contains("not UTF-8 at byte 11"));
    let why = desk.run(&["apply", "-f", "/no/such", "-f", &latin]).await.failed(66);
    assert!(why.contains("/no/such") && why.contains("not UTF-8"), "the faults of all files are told: {why}");
    let nobody = run(command("http://127.0.0.1:9", &["proxies"]), "").await;
    assert!(nobody.failed(69).contains("http://127.0.0.1:9"));
    desk.run(&["sandbox", "create", "pr-15", "--override", "route:8080=10.0.0.7:8080"]).await.done();
    let why = desk.run(&["sandbox", "wait", "pr-15", "--timeout", "100ms"]).await.failed(75);
    assert!(why.contains("heard of no proxy") && !why.contains('\u{1b}'), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_returns_as_soon_as_every_proxy_holds_the_key() {
    let desk = Desk::open().await;
    let create = ["sandbox", "create", "pr-15", "--override", "route:8080=10.0.0.7:8080", "--wait"];
    // begun before there is any proxy
    let (waited, proxy) = tokio::join!(desk.run(&create), desk.proxy());
    let said = waited.done();
    assert!(said.ends_with("pr-15 is in force on 1 proxy\n"), "{said}");
    let json = desk.run(&[&create[..], &["-o", "json"]].concat()).await.json();
    assert_eq!(json["kind"], "Sandbox", "no sentence stands behind JSON");
    let waited = desk.run(&["sandbox", "wait", "pr-15", "-o", "json"]).await.json();
    assert_eq!((&waited["key"], &waited["inForce"]), (&"pr-15".into(), &true.into()));
    assert!(desk.run(&["proxies"]).await.done().contains("p1"));
    let status = desk.run(&["status"]).await.done();
    for part in
        ["Store: memory · healthy", "1 sandboxes", "1 connected (1 current, 0 behind)", "REPLICA", "p1"]
    {
        assert!(status.contains(part), "{part}: {status}");
    }
    proxy.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_ends_with_3_where_something_is_wrong_and_says_what_in_every_form() {
    let desk = Desk::open().await;
    let healthy = desk.run(&["status", "-o", "json"]).await.json();
    assert_eq!(healthy["healthy"], true);
    // a proxy that is heard and holds routes that nobody has
    let body = r#"{"version":"1","tableDigest":"00000000000000ff","keys":1}"#;
    let head = format!(
        "POST /v1/proxies/odd HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(desk.control.addr()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    for format in ["table", "wide", "json", "yaml"] {
        let ended = desk.run(&["status", "-o", format]).await;
        assert!(ended.out.contains("odd"), "{format}: {}", ended.out);
        assert!(ended.failed(3).contains("old routes"), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_as_json_or_yaml_can_be_applied_again() {
    let desk = Desk::open().await;
    let args = ["apply", "-f", "-"];
    for format in ["json", "yaml"] {
        let all = desk.run_with(&["apply", "-o", format, "-f", "-"], ALL_KINDS).await.done();
        let again = desk.run_with(&args, &all).await.done();
        assert_eq!(again.matches(" unchanged").count(), 5, "{again}");
        for list in [["service", "list"], ["sandbox", "list"], ["group", "list"]] {
            let all = desk.run(&[&list[..], &["-A", "-o", format]].concat()).await.done();
            let again = desk.run_with(&args, &all).await.done();
            assert!(!again.is_empty() && again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
        }
        let one = desk.run(&["sandbox", "get", "pr-15", "-o", format]).await.done();
        assert_eq!(desk.run_with(&args, &one).await.done(), "sandbox/pr-15 unchanged\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_does_not_keep_the_rest_from_being_written() {
    let desk = Desk::open().await;
    let file = desk.file("all.yaml", ALL_KINDS);
    let mut child = command(&desk.server(), &["apply", "-f", &file]).spawn().unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        drop(out);
        child.wait().unwrap()
    });
    assert!(tokio::time::timeout(DEADLINE, ended).await.unwrap().unwrap().success());
    desk.run(&["group", "get", "release-7"]).await.done();
    if Path::new("/dev/full").exists() {
        let mut full = command(&desk.server(), &["sandbox", "list"]);
        full.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        assert!(run(full, "").await.failed(1).contains("cannot be printed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_explain_say_where_a_call_goes_and_why() {
    let desk = Desk::open().await;
    desk.run_with(&["apply", "-f", "-"], ALL_KINDS).await.done();
    let routes = desk.run(&["routes", "-o", "wide"]).await.done();
    for word in ["pr-15", "route.default:8080", "10.0.0.7:8080", "default/pr-15", "release-7", "DIGEST"] {
        assert!(routes.contains(word), "{word}: {routes}");
    }
    let why = desk.run(&["explain", "--key", "release-7", "--to", "driver:9090"]).await.done();
    for word in
        ["driver.default:9090 → sandbox", "10.0.0.8:80", "team-a/pr-16", "SandboxGroup default/release-7"]
    {
        assert!(why.contains(word), "{word}: {why}");
    }
    let json = desk.run(&["explain", "-k", "nobody", "-t", "route:8080", "-o", "json"]).await.json();
    assert_eq!((&json["decision"], &json["reason"]), (&"baseline".into(), &"unknown-key".into()));
    let bad = desk.run(&["sandbox", "create", "bad", "--override", "bare=10.0.0.7"]).await.done();
    assert!(
        bad.contains("ServiceMissing") && bad.contains("bare.default") && bad.contains("apply a Service"),
        "{bad}"
    );
    assert!(desk.run(&["sandbox", "list"]).await.done().contains("Degraded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_sandbox_is_not_waited_for_and_can_be_renewed() {
    let desk = Desk::open().await;
    let create = ["sandbox", "create", "pr-15", "--override", "route:8080=10.0.0.7:8080", "--ttl", "1s"];
    desk.run(&create).await.done();
    let begun = std::time::Instant::now();
    while !desk.run(&["sandbox", "list"]).await.done().contains("Expired") {
        assert!(begun.elapsed() < DEADLINE, "it expires");
    }
    let why = desk.run(&["sandbox", "wait", "pr-15"]).await.failed(1);
    assert!(why.contains("has expired") && why.contains("renew"), "{why}");
    assert!(desk.run(&["sandbox", "renew", "pr-15"]).await.done().contains("sandbox/pr-15 renewed, expires"));
}

#[tokio::test(flavor = "multi_thread")]
async fn header_and_completion_need_no_control_plane() {
    let bare = async |args: &[&str]| run(command("not an address", args), "").await.done();
    assert_eq!(bare(&["header", "pr-15", "pr-16"]).await, "baggage: routing-key=pr-15:pr-16\n");
    assert_eq!(bare(&["header", "a", "--member", "k"]).await, "baggage: k=a\n");
    for shell in ["bash", "zsh", "fish"] {
        assert!(bare(&["completion", shell]).await.contains("explain"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_prints_five_trees_and_ends_well_whatever_the_environment_says() {
    let mut demo = command("not an address", &["demo"]);
    for (name, value) in [
        ("BELLHOP_AUTH", "required"),
        ("BELLHOP_CARRIERS", "header=X"),
        ("BELLHOP_TLS_CERT_FILE", "/nonexistent"),
        ("BELLHOP_TOKEN_FILE", "/nonexistent"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://nowhere:4318"),
    ] {
        demo.env(name, value);
    }
    let said = run(demo, "").await.done();
    assert_eq!(said.matches("  frontend ").count(), 5 + 1, "five trees and the picture: {said}");
    assert_eq!(said.matches("   └─ route").count(), 5, "{said}");
    for word in ["pr-15", "pr-16", "reason=no-route-here", "reason=unknown-key", "All as it should be."] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
