//! Services as the table knows them: which addresses and names stand for their destinations.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bellhop_api::{Destination, DnsLabel, watch::ServiceUnit};

use super::standing::{Standing, Standings};
use crate::{
    Place,
    name::{MAX_HOST_BYTES, authority, implied_names},
};

/// Namespace and name.
pub(super) type ServiceName = (DnsLabel, DnsLabel);

/// The services and their indexes. Readers see the indexes alone; a writer holds the lock of the units.
#[derive(Debug)]
pub(super) struct Services {
    namespace: DnsLabel,
    units: Mutex<HashMap<ServiceName, Arc<ServiceUnit>>>,
    dialled: Standings<SocketAddr>,
    workloads: Standings<SocketAddr>,
    /// By `host:port`, lower case.
    authorities: Standings<Box<str>>,
    /// Each by itself.
    named: Standings<Destination>,
}

/// Everything that stands for one service.
#[derive(Default)]
struct Places {
    dialled: Vec<(SocketAddr, Destination)>,
    workloads: Vec<(SocketAddr, Destination)>,
    authorities: Vec<(Box<str>, Destination)>,
    named: Vec<(Destination, Destination)>,
}

impl Services {
    pub(super) fn new(namespace: DnsLabel) -> Self {
        Self {
            namespace,
            units: Mutex::default(),
            dialled: Standings::new(),
            workloads: Standings::new(),
            authorities: Standings::new(),
            named: Standings::new(),
        }
    }

    /// Replaces a service, or takes it out. What it stood for before is gone only when what it stands for now is there.
    pub(super) fn replace(&self, name: ServiceName, unit: Option<&ServiceUnit>) -> bool {
        let mut units = self.lock();
        let new = unit.map(|unit| self.places(unit)).unwrap_or_default();
        let old = match unit {
            Some(unit) => units.insert(name, Arc::new(unit.clone())),
            None => units.remove(&name),
        };
        let was_there = old.is_some();
        let old = old.map(|unit| self.places(&unit)).unwrap_or_default();
        change(&self.dialled, old.dialled, new.dialled);
        change(&self.workloads, old.workloads, new.workloads);
        change(&self.authorities, old.authorities, new.authorities);
        change(&self.named, old.named, new.named);
        was_there
    }

    pub(super) fn standing(&self, place: &Place<'_>) -> Option<Arc<Standing>> {
        match *place {
            Place::Dialled(address) => {
                let address = canonical(address);
                self.dialled.get(&address).or_else(|| self.workloads.get(&address))
            }
            Place::Workload(address) => self.workloads.get(&canonical(address)),
            Place::Authority { host, port } => match host.parse() {
                Ok(ip) => self.standing(&Place::Dialled(SocketAddr::new(ip, port))),
                Err(_) if host.len() > MAX_HOST_BYTES => None,
                Err(_) => self.authorities.get(authority(host, port).as_str()),
            },
            // A destination that nobody described can be overridden all the same.
            Place::Named(destination) => {
                let unknown = || Arc::new(Standing::new(vec![destination.clone()]));
                Some(self.named.get(destination).unwrap_or_else(unknown))
            }
        }
    }

    /// The same destination, in the words of its service's unit if there is one, so that the names of a service are in
    /// memory once, however many keys override it.
    pub(super) fn intern(&self, destination: &Destination) -> Destination {
        let name = (destination.namespace.clone(), destination.service.clone());
        match self.lock().get(&name) {
            Some(unit) => self::destination(unit, destination.port),
            None => destination.clone(),
        }
    }

    pub(super) fn units(&self) -> Vec<Arc<ServiceUnit>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Arc<ServiceUnit>>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, unit: &ServiceUnit) -> Places {
        let mut places = Places::default();
        for port in &unit.ports {
            let destination = destination(unit, port.port);
            places.named.push((destination.clone(), destination.clone()));
            let at = |ip, port| (canonical(SocketAddr::new(ip, port)), destination.clone());
            places.dialled.extend(unit.addresses.iter().map(|ip| at(*ip, port.port)));
            places.workloads.extend(unit.workloads.iter().map(|ip| at(*ip, port.target_port)));
            let implied = implied_names(unit, &self.namespace);
            let names = unit.names.iter().map(String::as_str).chain(implied.iter().map(String::as_str));
            places
                .authorities
                .extend(names.map(|name| (authority(name, port.port).as_str().into(), destination.clone())));
        }
        places
    }
}

fn destination(unit: &ServiceUnit, port: u16) -> Destination {
    Destination { service: unit.name.clone(), namespace: unit.namespace.clone(), port }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    // Scope and flow of an IPv6 address are nobody's identity.
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn change<K: Eq + Hash + Clone>(
    index: &Standings<K>,
    old: Vec<(K, Destination)>,
    new: Vec<(K, Destination)>,
) {
    let (before, after): (HashSet<_>, HashSet<_>) = (old.into_iter().collect(), new.into_iter().collect());
    for (place, destination) in after.difference(&before) {
        index.add(place.clone(), destination);
    }
    for (place, destination) in before.difference(&after) {
        index.remove(place, destination);
    }
}
