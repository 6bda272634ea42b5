//! Proxies, as far as this process has heard of them, and whether a key is in force. In memory alone.
//!
//! A proxy says what it holds by digests. One that reports the digest of a whole table held, at that moment, every key as
//! it stood when the table last had that digest; so a single number per proxy answers most questions, and acknowledged
//! digests of single keys are kept only until that number has passed them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellhop_api::{
    RoutingKey,
    answers::{InForce, ProxyInfo, ProxyState},
    report::ProxyReport,
};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::feed::{KeyForm, Sequence};

mod elsewhere;
mod together;
mod waiting;

pub(crate) use together::together;
pub(crate) use waiting::Waiting;

/// A proxy that was not heard for this long does not count any more.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(30);
/// A lost proxy is forgotten after this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// After a restart nothing is in force for so long: proxies of the run before try to come back every 2 s, and until then
/// nobody knows how many they are.
const COME_BACK: Duration = Duration::from_secs(3);
/// A proxy reports a change by itself, five times a second at most: it is asked only if it has not, this long after.
const ASK_AFTER: Duration = Duration::from_millis(250);
/// A proxy is not asked again within this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Acknowledged digests of single keys, kept for each proxy.
const ACKNOWLEDGED: usize = 4_096;
/// Most proxies that are known at once.
const PROXIES: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    proxies: Mutex<BTreeMap<String, Proxy>>,
    /// Keys that were in force, and the form of which that was true.
    latched: Mutex<HashMap<RoutingKey, Latch>>,
    heard: watch::Sender<u64>,
    /// What other replicas said of theirs.
    elsewhere: Mutex<elsewhere::Elsewhere>,
    /// Until then proxies of the run before, or of a replica that has gone, may still come back.
    returning: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Latch {
    digest: String,
    changed: Sequence,
    proxies: u64,
}

#[derive(Debug)]
struct Proxy {
    workload: String,
    version: String,
    table_digest: String,
    keys: u64,
    heard: Instant,
    heard_at: Timestamp,
    /// When it last said what it holds.
    reported: Option<Instant>,
    /// When it last said that it holds the newest table.
    current: Option<Instant>,
    /// It holds every key that last changed no later than here.
    holds: Sequence,
    acknowledged: HashMap<RoutingKey, String>,
    /// Its own watch, to ask it.
    asks: Option<mpsc::Sender<Vec<RoutingKey>>>,
    asked: Option<Instant>,
}

/// What the registry asks the feed.
pub(crate) trait Table {
    /// The newest place at which the table had this digest.
    fn digest_seen(&self, digest: &str) -> Option<Sequence>;

    /// Whether it is that of the table as it stands.
    fn is_newest(&self, digest: &str) -> bool;
}

impl Table for crate::feed::Feed {
    fn digest_seen(&self, digest: &str) -> Option<Sequence> {
        Self::digest_seen(self, digest)
    }

    fn is_newest(&self, digest: &str) -> bool {
        self.table_digest() == digest
    }
}

/// More proxies than this process keeps in mind.
#[derive(Debug, thiserror::Error)]
#[error("more than {PROXIES} proxies are known")]
pub(crate) struct TooMany;

impl Registry {
    fn proxies(&self) -> MutexGuard<'_, BTreeMap<String, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when a proxy was heard.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// This process goes on where another ended, and that one's proxies have still to be heard here.
    pub(crate) fn await_return(&self) {
        *self.returning.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + COME_BACK);
    }

    fn returning(&self) -> Option<Instant> {
        *self.returning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all proxies have had the time to come back.
    fn all_there(&self) -> bool {
        self.returning().is_none_or(|until| until <= Instant::now())
    }

    /// Takes in a report.
    pub(crate) fn report(
        &self,
        id: &str,
        report: ProxyReport,
        table: &impl Table,
        now: Timestamp,
    ) -> Result<(), TooMany> {
        let mut proxies = self.proxies();
        if report.goodbye {
            proxies.remove(id);
        } else {
            if proxies.len() >= PROXIES && !proxies.contains_key(id) {
                return Err(TooMany);
            }
            let seen = table.digest_seen(&report.table_digest);
            let proxy = proxies.entry(id.to_owned()).or_insert_with(|| Proxy::new(now));
            if table.is_newest(&report.table_digest) {
                proxy.current = Some(Instant::now());
            }
            proxy.take_in(report, seen, now);
        }
        drop(proxies);
        self.heard.send_modify(|heard| *heard += 1);
        Ok(())
    }

    /// A proxy has opened its watch: from now on it can be asked, and is heard of. The receiver gets the questions.
    pub(crate) fn watching(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<mpsc::Receiver<Vec<RoutingKey>>, TooMany> {
        let (asks, questions) = mpsc::channel(4);
        let mut proxies = self.proxies();
        if proxies.len() >= PROXIES && !proxies.contains_key(id) {
            return Err(TooMany);
        }
        let proxy = proxies.entry(id.to_owned()).or_insert_with(|| Proxy::new(now));
        proxy.asks = Some(asks);
        (proxy.heard, proxy.heard_at) = (Instant::now(), now);
        Ok(questions)
    }

    /// Every proxy that is known.
    pub(crate) fn list(&self, newest_digest: &str) -> Vec<ProxyInfo> {
        let mut proxies = self.proxies();
        forget(&mut proxies);
        let info = |(id, proxy): (&String, &Proxy)| ProxyInfo {
            id: id.clone(),
            workload: proxy.workload.clone(),
            version: proxy.version.clone(),
            last_heard: proxy.heard_at,
            watching: proxy.asks.as_ref().is_some_and(|asks| !asks.is_closed()),
            state: if proxy.is_lost() { ProxyState::Lost } else { ProxyState::Live },
            keys: proxy.keys,
            table_digest: proxy.table_digest.clone(),
            current: proxy.table_digest == newest_digest,
            table_age_seconds: proxy.table_age(newest_digest).map(|age| age.as_secs()),
        };
        proxies.iter().map(info).collect()
    }

    /// Whether every proxy heard of lately holds this form of a key. Proxies that have not said so in time are asked.
    pub(crate) fn in_force(&self, form: &KeyForm) -> InForce {
        let key = &form.unit.key;
        let digest = &form.unit.digest;
        let mut proxies = self.proxies();
        forget(&mut proxies);
        let (mut counted, mut waiting_for, mut lost) = (0, Vec::new(), Vec::new());
        for (id, proxy) in proxies.iter_mut() {
            let holds = proxy.holds_form(form);
            match (proxy.is_lost(), holds) {
                (true, false) => lost.push(id.clone()),
                (true, true) => {}
                (false, true) => counted += 1,
                (false, false) => {
                    counted += 1;
                    waiting_for.push(id.clone());
                    if form.is_to_be_asked_for() {
                        proxy.ask(key);
                    }
                }
            }
        }
        drop(proxies);
        if counted > 0 && waiting_for.is_empty() && self.all_there() {
            self.latch(form, counted);
        }
        let latched = self.latched.lock().unwrap_or_else(PoisonError::into_inner);
        let latch = latched.get(key).filter(|latch| latch.digest == *digest && latch.changed == form.changed);
        let in_force = latch.is_some();
        if in_force {
            waiting_for.clear();
        }
        let proxies = latch.map_or(counted, |latch| latch.proxies.max(counted));
        InForce {
            key: key.clone(),
            in_force,
            digest: digest.clone(),
            proxies,
            waiting_for,
            lost,
            unanswered: Vec::new(),
        }
    }

    fn latch(&self, form: &KeyForm, proxies: u64) {
        let latch = Latch { digest: form.unit.digest.clone(), changed: form.changed, proxies };
        self.latched.lock().unwrap_or_else(PoisonError::into_inner).insert(form.unit.key.clone(), latch);
    }

    /// Forgets what was in force, but of these keys.
    pub(crate) fn retain(&self, known: impl Fn(&RoutingKey) -> bool) {
        self.latched.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| known(key));
    }
}

impl KeyForm {
    /// Whether every proxy has had the time to report it by itself.
    fn is_to_be_asked_for(&self) -> bool {
        self.since.elapsed() >= ASK_AFTER
    }
}

fn forget(proxies: &mut BTreeMap<String, Proxy>) {
    proxies.retain(|_, proxy| proxy.heard.elapsed() < FORGOTTEN_AFTER);
}

impl Proxy {
    fn new(now: Timestamp) -> Self {
        Self {
            workload: String::new(),
            version: String::new(),
            table_digest: String::new(),
            keys: 0,
            heard: Instant::now(),
            heard_at: now,
            reported: None,
            current: None,
            holds: 0,
            acknowledged: HashMap::new(),
            asks: None,
            asked: None,
        }
    }

    fn holds_form(&self, form: &KeyForm) -> bool {
        self.holds >= form.changed || self.acknowledged.get(&form.unit.key) == Some(&form.unit.digest)
    }

    fn is_lost(&self) -> bool {
        self.heard.elapsed() >= LOST_AFTER
    }

    /// How old its routes are, at most.
    fn table_age(&self, newest_digest: &str) -> Option<Duration> {
        if self.table_digest == newest_digest {
            return Some(Duration::ZERO);
        }
        self.current.map(|at| at.elapsed())
    }

    fn take_in(&mut self, report: ProxyReport, seen: Option<Sequence>, now: Timestamp) {
        (self.heard, self.heard_at) = (Instant::now(), now);
        self.reported = Some(self.heard);
        self.workload = report.workload;
        self.version = report.version;
        self.keys = report.keys;
        if let Some(seen) = seen {
            self.holds = seen;
            self.acknowledged.clear();
        } else if self.table_digest != report.table_digest {
            // what it held before says nothing of what it holds now, but for the digests that it names
            self.holds = 0;
            self.acknowledged.clear();
        }
        self.table_digest = report.table_digest;
        for (key, digest) in report.digests {
            match digest {
                Some(digest) if self.acknowledged.len() < ACKNOWLEDGED => {
                    drop(self.acknowledged.insert(key, digest))
                }
                Some(_) | None => drop(self.acknowledged.remove(&key)),
            }
        }
    }

    fn ask(&mut self, key: &RoutingKey) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return;
        }
        if let Some(asks) = &self.asks {
            // a full queue holds questions enough
            asks.try_send(vec![key.clone()]).ok();
            self.asked = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
