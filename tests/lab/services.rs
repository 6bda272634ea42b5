//! The main job on real services: which version answered on each hop, by what the services themselves say.

use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_e2e::{TestProxy, wait};
use libtest_mimic::Trial;

use crate::{
    Fixture, alone,
    chain::{Chain, Path, baseline, expected},
    shared,
    stage::manifest,
};

pub(crate) fn trials(fixture: &Fixture) -> Vec<Trial> {
    vec![
        shared(fixture, "services::a_request_without_a_key_meets_the_baseline_everywhere", no_key),
        shared(fixture, "services::each_key_changes_its_own_hop_and_no_other", each_key),
        shared(fixture, "services::a_key_reaches_the_sandbox_of_a_websocket_server", websocket),
        shared(fixture, "services::two_keys_in_one_value_change_both_hops", both_in_one_value),
        shared(fixture, "services::two_keys_as_repeated_members_are_both_obeyed", repeated_members),
        shared(fixture, "services::a_group_key_changes_the_hops_of_all_members", group),
        shared(fixture, "services::an_unknown_key_meets_the_baseline", unknown_key),
        shared(fixture, "services::a_sandbox_deleted_under_traffic_gives_way_to_the_baseline", deleted),
        shared(fixture, "services::a_sandbox_that_is_down_fails_its_hop_aloud", down),
        shared(fixture, "services::a_sandbox_that_is_down_falls_back_where_told", down_with_fallback),
        shared(fixture, "services::a_caller_without_a_proxy_is_routed_at_the_callee", inbound),
        alone(fixture, "services::routing_outlives_the_control_plane_and_follows_it_again", control_killed),
        alone(fixture, "services::a_proxy_restarts_from_its_snapshot_without_control", snapshot),
    ]
}

fn same(found: Path, wanted: &Path) -> Result<()> {
    ensure!(found == *wanted, "\n found {found:?}\nwanted {wanted:?}");
    Ok(())
}

fn no_key(chain: &Chain) -> Result<()> {
    same(chain.dispatch(&[])?, &baseline())?;
    same(chain.dispatch(&["user=ann"])?, &expected("user=ann", &[]))
}

fn each_key(chain: &Chain) -> Result<()> {
    same(chain.dispatch(&["routing-key=pr-15"])?, &expected("routing-key=pr-15", &[("route", "pr-15")]))?;
    same(chain.dispatch(&["routing-key=pr-22"])?, &expected("routing-key=pr-22", &[("driver", "pr-22")]))
}

fn websocket(chain: &Chain) -> Result<()> {
    same(chain.dispatch(&["routing-key=pr-7"])?, &expected("routing-key=pr-7", &[("chat", "pr-7")]))
}

fn both_in_one_value(chain: &Chain) -> Result<()> {
    let both = [("route", "pr-15"), ("driver", "pr-22")];
    same(chain.dispatch(&["routing-key=pr-15:pr-22"])?, &expected("routing-key=pr-15:pr-22", &both))?;
    same(chain.dispatch(&["routing-key=pr-22:pr-15"])?, &expected("routing-key=pr-22:pr-15", &both))
}

/// An SDK keeps one of several members of a name: Python's the last of one field, and the first of two fields. So each
/// hop behind the first sees one key. The first hop, asked through the client's own proxy, sees both.
fn repeated_members(chain: &Chain) -> Result<()> {
    let ask = |baggage: &[&str]| chain.ask("client", "route", "/route", baggage);
    let wanted = |baggage: &str, driver: &str| -> Path {
        let said = [("route", "pr-15"), ("driver", driver), ("database", "MariaDB"), ("baggage", baggage)];
        said.map(|(service, version)| (service.to_owned(), version.to_owned())).into()
    };
    let second = wanted("routing-key=pr-22", "pr-22");
    same(ask(&["routing-key=pr-15,routing-key=pr-22"])?, &second)?;
    same(ask(&["routing-key=pr-22", "routing-key=pr-15"])?, &second)?;
    let first = wanted("routing-key=pr-15", "baseline");
    same(ask(&["routing-key=pr-22, routing-key=pr-15"])?, &first)?;
    same(ask(&["routing-key=pr-15", "routing-key=pr-22"])?, &first)
}

fn group(chain: &Chain) -> Result<()> {
    let both = [("route", "pr-15"), ("driver", "pr-22")];
    same(chain.dispatch(&["routing-key=team"])?, &expected("routing-key=team", &both))
}

fn unknown_key(chain: &Chain) -> Result<()> {
    same(chain.dispatch(&["routing-key=pr-404"])?, &expected("routing-key=pr-404", &[]))
}

fn deleted(chain: &Chain) -> Result<()> {
    let (baggage, key) = (["routing-key=short"], "routing-key=short");
    chain.control.apply(&manifest("short", "route", &chain.endpoint("route-15"), ""))?;
    let (with, without) = (expected(key, &[("route", "pr-15")]), expected(key, &[]));
    same(chain.dispatch(&baggage)?, &with)?;
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut after = 0;
            let start = std::time::Instant::now();
            while after < 5 {
                let path = chain.dispatch(&baggage)?;
                ensure!(path == with || path == without, "{path:?}");
                ensure!(path == without || after == 0, "the sandbox came back: {path:?}");
                after += u32::from(path == without);
                ensure!(start.elapsed() < Duration::from_secs(30), "the sandbox still answers");
            }
            Ok(())
        });
        chain.control.bellhop(&["sandbox", "delete", "short"], "")?;
        traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    chain.proxies["customer"].counts("gone", || same(chain.dispatch(&baggage)?, &without))
}

fn down(chain: &Chain) -> Result<()> {
    // Nobody listens there.
    let nobody = format!("{}:9", chain.host("route-15").v4);
    chain.control.apply(&manifest("down", "route", &nobody, ""))?;
    let path = chain.dispatch(&["routing-key=down"])?;
    let route = &path["route"];
    ensure!(route.starts_with("failed: 503") && route.contains("connect-refused"), "{path:?}");
    ensure!(!path.contains_key("driver"), "the baseline answered: {path:?}");
    // The gRPC client gets the same in its own words.
    chain.control.apply(&manifest("down-grpc", "driver", &nobody, ""))?;
    let path = chain.dispatch(&["routing-key=down-grpc"])?;
    let driver = &path["driver"];
    ensure!(driver.starts_with("failed: UNAVAILABLE") && driver.contains("connect-refused"), "{path:?}");
    Ok(())
}

fn down_with_fallback(chain: &Chain) -> Result<()> {
    let nobody = format!("{}:9", chain.host("route-15").v4);
    chain.control.apply(&manifest("careful", "route", &nobody, "    fallback: baseline\n"))?;
    chain.proxies["customer"].counts("fallback", || {
        same(chain.dispatch(&["routing-key=careful"])?, &expected("routing-key=careful", &[]))
    })
}

fn inbound(chain: &Chain) -> Result<()> {
    let path = chain.ask("outsider", "route", "/route", &["routing-key=pr-15"])?;
    ensure!(path["route"] == "pr-15" && path["driver"] == "baseline", "{path:?}");
    let path = chain.ask("outsider", "route", "/route", &[])?;
    ensure!(path["route"] == "baseline", "{path:?}");
    Ok(())
}

fn control_killed(chain: &mut Chain) -> Result<()> {
    let wanted = expected("routing-key=pr-15", &[("route", "pr-15")]);
    chain.control.kill();
    for _ in 0..5 {
        same(chain.dispatch(&["routing-key=pr-15"])?, &wanted)?;
        same(chain.dispatch(&[])?, &baseline())?;
    }
    chain.control.start_again()?;
    same(chain.dispatch(&["routing-key=pr-15"])?, &wanted)?;
    // What is applied afterwards arrives, also where a proxy was slow to come back and control has not heard of it.
    chain.control.apply(&manifest("afterwards", "driver", &chain.endpoint("driver-22"), ""))?;
    let wanted = expected("routing-key=afterwards", &[("driver", "pr-22")]);
    wait::until("the proxies to be back", Duration::from_secs(5), || {
        same(chain.dispatch(&["routing-key=afterwards"])?, &wanted)
    })
}

fn snapshot(chain: &mut Chain) -> Result<()> {
    let wanted = expected("routing-key=team", &[("route", "pr-15"), ("driver", "pr-22")]);
    for proxy in ["customer", "route-15"] {
        let file = TestProxy::snapshot(chain.host(proxy));
        wait::until("a snapshot", Duration::from_secs(15), || {
            ensure!(std::fs::read_to_string(&file)?.contains("pr-22"), "{} lacks pr-22", file.display());
            Ok(())
        })?;
    }
    chain.control.kill();
    for proxy in ["customer", "route-15"] {
        if let Some(proxy) = chain.proxies.get_mut(proxy) {
            proxy.restart(&[])?;
        }
    }
    // The services' own connections broke with their proxies; their clients see to that.
    let answered = wait::until("the chain", Duration::from_secs(15), || {
        let path = chain.dispatch(&["routing-key=team"])?;
        ensure!(!path.values().any(|said| said.starts_with("failed")), "{path:?}");
        Ok(path)
    });
    chain.control.start_again()?;
    same(answered?, &wanted)
}
