//! Several control replicas on one store: who the others are, who may do what one alone may do, and what is asked of all.
//!
//! Nothing about a proxy is written to a store. What only the replicas together know is asked of each of them, when
//! somebody wants to know it; one that does not answer in a second is named in the answer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellhop_api::RoutingKey;
use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{config::PeerTrust, store::StoreError};

mod client;
#[cfg_attr(not(any(test, feature = "etcd")), expect(dead_code, reason = "only a shared store has others"))]
mod standing;

pub(crate) use client::{PATH, PeerClient, SECRET};
pub(crate) use standing::Standing;

/// One that does not answer within this is named.
const PATIENCE: Duration = Duration::from_secs(1);

/// Another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) id: String,
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub(crate) url: String,
}

/// What a store knows of the replicas that share it.
pub(crate) trait Replicas: std::fmt::Debug + Send + Sync {
    /// Names this replica, in this life.
    fn id(&self) -> &str;

    /// Where the others reach this one; none where there are no others.
    fn url(&self) -> Option<&str>;

    /// All others that live now.
    fn others(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>>;

    /// Whether this replica may do, now, what one alone may do: write down what has expired, and resolve names.
    fn holds_lease(&self) -> bool;

    /// Whether the others still count on this replica.
    fn standing(&self) -> &Standing;

    /// By which replicas know each other; none where there are no others.
    fn secret(&self) -> Option<&str>;

    /// How they speak with one another.
    fn peers(&self) -> PeerTrust {
        PeerTrust::Plain
    }

    /// Lives until the process ends.
    fn run(self: Arc<Self>) -> BoxFuture<'static, ()>;

    /// Gives up its place, so that the others need not wait.
    fn leave(&self) -> BoxFuture<'_, ()>;
}

/// The only one there is.
#[derive(Debug)]
pub(crate) struct Alone {
    id: String,
    standing: Standing,
}

impl Default for Alone {
    fn default() -> Self {
        Self { id: new_id(), standing: Standing::for_ever() }
    }
}

/// A name for one life of a replica.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect()
}

impl Replicas for Alone {
    fn id(&self) -> &str {
        &self.id
    }

    fn url(&self) -> Option<&str> {
        None
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn holds_lease(&self) -> bool {
        true
    }

    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn secret(&self) -> Option<&str> {
        None
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// Asks all replicas.
pub(crate) struct Fleet {
    replicas: Arc<dyn Replicas>,
    client: PeerClient,
    known: Mutex<Vec<Replica>>,
}

/// What one replica said.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// Its id.
    pub(crate) from: String,
    pub(crate) said: T,
    /// When it came.
    pub(crate) came: Instant,
    /// How long it took: it tells of some moment in between.
    pub(crate) took: Duration,
}

/// What the others said.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    pub(crate) answers: Vec<Answer<T>>,
    /// Where those are that said nothing in time.
    pub(crate) unanswered: Vec<String>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { answers: Vec::new(), unanswered: Vec::new() }
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    pub(crate) fn new(replicas: Arc<dyn Replicas>) -> Self {
        Self { client: PeerClient::new(replicas.peers()), replicas, known: Mutex::default() }
    }

    pub(crate) fn replicas(&self) -> &Arc<dyn Replicas> {
        &self.replicas
    }

    fn known(&self) -> MutexGuard<'_, Vec<Replica>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The others as last heard of.
    pub(crate) fn last_known(&self) -> Vec<Replica> {
        self.known().clone()
    }

    /// The others as of now; and whether one that was there is there no more, so that its proxies have to come back
    /// elsewhere.
    pub(crate) async fn others(&self) -> Result<(Vec<Replica>, bool), StoreError> {
        let now = self.replicas.others().await?;
        let before = std::mem::replace(&mut *self.known(), now.clone());
        let gone = before.iter().any(|before| now.iter().all(|now| now.id != before.id));
        Ok((now, gone))
    }

    /// Asks these, all at once.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        whom: &[Replica],
        question: &Question<'_>,
    ) -> Answers<T> {
        self.client.keep(whom);
        let path = question.path();
        let ask = |replica: &Replica| {
            let (from, url, path) = (replica.id.clone(), replica.url.clone(), path.clone());
            async move {
                let begun = Instant::now();
                let asked = self.client.get(&url, &path, self.replicas.secret().unwrap_or_default());
                match tokio::time::timeout(PATIENCE, asked).await {
                    Ok(Ok(said)) => {
                        let came = Instant::now();
                        Ok(Answer { from, said, came, took: came - begun })
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(replica = url, %error, "a replica does not answer");
                        Err(url)
                    }
                    Err(_) => Err(url),
                }
            }
        };
        let mut all = Answers::default();
        for answer in join_all(whom.iter().map(ask)).await {
            match answer {
                Ok(answer) => all.answers.push(answer),
                Err(url) => all.unanswered.push(url),
            }
        }
        all.unanswered.sort_unstable();
        all
    }
}

/// What one replica asks another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    /// The proxies it has heard of.
    Proxies,
    /// How it stands.
    Status,
    /// Which of them hold this form of a key, as of this revision of the store.
    InForce { key: &'a RoutingKey, digest: &'a str, revision: u64 },
}

impl Question<'_> {
    fn path(&self) -> String {
        match self {
            Self::Proxies => format!("{PATH}/proxies"),
            Self::Status => format!("{PATH}/status"),
            // a key and a digest are made of characters that a query takes as they are
            Self::InForce { key, digest, revision } => {
                format!("{PATH}/in-force?key={key}&digest={digest}&revision={revision}")
            }
        }
    }
}
