//! MATRICES B11: peers that send much and mean little. The proxy is a process of its own, so that its memory can be
//! asked about; what it did is bounded by the frames that it took before it closed.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    peer::{accept, address, answer, backend, call, connect, get, listener, post, proxy_with, read, within},
    process::Process,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EVENTS: &str = "bellhop_proxy_connection_events_total";
/// What a flood may cost: MATRICES B11.
const MORE_KIB: u64 = 32 * 1024;
const BYTES: &str = "bellhop_proxy_http_bytes_total";
/// Steps of a flood that are offered, and of how many the proxy takes the bytes before it cuts it, which bounds the work
/// that they make. Nothing pays for 10,000 frames; 1,000 more for each second are for a slow machine.
const OFFERED: u32 = 2_000_000;
const TAKEN: f64 = 30_000.0;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET http://a/` from the static table, `:authority: a` as a literal.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

/// What became of a flood.
struct Flood {
    sent: u32,
    /// Steps whose bytes the proxy took.
    taken: f64,
    closed: bool,
    more_kib: u64,
}

/// A proxy whose baseline reads each request to its end.
async fn target() -> Process {
    let backend = backend(|(request, respond)| async move {
        if read(&mut request.into_body()).await.is_ok() {
            answer(respond, "ok");
        }
    })
    .await;
    let proxy = Process::before(backend, &[]);
    // What is made once is made now.
    for _ in 0..10 {
        let send = connect(proxy.address).await;
        assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
    }
    proxy
}

/// Sends `next()` for as long as the proxy takes it.
async fn flood(proxy: &Process, mut next: impl FnMut(u32) -> Vec<u8>) -> Flood {
    proxy.forget_peak();
    let before = proxy.resident_kib();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    let (mut read, mut write) = socket.connect(proxy.address).await.unwrap().into_split();
    let reading = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while matches!(read.read(&mut sink).await, Ok(1..)) {}
    });
    let taken_before = proxy.metric(BYTES, &[("protocol", "http2"), ("way", "sent")]);
    let (mut sent, mut bytes) = (0, 0);
    let mut burst = [PREFACE, &frame(4, 0, 0, &[])].concat();
    while sent < OFFERED && write.write_all(&burst).await.is_ok() {
        burst.clear();
        (sent..sent + 100).for_each(|n| burst.extend(next(n)));
        sent += 100;
        bytes += burst.len();
    }
    let closed = tokio::time::timeout(Duration::from_secs(5), reading).await.is_ok();
    let taken = proxy.metric(BYTES, &[("protocol", "http2"), ("way", "sent")]) - taken_before;
    let taken = taken / (bytes as f64 / f64::from(sent));
    Flood { sent, taken, closed, more_kib: proxy.peak_kib().saturating_sub(before) }
}

/// Asserts that a flood is cut, counted and cheap, and that others are served as before.
async fn is_cut(next: impl FnMut(u32) -> Vec<u8>) {
    let proxy = target().await;
    let flood = tokio::time::timeout(8 * Duration::from_secs(20), flood(&proxy, next)).await.unwrap();
    assert!(flood.closed, "after {} steps", flood.sent);
    assert!(flood.taken < TAKEN, "{} of {} steps were taken", flood.taken, flood.sent);
    assert!(flood.more_kib <= MORE_KIB, "{} KiB", flood.more_kib);
    proxy.counts(EVENTS, &[("event", "flooded")], 1.0);
    let send = connect(proxy.address).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
}

#[tokio::test]
async fn b11_a_ping_flood_is_closed() {
    is_cut(|n| frame(6, 0, 0, &u64::from(n).to_be_bytes())).await;
}

#[tokio::test]
async fn b11_a_settings_flood_is_closed() {
    is_cut(|_| frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])).await;
}

#[tokio::test]
async fn b11_a_window_update_flood_is_closed() {
    is_cut(|_| frame(8, 0, 0, &[0, 0, 0, 1])).await;
}

#[tokio::test]
async fn b11_a_priority_flood_is_closed() {
    is_cut(|_| frame(2, 0, 1, &[0, 0, 0, 0, 1])).await;
}

#[tokio::test]
async fn b11_a_flood_of_unknown_frames_is_closed() {
    is_cut(|_| frame(0xee, 0, 0, &[])).await;
}

#[tokio::test]
async fn b11_rapid_resets_are_closed() {
    is_cut(|n| {
        let stream = n * 2 + 1;
        [frame(1, 5, stream, GET), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    })
    .await;
}

#[tokio::test]
async fn b11_a_flood_of_empty_data_is_closed() {
    is_cut(|n| if n == 0 { frame(1, 4, 1, GET) } else { frame(0, 0, 1, &[]) }).await;
}

/// Padding is no content, however much there is of it.
#[tokio::test]
async fn b11_a_flood_of_data_that_is_padding_alone_is_closed() {
    for padding in [&[0][..], &[3, 0, 0, 0]] {
        is_cut(|n| if n == 0 { frame(1, 4, 1, GET) } else { frame(0, 8, 1, padding) }).await;
    }
}

#[tokio::test]
async fn b11_a_flood_of_continuations_is_closed() {
    is_cut(|n| if n == 0 { frame(1, 0, 1, GET) } else { frame(9, 0, 1, &[]) }).await;
}

/// `GET http://a/` that leaves the dynamic table as it is.
const GET_UNINDEXED: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];

/// A head of one large field, put in the dynamic table, and `references` to it, each a byte that stands for 4 KiB.
fn bomb(references: usize) -> Vec<u8> {
    let mut block = GET_UNINDEXED.to_vec();
    block.extend([0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
    block.extend([b'v'; 127 + 1 + 0x1e * 128]);
    block.extend(std::iter::repeat_n(0xbe, references));
    block
}

#[tokio::test]
async fn b11_an_hpack_bomb_is_closed() {
    is_cut(|n| frame(1, 5, n * 2 + 1, &bomb(10_000))).await;
}

/// Just beyond what a head may have: each is refused by itself, and costs nothing that lasts.
#[tokio::test]
async fn b11_heads_that_are_a_little_too_large_are_refused_one_by_one() {
    let proxy = target().await;
    let before = proxy.resident_kib();
    proxy.forget_peak();
    let mut socket = TcpStream::connect(proxy.address).await.unwrap();
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    for n in 0..200 {
        // In the dynamic table from the first head on.
        let block = if n == 0 { bomb(25) } else { [GET_UNINDEXED, &[0xbe; 26]].concat() };
        socket.write_all(&frame(1, 5, n * 2 + 1, &block)).await.unwrap();
        // A ping behind it: its answer comes when the head was dealt with.
        socket.write_all(&frame(6, 0, 0, &[0; 8])).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(5).any(|bytes| bytes == [0, 8, 6, 1, 0]) {
            assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0, "closed at {n}");
        }
    }
    assert!(proxy.peak_kib().saturating_sub(before) <= MORE_KIB, "{} KiB", proxy.peak_kib());
}

/// DATA of one byte each, on a hundred streams that nobody reads: their overhead is bounded, not their number alone.
#[tokio::test]
async fn b11_a_flood_of_tiny_data_that_nobody_reads_is_bounded() {
    let backend = backend(|(request, respond)| async move {
        if request.uri().path() == "/" {
            answer(respond, "ok");
        } else {
            let _unread = (request, respond);
            std::future::pending::<()>().await;
        }
    })
    .await;
    let proxy = Process::before(backend, &[]);
    let send = connect(proxy.address).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
    // `:path: /x` as a literal.
    let head = [0x83, 0x86, 0x44, 2, b'/', b'x', 0x41, 1, b'a'];
    let flooding = flood(&proxy, |n| match n {
        0..100 => frame(1, 4, n * 2 + 1, &head),
        _ => frame(0, 0, n % 100 * 2 + 1, b"x"),
    });
    // Where the windows end, the flood stands still; so it may never end by itself.
    let before = proxy.resident_kib();
    let flooded = tokio::time::timeout(Duration::from_secs(10), flooding).await;
    let more = flooded.map_or_else(|_| proxy.peak_kib().saturating_sub(before), |flood| flood.more_kib);
    println!("{more} KiB more");
    assert!(more <= MORE_KIB, "{more} KiB");
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
}

/// MATRICES B10.
#[tokio::test]
async fn b10_a_head_that_does_not_get_on_ends_its_connection_in_time() {
    let backend = backend(|(_, respond)| async move { answer(respond, "ok") }).await;
    let proxy = proxy_with(backend, &["--header-timeout", "1s"]);
    for head in [frame(1, 1, 1, GET), frame(1, 5, 1, GET).split_last().unwrap().1.to_vec()] {
        let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
        socket.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &head].concat()).await.unwrap();
        let mut seen = Vec::new();
        while matches!(within(socket.read_buf(&mut seen)).await, Ok(1..)) {}
    }
    // An idle connection is none of them.
    let send = connect(address(&proxy)).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
}

/// MATRICES B10: a busy client, at each of whose pauses a head is half there, is slow with none of them.
#[tokio::test]
async fn b10_heads_that_follow_each_other_at_once_have_their_time_each() {
    let backend = backend(|(_, respond)| async move { answer(respond, "ok") }).await;
    let proxy = proxy_with(backend, &["--header-timeout", "4s"]);
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let mut seen = Vec::new();
    let mut ahead = Vec::new();
    for n in 0..32 {
        let head = frame(1, 5, n * 2 + 1, GET);
        let (most, last) = head.split_at(head.len() - 1);
        // The end of the head before, and most of this one.
        socket.write_all(&[&ahead[..], most].concat()).await.unwrap();
        ahead = last.to_vec();
        let pause = tokio::time::sleep(Duration::from_millis(250));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                got = socket.read_buf(&mut seen) => assert_ne!(got.unwrap(), 0, "closed at {n}"),
            }
        }
    }
    // The last one is still half there.
    while seen.windows(2).filter(|bytes| bytes == b"ok").count() < 31 {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
}

/// The other side may flood as well.
#[tokio::test]
async fn b11_an_upstream_that_floods_is_closed() {
    let (listener, upstream) = listener().await;
    let proxy = Process::before(upstream, &[]);
    let send = connect(proxy.address).await;
    // A POST, since a GET would be tried once more.
    let (response, _) = send.clone().send_request(post("/"), true).unwrap();
    let mut socket = accept(&listener).await;
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(GET.len()).any(|bytes| bytes.starts_with(&[0x83, 0x86])) {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
    let (mut read, mut write) = socket.into_split();
    tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while matches!(read.read(&mut sink).await, Ok(1..)) {}
    });
    proxy.forget_peak();
    let before = proxy.resident_kib();
    let pings = frame(6, 0, 0, &[0; 8]).repeat(1_000);
    let flooding = async { while write.write_all(&pings).await.is_ok() {} };
    within(flooding).await;
    assert_eq!(within(response).await.unwrap().status(), 502);
    assert!(proxy.peak_kib().saturating_sub(before) <= MORE_KIB, "{} KiB", proxy.peak_kib());
    proxy.counts("bellhop_proxy_http2_upstream_ends_total", &[("cause", "flooded")], 1.0);
}
