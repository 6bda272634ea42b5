//! Watchers over real connections, one of which takes nothing.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::*;
use crate::{
    app::{Running, start},
    config::Config,
};

/// Whatever is waited for comes within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// More than two sockets hold between a log and a reader that reads nothing.
const SOCKETS: usize = 8 << 20;
/// The revision before the first change: later than any of an empty store.
const BEFORE: u64 = 1_000_000;

type Reader = BufReader<TcpStream>;

/// A watch that has read its list. As HTTP/1.0, whose body is the lines themselves and ends with the connection.
async fn watching(control: &Running, since: &str, listed: &mut Vec<Event>) -> Reader {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(control.addr()).await.unwrap();
    let request = format!("GET /v1/routes?watch=true&since={since} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while head != "\r\n" {
        head.clear();
        timeout(DEADLINE, reader.read_line(&mut head)).await.expect("a head in time").unwrap();
    }
    while !matches!(listed.last(), Some(Event::Synced(_))) {
        listed.push(next(&mut reader).await.expect("a list"));
    }
    reader
}

/// The next event that is no bookmark; none where the connection has ended.
async fn next(reader: &mut Reader) -> Option<Event> {
    // all bookmarks within it: they would come for ever
    timeout(DEADLINE, behind_bookmarks(reader)).await.expect("an event, or the end")
}

async fn behind_bookmarks(reader: &mut Reader) -> Option<Event> {
    loop {
        let mut line = String::new();
        // a reset is an end too, and so is half a line
        reader.read_line(&mut line).await.ok()?;
        let event = serde_json::from_str(line.strip_suffix('\n')?).unwrap();
        if !matches!(event, Event::Bookmark(_)) {
            return Some(event);
        }
    }
}

/// A key of about 40 KiB.
fn large(port: u16) -> Unit {
    let Unit::Key(mut key) = unit("large", port) else { panic!("it is a key") };
    key.routes[0].endpoints =
        (0..2_000).map(|n: u16| ([10, 0, n.to_be_bytes()[0], 7], port).into()).collect();
    Unit::Key(key)
}

fn position(event: &Event) -> &Position {
    match event {
        Event::Put { position: Some(position), .. } | Event::Synced(position) => position,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_is_cut_and_costs_no_memory_nor_a_change_to_another_one() {
    let args = ["--listen=127.0.0.1:0", "--store=memory"];
    let control = start(Config::from_args(args).unwrap()).await.unwrap();
    let feed = Arc::clone(&control.control().feed);
    let mut slow = watching(&control, "", &mut Vec::new()).await;
    let mut healthy = watching(&control, "", &mut Vec::new()).await;

    let (mut published, mut bytes) = (0, 0);
    while bytes <= LOG_BYTES + SOCKETS {
        published += 1;
        let put = vec![large(published)];
        feed.publish(&Effects { put, ..Effects::default() }, BEFORE + u64::from(published));
        let event = next(&mut healthy).await.expect("it is not cut");
        assert_eq!(position(&event).revision, BEFORE + u64::from(published), "each change, in order");
        bytes += feed.read().log.back().unwrap().len();
        assert!(feed.read().log_bytes <= LOG_BYTES);
    }
    let begun = Instant::now();
    while !feed.read().log.iter().all(Bytes::is_unique) {
        assert!(begun.elapsed() < DEADLINE, "somebody holds lines for a watcher");
        tokio::task::yield_now().await;
    }

    let (mut got, mut token) = (0, String::new());
    while let Some(event) = next(&mut slow).await {
        (got, token) = (got + 1, position(&event).token.clone());
    }
    assert!((1..published).contains(&got), "what was on its way, and then the end: {got} of {published}");

    let mut listed = Vec::new();
    watching(&control, &token, &mut listed).await;
    let [Event::Reset(_), Event::Put { unit, .. }, Event::Synced(synced)] = &listed[..] else {
        panic!("{} events", listed.len())
    };
    assert!(*unit == large(published) && *synced == feed.position(), "the newest state");
}
