//! The replicas of one store, as etcd knows them: each lives as long as it keeps its lease, and one of them holds the
//! place that one alone may have.
//!
//! A replica believes in its place no longer than its lease lasts from the moment at which it last *began* to renew it, by
//! its own clock: one that was stopped for a while, or is cut off, has lost its place before anybody else has it. Its address
//! stays longer, under a second lease: for as long as its proxies are waited for, the others miss its answer.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tokio::time::{Instant, sleep, timeout};

use super::{Etcd, READS_WITHIN, error::Fault, first_value};
use crate::{
    config::{EtcdConfig, PeerTrust},
    registry::LOST_AFTER,
    replicas::{Replica, Replicas, Standing, new_id},
    store::StoreError,
};

/// Leaving takes no longer.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);
/// Between two tries to be there again.
const PAUSE: Duration = Duration::from_millis(500);

/// This replica's place among the others.
pub(crate) struct Presence {
    etcd: Arc<Etcd>,
    id: String,
    url: String,
    term: Duration,
    secret: String,
    peers: PeerTrust,
    standing: Standing,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the place that one alone may have.
    place: Option<i64>,
    /// Of its address, and when each is over at the earliest: the last one, behind those of before under which it may yet
    /// stand.
    addresses: Vec<(i64, Instant)>,
    holds_until: Option<Instant>,
}

/// What a replica keeps alive.
#[derive(Debug, Clone, Copy)]
struct Leases {
    place: i64,
    address: i64,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence").field("id", &self.id).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Presence {
    /// A replica that listens there.
    ///
    /// # Errors
    /// When etcd does not tell by what replicas know each other, or tells what somebody could guess.
    pub(crate) async fn new(
        etcd: Arc<Etcd>,
        config: EtcdConfig,
        address: SocketAddr,
    ) -> Result<Self, StoreError> {
        let EtcdConfig { advertise, peers, lease: term, .. } = config;
        let scheme = if peers == PeerTrust::Plain { "http" } else { "https" };
        let url = advertise.unwrap_or_else(|| format!("{scheme}://{address}"));
        let fresh = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let key = format!("{}/secret", etcd.prefix);
        let secret = etcd.found(&key, &fresh).await?;
        // it goes in a header field
        if secret.len() < fresh.len() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::Foreign(key).into());
        }
        Ok(Self {
            etcd,
            id: new_id(),
            url,
            term,
            secret,
            peers,
            standing: Standing::none(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lives, and gives back what it has no more use for.
    async fn live_once(&self) {
        if let Err(fault) = self.live().await {
            tracing::warn!(%fault, "this replica has no place among the others; taking one again");
        }
        self.give_up_place().await;
    }

    /// Lives, until etcd has forgotten it.
    async fn live(&self) -> Result<(), Fault> {
        let begun = Instant::now();
        // each is in mind as soon as it is granted, so that it is given back whatever fails behind it
        let place = self.grant(self.term).await?;
        self.state().place = Some(place);
        let lasts = self.term + LOST_AFTER;
        let address = self.grant(lasts).await?;
        {
            let addresses = &mut self.state().addresses;
            addresses.retain(|(_, over)| *over > begun);
            addresses.push((address, begun + lasts));
        }
        let leases = Leases { place, address };
        let key = format!("{}/replicas/{}", self.etcd.prefix, self.id);
        let put = self.etcd.link.ask(READS_WITHIN, |client| {
            let (key, url, options) =
                (key.clone(), self.url.clone(), PutOptions::new().with_lease(leases.address));
            async move { client.kv_client().put(key, url, Some(options)).await }
        });
        put.await?;
        self.standing.last_until(begun + self.term);
        tracing::info!(replica = self.id, url = self.url, "this replica is known to the others");
        self.give_back_older(address).await;
        loop {
            match self.renew(leases).await {
                Ok(()) => {}
                Err(fault @ Fault::Call { source: etcd_client::Error::LeaseKeepAliveError(_), .. }) => {
                    return Err(fault);
                }
                // the leases may be there yet
                Err(fault) => tracing::debug!(%fault, "the leases are not renewed"),
            }
            sleep(self.term / 5).await;
        }
    }

    async fn grant(&self, term: Duration) -> Result<i64, Fault> {
        let seconds = seconds(term);
        let granted = self
            .etcd
            .link
            .ask(READS_WITHIN, |client| async move { client.lease_client().grant(seconds, None).await });
        Ok(granted.await?.id())
    }

    /// Renews the leases, and takes the place that one alone may have where it is free.
    async fn renew(&self, leases: Leases) -> Result<(), Fault> {
        let begun = Instant::now();
        tokio::try_join!(self.keep_alive(leases.place), self.keep_alive(leases.address))?;
        self.standing.last_until(begun + self.term);
        let holds = self.take_place(leases.place).await?;
        let mut state = self.state();
        if holds && state.holds_until.is_none() {
            tracing::info!(replica = self.id, "this replica lets objects expire and keeps names fresh");
        }
        state.holds_until = holds.then(|| begun + self.term);
        Ok(())
    }

    async fn keep_alive(&self, lease: i64) -> Result<(), Fault> {
        let renewed = self.etcd.link.ask(self.term / 2, |client| async move {
            client.lease_client().keep_alive(lease).await.map(drop)
        });
        renewed.await
    }

    async fn take_place(&self, lease: i64) -> Result<bool, Fault> {
        // under an earlier lease of this replica it would end with that one
        let (key, me) = (format!("{}/holder", self.etcd.prefix), format!("{} {lease:x}", self.id));
        let txn = Txn::new()
            .when([Compare::version(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), me.clone(), Some(PutOptions::new().with_lease(lease)))])
            .or_else([TxnOp::get(key, None)]);
        let done = self.etcd.link.ask(self.term / 2, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let done = done.await?;
        let responses: Vec<TxnOpResponse> = done.op_responses();
        Ok(done.succeeded() || first_value(&responses).as_deref() == Some(&*me))
    }

    /// The address stands under its newest lease: those of before are of no use any more.
    async fn give_back_older(&self, address: i64) {
        let older: Vec<_> = self.state().addresses.extract_if(.., |(lease, _)| *lease != address).collect();
        join_all(older.into_iter().map(|(lease, _)| self.revoke(lease))).await;
    }

    /// It lives no longer, and has no place. Its address stays until it lives again, or its time is over: the others miss
    /// its answer.
    async fn give_up_place(&self) {
        self.standing.fall();
        let place = {
            let mut state = self.state();
            state.holds_until = None;
            state.place.take()
        };
        if let Some(place) = place {
            self.revoke(place).await;
        }
    }

    async fn revoke(&self, lease: i64) {
        let revoked = self
            .etcd
            .link
            .ask(LEAVES_WITHIN, |client| async move { client.lease_client().revoke(lease).await.map(drop) });
        // a lease that is not given back ends by itself
        timeout(LEAVES_WITHIN, revoked).await.ok();
    }

    async fn read(&self) -> Result<Vec<Replica>, Fault> {
        let prefix = format!("{}/replicas/", self.etcd.prefix);
        let read = self.etcd.link.ask(READS_WITHIN, |client| {
            let prefix = prefix.clone();
            async move { client.kv_client().get(prefix, Some(GetOptions::new().with_prefix())).await }
        });
        let read = read.await?;
        let mut all: Vec<_> = read.kvs().iter().collect();
        all.sort_by_key(|pair| std::cmp::Reverse(pair.create_revision()));
        // one that died and was started again where it was is there twice for a while: the younger is the one that lives
        let mut urls = BTreeSet::from([&*self.url]);
        let mut others = Vec::new();
        for pair in all {
            let (Ok(key), Ok(url)) = (pair.key_str(), pair.value_str()) else { continue };
            let Some(id) = key.strip_prefix(&*prefix).filter(|id| *id != self.id) else { continue };
            if urls.insert(url) {
                others.push(Replica { id: id.to_owned(), url: url.to_owned() });
            }
        }
        others.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(others)
    }
}

impl Replicas for Presence {
    fn id(&self) -> &str {
        &self.id
    }

    fn url(&self) -> Option<&str> {
        Some(&self.url)
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>> {
        async move { Ok(self.read().await?) }.boxed()
    }

    fn holds_lease(&self) -> bool {
        self.state().holds_until.is_some_and(|until| Instant::now() < until)
    }

    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn secret(&self) -> Option<&str> {
        Some(&self.secret)
    }

    fn peers(&self) -> PeerTrust {
        self.peers.clone()
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            let live = async {
                loop {
                    self.live_once().await;
                    sleep(PAUSE).await;
                }
            };
            tokio::join!(live, self.standing.keep_time());
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async move {
            let State { place, addresses, .. } = std::mem::take(&mut *self.state());
            let addresses = addresses.into_iter().map(|(lease, _)| lease);
            join_all(place.into_iter().chain(addresses).map(|lease| self.revoke(lease))).await;
        }
        .boxed()
    }
}

/// In what etcd counts: no less than what this replica believes.
fn seconds(term: Duration) -> i64 {
    let begun = u64::from(term.subsec_nanos() > 0);
    i64::try_from(term.as_secs().saturating_add(begun)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
