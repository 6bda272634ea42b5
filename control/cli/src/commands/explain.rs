//! `explain`: where a call with some keys would go, and why.

use bellhop_api::{Destination, RoutingKey, answers::Explanation};

use super::{Session, objects::encode};
use crate::{exit::Failure, output};

pub(super) async fn explain(session: &Session, keys: &[RoutingKey], to: &Destination) -> Result<(), Failure> {
    let mut path = format!("/v1/explain?to={}", encode(&to.to_string()));
    for key in keys {
        path.push_str(&format!("&key={}", encode(key.as_str())));
    }
    let why: Explanation = session.client.get(&path).await?;
    output::print(session.output, &why, |wide| text(session, &why, wide))
}

fn text(session: &Session, why: &Explanation, wide: bool) -> String {
    let reason = why.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut lines = vec![format!("{} → {}{reason}", why.destination, session.paint.bold(&why.decision))];
    if let Some(route) = &why.route {
        let endpoints: Vec<_> = route.endpoints.iter().map(ToString::to_string).collect();
        lines.push(format!("  endpoints  {}", endpoints.join(", ")));
        if let Some(sandbox) = &route.sandbox {
            lines.push(format!("  sandbox    {sandbox}"));
        }
        if let Some(group) = &route.group {
            lines.push(format!("  group      {group}"));
        }
        if wide {
            lines.push(format!("  fallback   {}", output::word(route.fallback)));
            lines.push(format!("  protocol   {}", output::word(route.protocol)));
        }
    }
    for each in &why.keys {
        let owner = each.owner.as_deref().map(|owner| format!(", {owner}")).unwrap_or_default();
        lines.push(format!("  key {}: {}{owner}", each.key, each.outcome));
    }
    lines.extend(why.because.iter().map(|each| format!("  {}", session.paint.dim(each))));
    lines.join("\n")
}
