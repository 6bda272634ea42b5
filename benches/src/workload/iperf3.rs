//! iperf3: an opaque stream. It alone knows how much came through.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use serde_json::Value;

use super::Said;

pub(super) fn arguments(target: SocketAddr, lasting: Duration) -> Vec<OsString> {
    let seconds = lasting.as_secs_f64().ceil().max(1.0);
    ["-J", "-c", &target.ip().to_string(), "-p", &target.port().to_string(), "-t", &seconds.to_string()]
        .map(OsString::from)
        .into()
}

pub(super) fn parse(output: &str) -> Option<Said> {
    let report: Value = serde_json::from_str(output).ok()?;
    let received = report.pointer("/end/sum_received/bytes")?.as_f64().filter(|bytes| *bytes > 0.0)?;
    Some(Said { counted: Some(received / f64::from(1 << 20)), ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_counts_and_not_what_was_sent() {
        let output = r#"{"end": {"sum_sent": {"bytes": 3145728}, "sum_received": {"bytes": 2097152}}}"#;
        assert_eq!(parse(output).and_then(|said| said.counted), Some(2.0));
        assert_eq!(parse(r#"{"end": {}, "error": "the server is busy"}"#), None);
    }
}
