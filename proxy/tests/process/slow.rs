//! Clients that are slow on purpose: row B10.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    harness::Proxy,
    load::{self, Load},
    overload::reads_nothing,
};

/// Of each kind.
const CLIENTS: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);
/// What `--header-timeout` is unless told.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// What the proxy may hold for a client that sends slowly: two sockets and their state; no buffer.
const SENDER_KIB: u64 = 8;
/// For one that reads slowly, one buffer more.
const READER_KIB: u64 = 8 + 16;
/// What honest traffic, and pages of the allocator that are not full, make of difference.
const SLACK_KIB: u64 = 4096;

/// Sends `head`, then a byte a second; when and with which bytes the proxy ended it.
async fn trickle(to: SocketAddr, head: &'static str) -> (Duration, Vec<u8>) {
    let mut socket = TcpStream::connect(to).await.unwrap();
    let from = Instant::now();
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = socket.split();
    let mut answer = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut answer) => {}
        () = async {
            while writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
            std::future::pending::<()>().await;
        } => {}
    }
    (from.elapsed(), answer)
}

/// B10. Honest requests go on with no error; what each slow client costs is looked at kind by kind.
#[test]
fn b10_a_thousand_slow_heads_bodies_and_readers_hold_only_their_own_buffers_and_harm_nobody() {
    let proxy = Proxy::before(load::server(), "");
    let to = proxy.addresses[0];
    let honest = Load::start(to);
    honest.flows(500);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let grown = |from: u64, each: u64, what: &str| {
        let (now, most) = (proxy.pss_kib(), from + each * CLIENTS as u64 + SLACK_KIB);
        println!("{what}: {from} KiB before, {now} KiB with {CLIENTS}, at most {most}");
        assert!(now <= most, "{what}: {from} KiB before, {now} KiB with {CLIENTS}");
        now
    };
    let start = proxy.pss_kib();
    let mut bodies = JoinSet::new();
    const BODY: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    // Not all at once: the upstream's queue of connections is not what is tested.
    for n in 0..CLIENTS {
        bodies.spawn_on(trickle(to, BODY), runtime.handle());
        if n % 50 == 0 {
            honest.flows(50);
        }
    }
    honest.flows(500);
    let with_bodies = grown(start, SENDER_KIB, "slow bodies");
    let readers: Vec<_> = (0..CLIENTS).map(|_| reads_nothing(to)).collect();
    honest.flows(500);
    let with_readers = grown(with_bodies, READER_KIB, "slow readers");
    let mut heads = JoinSet::new();
    const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    (0..CLIENTS).for_each(|_| drop(heads.spawn_on(trickle(to, HEAD), runtime.handle())));
    honest.flows(500);
    grown(with_readers, SENDER_KIB, "slow heads");

    let ended = runtime.block_on(heads.join_all());
    assert_eq!(ended.len(), CLIENTS);
    for (time, answer) in &ended {
        assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(answer));
        assert!(*time >= HEAD_TIME && *time < 6 * HEAD_TIME, "cut after {time:?}");
    }
    assert_eq!(bodies.len(), CLIENTS, "slow bodies are nobody's fault");
    let cut = bodies.try_join_next().map(Result::unwrap);
    let told = cut.as_ref().map(|(time, answer)| (time, String::from_utf8_lossy(answer)));
    assert!(cut.is_none(), "a slow body was cut: {told:?}");
    honest.flows(500);
    let failures = honest.stop();
    assert!(failures.is_empty(), "{} failed, at first {}", failures.len(), failures[0]);
    drop(readers);
}
