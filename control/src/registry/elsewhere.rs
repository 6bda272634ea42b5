//! The proxies of other replicas, by name: those of one that has gone are waited for and then lost like any that went silent,
//! though nobody is left to tell of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use bellhop_api::answers::ReplicaInForce;
use tokio::time::Instant;

use super::{FORGOTTEN_AFTER, Registry};
use crate::replicas::{Answer, Replica};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// By replica, when each of its proxies was heard, as it last said.
    told: HashMap<String, BTreeMap<String, Instant>>,
    /// When those were heard whose replica has gone.
    left: BTreeMap<String, Instant>,
}

impl Elsewhere {
    fn take_in(&mut self, answers: &[Answer<ReplicaInForce>], living: &[Replica]) {
        for answer in answers {
            let heard = |ms| answer.came.checked_sub(Duration::from_millis(ms)).unwrap_or(answer.came);
            let proxies = answer.said.proxies.iter().map(|proxy| (proxy.id.clone(), heard(proxy.heard_ms)));
            self.told.insert(answer.from.clone(), proxies.collect());
        }
        let living: BTreeSet<_> = living.iter().map(|replica| &*replica.id).collect();
        let gone: Vec<_> = self.told.keys().filter(|id| !living.contains(&***id)).cloned().collect();
        for id in gone {
            for (proxy, heard) in self.told.remove(&id).unwrap_or_default() {
                let last = self.left.entry(proxy).or_insert(heard);
                *last = heard.max(*last);
            }
        }
        self.left.retain(|_, heard| heard.elapsed() < FORGOTTEN_AFTER);
    }
}

impl Registry {
    fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps in mind which proxies other replicas have. `living`: those that there are now.
    pub(crate) fn remember(&self, answers: &[Answer<ReplicaInForce>], living: &[Replica]) {
        self.elsewhere().take_in(answers, living);
    }

    /// Whether there may be proxies of a replica that has gone.
    pub(crate) fn has_left_behind(&self) -> bool {
        let elsewhere = self.elsewhere();
        !elsewhere.told.is_empty() || !elsewhere.left.is_empty()
    }

    /// For how long those have been silent whose replica has gone, but for those that were heard somewhere else since.
    /// `silent`: for how long one has been silent everywhere else, if it was ever heard there.
    pub(super) fn left_behind(
        &self,
        silent: impl Fn(&str) -> Option<Duration>,
    ) -> BTreeMap<String, Duration> {
        let mut elsewhere = self.elsewhere();
        elsewhere.left.retain(|id, heard| silent(id).is_none_or(|silent| silent > heard.elapsed()));
        elsewhere.left.iter().map(|(id, at)| (id.clone(), at.elapsed())).collect()
    }
}
