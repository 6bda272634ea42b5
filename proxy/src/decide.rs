//! Second step: sandbox, baseline or refused. What a key means is `bellhop-route`'s business; here it is asked.

use bellhop_route::{Decision, Marks, Reason, Verdict};

use crate::{connection::Client, context::RequestContext};

/// Decides one request. Without a key no table is touched.
#[inline]
pub(crate) fn decide(client: &Client, context: &RequestContext) -> Decision {
    let _ = client;
    Decision {
        verdict: Verdict::Baseline(if context.keys.is_empty() { Reason::NoKey } else { Reason::NoTable }),
        ..Decision::default()
    }
}
