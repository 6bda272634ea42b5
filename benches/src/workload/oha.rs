//! oha: HTTP/1 in an open loop. A request that had to wait for its turn has waited, and its latency counts from there
//! (`--latency-correction`): nothing is omitted where the peer stalls.

use std::{ffi::OsString, time::Duration};

use serde_json::Value;

use super::Said;

pub(super) fn arguments(lasting: Duration, rate: Option<f64>) -> Vec<OsString> {
    let mut args: Vec<OsString> =
        ["--no-tui", "--output-format", "json", "--no-color", "-c", "64", "-t", "20s"]
            .map(OsString::from)
            .into();
    args.extend(["-z".into(), format!("{}ms", lasting.as_millis()).into()]);
    if let Some(rate) = rate {
        args.extend(["--latency-correction".into(), "-q".into(), format!("{rate:.0}").into()]);
    }
    args
}

/// Requests that the end of the load cut off are no errors.
pub(super) fn parse(output: &str) -> Option<Said> {
    let report: Value = serde_json::from_str(output).ok()?;
    let seconds = |path: &str| report.pointer(path).and_then(Value::as_f64).map(|seconds| seconds * 1e6);
    let statuses = report.get("statusCodeDistribution")?.as_object()?;
    let bad = statuses.iter().filter(|(status, _)| !status.starts_with('2')).filter_map(|(_, n)| n.as_u64());
    let failed = report.get("errorDistribution")?.as_object()?;
    let failed = failed.iter().filter(|(what, _)| !what.contains("deadline")).filter_map(|(_, n)| n.as_u64());
    Some(Said {
        latency_us: Some(seconds("/latencyPercentiles/p50")?),
        p99_us: seconds("/latencyPercentiles/p99"),
        errors: bad.sum::<u64>() + failed.sum::<u64>(),
        counted: report.pointer("/summary/requestsPerSec").and_then(Value::as_f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_rate_and_errors_are_read_and_the_loads_end_is_none() {
        let output = r#"{"summary": {"requestsPerSec": 1234.5},
            "latencyPercentiles": {"p50": 0.0015, "p99": 0.02},
            "statusCodeDistribution": {"200": 90, "503": 4},
            "errorDistribution": {"aborted due to deadline": 64, "connection error": 2}}"#;
        let said = parse(output).unwrap();
        assert_eq!(
            said,
            Said { latency_us: Some(1500.0), p99_us: Some(20_000.0), errors: 6, counted: Some(1234.5) }
        );
        assert_eq!(parse("{}"), None);
    }
}
