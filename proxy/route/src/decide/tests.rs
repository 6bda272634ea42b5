use std::net::SocketAddr;

use super::*;
use crate::{
    TableBuilder,
    table::tests::{gone, key, label, service, table},
};

/// A route to 10.9.0.N:1.
fn to(destination: &str, n: u8) -> String {
    format!(r#"{{"destination":"{destination}","endpoints":["10.9.0.{n}:1"]}}"#)
}

fn state(destination: &str, extra: &str) -> String {
    format!(r#"{{"destination":"{destination}","endpoints":["10.9.0.9:1"],{extra}}}"#)
}

/// Services `a` and `b` have addresses of their own, share 10.0.0.3, and share a workload.
fn world() -> RouteTable {
    table(&[
        service("a", &[(80, 8080)], &["10.0.0.1", "10.0.0.3"], &["10.1.0.1"]),
        service("b", &[(80, 8080)], &["10.0.0.2", "10.0.0.3"], &["10.1.0.1", "10.1.0.2"]),
        key("a", &to("a:80", 1)),
        key("b", &to("b:80", 2)),
        key("ab", &format!("{},{}", to("a:80", 1), to("b:80", 2))),
        key("same", &format!("{},{}", to("a:80", 3), to("b:80", 3))),
        key("elsewhere", &to("c:80", 4)),
        key("lost", &state("a:80", r#""state":"gone""#)),
        key("lost-one", &format!("{},{}", state("a:80", r#""state":"gone""#), to("b:80", 2))),
        key("torn", &state("a:80", r#""state":"conflict""#)),
        key("new-state", &state("a:80", r#""state":"later""#)),
        key("new-fallback", &state("a:80", r#""fallback":"maybe""#)),
        key("new-protocol", &state("a:80", r#""protocol":"http3""#)),
        key("new-ability", &state("a:80", r#""requires":["magic"]"#)),
        key("unresolved", r#"{"destination":"a:80","endpoints":[]}"#),
        gone("deleted"),
    ])
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn ask(keys: &str, address: &str) -> Decision {
    let keys: Keys = keys.split(':').filter(|key| !key.is_empty()).collect();
    decide(&world(), &keys, &Place::Dialled(at(address)), [])
}

/// `sandbox(N)`, `baseline(reason)` or `refused(reason)`, and the key behind it.
fn shown(decision: &Decision) -> String {
    let verdict = match &decision.verdict {
        Verdict::Sandbox(route) => {
            format!("sandbox({})", route.endpoints.first().map_or("-".into(), |e| e.ip().to_string()))
        }
        Verdict::Baseline(reason) => format!("baseline({reason})"),
        Verdict::Refused(reason) => format!("refused({reason})"),
    };
    format!("{verdict} {}", decision.key.as_ref().map_or("-", RoutingKey::as_str))
}

#[test]
fn the_first_key_with_a_route_for_the_destination_wins() {
    for (keys, address, expected) in [
        ("a", "10.0.0.1:80", "sandbox(10.9.0.1) a"),
        ("a:ab", "10.0.0.2:80", "sandbox(10.9.0.2) ab"),
        ("b:a", "10.0.0.1:80", "sandbox(10.9.0.1) a"),
        ("same:a", "10.0.0.1:80", "sandbox(10.9.0.3) same"),
        ("nobody:deleted:lost:a", "10.0.0.1:80", "sandbox(10.9.0.1) a"),
        ("a", "10.0.0.2:80", "baseline(no-route-here) a"),
        ("a", "10.0.0.1:81", "baseline(no-route-here) a"),
        ("nobody", "10.0.0.1:80", "baseline(unknown-key) -"),
        ("nobody:elsewhere", "10.0.0.1:80", "baseline(no-route-here) elsewhere"),
        ("deleted", "10.0.0.1:80", "baseline(gone) deleted"),
        ("deleted", "192.0.2.1:80", "baseline(gone) deleted"),
        ("elsewhere:deleted", "10.0.0.1:80", "baseline(gone) deleted"),
        ("lost", "10.0.0.1:80", "baseline(gone) lost"),
        ("lost", "10.0.0.2:80", "baseline(no-route-here) lost"),
        ("", "10.0.0.1:80", "baseline(no-key) -"),
    ] {
        assert_eq!(shown(&ask(keys, address)), expected, "{keys} to {address}");
    }
}

/// DESIGN §3.6.
#[test]
fn where_an_address_stands_for_several_destinations_a_route_for_any_applies_and_two_that_differ_are_a_conflict()
 {
    for address in ["10.0.0.3:80", "10.1.0.1:8080"] {
        for (keys, expected) in [
            ("a", "sandbox(10.9.0.1) a"),
            ("b", "sandbox(10.9.0.2) b"),
            ("same", "sandbox(10.9.0.3) same"),
            ("lost-one", "sandbox(10.9.0.2) lost-one"),
            ("ab", "refused(conflict) ab"),
            ("torn:a", "refused(conflict) torn"),
            ("a:b", "sandbox(10.9.0.1) a"),
        ] {
            assert_eq!(shown(&ask(keys, address)), expected, "{keys} to {address}");
        }
    }
    assert_eq!(shown(&ask("ab", "10.1.0.2:8080")), "sandbox(10.9.0.2) ab");
}

/// DESIGN §4.2: a route that needs what a proxy does not know.
#[test]
fn a_route_that_asks_for_what_is_not_known_is_refused_as_unsupported() {
    for key in ["new-state", "new-fallback", "new-protocol", "new-ability"] {
        assert_eq!(shown(&ask(key, "10.0.0.1:80")), format!("refused(unsupported) {key}"));
        assert_eq!(shown(&ask(key, "10.0.0.2:80")), format!("baseline(no-route-here) {key}"));
    }
}

#[test]
fn a_route_whose_endpoints_have_no_address_yet_never_becomes_the_baseline() {
    assert_eq!(shown(&ask("unresolved", "10.0.0.1:80")), "sandbox(-) unresolved");
}

#[test]
fn without_a_key_the_reason_is_what_was_wrong_and_beside_one_it_is_a_mark() {
    let table = world();
    let place = Place::Dialled(at("10.0.0.1:80"));
    let keys = |key: &str, malformed, over_limit| {
        let mut keys: Keys = (!key.is_empty()).then_some(key).into_iter().collect();
        (keys.malformed, keys.over_limit) = (malformed, over_limit);
        keys
    };
    for (key, malformed, over_limit, expected) in [
        ("", false, true, "baseline(over-limit) -"),
        ("", true, false, "baseline(malformed) -"),
        ("", true, true, "baseline(malformed) -"),
        ("a", true, true, "sandbox(10.9.0.1) a"),
    ] {
        let decision = decide(&table, &keys(key, malformed, over_limit), &place, []);
        assert_eq!((shown(&decision).as_str(), decision.marks.malformed), (expected, malformed));
    }
}

/// DESIGN §3.9.
#[test]
fn before_the_first_table_keyed_requests_go_to_the_baseline_and_say_so() {
    let table = RouteTable::unloaded(label("default"));
    let place = Place::Dialled(at("10.0.0.1:80"));
    assert_eq!(shown(&decide(&table, &Keys::from_iter(["a"]), &place, [])), "baseline(no-table) -");
    assert_eq!(shown(&decide(&table, &Keys::default(), &place, [])), "baseline(no-key) -");
    let empty = TableBuilder::new(label("default")).finish();
    assert_eq!(shown(&decide(&empty, &Keys::from_iter(["a"]), &place, [])), "baseline(unknown-key) -");
}

/// DESIGN §3.7.
#[test]
fn a_destination_that_was_decided_before_is_not_decided_again() {
    let table = world();
    let keys = Keys::from_iter(["a"]);
    let place = Place::Workload(at("10.1.0.1:8080"));
    for (already, expected) in [
        (&["a.default:80"][..], "baseline(already-decided) -"),
        (&["x.default:1 ,\tb.default:80"], "baseline(already-decided) -"),
        (&["x.default:1", "", "a.default:80"], "baseline(already-decided) -"),
        (&["a.default:8", "a.default", "aa.default:80", ", ,"], "sandbox(10.9.0.1) a"),
        (&[], "sandbox(10.9.0.1) a"),
    ] {
        let decision = decide(&table, &keys, &place, already.iter().map(|value| value.as_bytes()));
        assert_eq!(shown(&decision), expected, "{already:?}");
        assert_eq!(decision.destination, Some("a.default:80".parse().unwrap()));
    }
}

/// MATRICES F26: one pass, one answer.
#[test]
fn two_services_that_override_each_other_are_decided_once() {
    let table = table(&[
        service("a", &[(80, 80)], &["10.0.0.1"], &["10.1.0.1"]),
        service("b", &[(80, 80)], &["10.0.0.2"], &["10.1.0.2"]),
        key(
            "k",
            r#"{"destination":"a:80","endpoints":["10.1.0.2:80"]},{"destination":"b:80","endpoints":["10.1.0.1:80"]}"#,
        ),
    ]);
    let keys = Keys::from_iter(["k"]);
    for (first, other, named) in [
        (Place::Dialled(at("10.0.0.1:80")), "10.1.0.2:80", "a.default:80, b.default:80"),
        (Place::Workload(at("10.1.0.1:80")), "10.1.0.2:80", "a.default:80, b.default:80"),
        (Place::Dialled(at("10.0.0.2:80")), "10.1.0.1:80", "b.default:80, a.default:80"),
    ] {
        let decision = decide(&table, &keys, &first, []);
        let Verdict::Sandbox(route) = &decision.verdict else { panic!("{decision:?}") };
        assert_eq!(route.endpoints[..], [at(other)]);
        let mut field = Vec::new();
        decision.decided.write(&table, Some(at(other)), &mut field);
        assert_eq!(String::from_utf8(field.clone()).unwrap(), named);
        let next = decide(&table, &keys, &Place::Workload(at(other)), [&field[..]]);
        assert_eq!(next.verdict, Verdict::Baseline(Reason::AlreadyDecided));
    }
}

#[test]
fn a_decision_for_a_fallback_names_the_destination_alone() {
    let table = world();
    let named = "a.default:80".parse().unwrap();
    let decision = decide(&table, &Keys::from_iter(["a"]), &Place::Named(&named), []);
    let mut field = Vec::new();
    decision.decided.write(&table, None, &mut field);
    assert_eq!(field, b"a.default:80");
    assert_eq!(decision.decided.destinations(), [named]);
    assert!(ask("nobody", "10.0.0.1:80").decided.is_empty());
}

/// MATRICES B16.
#[test]
fn a_million_unknown_keys_leave_nothing_behind_in_the_table() {
    let table = world();
    let held = table.len();
    let place = Place::Dialled(at("10.0.0.1:80"));
    for n in 0..1_000_000 {
        let keys = Keys::from_iter([format!("unknown-{n}")]);
        assert_eq!(decide(&table, &keys, &place, []).verdict, Verdict::Baseline(Reason::UnknownKey));
    }
    assert_eq!(table.len(), held);
}
