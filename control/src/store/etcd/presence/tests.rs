use super::*;
use crate::store::etcd::server::Server;

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_lease_lasts_at_least_as_long_as_a_replica_believes() {
    for (term, granted) in [(2_000, 2), (2_001, 3), (2_900, 3), (10_000, 10)] {
        assert_eq!(seconds(Duration::from_millis(term)), granted, "{term} ms");
    }
    assert_eq!(seconds(Duration::MAX), i64::MAX);
}

async fn presence(server: &Server, term: Duration) -> Arc<Presence> {
    let config = EtcdConfig { lease: term, ..server.config("/a") };
    let etcd = Arc::new(server.open("/a").await);
    Arc::new(Presence::new(etcd, config, ([127, 0, 0, 1], 7_070).into()).await.unwrap())
}

/// All leases that etcd has granted and nobody has given back.
fn leases(server: &Server) -> Vec<String> {
    let all = server.etcdctl(&["lease", "list"]);
    // the first line counts them
    all.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_lease_is_given_back_where_the_one_behind_it_is_not_granted() {
    let Some(server) = Server::start().await else { return };
    // the longest that etcd grants: the address would stay for longer
    let presence = presence(&server, Duration::from_secs(9_000_000_000)).await;
    presence.live().await.unwrap_err();
    assert_eq!(leases(&server).len(), 1);
    presence.give_up_place().await;
    assert_eq!(leases(&server), [""; 0]);
    presence.live_once().await;
    assert_eq!(leases(&server), [""; 0]);
}

#[tokio::test]
async fn a_replica_that_lost_its_place_gives_back_its_address_s_lease_once_the_address_stands_under_another()
{
    let Some(server) = Server::start().await else { return };
    // what is not given back lasts for longer than is waited here
    let presence = presence(&server, Duration::from_secs(10)).await;
    let living = tokio::spawn(Arc::clone(&presence).run());
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < DEADLINE, "{what}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    let holder = || server.etcdctl(&["get", "/a/holder", "--print-value-only"]);
    until("it holds the place", &|| !holder().is_empty()).await;
    let (before, held) = (leases(&server), holder());
    assert_eq!(before.len(), 2);
    server.etcdctl(&["lease", "revoke", held.trim().rsplit(' ').next().unwrap()]);
    until("two others have taken their place", &|| {
        let now = leases(&server);
        now.len() == 2 && now.iter().all(|lease| !before.contains(lease))
    })
    .await;
    assert!(server.etcdctl(&["get", "/a/replicas/", "--prefix"]).contains(presence.url().unwrap()));
    living.abort();
    living.await.ok();
    presence.leave().await;
    assert_eq!(leases(&server), [""; 0]);
}
