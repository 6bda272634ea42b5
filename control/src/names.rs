//! DNS names of services and endpoints: resolved, stored, kept fresh.
//!
//! An address stays for ten minutes after it was last seen, so that a rolling restart or an answer that rotates does not
//! shake the routes. Only a change of the set is written. Of several replicas, whose resolvers may differ, the one that
//! holds the lease keeps names fresh; one that nobody has looked up yet is looked up by who takes the write.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::time::{Instant, timeout};

use crate::{
    control::Control,
    record::{name_record, name_value},
    store::{Expect, StoreError, Write, batches},
};

/// An address stays this long after it was last seen.
const STAYS: Duration = Duration::from_secs(600);
/// One look-up takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Look-ups at once.
const AT_ONCE: usize = 16;
/// More addresses than this of one name are left out.
const ADDRESSES: usize = 64;

/// Looks a name up.
pub(crate) trait Lookup: Send + Sync {
    /// All addresses of `host`.
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's resolver.
#[derive(Debug)]
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        async move {
            Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip().to_canonical()).collect())
        }
        .boxed()
    }
}

/// When each address of each name was last seen.
#[derive(Debug, Default)]
struct Seen(HashMap<(String, IpAddr), Instant>);

impl Seen {
    /// The addresses that `host` has now: those just found, and those seen not long ago. `None`: the look-up failed, and
    /// says nothing of what is there.
    fn merge(&mut self, host: &str, held: &[IpAddr], found: Option<Vec<IpAddr>>) -> Vec<IpAddr> {
        let now = Instant::now();
        let failed = found.is_none();
        for address in found.into_iter().flatten().take(ADDRESSES) {
            self.0.insert((host.to_owned(), address), now);
        }
        for address in held {
            let seen = self.0.entry((host.to_owned(), *address)).or_insert(now);
            if failed {
                *seen = now;
            }
        }
        self.0.retain(|(of, _), seen| of != host || now.duration_since(*seen) < STAYS);
        let mut all: Vec<_> =
            self.0.keys().filter(|(of, _)| of == host).map(|(_, address)| *address).collect();
        all.sort_unstable();
        all.truncate(ADDRESSES);
        all
    }
}

/// Resolves names; one for each [`Control`].
#[derive(Debug, Default)]
pub(crate) struct Resolver(Mutex<Seen>);

impl Resolver {
    /// Looks names up and gives the writes that store what changed.
    pub(crate) async fn resolve(&self, control: &Control, hosts: Vec<String>) -> Vec<(String, Vec<IpAddr>)> {
        let look = |host: String| async move {
            let found = timeout(PATIENCE, control.lookup.lookup(&host)).await;
            let found = match found {
                Ok(Ok(found)) => Some(found),
                Ok(Err(error)) => {
                    tracing::debug!(%host, %error, "name not resolved");
                    None
                }
                Err(_) => None,
            };
            (host, found)
        };
        let found: Vec<_> = stream::iter(hosts).map(look).buffer_unordered(AT_ONCE).collect().await;
        let world = control.world();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let merged = found.into_iter().map(|(host, found)| {
            let held = world.addresses(&host).unwrap_or_default();
            let now = seen.merge(&host, held, found);
            (now != held).then_some((host, now))
        });
        merged.flatten().collect()
    }

    /// Keeps all names fresh, until the store is closed.
    pub(crate) async fn run(self: Arc<Self>, control: Arc<Control>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            if !control.fleet.replicas().holds_lease() {
                continue;
            }
            match self.refresh(&control).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::error!(%error, "resolved names cannot be stored"),
            }
        }
    }

    async fn refresh(&self, control: &Control) -> Result<(), StoreError> {
        let basis = control.basis();
        let used: Vec<_> = control.world().hosts().map(|(host, _)| host.to_owned()).collect();
        let found = self.resolve(control, used).await;
        // looking up takes its time: what nobody uses is judged now, while no author can begin to use it
        let _one_at_a_time = control.writing.lock().await;
        let mut writes: Vec<_> = found.iter().map(|(host, now)| write(host, now)).collect();
        {
            let world = control.world();
            let used: BTreeSet<_> = world.hosts().map(|(host, _)| host).collect();
            let unused = world.resolved().filter(|host| !used.contains(&***host));
            writes.extend(unused.map(|host| Write {
                name: name_record(host),
                expect: Expect::Any,
                value: None,
            }));
        }
        for writes in batches(writes) {
            // looking up takes its time
            if !control.fleet.replicas().holds_lease() {
                break;
            }
            let revision = control.commit(&basis, writes).await?;
            control.applied(revision).await?;
        }
        Ok(())
    }
}

/// Stores the addresses of a name.
pub(crate) fn write(host: &str, addresses: &[IpAddr]) -> Write {
    Write { name: name_record(host), expect: Expect::Any, value: Some(name_value(addresses)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_stays_ten_minutes_after_it_was_last_seen() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let mut seen = Seen::default();
        assert_eq!(seen.merge("x", &[], Some(vec![a])), [a]);
        assert_eq!(seen.merge("x", &[a], Some(vec![b])), [a, b]);
        tokio::time::advance(STAYS - Duration::from_secs(1)).await;
        assert_eq!(seen.merge("x", &[a, b], Some(vec![b])), [a, b]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seen.merge("x", &[a, b], Some(vec![b])), [b]);
        tokio::time::advance(STAYS * 2).await;
        assert_eq!(seen.merge("x", &[b], None), [b], "a resolver that fails takes nothing away");
    }
}
