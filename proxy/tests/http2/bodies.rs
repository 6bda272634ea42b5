//! Flow control from end to end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;

use crate::{
    peer::{address, backend, call, connect, get, post, proxy, read, send, within},
    process::Process,
};

const CHUNK: usize = 16 * 1024;
/// More of them than a window holds.
const CHUNKS: usize = 8;

/// What the proxy may hold for a hundred streams of one client: the connection's window towards the upstream, and on each
/// stream a window's worth to be sent.
const HELD_KIB: u64 = 1024 + 100 * 64;

/// A backend that sends 128 KiB, and on `/endless` as much as anybody takes, which it counts.
async fn generous() -> (SocketAddr, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let backend = backend(move |(request, mut respond)| {
        let counted = counted.clone();
        async move {
            let mut to = respond.send_response(Response::new(()), false).unwrap();
            let endless = request.uri().path() == "/endless";
            for _ in 0..if endless { 10_000 } else { CHUNKS } {
                if send(&mut to, Bytes::from(vec![7; CHUNK]), false).await.is_err() {
                    return;
                }
                if endless {
                    counted.fetch_add(CHUNK, SeqCst);
                }
            }
            to.send_data(Bytes::new(), true).unwrap();
        }
    })
    .await;
    (backend, sent)
}

/// MATRICES F7.
#[tokio::test]
async fn f7_one_slow_reader_among_a_hundred_streams_leaves_the_others_alone() {
    let (backend, sent) = generous().await;
    let proxy = Process::before(backend, &[]);
    let mut send = connect(proxy.address).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1.len(), CHUNKS * CHUNK);
    let before = proxy.resident_kib();
    proxy.forget_peak();
    let (slow, _) = send.send_request(get("/endless"), true).unwrap();
    let slow = within(slow).await.unwrap();
    // Several times over: what a slow reader cost them would add up.
    for _ in 0..3 {
        let calls = (0..99).map(|_| {
            let send = send.clone();
            async move { assert_eq!(call(&send, get("/"), &[]).await.unwrap().1.len(), CHUNKS * CHUNK) }
        });
        within(futures_util::future::join_all(calls)).await;
    }
    // Windows and buffers of each leg hold at most this much of the endless one.
    assert!(sent.load(SeqCst) < 1024 * 1024, "{}", sent.load(SeqCst));
    let more = proxy.peak_kib().saturating_sub(before);
    println!("{more} KiB more");
    assert!(more <= HELD_KIB, "{more} KiB more");
    drop(slow);
}

/// MATRICES F7: the bound on memory, where all of them are slow.
#[tokio::test]
async fn f7_a_hundred_slow_readers_cost_no_more_than_their_windows() {
    let (backend, sent) = generous().await;
    let proxy = Process::before(backend, &[]);
    let slow = connect(proxy.address).await;
    assert_eq!(call(&slow, get("/"), &[]).await.unwrap().1.len(), CHUNKS * CHUNK);
    let before = proxy.resident_kib();
    proxy.forget_peak();
    let opened = (0..100).map(|_| {
        let mut slow = slow.clone();
        async move { within(slow.send_request(get("/endless"), true).unwrap().0).await.unwrap() }
    });
    let opened = futures_util::future::join_all(opened).await;
    // Until nothing moves any more.
    let mut last = (sent.load(SeqCst), 0);
    within(async {
        while last.1 < 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = sent.load(SeqCst);
            last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        }
    })
    .await;
    let more = proxy.peak_kib().saturating_sub(before);
    println!("{more} KiB more, {} KiB sent", last.0 / 1024);
    assert!(last.0 > 1024 * 1024, "they are slow, not asleep: {} bytes", last.0);
    assert!(more <= HELD_KIB, "{more} KiB more");
    // Others have connections of their own.
    let other = connect(proxy.address).await;
    assert_eq!(call(&other, get("/"), &[]).await.unwrap().1.len(), CHUNKS * CHUNK);
    drop(opened);
}

#[tokio::test]
async fn an_upload_waits_for_the_upstream_that_does_not_read() {
    let backend = backend(|(request, mut respond)| async move {
        let mut body = request.into_body();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (all, _) = read(&mut body).await.unwrap();
        let response = Response::builder().header("x-length", all.len()).body(()).unwrap();
        respond.send_response(response, true).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    let mut client = connect(address(&proxy)).await;
    let (response, mut body) = client.send_request(post("/"), false).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let upload = tokio::spawn(async move {
        for _ in 0..500 {
            send(&mut body, Bytes::from(vec![7; CHUNK]), false).await.unwrap();
            counted.fetch_add(CHUNK, SeqCst);
        }
        body.send_data(Bytes::new(), true).unwrap();
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(sent.load(SeqCst) < 1024 * 1024, "{}", sent.load(SeqCst));
    let response = within(response).await.unwrap();
    assert_eq!(response.headers()["x-length"], (500 * CHUNK).to_string());
    upload.await.unwrap();
}

/// A reader that is slower than any writer: a timer's tick for each twenty messages.
async fn linger(count: &mut usize) {
    *count += 1;
    if count.is_multiple_of(20) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What waits here waits for thousands of a slow reader's pauses, each as long as a busy machine makes it.
async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(180), future).await.expect("in time")
}

/// MATRICES B12.
#[tokio::test]
async fn b12_ten_thousand_small_messages_on_slow_streams_are_not_killed() {
    const MESSAGES: usize = 10_000;
    let backend = backend(|(request, mut respond)| async move {
        let mut body = request.into_body();
        let upload = async {
            let (mut length, mut count) = (0, 0);
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                length += data.len();
                linger(&mut count).await;
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            length
        };
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        let download = async {
            for _ in 0..MESSAGES {
                send(&mut to, Bytes::from_static(&[1; 50]), false).await.unwrap();
            }
        };
        let (length, ()) = tokio::join!(upload, download);
        assert_eq!(length, MESSAGES * 50);
        to.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    for streams in [1, 3, 20] {
        let client = connect(address(&proxy)).await;
        let streams = (0..streams).map(|_| {
            let mut client = client.clone();
            async move {
                let (response, mut body) = client.send_request(post("/"), false).unwrap();
                let upload = async {
                    for _ in 0..MESSAGES {
                        patiently(send(&mut body, Bytes::from_static(&[1; 50]), false)).await.unwrap();
                    }
                    body.send_data(Bytes::new(), true).unwrap();
                };
                let download = async {
                    let mut answer = patiently(response).await.unwrap().into_body();
                    let (mut length, mut count) = (0, 0);
                    while let Some(data) = patiently(answer.data()).await {
                        let data = data.unwrap();
                        length += data.len();
                        linger(&mut count).await;
                        answer.flow_control().release_capacity(data.len()).unwrap();
                    }
                    length
                };
                let ((), length) = tokio::join!(upload, download);
                assert_eq!(length, MESSAGES * 50);
            }
        });
        // Each wait within has a deadline of its own.
        futures_util::future::join_all(streams).await;
    }
}
