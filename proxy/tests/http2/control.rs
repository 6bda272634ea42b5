//! A control plane that gives one list and then stays silent.

use std::net::SocketAddr;

use bellhop_proxy::app;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::peer::{DEADLINE, address, connect, get, listener, proxy_with};

/// What every proxy of these tests stands in front of.
pub(crate) const DESTINATION: &str = "route.default:80";

/// A route of key `k` for [`DESTINATION`].
pub(crate) fn route(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
    format!(r#"{{"destination":"{DESTINATION}","endpoints":[{}]{more}}}"#, endpoints.join(","))
}

/// Serves a list with the routes of each key.
async fn control(keys: &[(&str, String)]) -> SocketAddr {
    let (listener, address) = listener().await;
    let at = r#""token":"t","epoch":"e","revision":1}"#;
    let put = |(key, routes): &(&str, String)| {
        format!(
            r#"{{"type":"put","unit":{{"key":{{"key":"{key}","digest":"","routes":[{routes}]}}}}}}{}"#,
            '\n'
        )
    };
    let puts: String = keys.iter().map(put).collect();
    let list = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n{{\"type\":\"reset\",{at}\n{puts}{{\"type\":\"synced\",{at}\n"
    );
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let list = list.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.windows(4).any(|end| end == b"\r\n\r\n") {
                    if !matches!(socket.read_buf(&mut read).await, Ok(1..)) {
                        return;
                    }
                }
                let answer = if read.starts_with(b"GET") { &list } else { "HTTP/1.1 204 No Content\r\n\r\n" };
                let _ = socket.write_all(answer.as_bytes()).await;
                while matches!(socket.read_buf(&mut read).await, Ok(1..)) {}
            });
        }
    });
    address
}

/// A proxy before `baseline` that holds `routes` for key `k`, ready, and a client's connection to it.
pub(crate) async fn routed(
    baseline: SocketAddr,
    routes: String,
) -> (app::Running, SendRequest<bytes::Bytes>) {
    routed_with(baseline, routes, &[]).await
}

/// The same with more flags.
pub(crate) async fn routed_with(
    baseline: SocketAddr,
    routes: String,
    more: &[&str],
) -> (app::Running, SendRequest<bytes::Bytes>) {
    routed_keys(baseline, &[("k", routes)], more).await
}

/// The same with the routes of several keys.
pub(crate) async fn routed_keys(
    baseline: SocketAddr,
    keys: &[(&str, String)],
    more: &[&str],
) -> (app::Running, SendRequest<bytes::Bytes>) {
    let control = format!("http://{}", control(keys).await);
    let mut flags = vec!["--destination", DESTINATION, "--control", &control, "--allow-loopback-endpoints"];
    flags.extend(["--status-listen", "127.0.0.1:0"]);
    flags.extend(more);
    let proxy = proxy_with(baseline, &flags);
    let began = std::time::Instant::now();
    // Asked with a key that nobody knows, so that no endpoint is.
    loop {
        let send = connect(address(&proxy)).await;
        let answer = crate::peer::call(&send, keyed(get("/ready"), "unknown"), &[]).await;
        let (head, _, _) = answer.unwrap();
        let said = head.headers.get("proxy-status").map_or("", |value| value.to_str().unwrap());
        if said.contains("unknown-key") {
            return (proxy, send);
        }
        assert!(began.elapsed() < DEADLINE, "{said}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Adds a routing key.
pub(crate) fn keyed(mut request: Request<()>, key: &str) -> Request<()> {
    let value = format!("a=b,routing-key={key}").parse().unwrap();
    request.headers_mut().insert("baggage", value);
    request
}
