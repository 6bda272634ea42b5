use std::collections::BTreeMap;

use bellhop_api::watch::{Event, UnitName};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    feed::{Feed, Lines},
    record::name_of,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn stored(kind: &str, name: &str, spec: Value, labels: Value) -> Box<Stored> {
    let metadata = json!({ "name": name, "labels": labels, "creationTimestamp": NOW });
    let object =
        json!({ "apiVersion": bellhop_api::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec });
    Box::new(Stored {
        object: Manifest::from_value(object).unwrap(),
        deleted_until: None,
        lost: BTreeMap::new(),
    })
}

fn edit(stored: Box<Stored>) -> Edit {
    Edit::Object(name_of(stored.object.kind(), stored.object.metadata()).unwrap(), Some(stored))
}

/// Any edit of a small world: few names, so that they meet.
fn any_edit() -> impl Strategy<Value = Edit> {
    let service = (0..3u8, 1..4u16, 0..3u8).prop_map(|(n, ports, address)| {
        let ports: Vec<_> = (1..=ports).map(|port| json!({ "port": port })).collect();
        let spec = json!({ "ports": ports, "addresses": [format!("10.1.0.{address}"), "name"] });
        edit(stored("Service", &format!("s{n}"), spec, json!({})))
    });
    let sandbox = (0..4u8, 0..3u8, prop::option::of(1..4u16), 0..3u8, 0..2u8).prop_map(|(n, service, port, to, label)| {
        let endpoint = if to == 0 { "name".to_owned() } else { format!("10.0.0.{to}") };
        let spec = json!({ "overrides": [{ "service": format!("s{service}"), "port": port, "endpoints": [endpoint] }],
                           "routingKey": if n == 3 { "k0".to_owned() } else { format!("k{n}") } });
        edit(stored("Sandbox", &format!("b{n}"), spec, json!({ "l": format!("{label}") })))
    });
    let group = (0..2u8, 0..4u8, 0..2u8).prop_map(|(n, member, label)| {
        let spec = json!({ "sandboxes": [format!("b{member}")], "selector": { "matchLabels": { "l": format!("{label}") } },
                           "routingKey": format!("g{n}") });
        edit(stored("SandboxGroup", &format!("g{n}"), spec, json!({})))
    });
    let address = prop::option::of(0..3u8).prop_map(|n| {
        Edit::Name("name".into(), n.map(|n| vec![format!("10.9.0.{}", n + 1).parse().unwrap()]))
    });
    let put = prop_oneof![3 => service, 5 => sandbox, 3 => group, 1 => address];
    (put, 0..6u8).prop_map(|(edit, fate)| match (edit, fate) {
        (Edit::Object(name, Some(_)), 0) => Edit::Object(name, None),
        (Edit::Object(name, Some(mut stored)), 1) if name.kind != Kind::Service => {
            stored.deleted_until = Some(Timestamp::MAX);
            Edit::Object(name, Some(stored))
        }
        (edit, _) => edit,
    })
}

/// Somebody who follows a feed from line to line.
#[derive(Default)]
struct Follower {
    at: u64,
    units: BTreeMap<String, Unit>,
}

impl Follower {
    fn read(&mut self, feed: &Feed) {
        let Lines::Some(lines, end) = feed.lines(self.at) else { panic!("behind") };
        self.at = end;
        for line in lines {
            match serde_json::from_slice(&line).unwrap() {
                Event::Put { unit, .. } => {
                    self.needs_met(&unit);
                    self.units.insert(name(&unit), unit);
                }
                Event::Delete { unit: UnitName::Key(key), .. } => drop(self.units.remove(key.as_str())),
                Event::Delete { unit: UnitName::Service { namespace, name }, .. } => {
                    drop(self.units.remove(&format!("{namespace}/{name}")));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn needs_met(&self, unit: &Unit) {
        if let Unit::Key(unit) = unit {
            for route in &unit.routes {
                let service = format!("{}/{}", route.destination.namespace, route.destination.service);
                let gone = route.state == bellhop_api::watch::RouteState::Gone;
                assert!(gone || self.units.contains_key(&service), "{service} comes after {}", unit.key);
            }
        }
    }
}

fn name(unit: &Unit) -> String {
    match unit {
        Unit::Service(unit) => format!("{}/{}", unit.namespace, unit.name),
        Unit::Key(unit) => unit.key.to_string(),
    }
}

fn listed(feed: &Feed) -> BTreeMap<String, Unit> {
    let units = feed.all().into_iter().map(|line| match serde_json::from_slice(&line).unwrap() {
        Event::Put { unit, .. } => (name(&unit), unit),
        other => panic!("{other:?}"),
    });
    units.collect()
}

fn statuses(world: &World) -> Vec<(ObjectName, Status)> {
    world.all().map(|(name, held)| (name.clone(), held.status.clone())).collect()
}

#[test]
fn what_is_kept_for_each_object_has_no_room_to_spare() {
    let mut world = World::new(Networks::private(false));
    let overrides = json!([{ "service": "route", "port": 80, "endpoints": ["10.0.0.7"] }]);
    let sandbox = stored("Sandbox", "a", json!({ "overrides": overrides }), json!({}));
    let name = name_of(Kind::Sandbox, sandbox.object.metadata()).unwrap();
    let effects = world.apply(vec![Edit::Object(name.clone(), Some(sandbox))], NOW).effects;
    let conditions = &world.any(&name).unwrap().status.conditions;
    assert_eq!(conditions.capacity(), conditions.len());
    assert!(world.claims.values().all(|claims| claims.capacity() == 1));
    let unit = effects.put.into_iter().find(|unit| matches!(unit, Unit::Key(_))).unwrap();
    let line = crate::feed::line(&Event::Put { unit, position: None });
    let bytes = line.len();
    assert_eq!(line.try_into_mut().unwrap().capacity(), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_follows_the_watch_holds_what_a_list_would_show(edits in prop::collection::vec((any_edit(), any::<bool>()), 1..40)) {
        let (mut world, feed) = (World::new(Networks::private(false)), Feed::new("e", "r"));
        let mut follower = Follower::default();
        for (edit, read) in edits {
            feed.publish(&world.apply(vec![edit], NOW).effects, 1);
            if read {
                follower.read(&feed);
            }
        }
        while follower.at < feed.subscribe().borrow().to_owned() {
            follower.read(&feed);
        }
        prop_assert_eq!(follower.units, listed(&feed));
    }

    #[test]
    fn a_world_depends_on_its_objects_and_not_on_the_way_there(edits in prop::collection::vec(any_edit(), 1..40)) {
        let (mut world, feed) = (World::new(Networks::private(false)), Feed::new("e", "r"));
        for edit in edits {
            feed.publish(&world.apply(vec![edit], NOW).effects, 1);
        }
        let (mut fresh, again) = (World::new(Networks::private(false)), Feed::new("e", "r"));
        let names = world.names.iter().map(|(name, found)| Edit::Name(Arc::clone(name), Some(found.clone())));
        let objects = world.all().map(|(name, held)| Edit::Object(name.clone(), Some(Box::new(held.stored.clone()))));
        again.publish(&fresh.apply(names.chain(objects).collect(), NOW).effects, 1);
        prop_assert_eq!(listed(&again), listed(&feed));
        prop_assert_eq!(statuses(&fresh), statuses(&world));
    }

    #[test]
    fn a_preview_changes_nothing(edits in prop::collection::vec(any_edit(), 1..20), tried in any_edit()) {
        let mut world = World::new(Networks::private(false));
        for edit in edits {
            world.apply(vec![edit], NOW);
        }
        let (before, units) = (statuses(&world), world.planner.units());
        let name = match &tried {
            Edit::Object(name, _) => name.clone(),
            Edit::Name(..) => ObjectName { kind: Kind::Service, name: FullName { namespace: "a".parse().unwrap(), name: "b".parse().unwrap() } },
        };
        world.preview(vec![tried], &name, NOW);
        prop_assert_eq!(statuses(&world), before);
        prop_assert_eq!(world.planner.units(), units);
        prop_assert!(world.apply(Vec::new(), NOW).effects.put.is_empty());
    }
}
