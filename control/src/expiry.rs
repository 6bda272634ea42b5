//! Time: objects expire, and what is remembered is forgotten.
//!
//! The hour at which something happens is stored, so that it happens whether or not this process was there. Routes end
//! at once, even where the store cannot be written. Of several replicas each ends them by itself, and the one that holds
//! the lease writes it down.

use std::{sync::Arc, time::Duration};

use bellhop_api::{Kind, Phase};
use bellhop_route::plan::ObjectName;
use jiff::Timestamp;

use crate::{
    author::REMEMBERED,
    control::Control,
    record::{Stored, object_record, object_value},
    store::{Expect, StoreError, Write, batches},
    world::Held,
};

/// The clock is looked at this often even where nothing is due: it may have been set.
const LOOK: Duration = Duration::from_secs(5);
/// Deleted and expired objects that are remembered; the oldest are forgotten first.
const MOST_REMEMBERED: usize = 10_000;

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Keep(Box<Stored>),
    Forget,
}

/// Lets objects expire until the store is closed.
pub(crate) async fn run(control: Arc<Control>) {
    let mut changed = control.subscribe();
    loop {
        match pass(&control).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "expiry cannot be stored; routes have ended nevertheless");
                tokio::time::sleep(LOOK).await;
            }
        }
        // what only another may write down stays due until it has
        let due = control.world().next_due().filter(|_| control.fleet.replicas().holds_lease());
        let pause = until_due(due, control.clock.now());
        // a change wakes this task, since it may be due sooner than anything before
        if let Ok(Err(_)) = tokio::time::timeout(pause, changed.changed()).await {
            return;
        }
    }
}

fn until_due(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
    left.map_or(LOOK, |left| left.min(LOOK))
}

/// Does everything that is due.
async fn pass(control: &Control) -> Result<(), StoreError> {
    let now = control.clock.now();
    if control.world().next_due().is_none_or(|due| due > now)
        && control.world().remembered() <= MOST_REMEMBERED
    {
        return Ok(());
    }
    let _one_at_a_time = control.writing.lock().await;
    let basis = control.basis();
    let (expired, writes) = {
        let world = control.world();
        let due: Vec<_> = world.due(now).cloned().collect();
        let held: Vec<_> = due.iter().filter_map(|name| Some((name, world.any(name)?))).collect();
        let fates = held.iter().filter_map(|(name, held)| Some((*name, *held, fate(&held.stored, now)?)));
        let mut writes: Vec<_> = fates.map(|(name, held, fate)| write(name, held, &fate)).collect();
        writes.extend(
            world.oldest_remembered(MOST_REMEMBERED).map(|(name, held)| write(name, held, &Fate::Forget)),
        );
        let expired: Vec<_> = due.into_iter().filter(|name| name.kind != Kind::Service).collect();
        (expired, writes)
    };
    control.expire(&expired);
    for writes in batches(writes) {
        if !control.fleet.replicas().holds_lease() {
            break;
        }
        let revision = match control.commit(&basis, writes).await {
            // another replica was quicker; its change comes by the watch
            Err(StoreError::Changed(_)) => break,
            other => other?,
        };
        control.applied(revision).await?;
    }
    Ok(())
}

/// What becomes of a record at a time; `None`: nothing yet.
fn fate(stored: &Stored, now: Timestamp) -> Option<Fate> {
    if let Some(until) = stored.deleted_until {
        return (until <= now).then_some(Fate::Forget);
    }
    let mut next = stored.clone();
    next.lost.retain(|_, until| *until > now);
    if let Some(status) = next.object.status_mut()
        && let Some(at) = status.expires_at.filter(|at| *at <= now)
    {
        if now.duration_since(at) >= REMEMBERED {
            return Some(Fate::Forget);
        }
        status.phase = Phase::Expired;
    }
    (next != *stored).then(|| Fate::Keep(Box::new(next)))
}

/// When a record next has a [`fate`].
pub(crate) fn due(stored: &Stored) -> Option<Timestamp> {
    if stored.deleted_until.is_some() {
        return stored.deleted_until;
    }
    let status = stored.object.status();
    let expires = status.and_then(|status| {
        let at = status.expires_at?;
        let forgotten = || at.saturating_add(REMEMBERED).unwrap_or(Timestamp::MAX);
        Some(if status.phase == Phase::Expired { forgotten() } else { at })
    });
    expires.into_iter().chain(stored.lost.values().copied()).min()
}

/// Since when an object is only remembered.
pub(crate) fn remembered_since(stored: &Stored) -> Option<Timestamp> {
    let deleted =
        stored.deleted_until.map(|until| until.saturating_sub(REMEMBERED).unwrap_or(Timestamp::MIN));
    let expired = stored.object.status().filter(|status| status.phase == Phase::Expired);
    deleted.or_else(|| expired.and_then(|status| status.expires_at))
}

fn write(name: &ObjectName, held: &Held, fate: &Fate) -> Write {
    let version =
        held.stored.object.metadata().resource_version.as_deref().and_then(|text| text.parse().ok());
    let value = match fate {
        Fate::Keep(stored) => Some(object_value(stored)),
        Fate::Forget => None,
    };
    tracing::info!(object = %crate::record::describe(name), forgotten = value.is_none(), "time is over");
    Write { name: object_record(name), expect: version.map_or(Expect::Any, Expect::At), value }
}

#[cfg(test)]
mod tests;
