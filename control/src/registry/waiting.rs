//! One who waits until a key is in force. Thousands of proxies report one after another: a waiter that looked at all of
//! them each time would look millions of times. It looks at one for which it waits, and at the next once that one is no
//! longer waited for; only when it has come through is everybody looked at again.

use bellhop_api::RoutingKey;
use tokio::time::Instant;

use super::{ASK_AFTER, ASK_AGAIN, Registry};
use crate::feed::KeyForm;

/// What is left to be looked at, one by one.
#[derive(Debug)]
pub(crate) struct Waiting {
    form: KeyForm,
    /// Those for whom it waited when all were looked at.
    open: Vec<String>,
    /// It waits for nobody but for the time: others may still come back.
    for_time_alone: bool,
    /// All are looked at again then: some must be asked, or have come since.
    look: Instant,
}

impl Waiting {
    /// After a look at all proxies, which found that it waits for these.
    pub(crate) fn new(registry: &Registry, form: &KeyForm, open: Vec<String>) -> Self {
        let now = Instant::now();
        let asked = form.since + ASK_AFTER;
        let look = if asked > now { asked } else { now + ASK_AGAIN };
        let returning = registry.returning().filter(|until| *until > now && open.is_empty());
        Self {
            form: form.clone(),
            open,
            for_time_alone: returning.is_some(),
            look: returning.map_or(look, |until| until.min(look)),
        }
    }

    /// When all are looked at again at the latest.
    pub(crate) fn look(&self) -> Instant {
        self.look
    }

    /// The key that is waited for.
    pub(crate) fn key(&self) -> &RoutingKey {
        &self.form.unit.key
    }

    /// Whether it is time for a look at all proxies. `newest`: the key's form as it is now.
    pub(crate) fn is_over(&mut self, registry: &Registry, newest: Option<&KeyForm>) -> bool {
        if self.look <= Instant::now() || newest.is_none_or(|newest| newest.changed != self.form.changed) {
            return true;
        }
        if self.for_time_alone {
            return false;
        }
        let proxies = registry.proxies();
        while let Some(id) = self.open.last() {
            if proxies.get(id).is_some_and(|proxy| !proxy.is_lost() && !proxy.holds_form(&self.form)) {
                return false;
            }
            self.open.pop();
        }
        true
    }
}
