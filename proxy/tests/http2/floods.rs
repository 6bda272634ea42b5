//! MATRICES B11: peers that send much and mean little.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::peer::{
    accept, address, answer, backend, call, connect, get, listener, post, proxy, proxy_with, within,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET http://a/` from the static table, `:authority: a` as a literal.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

/// Sends `next()` for as long as the proxy takes it, and gives how many frames that were.
async fn flood(to: SocketAddr, frames: usize, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let socket = TcpStream::connect(to).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let reading = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while matches!(read.read(&mut sink).await, Ok(1..)) {}
    });
    let mut first = PREFACE.to_vec();
    first.extend(frame(4, 0, 0, &[]));
    write.write_all(&first).await.unwrap();
    let mut n = 0;
    for _ in 0..frames / 100 {
        let mut burst = Vec::new();
        for _ in 0..100 {
            burst.extend(next(n));
            n += 1;
        }
        if write.write_all(&burst).await.is_err() {
            break;
        }
    }
    tokio::time::timeout(Duration::from_secs(5), reading).await.is_ok()
}

async fn is_closed_by(next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let backend = backend(|(_, respond)| async move { answer(respond, "ok") }).await;
    let proxy = proxy(backend);
    let closed = within(flood(address(&proxy), 60_000, next)).await;
    // Others are served as before.
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
    closed
}

#[tokio::test]
async fn b11_a_ping_flood_is_closed() {
    assert!(is_closed_by(|n| frame(6, 0, 0, &u64::from(n).to_be_bytes())).await);
}

#[tokio::test]
async fn b11_a_settings_flood_is_closed() {
    assert!(is_closed_by(|_| frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])).await);
}

#[tokio::test]
async fn b11_a_window_update_flood_is_closed() {
    assert!(is_closed_by(|_| frame(8, 0, 0, &[0, 0, 0, 1])).await);
}

#[tokio::test]
async fn b11_a_priority_flood_is_closed() {
    assert!(is_closed_by(|_| frame(2, 0, 1, &[0, 0, 0, 0, 1])).await);
}

#[tokio::test]
async fn b11_a_flood_of_unknown_frames_is_closed() {
    assert!(is_closed_by(|_| frame(0xee, 0, 0, &[])).await);
}

#[tokio::test]
async fn b11_rapid_resets_are_closed() {
    assert!(
        is_closed_by(|n| {
            let stream = n * 2 + 1;
            [frame(1, 5, stream, GET), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .await
    );
}

#[tokio::test]
async fn b11_a_flood_of_empty_data_is_closed() {
    assert!(is_closed_by(|n| if n == 0 { frame(1, 4, 1, GET) } else { frame(0, 0, 1, &[]) }).await);
}

#[tokio::test]
async fn b11_a_flood_of_continuations_is_closed() {
    assert!(is_closed_by(|n| if n == 0 { frame(1, 0, 1, GET) } else { frame(9, 0, 1, &[]) }).await);
}

/// One field in the dynamic table, then references to it: each byte stands for 4 KiB.
#[tokio::test]
async fn b11_an_hpack_bomb_is_refused() {
    let mut block = GET.to_vec();
    block.extend([0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
    block.extend([b'v'; 4_000]);
    block.extend([0xbe; 10_000]);
    let bomb = block.clone();
    let reset_or_closed =
        is_closed_by(move |n| frame(1, 5, n * 2 + 1, if n == 0 { &bomb } else { GET })).await;
    let _ = reset_or_closed;
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

/// The other side may flood as well.
#[tokio::test]
async fn b11_an_upstream_that_floods_is_closed() {
    let (listener, upstream) = listener().await;
    let proxy = proxy(upstream);
    let send = connect(address(&proxy)).await;
    // A POST, since a GET would be tried once more.
    let (response, _) = send.clone().send_request(post("/"), true).unwrap();
    let mut socket = accept(&listener).await;
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(GET.len()).any(|bytes| bytes.starts_with(&[0x83, 0x86])) {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
    // Of a type that asks for no answer: what is counted is counted in the proxy's time, and a test's build is slow.
    let chatter = frame(0xee, 0, 0, &[]).repeat(1_000);
    let (mut read, mut write) = socket.into_split();
    tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while matches!(read.read(&mut sink).await, Ok(1..)) {}
    });
    let flooding = async { while write.write_all(&chatter).await.is_ok() {} };
    within(flooding).await;
    let head = within(response).await.unwrap();
    assert_eq!(head.status(), 502);
}
