//! ghz: gRPC streams.

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{Said, fields};

/// Messages on each stream.
const MESSAGES: u32 = 100;

pub(super) fn arguments(target: SocketAddr, lasting: Duration, proto: &Path) -> Vec<OsString> {
    let metadata: serde_json::Map<String, Value> = fields(true)
        .into_iter()
        .filter(|(name, _)| *name != "user-agent")
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    let mut args: Vec<OsString> = vec!["--proto".into(), proto.into()];
    let text = [
        "--insecure",
        "--call",
        "bellhop.bench.Echo/Stream",
        "--format",
        "json",
        "--cpus",
        "1",
        "--concurrency",
        "16",
        "--connections",
        "8",
        "--duration-stop",
        "ignore",
        "--skipFirst",
        "0",
    ];
    args.extend(text.map(OsString::from));
    // 126 bytes, in base64; with its field's head the message has 128.
    let message = json!({"body": "bW1t".repeat(42)});
    args.extend([
        format!("--duration={}ms", lasting.as_millis()).into(),
        format!("--stream-call-count={MESSAGES}").into(),
        format!("--data={message}").into(),
        format!("--metadata={}", Value::Object(metadata)).into(),
        target.to_string().into(),
    ]);
    args
}

/// Latencies are those of whole streams, which say nothing of one message; errors are of streams. Where none came to its
/// end, there is nothing to say of any.
pub(super) fn parse(output: &str) -> Option<Said> {
    let report: Value = serde_json::from_str(output).ok()?;
    report.get("count")?.as_u64()?;
    let statuses = report.get("statusCodeDistribution").and_then(Value::as_object);
    let bad = statuses
        .into_iter()
        .flatten()
        .filter(|(status, _)| *status != "OK")
        .filter_map(|(_, count)| count.as_u64());
    Some(Said { errors: bad.sum(), ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_did_not_end_well_are_errors() {
        let output = r#"{"count": 12, "rps": 3.2, "statusCodeDistribution": {"OK": 9, "Unavailable": 2, "Canceled": 1}}"#;
        assert_eq!(parse(output).map(|said| said.errors), Some(3));
        let none_ended = r#"{"count": 0, "statusCodeDistribution": null}"#;
        assert_eq!(parse(none_ended).map(|said| said.errors), Some(0));
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("cannot connect"), None);
    }
}
