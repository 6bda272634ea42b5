//! h2load's output. It prints a mean and no percentiles.

use super::{Said, time_us};

/// `None` where a line is missing.
pub(super) fn parse(output: &str) -> Option<Said> {
    let line = |prefix: &str| output.lines().find_map(|line| line.trim().strip_prefix(prefix));
    let mean = line("time for request:")?.split_whitespace().nth(2).and_then(time_us)?;
    let errors = line("requests:")?
        .split(',')
        .filter_map(|part| part.trim().split_once(' '))
        .filter(|(_, what)| matches!(*what, "failed" | "errored" | "timeout"))
        .map(|(count, _)| count.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    let not_2xx = line("status codes:")?
        .split(',')
        .filter_map(|part| part.trim().split_once(' '))
        .filter(|(_, what)| *what != "2xx")
        .map(|(count, _)| count.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Said { latency_us: Some(mean), errors: errors.max(not_2xx), ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "starting benchmark...
finished in 1.00s, 52113.00 req/s, 3.15MB/s
requests: 52113 total, 52241 started, 52113 done, 52110 succeeded, 3 failed, 3 errored, 0 timeout
status codes: 52110 2xx, 0 3xx, 0 4xx, 3 5xx
traffic: 3.15MB (3303014) total, 1.34MB (1407051) headers (space savings 88.46%), 814.27KB (833808) data
                     min         max         mean         sd        +/- sd
time for request:      512us      6.55ms      2.45ms       340us    85.20%
time for connect:        0us         0us         0us         0us     0.00%
";

    #[test]
    fn the_mean_and_the_errors_are_read() {
        assert_eq!(parse(OUTPUT), Some(Said { latency_us: Some(2450.0), errors: 6, ..Said::default() }));
    }

    #[test]
    fn an_output_without_requests_is_refused() {
        assert_eq!(parse("no such host"), None);
    }
}
