//! A thousand watchers lose their control plane, and come back all at once.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::harness::{Control, PATIENCE, put};

const WATCHERS: usize = 1_000;
const SANDBOXES: usize = 100;

/// What the watchers have seen.
#[derive(Default)]
struct Seen {
    /// How many have all that there was when they came.
    synced: AtomicUsize,
    /// How many have the change behind that.
    changed: AtomicUsize,
    /// Answers that say no.
    refused: AtomicUsize,
}

/// Watches until told otherwise: again, at once, whenever a watch ends. `id` says whether it goes on where it was.
async fn follow(address: SocketAddr, id: usize, seen: Arc<Seen>, mut done: watch::Receiver<bool>) {
    let mut token = None;
    while !*done.borrow() {
        tokio::select! {
            _ = watch_once(address, id, &seen, &mut token) => {}
            _ = done.changed() => return,
        }
        // nobody listens for a moment
        sleep(Duration::from_millis(50 + (id % 50) as u64)).await;
    }
}

async fn watch_once(
    address: SocketAddr,
    id: usize,
    seen: &Seen,
    token: &mut Option<String>,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let since = token.as_deref().filter(|_| id.is_multiple_of(2)).map(|token| format!("&since={token}"));
    let since = since.unwrap_or_default();
    let request = format!("GET /v1/routes?watch=true&proxy=p{id}{since} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::with_capacity(1 << 10, stream).lines();
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.1 200") {
            seen.refused.fetch_add(1, Ordering::Relaxed);
        }
        if line.contains("\"synced\"") {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            *token = Some(event["token"].as_str().unwrap().to_owned());
            seen.synced.fetch_add(1, Ordering::Relaxed);
        }
        if line.contains("\"put\"") && line.contains("\"key\":\"behind\"") {
            seen.changed.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn until_all(what: &str, count: &AtomicUsize) {
    let begun = Instant::now();
    while count.load(Ordering::Relaxed) < WATCHERS {
        assert!(begun.elapsed() < PATIENCE, "{what}: {} of {WATCHERS}", count.load(Ordering::Relaxed));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_thousand_watchers_come_back_at_once_after_kill_9_without_an_error_and_without_a_peak_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut control = Control::start(directory.path());
    let address = control.address;
    for n in 0..SANDBOXES {
        assert!(put(address, &format!("s-{n}")).unwrap().starts_with("HTTP/1.1 201"));
    }
    let (seen, (end, done)) = (Arc::new(Seen::default()), watch::channel(false));
    let watchers: Vec<_> =
        (0..WATCHERS).map(|id| tokio::spawn(follow(address, id, Arc::clone(&seen), done.clone()))).collect();
    until_all("they are there", &seen.synced).await;
    let before = control.kib("VmHWM");
    seen.synced.store(0, Ordering::Relaxed);
    control.child.kill().unwrap();
    control.child.wait().unwrap();

    let control = tokio::task::spawn_blocking(move || Control::start_at(address, directory.path()));
    let control = timeout(PATIENCE, control).await.unwrap().unwrap();
    until_all("they are back", &seen.synced).await;
    let change = tokio::task::spawn_blocking(move || put(address, "behind"));
    assert!(change.await.unwrap().unwrap().starts_with("HTTP/1.1 201"));
    until_all("they have what came then", &seen.changed).await;
    let after = control.kib("VmHWM");
    assert!(after <= 2 * before, "{after} KiB at most, and {before} before");
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    end.send_replace(true);
    for watcher in watchers {
        watcher.await.unwrap();
    }
}
