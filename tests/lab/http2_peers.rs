//! HTTP/2 as other people's programs speak it: curl and nghttp (nghttp2) as clients, Go's net/http and Node.js's http2 as
//! clients and as servers. Each sends 1 MiB and gets it back, with a trailer both ways where it can send one.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bellhop_e2e::{Host, Network, Process, TestControl, TestProxy, User, client, paths, wait};
use libtest_mimic::Trial;

use crate::{
    apart,
    stage::{PORT, manifest, service},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![apart("http2_of_curl_nghttp_go_and_node_is_routed_with_bodies_and_trailers_both_ways", all_pairs)]
}

const BODY: usize = 1 << 20;

/// A service, a key or none, and whose answer that is.
const CALLS: [(&str, &str, &str); 5] = [
    ("go", "", "go"),
    ("go", "to-node", "node"),
    ("node", "", "node"),
    ("node", "to-go", "go"),
    // As HTTP/1 from the proxy on.
    ("node", "to-go-http1", "go"),
];

fn all_pairs() -> Result<()> {
    let network = Network::with_hosts(&["caller", "go", "node", "control"])?;
    let host = |name: &str| network.host(name);
    let control = TestControl::start(host("control"))?;
    let url = control.url();
    let _proxy = TestProxy::intercepting(host("caller"), &[], &["--control", &url, "--proxy-id", "caller"])?;
    let mut servers = Vec::new();
    for name in ["go", "node"] {
        let mut command = peer(host(name), name)?;
        command.env("VERSION", name).env("PORT", PORT.to_string());
        servers.push(Process::start(name, command, network.directory())?);
    }
    wait::until("both servers", Duration::from_secs(15), || {
        servers.iter_mut().try_for_each(Process::alive)?;
        for name in ["go", "node"] {
            host("control").enter(|| client::dial((host(name).v4, PORT).into()).map(drop))?;
        }
        Ok(())
    })?;
    let to = |name: &str| format!("{}:{PORT}", host(name).v4);
    let mut manifests = service(host("go")) + &service(host("node"));
    manifests += &manifest("to-node", "go", &to("node"), "");
    manifests += &manifest("to-go", "node", &to("go"), "");
    manifests += &manifest("to-go-http1", "node", &to("go"), "    protocol: http1\n");
    manifests += &manifest("to-node-http2", "go", &to("node"), "    protocol: http2\n");
    control.apply(&manifests)?;
    let body = Body::write(host("caller"))?;
    for (service, key, version) in CALLS {
        let url = format!("http://{}/", to(service));
        for client in ["curl", "nghttp", "go", "node"] {
            let said = ask(host("caller"), client, &url, key, &body)
                .with_context(|| format!("{client} to {service} with {key:?}"))?;
            // curl sends no trailers.
            let wanted = format!("{version} {}", if client == "curl" { "none" } else { "good" });
            ensure!(said == wanted, "{client} to {service} with {key:?}: {said:?}, not {wanted:?}");
        }
    }
    // And from HTTP/1.
    let said = curl(host("caller"), "--http1.1", &format!("http://{}/", to("go")), "to-node-http2", &body)?;
    ensure!(said == "node none", "{said}");
    Ok(())
}

/// A program that speaks HTTP/2 at either end.
fn peer(host: &Host, name: &str) -> Result<Command> {
    Ok(match name {
        "go" => host.command(User::App, paths::cached("http2-go")?),
        _ => {
            let mut command = host.command(User::App, "node");
            command.arg(paths::tests().join("apps/http2/peer.js"));
            command
        }
    })
}

/// What is sent by those that send a file.
struct Body {
    file: String,
    digest: String,
}

impl Body {
    fn write(host: &Host) -> Result<Self> {
        let file = host.directory().join("body").to_string_lossy().into_owned();
        // Nothing that a frame that went astray could be mistaken for.
        let numbers = std::iter::successors(Some(1_u32), |n| {
            Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
        });
        fs::write(&file, numbers.flat_map(u32::to_be_bytes).take(BODY).collect::<Vec<_>>())?;
        let said = host.run("sha256sum", &[&file], "")?;
        let digest = said.split(' ').next().context("no digest")?.to_owned();
        Ok(Self { file, digest })
    }
}

/// Asks, and says which version answered and what it said of the request's trailer.
fn ask(from: &Host, client: &str, url: &str, key: &str, body: &Body) -> Result<String> {
    match client {
        "curl" => curl(from, "--http2-prior-knowledge", url, key, body),
        "nghttp" => nghttp(from, url, key, body),
        name => {
            let output = peer(from, name)?.args([url, key]).output()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{errors}");
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
    }
}

fn baggage(key: &str) -> String {
    if key.is_empty() { "baggage: a=b".to_owned() } else { format!("baggage: a=b,routing-key={key}") }
}

fn curl(from: &Host, version: &str, url: &str, key: &str, body: &Body) -> Result<String> {
    let got = from.directory().join("got").to_string_lossy().into_owned();
    let (data, baggage) = (format!("@{}", body.file), baggage(key));
    let arguments = ["-sS", "-m", "20", version, "--data-binary", &data, "-H", &baggage, "-H", "Expect:"];
    let said = from.run("curl", &[&arguments[..], &["-D", "-", "-o", &got, url]].concat(), "")?;
    ensure!(fs::read(&got)? == fs::read(&body.file)?, "another body: {said}");
    let fields = Fields(said.lines().collect());
    ensure!(fields.get("x-sum") == Some(&body.digest), "{said}");
    fields.who(&said)
}

fn nghttp(from: &Host, url: &str, key: &str, body: &Body) -> Result<String> {
    let (data, trailer) = (format!("--data={}", body.file), format!("--trailer=x-sum: {}", body.digest));
    let field = format!("--header={}", baggage(key));
    let said = from.run(
        "nghttp",
        &["--verbose", "--null-out", "--no-content-length", "--timeout=20s", &data, &field, &trailer, url],
        "",
    )?;
    // `[  0.012] recv (stream_id=13) x-version: go`
    let received =
        |line| -> Option<&str> { Some(str::split_once(line, "] recv (stream_id=")?.1.split_once(") ")?.1) };
    let fields = Fields(said.lines().filter_map(received).collect());
    ensure!(fields.get("x-sum") == Some(&body.digest), "{said}");
    fields.who(&said)
}

/// Lines of an answer's fields.
struct Fields<'a>(Vec<&'a str>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter().filter_map(|line| line.split_once(": "));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn who(&self, said: &str) -> Result<String> {
        let (version, trailer) = (self.get("x-version"), self.get("x-trailer"));
        Ok(format!("{} {}", version.with_context(|| said.to_owned())?, trailer.unwrap_or_default()))
    }
}
