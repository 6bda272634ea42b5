//! wrk's output.

use super::{Said, time_us};

/// `None` where the percentiles are missing.
pub(super) fn parse(output: &str) -> Option<Said> {
    let mut said = Said::default();
    let mut median = None;
    for line in output.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("50%") {
            median = time_us(rest);
        } else if let Some(rest) = line.strip_prefix("99%") {
            said.p99_us = time_us(rest);
        } else if let Some(rest) = line.strip_prefix("Non-2xx or 3xx responses:") {
            said.errors += rest.trim().parse::<u64>().ok()?;
        } else if let Some(rest) = line.strip_prefix("Socket errors:") {
            said.errors += rest
                .split(',')
                .map(|part| part.split_whitespace().last().and_then(|n| n.parse::<u64>().ok()))
                .sum::<Option<u64>>()?;
        }
    }
    said.latency_us = Some(median?);
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 1s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.55ms  220.03us  11.04ms   98.15%
    Req/Sec    41.39k     1.07k   43.01k    72.73%
  Latency Distribution
     50%    1.51ms
     75%    1.56ms
     90%    1.62ms
     99%    2.21ms
  45287 requests in 1.10s, 12.35MB read
  Socket errors: connect 0, read 3, write 0, timeout 2
  Non-2xx or 3xx responses: 4
Requests/sec:  41172.55
";

    #[test]
    fn percentiles_and_every_kind_of_error_are_read() {
        assert_eq!(
            parse(OUTPUT),
            Some(Said { latency_us: Some(1510.0), p99_us: Some(2210.0), errors: 9, counted: None })
        );
    }

    #[test]
    fn an_output_without_percentiles_is_refused() {
        assert_eq!(parse("unable to connect to 127.0.0.1:1 Connection refused"), None);
    }
}
