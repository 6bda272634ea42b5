//! nginx, with a `map` of the baggage header. Towards its upstreams it speaks HTTP/1.1 alone, so its HTTP/2 rows are
//! HTTP/2 to HTTP/1.

use std::fs;

use anyhow::Context;

use super::{KEY, Kind, Peer};
use crate::{backend, process, process::Process, stage::Stage};

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    let program = process::find("nginx").context("nginx is not installed")?;
    let (http1, http2) = (process::free_port()?, process::free_port()?);
    let dir = stage.dir().display();
    // One process: a worker would outlive a killed master.
    let config = format!(
        "daemon off;
master_process off;
worker_rlimit_nofile 20000;
error_log {dir}/nginx-error.log;
pid {dir}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {dir}/nginx-body;
  proxy_temp_path {dir}/nginx-proxy;
  fastcgi_temp_path {dir}/nginx-fastcgi;
  uwsgi_temp_path {dir}/nginx-uwsgi;
  scgi_temp_path {dir}/nginx-scgi;
  map $http_baggage $version {{
    default baseline;
    \"~(^|,)\\s*routing-key={key}\\s*(,|;|$)\" sandbox;
  }}
  upstream baseline {{ server {baseline}; keepalive 1024; keepalive_requests 1000000000; }}
  upstream sandbox {{ server {sandbox}; keepalive 1024; keepalive_requests 1000000000; }}
  upstream grpc-baseline {{ server {baseline}; keepalive 1024; keepalive_requests 1000000000; }}
  upstream grpc-sandbox {{ server {sandbox}; keepalive 1024; keepalive_requests 1000000000; }}
  client_max_body_size 0;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  server {{
    listen {http1} backlog=4096;
    listen {http2} backlog=4096 http2;
    location / {{
      proxy_pass http://$version;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
    }}
    location = {websocket} {{
      proxy_pass http://$version;
      proxy_http_version 1.1;
      proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header Host $host;
    }}
    location {grpc}/ {{
      grpc_read_timeout 1h;
      grpc_pass grpc://grpc-$version;
    }}
  }}
}}
",
        websocket = backend::WEBSOCKET,
        grpc = backend::GRPC,
        key = KEY.replace('.', "\\."),
        baseline = stage.ground.baseline,
        sandbox = stage.ground.sandbox,
    );
    let file = stage.dir().join("nginx.conf");
    fs::write(&file, config)?;
    let args =
        ["-p".into(), stage.dir().into(), "-e".into(), "stderr".into(), "-c".into(), file.into_os_string()];
    let mut process = Process::start(Kind::Nginx.name(), &stage.proxy_seat(), &program, &args, stage.dir())?;
    process.wait_listening(http1).await?;
    process.wait_listening(http2).await?;
    Ok(Peer::of(Kind::Nginx, process, (http1, http2), &stage.ground))
}
