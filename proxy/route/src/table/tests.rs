use std::{collections::BTreeMap, net::SocketAddr};

use bellhop_api::watch::{Event, KeyUnit, ServicePort};
use proptest::prelude::*;

use super::*;

pub(crate) fn label(text: &str) -> DnsLabel {
    text.parse().unwrap()
}

/// `service(name, port, target, addresses, workloads)` in namespace `default`.
pub(crate) fn service(name: &str, ports: &[(u16, u16)], addresses: &[&str], workloads: &[&str]) -> Unit {
    let ips = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect();
    Unit::Service(ServiceUnit {
        namespace: label("default"),
        name: label(name),
        ports: ports.iter().map(|&(port, target_port)| ServicePort { port, target_port }).collect(),
        addresses: ips(addresses),
        names: Vec::new(),
        workloads: ips(workloads),
    })
}

/// A key whose routes are written in JSON, without the brackets.
pub(crate) fn key(key: &str, routes: &str) -> Unit {
    let text = format!(r#"{{"key":"{key}","routes":[{routes}],"digest":""}}"#);
    Unit::Key(serde_json::from_str(&text).unwrap())
}

pub(crate) fn gone(key: &str) -> Unit {
    Unit::Key(KeyUnit { key: key.parse().unwrap(), gone: true, routes: Vec::new(), digest: String::new() })
}

pub(crate) fn table(units: &[Unit]) -> RouteTable {
    let mut builder = TableBuilder::new(label("default"));
    units.iter().for_each(|unit| builder.put(unit).unwrap());
    builder.finish()
}

fn standing(table: &RouteTable, place: Place<'_>) -> Option<String> {
    table.standing(&place).map(|standing| standing.as_str().to_owned())
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[test]
fn an_address_stands_for_every_destination_behind_it() {
    let table = table(&[
        service("a", &[(80, 8080), (81, 8081)], &["10.0.0.1"], &["10.1.0.1", "10.1.0.2"]),
        service("b", &[(80, 8080)], &["10.0.0.2"], &["10.1.0.1"]),
    ]);
    let dialled = |address| standing(&table, Place::Dialled(at(address)));
    let workload = |address| standing(&table, Place::Workload(at(address)));
    assert_eq!(dialled("10.0.0.1:80").as_deref(), Some("a.default:80"));
    assert_eq!(dialled("[::ffff:10.0.0.1]:81").as_deref(), Some("a.default:81"));
    assert_eq!(dialled("10.0.0.1:8080"), None);
    assert_eq!(dialled("10.1.0.1:8080").as_deref(), Some("a.default:80, b.default:80"), "workloads count");
    assert_eq!(workload("10.1.0.1:8080").as_deref(), Some("a.default:80, b.default:80"));
    assert_eq!(workload("10.1.0.2:8080").as_deref(), Some("a.default:80"));
    assert_eq!(workload("10.0.0.1:80"), None, "a dialled address is no workload's");
}

#[test]
fn names_stand_for_services_in_explicit_mode() {
    let Unit::Service(mut here) = service("here", &[(80, 80)], &["10.0.0.1"], &[]) else { unreachable!() };
    here.names = vec!["here.example.com".into(), "shared.example.com".into()];
    let mut there = ServiceUnit { namespace: label("far"), name: label("there"), ..here.clone() };
    there.names = vec!["shared.example.com".into()];
    let table = table(&[Unit::Service(here), Unit::Service(there)]);
    for (host, port, expected) in [
        ("here", 80, Some("here.default:80")),
        ("HERE.default", 80, Some("here.default:80")),
        ("here.default.svc", 80, Some("here.default:80")),
        ("here.default.svc.cluster.local.", 80, Some("here.default:80")),
        ("here.example.com", 80, Some("here.default:80")),
        ("shared.example.com", 80, Some("here.default:80, there.far:80")),
        ("there", 80, None),
        ("there.far", 80, Some("there.far:80")),
        ("10.0.0.1", 80, Some("here.default:80, there.far:80")),
        ("here", 81, None),
        ("here.default.svc.cluster", 80, None),
        ("", 80, None),
        (&"x".repeat(100_000), 80, None),
    ] {
        assert_eq!(standing(&table, Place::Authority { host, port }).as_deref(), expected, "{host}:{port}");
    }
    let unknown = "nobody.default:1".parse().unwrap();
    assert_eq!(standing(&table, Place::Named(&unknown)).as_deref(), Some("nobody.default:1"));
}

#[test]
fn a_service_that_changes_stands_for_its_new_addresses_alone() {
    let table = table(&[
        service("a", &[(80, 80)], &["10.0.0.1"], &[]),
        service("b", &[(80, 80)], &["10.0.0.1", "10.0.0.2"], &[]),
    ]);
    table.put(&service("a", &[(80, 80)], &["10.0.0.3"], &[])).unwrap();
    let dialled = |address| standing(&table, Place::Dialled(at(address)));
    assert_eq!(dialled("10.0.0.1:80").as_deref(), Some("b.default:80"));
    assert_eq!(dialled("10.0.0.3:80").as_deref(), Some("a.default:80"));
    let name = UnitName::Service { namespace: label("default"), name: label("b") };
    assert!(table.delete(&name));
    assert!(!table.delete(&name));
    assert_eq!((dialled("10.0.0.1:80"), dialled("10.0.0.2:80")), (None, None));
    assert_eq!(table.services().len(), 1);
}

#[test]
fn a_unit_that_does_not_compile_changes_nothing() {
    let good = r#"{"destination":"a:80","endpoints":["10.0.0.7:80"]}"#;
    let table = table(&[key("k", good)]);
    let (digest, held) = (table.digest(), table.key("k"));
    for (routes, message) in [
        (format!("{good},{good}"), "two routes for a.default:80"),
        (good.replace(":80\"]", ":0\"]"), "routes a.default:80 to 10.0.0.7:0"),
        (good.replace("10.0.0.7", "224.0.0.1"), "to 224.0.0.1:80"),
        (good.replace("10.0.0.7", "[::ffff:0.0.0.0]"), "to 0.0.0.0:80"),
    ] {
        let error = table.put(&key("k", &routes)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!((table.digest(), table.key("k")), (digest, held.clone()));
    }
}

#[test]
fn digests_tell_what_a_unit_means_and_nothing_else() {
    let (a, b) = (
        r#"{"destination":"a:80","endpoints":["10.0.0.7:80","[::ffff:10.0.0.8]:80"]"#,
        r#"{"destination":"b:80","endpoints":["10.0.0.7:80"]}"#,
    );
    let digest = |routes: &str| match key("k", routes) {
        Unit::Key(unit) => crate::digest(&unit),
        Unit::Service(_) => unreachable!(),
    };
    let base = digest(&format!("{a}}},{b}"));
    assert_eq!(base, digest(&format!(r#"{b},{a},"sandbox":"default/x"}}"#)));
    let swapped = r#"{"destination":"a:80","endpoints":["10.0.0.8:80","10.0.0.7:80"]}"#;
    assert_eq!(base, digest(&format!("{b},{swapped}")));
    for other in [
        format!("{a}}}"),
        format!(r#"{a},"fallback":"baseline"}},{b}"#),
        format!(r#"{a},"protocol":"http2"}},{b}"#),
        format!(r#"{a},"requires":["x"]}},{b}"#),
        format!(r#"{a},"state":"gone"}},{b}"#),
    ] {
        assert_ne!(base, digest(&other), "{other}");
    }
    assert_eq!(base.to_string().parse(), Ok(base));
    for text in ["", "0", "000000000000000G", "0000000000000000f", "ABCDEF0123456789", "+000000000000001"] {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
}

#[test]
fn the_names_of_a_service_are_in_memory_once_however_many_keys_override_it() {
    let route = r#"{"destination":"a:80","endpoints":["10.0.0.7:80"]}"#;
    let table = table(&[service("a", &[(80, 80)], &[], &[]), key("k", route), key("l", route)]);
    let name = |key| table.key(key).unwrap().routes[0].destination.service.as_str().as_ptr();
    assert_eq!(name("k"), name("l"));
}

#[test]
fn the_committed_watch_corpus_holds_units_that_compile() {
    let list = include_str!("../../fuzz/corpus/watch/list");
    let puts = list.lines().filter_map(|line| match serde_json::from_str(line).unwrap() {
        Event::Put { unit, .. } => Some(unit),
        _ => None,
    });
    let table = table(&puts.collect::<Vec<_>>());
    assert_eq!((table.len(), table.services().len()), (2, 1));
}

/// DESIGN §4.3.
#[test]
fn no_reader_sees_half_of_a_put() {
    let form = |n: u8| {
        let route = |service| format!(r#"{{"destination":"{service}:80","endpoints":["10.0.0.{n}:80"]}}"#);
        key("k", &format!("{},{}", route("a"), route("b")))
    };
    let (one, two) = (form(1), form(2));
    let table = table(std::slice::from_ref(&one));
    let seen = std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut seen = std::collections::BTreeSet::new();
                for _ in 0..20_000 {
                    let held = table.key("k").unwrap();
                    assert_eq!(held.routes[0].endpoints, held.routes[1].endpoints);
                    seen.insert(held.digest);
                }
                seen
            })
        });
        for _ in 0..5_000 {
            table.put(&two).unwrap();
            table.put(&one).unwrap();
        }
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(seen.iter().flatten().all(|digest| {
        [&one, &two].iter().any(|unit| matches!(unit, Unit::Key(unit) if crate::digest(unit) == *digest))
    }));
    assert_eq!((table.len(), table.digest()), (1, table.key("k").unwrap().digest));
}

/// What a test may do to a table: key number, and what it becomes.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, Option<Vec<(u8, u8)>>),
    Delete(u8),
    Service(u8, Vec<u8>),
    NoService(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let routes = proptest::collection::vec((0..4_u8, 1..4_u8), 0..4);
    let step = prop_oneof![
        4 => (0..6_u8, proptest::option::weighted(0.8, routes)).prop_map(|(key, routes)| Step::Put(key, routes)),
        2 => (0..6_u8).prop_map(Step::Delete),
        3 => (0..4_u8, proptest::collection::vec(1..4_u8, 0..4)).prop_map(|(name, ips)| Step::Service(name, ips)),
        1 => (0..4_u8).prop_map(Step::NoService),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_sequence_of_puts_and_deletes_equals_a_simple_model(steps in steps()) {
        let table = TableBuilder::new(label("default")).finish();
        let mut keys: BTreeMap<u8, Unit> = BTreeMap::new();
        let mut services: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(name, routes) => {
                    let unit = match routes {
                        None => gone(&format!("k{name}")),
                        Some(routes) => key(&format!("k{name}"), &routes.iter().map(|(service, ip)| {
                            format!(r#"{{"destination":"s{service}:80","endpoints":["10.0.0.{ip}:1"]}}"#)
                        }).collect::<Vec<_>>().join(",")),
                    };
                    let Unit::Key(inner) = &unit else { unreachable!() };
                    match compile(inner) {
                        Ok(_) => { table.put(&unit).unwrap(); keys.insert(name, unit); }
                        Err(error) => prop_assert_eq!(table.put(&unit), Err(error)),
                    }
                }
                Step::Delete(name) => {
                    let unit = UnitName::Key(format!("k{name}").parse().unwrap());
                    prop_assert_eq!(table.delete(&unit), keys.remove(&name).is_some());
                }
                Step::Service(name, ips) => {
                    let texts: Vec<_> = ips.iter().map(|ip| format!("10.0.0.{ip}")).collect();
                    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                    table.put(&service(&format!("s{name}"), &[(80, 80)], &texts, &[])).unwrap();
                    services.insert(name, ips);
                }
                Step::NoService(name) => {
                    let unit = UnitName::Service { namespace: label("default"), name: label(&format!("s{name}")) };
                    prop_assert_eq!(table.delete(&unit), services.remove(&name).is_some());
                }
            }
        }
        prop_assert_eq!(table.len(), keys.len());
        let mut digest = Digest::default();
        for unit in keys.values() {
            let Unit::Key(unit) = unit else { unreachable!() };
            let expected = compile(unit).unwrap();
            digest = digest ^ expected.digest;
            let held = table.key(unit.key.as_str());
            prop_assert_eq!(held.as_deref(), Some(&expected));
        }
        prop_assert_eq!(table.digest(), digest);
        for ip in 1..4_u8 {
            let behind = services.iter().filter(|(_, ips)| ips.contains(&ip));
            let names: Vec<_> = behind.map(|(name, _)| format!("s{name}.default:80")).collect();
            let expected = (!names.is_empty()).then(|| names.join(", "));
            prop_assert_eq!(standing(&table, Place::Dialled(at(&format!("10.0.0.{ip}:80")))), expected);
        }
    }
}
