//! DESIGN §5: what an HTTP/2 client may take, as it is announced on the wire and held against one who takes more.

use std::collections::BTreeMap;

use bytes::Bytes;
use h2::server;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use crate::{
    floods::frame,
    peer::{accept, address, answer, backend, listener, proxy_with, within},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
/// `GET` and `POST http://a/`, which leave the dynamic table as it is.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 0x01, b'a'];
const FLOW_CONTROL_ERROR: u32 = 3;
const REFUSED_STREAM: u32 = 7;
/// The connection's window before anybody widens it (RFC 9113 §6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// As much as one frame may hold by default.
const FRAME: usize = 16 * 1024;

/// Flags, and the limits that they set.
struct Case {
    flags: &'static [&'static str],
    streams: u32,
    stream_window: u32,
    connection_window: u32,
}

const CASES: [Case; 2] = [
    Case { flags: &[], streams: 100, stream_window: 64 * 1024, connection_window: 1024 * 1024 },
    Case {
        flags: &[
            "--max-concurrent-streams",
            "20",
            "--stream-window",
            "32KiB",
            "--connection-window",
            "512KiB",
        ],
        streams: 20,
        stream_window: 32 * 1024,
        connection_window: 512 * 1024,
    },
];

/// A frame of a raw connection.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The 32 bits that begin at `at`: a reason, or an increment.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// Reads one frame; none where the connection has ended.
pub(crate) async fn read_frame(socket: &mut TcpStream) -> Option<Frame> {
    let mut header = [0; 9];
    within(socket.read_exact(&mut header)).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
    within(socket.read_exact(&mut payload)).await.ok()?;
    let stream = u32::from_be_bytes(header[5..].try_into().unwrap()) & 0x7fff_ffff;
    Some(Frame { kind: header[3], flags: header[4], stream, payload })
}

/// What a peer announces: its settings by their numbers, and the width of its connection's window.
async fn announced(socket: &mut TcpStream) -> (BTreeMap<u16, u32>, u32) {
    let mut settings = None;
    loop {
        let frame = read_frame(socket).await.unwrap();
        match (frame.kind, frame.stream) {
            (SETTINGS, 0) if frame.flags & ACK == 0 => {
                let pairs = frame.payload.chunks(6).map(|pair| {
                    let number = u16::from_be_bytes(pair[..2].try_into().unwrap());
                    (number, u32::from_be_bytes(pair[2..].try_into().unwrap()))
                });
                settings = Some(pairs.collect());
            }
            (WINDOW_UPDATE, 0) => {
                return (settings.expect("settings come first"), FIRST_WINDOW + frame.number(0));
            }
            _ => {}
        }
    }
}

/// A raw client that has read what the proxy announces.
async fn client(proxy: &bellhop_proxy::app::Running) -> (TcpStream, BTreeMap<u16, u32>, u32) {
    let mut socket = TcpStream::connect(address(proxy)).await.unwrap();
    socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let (settings, window) = announced(&mut socket).await;
    // They are in force once that is said (RFC 9113 §6.5.3).
    socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    (socket, settings, window)
}

/// Reads until the stream was answered whole.
async fn until_answered(socket: &mut TcpStream, stream: u32) {
    loop {
        let frame = read_frame(socket).await.unwrap();
        assert!(![RST_STREAM, GOAWAY].contains(&frame.kind), "stream {}: {:?}", frame.stream, frame.payload);
        if frame.stream == stream && frame.kind == DATA && frame.flags & END_STREAM != 0 {
            return;
        }
    }
}

#[tokio::test]
async fn streams_and_windows_are_announced_to_clients_and_windows_to_upstreams_too() {
    for case in CASES {
        let (listener, upstream) = listener().await;
        let proxy = proxy_with(upstream, case.flags);
        let (mut client, settings, window) = client(&proxy).await;
        assert_eq!(settings[&3], case.streams, "SETTINGS_MAX_CONCURRENT_STREAMS");
        assert_eq!(settings[&4], case.stream_window, "SETTINGS_INITIAL_WINDOW_SIZE");
        assert_eq!(window, case.connection_window);
        // Nobody is dialled before there is a request.
        client.write_all(&frame(HEADERS, 5, 1, GET)).await.unwrap();
        let mut upstream = accept(&listener).await;
        let mut preface = [0; PREFACE.len()];
        within(upstream.read_exact(&mut preface)).await.unwrap();
        assert_eq!(preface, PREFACE);
        let (settings, window) = announced(&mut upstream).await;
        assert_eq!(settings[&4], case.stream_window);
        assert_eq!(window, case.connection_window);
    }
}

#[tokio::test]
async fn one_stream_more_than_allowed_is_refused_and_the_others_are_served() {
    for case in CASES {
        let (release, released) = watch::channel(false);
        let backend = backend(move |(_request, respond)| {
            let mut released = released.clone();
            async move {
                released.wait_for(|now| *now).await.unwrap();
                answer(respond, "ok");
            }
        })
        .await;
        let proxy = proxy_with(backend, case.flags);
        let (mut client, ..) = client(&proxy).await;
        let open = |n: u32| frame(HEADERS, 5, n * 2 + 1, GET);
        let heads: Vec<u8> = (0..=case.streams).flat_map(open).collect();
        client.write_all(&heads).await.unwrap();
        let one_more = case.streams * 2 + 1;
        loop {
            let frame = read_frame(&mut client).await.unwrap();
            assert!(![HEADERS, GOAWAY].contains(&frame.kind), "{}", frame.stream);
            if frame.kind == RST_STREAM {
                assert_eq!((frame.stream, frame.number(0)), (one_more, REFUSED_STREAM));
                break;
            }
        }
        release.send(true).unwrap();
        let mut left: std::collections::BTreeSet<u32> = (0..case.streams).map(|n| n * 2 + 1).collect();
        while !left.is_empty() {
            let frame = read_frame(&mut client).await.unwrap();
            assert!(![RST_STREAM, GOAWAY].contains(&frame.kind), "{}: {:?}", frame.stream, frame.payload);
            if frame.kind == DATA && frame.flags & END_STREAM != 0 {
                assert_eq!(frame.payload, b"ok");
                assert!(left.remove(&frame.stream), "{}", frame.stream);
            }
        }
        // There is room again.
        client.write_all(&open(case.streams + 1)).await.unwrap();
        until_answered(&mut client, one_more + 2).await;
    }
}

/// An upstream that answers GET, and of a body lets nothing come: all that a client sends stays within its windows.
async fn takes_no_body() -> std::net::SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut builder = server::Builder::new();
                let Ok(mut connection) = builder.initial_window_size(0).handshake::<_, Bytes>(socket).await
                else {
                    return;
                };
                let mut unread = Vec::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    if request.method() == http::Method::GET {
                        answer(respond, "ok");
                    } else {
                        unread.push((request, respond));
                    }
                }
            });
        }
    });
    address
}

/// A client on whose connection nothing can go on to the upstream, and where its next stream begins.
async fn stuck_client(proxy: &bellhop_proxy::app::Running) -> TcpStream {
    let (mut client, ..) = client(proxy).await;
    // Its answer comes behind the upstream's settings.
    client.write_all(&frame(HEADERS, 5, 1, GET)).await.unwrap();
    until_answered(&mut client, 1).await;
    client
}

/// A POST whose body goes on, and so much of it.
fn post(stream: u32, body: u32) -> Vec<u8> {
    let body = vec![b'x'; body as usize];
    let mut frames = frame(HEADERS, 4, stream, POST);
    body.chunks(FRAME).for_each(|part| frames.extend(frame(DATA, 0, stream, part)));
    frames
}

#[tokio::test]
async fn a_byte_beyond_a_streams_window_resets_the_stream_and_no_other() {
    let upstream = takes_no_body().await;
    for case in CASES {
        let proxy = proxy_with(upstream, case.flags);
        let mut client = stuck_client(&proxy).await;
        let within_window = [post(3, case.stream_window), frame(HEADERS, 5, 5, GET)].concat();
        client.write_all(&within_window).await.unwrap();
        until_answered(&mut client, 5).await;
        client.write_all(&[frame(DATA, 0, 3, b"x"), frame(HEADERS, 5, 7, GET)].concat()).await.unwrap();
        let reset = loop {
            let frame = read_frame(&mut client).await.unwrap();
            assert_ne!(frame.kind, GOAWAY);
            if frame.kind == RST_STREAM {
                break frame;
            }
        };
        assert_eq!((reset.stream, reset.number(0)), (3, FLOW_CONTROL_ERROR));
        client.write_all(&frame(HEADERS, 5, 9, GET)).await.unwrap();
        until_answered(&mut client, 9).await;
    }
}

#[tokio::test]
async fn a_byte_beyond_a_connections_window_ends_the_connection() {
    let upstream = takes_no_body().await;
    for case in CASES {
        let proxy = proxy_with(upstream, case.flags);
        let mut client = stuck_client(&proxy).await;
        // The connection's window is sixteen streams'.
        assert_eq!(case.connection_window / case.stream_window, 16);
        let full: Vec<u8> = (1..=16).flat_map(|n| post(n * 2 + 1, case.stream_window)).collect();
        client.write_all(&full).await.unwrap();
        client.write_all(&frame(HEADERS, 5, 35, GET)).await.unwrap();
        until_answered(&mut client, 35).await;
        client.write_all(&post(37, 1)).await.unwrap();
        let goodbye = loop {
            let frame = read_frame(&mut client).await.expect("a goodbye");
            if frame.kind == GOAWAY {
                break frame;
            }
        };
        assert_eq!(goodbye.number(4), FLOW_CONTROL_ERROR);
    }
}
