//! Draws the path that one request took, as a tree.

use std::fmt::Write as _;

use super::service::Call;
use crate::output::Paint;

/// Draws a call and all that it led to, a line for each hop: who answered, in which version, and why the proxy in front
/// of it sent the request there. `chain` names whoever should have answered where nobody did.
pub(crate) fn draw(call: &Call, chain: &[&str], paint: Paint) -> String {
    let mut drawing = String::new();
    for (depth, call) in hops(call).enumerate() {
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        let (name, version) = match &call.answer {
            Some(answer) => (answer.service.as_str(), answer.version.clone()),
            None => (chain.get(depth).copied().unwrap_or("?"), format!("{} no answer", call.status)),
        };
        // padded by hand, since colour codes have no width
        let pad = " ".repeat(20_usize.saturating_sub(branch.chars().count() + name.len()));
        let gap = " ".repeat(12_usize.saturating_sub(version.len()));
        let version = match version.as_str() {
            "baseline" => version,
            _ if call.answer.is_none() => paint.failure(&version),
            _ => paint.sandbox(&version),
        };
        // without a key the proxy adds nothing to the answer
        let reason = call.proxy_status.as_deref().map_or("no key, passed on untouched", reason_of);
        let _ = writeln!(drawing, "  {branch}{name}{pad}{version}{gap}{}", paint.dim(reason));
    }
    drawing
}

/// The versions that answered, from the first hop to the last.
pub(crate) fn versions(call: &Call) -> Vec<String> {
    hops(call).filter_map(|call| call.answer.as_ref().map(|answer| answer.version.clone())).collect()
}

fn hops(call: &Call) -> impl Iterator<Item = &Call> {
    std::iter::successors(Some(call), |call| call.answer.as_ref().and_then(|answer| answer.called.as_deref()))
}

/// The last member of a `Proxy-Status` field, without the name of the proxy: that proxy stands nearest to the caller.
fn reason_of(field: &str) -> &str {
    let member = field.rsplit(',').next().unwrap_or(field);
    member.split_once(';').map_or(member, |(_, parameters)| parameters).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::When, demo::service::Answer};

    fn call(service: &str, version: &str, status: &str, called: Option<Call>) -> Call {
        let answer =
            Answer { service: service.into(), version: version.into(), called: called.map(Box::new) };
        Call { status: 200, proxy_status: Some(status.into()), answer: Some(answer) }
    }

    #[test]
    fn each_hop_is_a_line_with_its_version_and_its_reason() {
        let route = call("route", "pr-15", "bellhop; detail=\"sandbox\"", None);
        let customer =
            call("customer", "baseline", "bellhop; detail=\"baseline(no-route-here)\"", Some(route));
        let drawing = draw(&customer, &["customer", "route"], Paint::new(When::Never));
        let lines: Vec<_> = drawing.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("customer") && lines[0].contains("baseline(no-route-here)"), "{drawing}");
        assert!(lines[1].contains("└─ route") && lines[1].contains("pr-15"), "{drawing}");
    }

    #[test]
    fn a_hop_that_failed_says_so() {
        let failed = Call {
            status: 503,
            proxy_status: Some("bellhop; error=connection_refused".into()),
            answer: None,
        };
        assert!(draw(&failed, &["route"], Paint::new(When::Never)).contains("503 no answer"));
    }
}
