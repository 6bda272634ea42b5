//! The replicas of one store, as etcd knows them: each lives as long as it keeps its lease, and one of them holds the
//! place that one alone may have.
//!
//! A holder believes in its place no longer than its lease lasts from the moment at which it last *began* to renew it, by
//! its own clock: one that was stopped for a while has lost its place before it does anything more.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep, timeout};

use super::{Etcd, READS_WITHIN, error::Fault, first_value};
use crate::{
    replicas::{Replica, Replicas, new_id},
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lease: Option<i64>,
    holds_until: Option<Instant>,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence").field("id", &self.id).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Presence {
    /// A replica that others reach at `url`.
    ///
    /// # Errors
    /// When etcd does not tell by what replicas know each other.
    pub(crate) async fn new(etcd: Arc<Etcd>, url: String, term: Duration) -> Result<Self, StoreError> {
        let fresh = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let secret = etcd.found(&format!("{}/secret", etcd.prefix), &fresh).await?;
        Ok(Self { etcd, id: new_id(), url, term, secret, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lives, until etcd has forgotten it.
    async fn live(&self) -> Result<(), Fault> {
        let seconds = i64::try_from(self.term.as_secs()).unwrap_or(i64::MAX);
        let link = &self.etcd.link;
        let granted =
            link.ask(READS_WITHIN, |client| async move { client.lease_client().grant(seconds, None).await });
        let lease = granted.await?.id();
        self.state().lease = Some(lease);
        let key = format!("{}/replicas/{}", self.etcd.prefix, self.id);
        let put = link.ask(READS_WITHIN, |client| {
            let (key, url) = (key.clone(), self.url.clone());
            async move { client.kv_client().put(key, url, Some(PutOptions::new().with_lease(lease))).await }
        });
        put.await?;
        tracing::info!(replica = self.id, url = self.url, "this replica is known to the others");
        loop {
            match self.renew(lease).await {
                Ok(()) => {}
                Err(fault @ Fault::Call { source: etcd_client::Error::LeaseKeepAliveError(_), .. }) => {
                    return Err(fault);
                }
                // the lease may be there yet
                Err(fault) => tracing::debug!(%fault, "the lease is not renewed"),
            }
            sleep(self.term / 5).await;
        }
    }

    /// Renews the lease, and takes the place that one alone may have where it is free.
    async fn renew(&self, lease: i64) -> Result<(), Fault> {
        let (link, begun) = (&self.etcd.link, Instant::now());
        let renewed = link.ask(self.term / 2, |client| async move {
            client.lease_client().keep_alive(lease).await.map(drop)
        });
        renewed.await?;
        // under an earlier lease of this replica it would end with that one
        let (key, me) = (format!("{}/holder", self.etcd.prefix), format!("{} {lease:x}", self.id));
        let txn = Txn::new()
            .when([Compare::version(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), me.clone(), Some(PutOptions::new().with_lease(lease)))])
            .or_else([TxnOp::get(key, None)]);
        let done = link.ask(self.term / 2, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let done = done.await?;
        let responses: Vec<TxnOpResponse> = done.op_responses();
        let holds = done.succeeded() || first_value(&responses).as_deref() == Some(&*me);
        let mut state = self.state();
        if holds && state.holds_until.is_none() {
            tracing::info!(replica = self.id, "this replica lets objects expire and keeps names fresh");
        }
        state.holds_until = holds.then(|| begun + self.term);
        Ok(())
    }

    async fn read(&self) -> Result<Vec<Replica>, Fault> {
        let prefix = format!("{}/replicas/", self.etcd.prefix);
        let read = self.etcd.link.ask(READS_WITHIN, |client| {
            let prefix = prefix.clone();
            async move { client.kv_client().get(prefix, Some(GetOptions::new().with_prefix())).await }
        });
        let read = read.await?;
        let replica = |pair: &etcd_client::KeyValue| {
            let id = pair.key_str().ok()?.strip_prefix(&*prefix)?.to_owned();
            Some(Replica { id, url: pair.value_str().ok()?.to_owned() })
        };
        Ok(read.kvs().iter().filter_map(replica).filter(|replica| replica.id != self.id).collect())
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

    fn secret(&self) -> Option<&str> {
        Some(&self.secret)
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            loop {
                if let Err(fault) = self.live().await {
                    tracing::warn!(%fault, "this replica has lost its place among the others; taking it again");
                }
                *self.state() = State::default();
                sleep(PAUSE).await;
            }
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async move {
            let Some(lease) = std::mem::take(&mut *self.state()).lease else { return };
            let revoked = self.etcd.link.ask(LEAVES_WITHIN, |client| async move {
                client.lease_client().revoke(lease).await.map(drop)
            });
            // a lease that is not given back ends by itself
            timeout(LEAVES_WITHIN, revoked).await.ok();
        }
        .boxed()
    }
}
