//! What services are: described by an object of their own, or by the overrides that name them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bellhop_api::watch::{ServicePort, ServiceUnit};

use super::{FullName, Override};

/// All services that an object or an override names.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalog {
    entries: HashMap<FullName, Entry>,
    /// Services that stand behind an address.
    behind: HashMap<Door, BTreeSet<FullName>>,
}

/// An address of a service: one that applications dial, or one where a workload listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Door {
    /// Dialled.
    Front(SocketAddr),
    /// Listened on.
    Back(SocketAddr),
}

#[derive(Debug, Clone, Default)]
struct Entry {
    object: Option<ServiceUnit>,
    mentions: Mentions,
    /// What follows from both, when it was last settled; none where no port is known.
    unit: Option<Arc<ServiceUnit>>,
    /// Whether it was described then.
    described: bool,
}

/// What overrides say of a service, each with the number of those that say it.
#[derive(Debug, Clone, Default)]
struct Mentions {
    ports: BTreeMap<(u16, Option<u16>), usize>,
    addresses: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, usize>,
    workloads: BTreeMap<IpAddr, usize>,
    inline: usize,
    all: usize,
}

/// What a change of a service means for the keys that override it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shift {
    /// Every key must be compiled again.
    All,
    /// Those keys must that override one of these services too.
    With(BTreeSet<FullName>),
}

impl Catalog {
    pub(super) fn set_object(&mut self, name: &FullName, object: Option<ServiceUnit>) -> Option<ServiceUnit> {
        let entry = self.entries.entry(name.clone()).or_default();
        std::mem::replace(&mut entry.object, object)
    }

    pub(super) fn object(&self, name: &FullName) -> Option<&ServiceUnit> {
        self.entries.get(name)?.object.as_ref()
    }

    /// An override names its service (or does not any more).
    pub(super) fn mention(&mut self, each: &Override, there: bool) {
        let mentions = &mut self.entries.entry(each.service.clone()).or_default().mentions;
        let inline = each.inline.as_ref();
        count(&mut mentions.all, there);
        if let Some(port) = each.port {
            tally(&mut mentions.ports, (port, inline.and_then(|inline| inline.target_port)), there);
        }
        if let Some(inline) = inline {
            count(&mut mentions.inline, there);
            inline.addresses.iter().for_each(|ip| tally(&mut mentions.addresses, *ip, there));
            inline.names.iter().for_each(|name| tally(&mut mentions.names, name.clone(), there));
            inline.workloads.iter().for_each(|ip| tally(&mut mentions.workloads, *ip, there));
        }
    }

    /// Makes the service's unit anew after its object or its mentions changed.
    pub(super) fn settle(&mut self, name: &FullName) -> Shift {
        let Some(entry) = self.entries.get(name) else { return Shift::With(BTreeSet::new()) };
        let (old, new) = (entry.unit.clone(), entry.make(name).map(Arc::new));
        let redescribed = entry.described != self.is_described(name);
        if old == new && !redescribed {
            self.forget_if_idle(name);
            return Shift::With(BTreeSet::new());
        }
        let described = self.is_described(name);
        let mut partners = BTreeSet::new();
        for door in old.iter().flat_map(|unit| doors(unit)) {
            if let Some(services) = self.behind.get_mut(&door) {
                services.remove(name);
                partners.extend(services.iter().cloned());
                if services.is_empty() {
                    self.behind.remove(&door);
                }
            }
        }
        for door in new.iter().flat_map(|unit| doors(unit)) {
            let services = self.behind.entry(door).or_default();
            partners.extend(services.iter().cloned());
            services.insert(name.clone());
        }
        let ports = |unit: &Option<Arc<ServiceUnit>>| unit.as_ref().map(|unit| unit.ports.clone());
        let shifted = redescribed || ports(&old) != ports(&new);
        let shares_itself = new.as_ref().is_some_and(|unit| shares_a_target(unit));
        if let Some(entry) = self.entries.get_mut(name) {
            (entry.unit, entry.described) = (new, described);
        }
        self.forget_if_idle(name);
        if shifted || shares_itself { Shift::All } else { Shift::With(partners) }
    }

    fn forget_if_idle(&mut self, name: &FullName) {
        if self.entries.get(name).is_some_and(|entry| entry.object.is_none() && entry.mentions.all == 0) {
            self.entries.remove(name);
        }
    }

    /// The service, if any port of it is known.
    pub(super) fn unit(&self, name: &FullName) -> Option<&Arc<ServiceUnit>> {
        self.entries.get(name)?.unit.as_ref()
    }

    /// Whether somebody has said what the service is, beyond its name and a port.
    pub(super) fn is_described(&self, name: &FullName) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.object.is_some() || entry.mentions.inline > 0)
    }

    /// The ports of the service, each once.
    pub(super) fn ports(&self, name: &FullName) -> BTreeSet<u16> {
        self.unit(name).into_iter().flat_map(|unit| &unit.ports).map(|port| port.port).collect()
    }

    /// Where workloads listen for a port of the service: the port itself where nobody says.
    pub(super) fn targets(&self, name: &FullName, port: u16) -> BTreeSet<u16> {
        let known: BTreeSet<_> = self
            .unit(name)
            .into_iter()
            .flat_map(|unit| &unit.ports)
            .filter(|known| known.port == port)
            .map(|known| known.target_port)
            .collect();
        if known.is_empty() { BTreeSet::from([port]) } else { known }
    }

    /// The addresses of one port of the service.
    pub(super) fn doors(&self, name: &FullName, port: u16) -> Vec<Door> {
        let unit = self.unit(name);
        let ports = unit.iter().flat_map(|unit| &unit.ports).filter(|known| known.port == port);
        ports.flat_map(|port| unit.iter().flat_map(|unit| doors_of_port(unit, port))).collect()
    }
}

impl Entry {
    fn make(&self, name: &FullName) -> Option<ServiceUnit> {
        let mut unit = match &self.object {
            Some(object) => object.clone(),
            None => self.mentions.make(name),
        };
        unit.ports.sort_unstable_by_key(|port| (port.port, port.target_port));
        unit.ports.dedup();
        tidy(&mut unit.addresses);
        tidy(&mut unit.workloads);
        unit.names.sort_unstable();
        unit.names.dedup();
        (!unit.ports.is_empty()).then_some(unit)
    }
}

impl Mentions {
    fn make(&self, name: &FullName) -> ServiceUnit {
        // A target that somebody names outweighs the silence of others.
        let said = |port: u16| self.ports.range((port, Some(0))..=(port, Some(u16::MAX))).next().is_some();
        let ports = self.ports.keys().filter(|(port, target)| target.is_some() || !said(*port));
        ServiceUnit {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            ports: ports
                .map(|&(port, target)| ServicePort { port, target_port: target.unwrap_or(port) })
                .collect(),
            addresses: self.addresses.keys().copied().collect(),
            names: self.names.keys().cloned().collect(),
            workloads: self.workloads.keys().copied().collect(),
        }
    }
}

fn doors(unit: &ServiceUnit) -> impl Iterator<Item = Door> {
    unit.ports.iter().flat_map(|port| doors_of_port(unit, port))
}

fn doors_of_port(unit: &ServiceUnit, port: &ServicePort) -> impl Iterator<Item = Door> {
    let ServicePort { port, target_port } = *port;
    let fronts = unit.addresses.iter().map(move |ip| Door::Front(SocketAddr::new(*ip, port)));
    let backs = unit.workloads.iter().map(move |ip| Door::Back(SocketAddr::new(*ip, target_port)));
    fronts.chain(backs)
}

/// Whether two ports of the service lead to one of its workloads' ports.
fn shares_a_target(unit: &ServiceUnit) -> bool {
    let mut seen = BTreeSet::new();
    unit.ports.iter().any(|port| !seen.insert(port.target_port))
}

fn tidy(addresses: &mut Vec<IpAddr>) {
    addresses.iter_mut().for_each(|ip| *ip = ip.to_canonical());
    addresses.sort_unstable();
    addresses.dedup();
}

fn tally<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K, there: bool) {
    if there {
        *counts.entry(key).or_default() += 1;
    } else if let Some(held) = counts.get_mut(&key) {
        *held = held.saturating_sub(1);
        if *held == 0 {
            counts.remove(&key);
        }
    }
}

fn count(held: &mut usize, there: bool) {
    *held = if there { *held + 1 } else { held.saturating_sub(1) };
}
