//! Routes against a scripted control plane on loopback.

mod faults;
mod keeping;
mod peer;
mod reporting;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use bellhop_route::Digest;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, LocalSet, spawn_local},
};

use self::peer::{Peer, Stream};
use super::*;
use crate::telemetry::Telemetry;

/// Routes under test, following a scripted peer.
struct Lab {
    tables: Rc<Tables>,
    telemetry: Rc<Telemetry>,
    leave: Option<oneshot::Sender<()>>,
    end: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Lab {
    /// Starts following `control`, keeping a snapshot in `snapshot`.
    fn start(control: Option<&str>, snapshot: Option<PathBuf>) -> Self {
        let tables = Rc::new(Tables::new("default".parse().unwrap()));
        let telemetry = Rc::new(Telemetry::quiet());
        let config = Routing {
            control: control.map(|url| url.parse().unwrap()),
            proxy_id: Some("p-1".to_owned()),
            workload: Some("frontend".to_owned()),
            snapshot,
            ..Routing::default()
        };
        let (leave, leaving) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let (shown, counted) = (Rc::clone(&tables), Rc::clone(&telemetry));
        let routes = prepare(&config, None, &tables, &telemetry.housekeeping);
        let running = spawn_local(async move {
            let (leaving, ended) = (async { drop(leaving.await) }, async { drop(ended.await) });
            routes.run(&shown, &counted.housekeeping, leaving, ended).await;
        });
        Self { tables, telemetry, leave: Some(leave), end: Some(end), running }
    }

    /// Waits until the table holds just these keys.
    async fn holds(&self, keys: &[&str]) {
        let what = format!("the keys {keys:?}");
        until(&what, || {
            let mut held: Vec<_> =
                self.tables.current().keys().iter().map(|routes| routes.key.to_string()).collect();
            held.sort();
            held == keys
        })
        .await;
    }

    /// Waits until a metric stands at `value`.
    async fn counts(&self, metric: &str, value: u64) {
        until(&format!("{metric} {value}"), || self.metric(metric) == Some(value)).await;
    }

    fn metric(&self, metric: &str) -> Option<u64> {
        let text = String::from_utf8(self.telemetry.render(Vec::new())).unwrap();
        text.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok())
    }

    fn digest(&self) -> Digest {
        self.tables.current().digest()
    }

    /// Ends it, with a goodbye, and waits for that.
    async fn end(mut self) -> Rc<Tables> {
        drop((self.leave.take(), self.end.take()));
        tokio::time::timeout(Duration::from_secs(5), self.running).await.unwrap().unwrap();
        self.tables
    }
}

/// Polls until `done`, for at most ten seconds.
async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs a test whose tasks share one thread, as the housekeeping does.
async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

fn key(name: &str) -> String {
    format!(
        r#"{{"type":"put","unit":{{"key":{{"key":"{name}","digest":"","routes":[{{"destination":"route:80","endpoints":["10.0.0.7:8080"]}}]}}}}}}"#
    )
}

fn at(kind: &str, revision: u64) -> String {
    format!(r#"{{"type":"{kind}","token":"t{revision}","epoch":"e1","revision":{revision}}}"#)
}

fn change(line: &str, revision: u64) -> String {
    let position = format!(r#","position":{{"token":"t{revision}","epoch":"e1","revision":{revision}}}}}"#);
    line.strip_suffix('}').unwrap().to_owned() + &position
}

/// Sends a whole list.
async fn list(stream: &mut Stream, revision: u64, keys: &[&str]) {
    stream.line(&at("reset", revision)).await;
    for name in keys {
        stream.line(&key(name)).await;
    }
    stream.line(&at("synced", revision)).await;
}

#[tokio::test]
async fn a_list_is_in_force_whole_and_changes_follow_it() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        assert_eq!(stream.target, "/v1/routes?watch=true&proxy=p%2D1");
        assert!(!lab.tables.loaded());
        stream.line(&at("reset", 3)).await;
        stream.line(&key("a")).await;
        lab.counts("bellhop_proxy_watch_events_total{type=\"put\"}", 1).await;
        assert!(!lab.tables.loaded(), "half a list is no table");
        assert_eq!(lab.tables.watch_state(), WatchState::Listing);
        stream.line(&at("synced", 3)).await;
        lab.holds(&["a"]).await;
        stream.line(&change(&key("b"), 4)).await;
        lab.holds(&["a", "b"]).await;
        stream.line(&change(r#"{"type":"delete","unit":{"key":"a"}}"#, 5)).await;
        lab.holds(&["b"]).await;
        assert_eq!(lab.tables.position().unwrap().token, "t5");
        assert_eq!(lab.tables.watch_state(), WatchState::Following);
        stream.line(&at("bookmark", 9)).await;
        stream.close();
        let mut stream = peer.watch().await;
        assert!(stream.target.ends_with("&since=t9"), "{}", stream.target);
        stream.line(&change(&key("c"), 10)).await;
        stream.line(&at("synced", 10)).await;
        lab.holds(&["b", "c"]).await;
        // What a list does not name is gone.
        stream.close();
        list(&mut peer.watch().await, 11, &["d"]).await;
        lab.holds(&["d"]).await;
        lab.counts("bellhop_proxy_watch_ends_total{cause=\"closed\"}", 3).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_later_version_sends_is_skipped_and_counted() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        stream.line(&at("reset", 1)).await;
        stream.line(r#"{"type":"weather","sun":true}"#).await;
        stream.line(r#"{"type":"put","unit":{"gateway":{"name":"g"}}}"#).await;
        stream.line(&key("a").replace("\"digest\"", "\"colour\":\"red\",\"digest\"")).await;
        stream.line(&at("synced", 1)).await;
        lab.holds(&["a"]).await;
        for what in ["type", "unit", "field"] {
            lab.counts(&format!("bellhop_proxy_watch_skipped_total{{what=\"{what}\"}}"), 1).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_table_is_stale_after_15_s_without_control_and_no_sooner() {
    let tables = Tables::new("default".parse().unwrap());
    let telemetry = Telemetry::quiet();
    let held = Held::new(false);
    let begun = tokio::time::Instant::now();
    let house = House { tables: &tables, counters: &telemetry.housekeeping, held: &held, started: begun };
    let test = async {
        tokio::time::sleep(Duration::from_secs(14)).await;
        assert!(!tables.stale());
        tables.set_heard(tokio::time::Instant::now());
        tokio::time::sleep(Duration::from_millis(14_900)).await;
        assert!(!tables.stale(), "it was heard meanwhile");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(tables.stale());
    };
    tokio::select! {
        () = test => {}
        () = watch::mark_stale(&house) => {}
    }
}

#[test]
fn an_id_that_nobody_chose_can_stand_in_a_url() {
    let id = default_id();
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')), "{id}");
    assert!(id.ends_with(&std::process::id().to_string()));
}

/// The corpora of the fuzz targets `watch` and `snapshot`.
#[test]
fn the_fuzz_corpora_hold() {
    for (name, oracle) in [("watch", oracle::watch as fn(&[u8])), ("snapshot", oracle::snapshot)] {
        let corpus = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            oracle(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 6, "{corpus} is all but empty");
    }
}
