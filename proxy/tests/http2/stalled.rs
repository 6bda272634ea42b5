//! `--idle-timeout` where streams are open and nothing moves.

use crate::peer::{address, answer, backend, call, connect, counts, get, proxy_with};

#[tokio::test]
async fn a_connection_whose_open_stream_gets_no_answer_ends_after_the_idle_time_out() {
    let backend = backend(|(request, respond)| async move {
        match request.uri().path() {
            "/hang" => std::future::pending().await,
            _ => answer(respond, "quick"),
        }
    })
    .await;
    let proxy = proxy_with(backend, &["--idle-timeout", "1s", "--status-listen", "127.0.0.1:0"]);
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/quick"), &[]).await.unwrap().1, "quick");
    assert!(call(&send, get("/hang"), &[]).await.is_err());
    counts(&proxy, "bellhop_proxy_connection_events_total", &[("event", "idle-timeout")], 1.0).await;
}
