//! Whatever the order, and whether one by one or together: the same objects make the same plan.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One change, in numbers: few names, so that they meet.
fn change() -> impl Strategy<Value = Change> {
    let service = (0..3_u8, 1..3_u8, proptest::collection::vec(0..3_u8, 0..3), any::<bool>());
    let service = service.prop_map(|(name, ports, ips, target)| {
        let ports: Vec<_> =
            (0..u16::from(ports)).map(|n| (80 + n, if target { 8080 } else { 80 + n })).collect();
        let ips: Vec<_> = ips.iter().map(|ip| format!("10.0.0.{ip}")).collect();
        let ips: Vec<_> = ips.iter().map(String::as_str).collect();
        Change::Put(super::service(&format!("s{name}"), &ports, &ips, &ips))
    });
    let overrides = proptest::collection::vec((0..3_u8, 0..3_u16, 0..3_u8, any::<bool>()), 0..4);
    let sandbox = (0..4_u8, 0..6_u8, 0..2_i64, overrides, 0..3_u8, proptest::bool::weighted(0.2));
    let sandbox = sandbox.prop_map(|(name, key, created_ms, overrides, label, gone)| {
        let overrides = overrides.into_iter().map(|(service, port, ip, inline)| {
            let service = if port == 0 { format!("s{service}") } else { format!("s{service}:{}", 79 + port) };
            let mut each = over(&service, &format!("10.9.0.{ip}"));
            each.inline = (inline && port > 0).then(|| InlineService {
                addresses: vec![each.endpoints[0].ip],
                target_port: (ip > 0).then_some(8080),
                ..InlineService::default()
            });
            each
        });
        let labels = Labels::from([("l".to_owned(), label.to_string())]);
        let lost = if label == 2 { BTreeSet::from(["s0:80".parse().unwrap()]) } else { BTreeSet::new() };
        Change::Put(Object::Sandbox(Sandbox {
            key: format!("k{key}").parse().unwrap(),
            created_ms,
            labels,
            lost,
            gone,
            overrides: overrides.collect(),
            ..super::sandbox(&format!("x{name}"), &[])
        }))
    });
    let members = proptest::collection::btree_set(0..4_u8, 0..3);
    let selector = prop_oneof![Just(None), Just(Some("eq")), Just(Some("ne"))];
    let group = (0..3_u8, 0..8_u8, 0..2_i64, members, selector, proptest::bool::weighted(0.1));
    let group = group.prop_map(|(name, key, created_ms, members, selector, gone)| {
        let selector = selector.map(|kind| match kind {
            "eq" => {
                Selector { match_labels: Labels::from([("l".into(), "1".into())]), ..Selector::default() }
            }
            _ => "l!=1".parse().unwrap(),
        });
        Change::Put(Object::Group(Group {
            key: format!("k{key}").parse().unwrap(),
            created_ms,
            members: members.iter().map(|n| full(&format!("x{n}"))).collect(),
            selector,
            gone,
            ..super::group(&format!("g{name}"), &[])
        }))
    });
    let delete = (0..3_u8, 0..4_u8).prop_map(|(kind, n)| {
        Change::Delete(match kind {
            0 => named(Kind::Service, &format!("s{n}")),
            1 => named(Kind::Sandbox, &format!("x{n}")),
            _ => named(Kind::SandboxGroup, &format!("g{n}")),
        })
    });
    prop_oneof![2 => service, 5 => sandbox, 3 => group, 3 => delete]
}

/// Everything that a planner can be asked.
fn state(planner: &Planner) -> (Vec<Unit>, BTreeMap<ObjectName, Status>) {
    let names = (0..4).flat_map(|n| {
        [(Kind::Sandbox, "x"), (Kind::SandboxGroup, "g")].map(|(kind, of)| named(kind, &format!("{of}{n}")))
    });
    (planner.units(), names.filter_map(|name| Some((name.clone(), planner.status(&name)?.clone()))).collect())
}

/// What a watcher holds that took every effect in.
#[derive(Default, PartialEq, Debug)]
struct Watcher(BTreeMap<String, Unit>);

impl Watcher {
    fn take(&mut self, effects: &Effects) {
        for unit in &effects.put {
            let name = match unit {
                Unit::Service(unit) => format!("0/{}/{}", unit.namespace, unit.name),
                Unit::Key(unit) => format!("1/{}", unit.key),
            };
            assert_ne!(
                self.0.insert(name.clone(), unit.clone()).as_ref(),
                Some(unit),
                "{name} did not change"
            );
        }
        for unit in &effects.delete {
            let name = match unit {
                UnitName::Service { namespace, name } => format!("0/{namespace}/{name}"),
                UnitName::Key(key) => format!("1/{key}"),
            };
            assert!(self.0.remove(&name).is_some(), "{name} was not there");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_plan_depends_on_the_objects_alone(changes in proptest::collection::vec(change(), 1..25), cut in 1..6_usize, probe in change()) {
        let (mut one_by_one, mut watcher) = (Planner::default(), Watcher::default());
        for change in &changes {
            watcher.take(&one_by_one.apply([change.clone()]));
        }
        let mut together = Planner::default();
        for batch in changes.chunks(cut) {
            together.apply(batch.to_vec());
        }
        let mut objects: BTreeMap<ObjectName, Change> = BTreeMap::new();
        for change in changes {
            match &change {
                Change::Put(_) => drop(objects.insert(change.object_name(), change)),
                Change::Delete(name) => drop(objects.remove(name)),
            }
        }
        let mut from_scratch = Planner::default();
        from_scratch.apply(objects.values().rev().cloned());

        prop_assert_eq!(state(&one_by_one), state(&from_scratch));
        prop_assert_eq!(state(&together), state(&from_scratch));
        prop_assert_eq!(watcher.0.into_values().collect::<Vec<_>>(), from_scratch.units());
        for unit in from_scratch.units() {
            if let Unit::Key(unit) = unit {
                crate::compile(&unit).unwrap();
            }
        }

        let before = state(&one_by_one);
        let preview = one_by_one.preview([probe.clone()]);
        prop_assert_eq!(state(&one_by_one), before);
        prop_assert_eq!(preview, one_by_one.apply([probe]));
    }
}
