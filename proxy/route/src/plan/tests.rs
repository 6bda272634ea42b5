mod any_order;

use std::collections::BTreeSet;

use bellhop_api::{
    Labels, Selector,
    watch::{EndpointProtocol, Fallback, RouteState, ServicePort},
};

use super::*;
use crate::digest;

/// `name` or `namespace/name`.
fn full(text: &str) -> FullName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    FullName { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

fn named(kind: Kind, name: &str) -> ObjectName {
    ObjectName { kind, name: full(name) }
}

fn service(name: &str, ports: &[(u16, u16)], addresses: &[&str], workloads: &[&str]) -> Object {
    let ips = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect();
    let FullName { namespace, name } = full(name);
    Object::Service(ServiceUnit {
        namespace,
        name,
        ports: ports.iter().map(|&(port, target_port)| ServicePort { port, target_port }).collect(),
        addresses: ips(addresses),
        names: Vec::new(),
        workloads: ips(workloads),
    })
}

/// `over("a:80", "10.0.0.7:80")`, or without either port.
fn over(service: &str, endpoint: &str) -> Override {
    let (service, port) = match service.split_once(':') {
        Some((service, port)) => (service, Some(port.parse().unwrap())),
        None => (service, None),
    };
    let endpoint = match endpoint.split_once(':') {
        Some((ip, port)) => EndpointAddress { ip: ip.parse().unwrap(), port: Some(port.parse().unwrap()) },
        None => EndpointAddress { ip: endpoint.parse().unwrap(), port: None },
    };
    Override {
        service: full(service),
        port,
        endpoints: vec![endpoint],
        fallback: Fallback::None,
        protocol: EndpointProtocol::Same,
        requires: Vec::new(),
        inline: None,
    }
}

/// A sandbox whose key is its name, created at 100.
fn sandbox(name: &str, overrides: &[(&str, &str)]) -> Sandbox {
    Sandbox {
        name: full(name),
        created_ms: 100,
        key: full(name).name.as_str().parse().unwrap(),
        labels: Labels::new(),
        overrides: overrides.iter().map(|(service, endpoint)| over(service, endpoint)).collect(),
        lost: BTreeSet::new(),
        gone: false,
    }
}

fn group(name: &str, members: &[&str]) -> Group {
    Group {
        name: full(name),
        created_ms: 100,
        key: full(name).name.as_str().parse().unwrap(),
        members: members.iter().map(|member| full(member)).collect(),
        selector: None,
        namespaces: None,
        lost: BTreeSet::new(),
        gone: false,
    }
}

fn put(objects: impl IntoIterator<Item = Object>) -> Vec<Change> {
    objects.into_iter().map(Change::Put).collect()
}

fn planner(objects: impl IntoIterator<Item = Object>) -> Planner {
    let mut planner = Planner::default();
    planner.apply(put(objects));
    planner
}

/// The routes of a key, in short: `a.default:80 → 10.0.0.7:80 (default/x)`, `gone` for a key that is.
fn routes(planner: &Planner, key: &str) -> Vec<String> {
    let Some(unit) = planner.key(&key.parse().unwrap()) else { return vec!["none".into()] };
    assert_eq!(unit.digest, digest(unit).to_string());
    crate::compile(unit).unwrap();
    if unit.gone {
        return vec!["gone".into()];
    }
    let shown = unit.routes.iter().map(|route| match route.state {
        RouteState::Active => {
            let endpoints: Vec<_> = route.endpoints.iter().map(ToString::to_string).collect();
            format!(
                "{} → {} ({})",
                route.destination,
                endpoints.join(" "),
                route.sandbox.as_deref().unwrap_or("-")
            )
        }
        state => format!("{} {state:?}", route.destination),
    });
    shown.collect()
}

fn units(units: &[Unit]) -> Vec<String> {
    let shown = units.iter().map(|unit| match unit {
        Unit::Service(unit) => format!("service {}", unit.name),
        Unit::Key(unit) => format!("key {}", unit.key),
    });
    shown.collect()
}

use bellhop_api::watch::{ServiceUnit, Unit, UnitName};

#[test]
fn an_override_without_ports_covers_every_port_and_leads_to_its_target() {
    let planner = planner([
        service("a", &[(80, 8080), (443, 8443)], &[], &[]),
        Object::Sandbox(sandbox("x", &[("a", "10.0.0.7")])),
        Object::Sandbox(sandbox("y", &[("a:443", "10.0.0.7"), ("a:80", "10.0.0.8:1")])),
    ]);
    assert_eq!(
        routes(&planner, "x"),
        ["a.default:80 → 10.0.0.7:8080 (default/x)", "a.default:443 → 10.0.0.7:8443 (default/x)"]
    );
    assert_eq!(
        routes(&planner, "y"),
        ["a.default:80 → 10.0.0.8:1 (default/y)", "a.default:443 → 10.0.0.7:8443 (default/y)"]
    );
}

#[test]
fn a_service_is_sent_only_while_a_key_overrides_it_and_before_the_key() {
    let mut planner = planner([service("a", &[(80, 80)], &[], &[]), service("b", &[(80, 80)], &[], &[])]);
    assert_eq!(planner.units(), []);
    let effects = planner.apply(put([Object::Sandbox(sandbox("x", &[("a:80", "10.0.0.7:80")]))]));
    assert_eq!(units(&effects.put), ["service a", "key x"]);
    let more = planner.apply(put([Object::Sandbox(sandbox("y", &[("a:80", "10.0.0.8:80")]))]));
    assert_eq!(units(&more.put), ["key y"]);
    let moved = planner.apply(put([service("a", &[(80, 80)], &["10.0.0.1"], &[])]));
    assert_eq!(units(&moved.put), ["service a"], "addresses are no business of the keys");
    let effects =
        planner.apply([Change::Delete(named(Kind::Sandbox, "x")), Change::Delete(named(Kind::Sandbox, "y"))]);
    let FullName { namespace, name } = full("a");
    let (x, y) = ("x".parse().unwrap(), "y".parse().unwrap());
    assert_eq!(effects.delete, [UnitName::Key(x), UnitName::Key(y), UnitName::Service { namespace, name }]);
    assert_eq!(planner.units(), []);
}

#[test]
fn a_service_that_nobody_described_follows_from_the_overrides_that_name_it() {
    let mut told = sandbox("x", &[("a:80", "10.0.0.7")]);
    told.overrides[0].inline = Some(InlineService {
        addresses: vec!["10.0.0.1".parse().unwrap()],
        names: vec!["a.example.com".into()],
        workloads: vec![],
        target_port: Some(8080),
    });
    let mut planner = planner([
        Object::Sandbox(told),
        Object::Sandbox(sandbox("y", &[("a:80", "10.0.0.8"), ("b", "10.0.0.9")])),
    ]);
    let unit = planner.service(&full("a")).unwrap();
    assert_eq!(unit.ports, [ServicePort { port: 80, target_port: 8080 }]);
    assert_eq!(unit.names, ["a.example.com"]);
    assert_eq!(routes(&planner, "y"), ["a.default:80 → 10.0.0.8:8080 (default/y)"]);
    let status = planner.status(&named(Kind::Sandbox, "y")).unwrap();
    assert_eq!(status.missing_services, BTreeSet::from([full("b")]), "a is described inline");

    planner.apply([Change::Delete(named(Kind::Sandbox, "x"))]);
    assert_eq!(routes(&planner, "y"), ["a.default:80 → 10.0.0.8:80 (default/y)"]);
    let status = planner.status(&named(Kind::Sandbox, "y")).unwrap();
    assert_eq!(status.missing_services, BTreeSet::from([full("a"), full("b")]));

    planner.apply(put([service("b", &[(1, 2)], &[], &[])]));
    assert_eq!(
        routes(&planner, "y"),
        ["a.default:80 → 10.0.0.8:80 (default/y)", "b.default:1 → 10.0.0.9:2 (default/y)"]
    );
}

/// DESIGN §4.4.
#[test]
fn one_key_claimed_twice_belongs_to_the_older_object_and_the_younger_says_key_conflict() {
    let mut younger = sandbox("a/second", &[("a:80", "10.0.0.8:80")]);
    (younger.key, younger.created_ms) = ("first".parse().unwrap(), 101);
    let mut same_age = group("first", &["second"]);
    same_age.created_ms = 101;
    let older = sandbox("z/first", &[("a:80", "10.0.0.7:80")]);
    let mut planner =
        planner([Object::Group(same_age), Object::Sandbox(younger), Object::Sandbox(older.clone())]);
    assert_eq!(routes(&planner, "first"), ["a.default:80 → 10.0.0.7:80 (z/first)"]);
    let holder = Some(named(Kind::Sandbox, "z/first"));
    for loser in [named(Kind::Sandbox, "a/second"), named(Kind::SandboxGroup, "first")] {
        assert_eq!(planner.status(&loser), Some(&Status { key_holder: holder.clone(), ..Status::default() }));
    }
    let effects = planner.apply(put([Object::Sandbox(Sandbox { gone: true, ..older })]));
    assert_eq!(
        routes(&planner, "first"),
        ["a.default:80 → 10.0.0.8:80 (a/second)"],
        "the living come before the gone"
    );
    assert_eq!(effects.statuses.len(), 3);
    planner.apply([Change::Delete(named(Kind::Sandbox, "a/second"))]);
    assert_eq!(planner.holder(&"first".parse().unwrap()), Some(named(Kind::SandboxGroup, "first")));
}

/// DESIGN §4.4.
#[test]
fn overrides_of_a_group_that_differ_for_one_destination_are_a_conflict_that_names_both() {
    let mut planner = planner([
        Object::Sandbox(sandbox("x", &[("a:80", "10.0.0.7:80"), ("b:80", "10.0.0.7:81")])),
        Object::Sandbox(sandbox("y", &[("a:80", "10.0.0.8:80"), ("b:80", "10.0.0.7:81")])),
        Object::Group(group("g", &["y", "x"])),
    ]);
    assert_eq!(routes(&planner, "g"), ["a.default:80 Conflict", "b.default:80 → 10.0.0.7:81 (default/x)"]);
    let status = planner.status(&named(Kind::SandboxGroup, "g")).unwrap();
    let between = [full("x"), full("y")];
    let destination = "a:80".parse().unwrap();
    assert_eq!(status.disagreements, BTreeSet::from([Disagreement::Destination { destination, between }]));
    assert_eq!(*status.routed, ["b:80".parse().unwrap()]);
    assert_eq!(routes(&planner, "x").len(), 2, "the sandboxes themselves go on");

    let agreed = sandbox("y", &[("a:80", "10.0.0.7:80")]);
    planner.apply(put([Object::Sandbox(agreed)]));
    assert_eq!(routes(&planner, "g")[0], "a.default:80 → 10.0.0.7:80 (default/x)");
    assert_eq!(planner.status(&named(Kind::SandboxGroup, "g")).unwrap().disagreements, BTreeSet::new());
}

/// DESIGN §4.4.
#[test]
fn overrides_that_differ_behind_one_address_are_named_and_keep_their_routes() {
    let mut planner = planner([
        service("a", &[(80, 8080)], &["10.0.0.1"], &["10.1.0.1"]),
        service("b", &[(81, 8080)], &["10.0.0.2"], &[]),
        Object::Sandbox(sandbox("x", &[("a:80", "10.0.0.7:80")])),
        Object::Sandbox(sandbox("y", &[("b:81", "10.0.0.8:80")])),
        Object::Group(group("g", &["x", "y"])),
    ]);
    let told =
        |planner: &Planner| planner.status(&named(Kind::SandboxGroup, "g")).unwrap().disagreements.clone();
    assert_eq!(told(&planner), BTreeSet::new());
    let before = routes(&planner, "g");

    let effects = planner.apply(put([service("b", &[(81, 8080)], &["10.0.0.2"], &["10.1.0.1"])]));
    assert_eq!(units(&effects.put), ["service b"]);
    assert_eq!(routes(&planner, "g"), before);
    let expected = Disagreement::Address {
        address: "10.1.0.1:8080".parse().unwrap(),
        destinations: ["a:80".parse().unwrap(), "b:81".parse().unwrap()],
        between: [full("x"), full("y")],
    };
    assert_eq!(told(&planner), BTreeSet::from([expected]));

    planner.apply(put([service("b", &[(81, 8080)], &["10.0.0.2"], &["10.1.0.2"])]));
    assert_eq!(told(&planner), BTreeSet::new());
}

/// DESIGN §4.3 and §4.4.
#[test]
fn what_a_key_or_a_group_has_lost_is_gone_and_missing_members_are_named() {
    let x = sandbox("x", &[("a:80", "10.0.0.7:80"), ("b:80", "10.0.0.7:81")]);
    let mut planner = planner([
        Object::Sandbox(x.clone()),
        Object::Sandbox(sandbox("y", &[("b:80", "10.0.0.7:81")])),
        Object::Group(group("g", &["x", "y", "far/z"])),
    ]);
    let status = |planner: &Planner| planner.status(&named(Kind::SandboxGroup, "g")).unwrap().clone();
    assert_eq!(status(&planner).members, BTreeSet::from([full("x"), full("y")]));
    assert_eq!(status(&planner).missing_members, BTreeSet::from([full("far/z")]));

    planner.apply(put([Object::Sandbox(Sandbox { gone: true, ..x.clone() })]));
    assert_eq!(routes(&planner, "x"), ["gone"]);
    assert_eq!(routes(&planner, "g"), ["a.default:80 Gone", "b.default:80 → 10.0.0.7:81 (default/y)"]);
    assert_eq!(status(&planner).missing_members, BTreeSet::from([full("far/z"), full("x")]));

    let mut less = sandbox("x", &[("b:80", "10.0.0.7:81")]);
    less.lost = BTreeSet::from(["a:80".parse().unwrap()]);
    planner.apply(put([Object::Sandbox(less)]));
    assert_eq!(routes(&planner, "x"), ["a.default:80 Gone", "b.default:80 → 10.0.0.7:81 (default/x)"]);
    assert_eq!(routes(&planner, "g"), ["a.default:80 Gone", "b.default:80 → 10.0.0.7:81 (default/x)"]);

    planner.apply([Change::Delete(named(Kind::Sandbox, "x"))]);
    assert_eq!(routes(&planner, "g"), ["b.default:80 → 10.0.0.7:81 (default/y)"], "forgotten");
    let mut forgetful = group("g", &["y"]);
    forgetful.lost = BTreeSet::from(["c:80".parse().unwrap(), "b:80".parse().unwrap()]);
    planner.apply(put([Object::Group(forgetful)]));
    assert_eq!(routes(&planner, "g"), ["b.default:80 → 10.0.0.7:81 (default/y)", "c.default:80 Gone"]);
    planner.apply(put([Object::Group(Group { gone: true, ..group("g", &["y"]) })]));
    assert_eq!(routes(&planner, "g"), ["gone"]);
}

#[test]
fn a_member_without_its_key_contributes_nothing_until_it_has_it() {
    let holder = sandbox("a-holder", &[("a:80", "10.0.0.1:80")]);
    let mut member = sandbox("member", &[("b:80", "10.0.0.7:80")]);
    member.key = "a-holder".parse().unwrap();
    let mut planner =
        planner([Object::Sandbox(holder), Object::Sandbox(member), Object::Group(group("g", &["member"]))]);
    assert_eq!(routes(&planner, "g"), ["b.default:80 Gone"]);
    let status = planner.status(&named(Kind::SandboxGroup, "g")).unwrap();
    assert_eq!(status.missing_members, BTreeSet::from([full("member")]));
    planner.apply([Change::Delete(named(Kind::Sandbox, "a-holder"))]);
    assert_eq!(routes(&planner, "g"), ["b.default:80 → 10.0.0.7:80 (default/member)"]);
}

#[test]
fn a_selector_takes_in_what_matches_in_its_namespaces() {
    let with = |name: &str, label: &str, endpoint: &str| {
        let mut sandbox = sandbox(name, &[(&format!("s-{}:80", full(name).name), endpoint)]);
        let (key, value) = label.split_once('=').unwrap();
        sandbox.labels = Labels::from([(key.to_owned(), value.to_owned())]);
        Object::Sandbox(sandbox)
    };
    let selecting = |selector: &str, namespaces: Option<&[&str]>| {
        let mut group = group("g", &["w"]);
        let mut selector: Selector = selector.parse().unwrap();
        if let [one] = &selector.match_expressions[..]
            && one.operator == bellhop_api::Operator::In
        {
            selector.match_labels = Labels::from([(one.key.clone(), one.values[0].clone())]);
            selector.match_expressions.clear();
        }
        group.selector = Some(selector);
        group.namespaces = namespaces.map(|all| all.iter().map(|n| n.parse().unwrap()).collect());
        Object::Group(group)
    };
    let mut planner = planner([
        with("w", "pr=1", "10.0.0.1:80"),
        with("x", "pr=2", "10.0.0.2:80"),
        with("far/y", "pr=2", "10.0.0.3:80"),
    ]);
    for (selector, namespaces, expected) in [
        ("pr=2", None, &["w", "x", "far/y"][..]),
        ("pr=2", Some(&["default"][..]), &["w", "x"]),
        ("pr!=1", None, &["w", "x", "far/y"]),
        ("pr", Some(&["far"]), &["w", "far/y"]),
        ("pr=3", None, &["w"]),
    ] {
        planner.apply(put([selecting(selector, namespaces)]));
        let members = &planner.status(&named(Kind::SandboxGroup, "g")).unwrap().members;
        assert_eq!(members, &expected.iter().map(|name| full(name)).collect(), "{selector}");
    }
    planner.apply(put([with("x", "pr=3", "10.0.0.2:80")]));
    assert_eq!(planner.status(&named(Kind::SandboxGroup, "g")).unwrap().members.len(), 2);
}

#[test]
fn a_preview_tells_what_would_happen_and_changes_nothing() {
    let mut planner = planner([
        Object::Sandbox(sandbox("x", &[("a:80", "10.0.0.7:80")])),
        Object::Sandbox(sandbox("y", &[("a:80", "10.0.0.8:80")])),
        Object::Group(group("g", &["x"])),
    ]);
    let (before, status) = (planner.units(), planner.status(&named(Kind::SandboxGroup, "g")).cloned());
    let changes = put([Object::Group(group("g", &["x", "y"])), Object::Sandbox(sandbox("z", &[]))]);
    let preview = planner.preview(changes.clone());
    assert_eq!((planner.units(), planner.status(&named(Kind::SandboxGroup, "g")).cloned()), (before, status));
    assert_eq!(planner.status(&named(Kind::Sandbox, "z")), None);
    assert!(!preview.statuses[1].1.disagreements.is_empty());
    assert_eq!(preview, planner.apply(changes));
}
