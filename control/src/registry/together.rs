//! What several replicas know of proxies, put together.
//!
//! A proxy may watch one replica and report to another, and may have moved from one to the other: what it last said
//! counts, whoever heard it. Answers come from different moments: of two reports between which the order is not certain,
//! neither is believed alone.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use bellhop_api::{
    RoutingKey,
    answers::{InForce, ProxyInfo, ReplicaHolds, ReplicaInForce, ReplicaProxies, ReplicaProxy},
};

use super::{LOST_AFTER, Latch, Proxy, Registry, forget};
use crate::{feed::KeyForm, replicas::Answers};

impl Registry {
    /// Which proxies that were heard here hold a form of a key. `form`: the key's newest form here, which may be another.
    /// Those that have not said so in time are asked.
    pub(crate) fn holds(&self, key: &RoutingKey, digest: &str, form: Option<&KeyForm>) -> ReplicaInForce {
        let ask = form.is_none_or(KeyForm::is_to_be_asked_for);
        let form = form.filter(|form| form.unit.digest == digest);
        let mut proxies = self.proxies();
        forget(&mut proxies);
        let seen = proxies.iter_mut().map(|(id, proxy)| {
            let acknowledged = proxy.acknowledged.get(key).is_some_and(|held| held == digest);
            let holds = acknowledged || form.is_some_and(|form| proxy.holds >= form.changed);
            if ask && !holds && !proxy.is_lost() {
                proxy.ask(key);
            }
            let heard_ms = millis(proxy.heard.elapsed());
            ReplicaHolds { id: id.clone(), holds, heard_ms, reported_ms: proxy.reported_ms() }
        });
        let seen = seen.collect();
        drop(proxies);
        let latched = self.latched.lock().unwrap_or_else(PoisonError::into_inner);
        let latch = form.and_then(|form| latched.get(key).filter(|latch| latch.is_of(form)));
        ReplicaInForce { settled: self.all_there(), latched: latch.map(|latch| latch.proxies), proxies: seen }
    }

    /// Whether a form of a key is in force, as all replicas together know it.
    pub(crate) fn judge(
        &self,
        form: &KeyForm,
        here: ReplicaInForce,
        told: Answers<ReplicaInForce>,
    ) -> InForce {
        let Answers { answers, unanswered } = told;
        let mut settled = here.settled;
        let mut latched = here.latched;
        let mut all = BTreeMap::<_, Seen>::new();
        put_together(&mut all, here.proxies, Duration::ZERO, Duration::ZERO);
        for answer in answers {
            settled &= answer.said.settled;
            latched = latched.max(answer.said.latched);
            put_together(&mut all, answer.said.proxies, answer.came.elapsed(), answer.took);
        }
        for (id, silent) in self.left_behind(|id| all.get(id).map(|seen| seen.silent)) {
            all.insert(id, Seen { holds: false, silent, reported: None });
        }
        let (mut counted, mut waiting_for, mut lost) = (0, Vec::new(), Vec::new());
        for (id, seen) in all {
            match (seen.silent >= LOST_AFTER, seen.holds) {
                (true, false) => lost.push(id),
                (true, true) => {}
                (false, true) => counted += 1,
                (false, false) => {
                    counted += 1;
                    waiting_for.push(id);
                }
            }
        }
        let now = counted > 0 && waiting_for.is_empty() && settled && unanswered.is_empty();
        let in_force = now || latched.is_some();
        if now {
            self.latch(form, counted);
        }
        if in_force {
            waiting_for.clear();
        }
        InForce {
            key: form.unit.key.clone(),
            in_force,
            digest: form.unit.digest.clone(),
            proxies: latched.unwrap_or(0).max(counted),
            waiting_for,
            lost,
            unanswered,
        }
    }

    /// The proxies that were heard here, for another replica.
    pub(crate) fn all(&self, newest_digest: &str) -> ReplicaProxies {
        let mut reported: BTreeMap<_, _> =
            self.proxies().iter().map(|(id, proxy)| (id.clone(), proxy.reported_ms())).collect();
        let items = self.list(newest_digest).into_iter();
        let items = items.map(|info| ReplicaProxy { reported_ms: reported.remove(&info.id).flatten(), info });
        ReplicaProxies { items: items.collect() }
    }
}

impl Proxy {
    fn reported_ms(&self) -> Option<u64> {
        self.reported.map(|at| millis(at.elapsed()))
    }
}

impl Latch {
    fn is_of(&self, form: &KeyForm) -> bool {
        self.digest == form.unit.digest && self.changed == form.changed
    }
}

/// A proxy, as those replicas know it together that have been put together.
#[derive(Debug, Clone, Copy)]
struct Seen {
    holds: bool,
    /// At least for so long.
    silent: Duration,
    reported: Option<Ago>,
}

/// How long ago something was, where nobody knows exactly: an answer tells of a moment between question and arrival.
#[derive(Debug, Clone, Copy)]
struct Ago {
    least: Duration,
    most: Duration,
}

/// Adds what one replica said, `ago`, in an answer that took so long.
fn put_together(all: &mut BTreeMap<String, Seen>, proxies: Vec<ReplicaHolds>, ago: Duration, took: Duration) {
    for proxy in proxies {
        let since = |ms| Duration::from_millis(ms) + ago;
        let reported = proxy.reported_ms.map(since).map(|least| Ago { least, most: least + took });
        let seen = Seen { holds: proxy.holds, silent: since(proxy.heard_ms), reported };
        let held = all.entry(proxy.id).or_insert(seen);
        *held = held.and(seen);
    }
}

impl Seen {
    /// What it last said counts. Where that cannot be told, it holds what it holds by both.
    fn and(self, other: Self) -> Self {
        let silent = self.silent.min(other.silent);
        let (holds, reported) = match (self.reported, other.reported) {
            (Some(a), Some(b)) if a.most < b.least => (self.holds, Some(a)),
            (Some(a), Some(b)) if b.most < a.least => (other.holds, Some(b)),
            (Some(a), Some(b)) => {
                let both = Ago { least: a.least.min(b.least), most: a.most.max(b.most) };
                (self.holds && other.holds, Some(both))
            }
            (Some(a), None) => (self.holds, Some(a)),
            (None, Some(b)) => (other.holds, Some(b)),
            (None, None) => (self.holds && other.holds, None),
        };
        Self { holds, silent, reported }
    }
}

/// The proxies of all replicas, each as it last was.
pub(crate) fn together(parts: Vec<ReplicaProxies>) -> Vec<ProxyInfo> {
    let mut all: BTreeMap<String, ReplicaProxy> = BTreeMap::new();
    for seen in parts.into_iter().flat_map(|part| part.items) {
        match all.get_mut(&seen.info.id) {
            None => drop(all.insert(seen.info.id.clone(), seen)),
            Some(held) => {
                let watching = held.info.watching || seen.info.watching;
                let heard = held.info.last_heard.max(seen.info.last_heard);
                let live = if held.info.last_heard >= seen.info.last_heard {
                    held.info.state
                } else {
                    seen.info.state
                };
                if later(seen.reported_ms, held.reported_ms) {
                    *held = seen;
                }
                (held.info.watching, held.info.last_heard, held.info.state) = (watching, heard, live);
            }
        }
    }
    all.into_values().map(|proxy| proxy.info).collect()
}

/// Whether `a` was said after `b`.
fn later(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
