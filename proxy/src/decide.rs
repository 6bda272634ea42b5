//! Second step: sandbox, baseline or refused. What a key means is `bellhop-route`'s business; here it is asked.

use bellhop_route::{Decided, Decision, Marks, Place, Reason, Verdict};

use crate::{connection::Client, context::RequestContext};

/// Decides one request. Without a key no table is touched.
#[inline]
pub(crate) fn decide(client: &Client, context: &RequestContext) -> Decision {
    let keys = &context.keys;
    if keys.is_empty() && !keys.malformed && !keys.over_limit {
        return without_key();
    }
    let tables = &client.worker.shared.tables;
    let place = context.place(client).unwrap_or(Place::Authority { host: "", port: 0 });
    let already = context.already.as_deref();
    let mut decision = bellhop_route::decide(&tables.current(), keys, &place, already);
    decision.marks.stale = !keys.is_empty() && tables.stale();
    decision
}

#[inline]
fn without_key() -> Decision {
    let verdict = Verdict::Baseline(Reason::NoKey);
    Decision { verdict, key: None, destination: None, marks: Marks::default(), decided: Decided::default() }
}
