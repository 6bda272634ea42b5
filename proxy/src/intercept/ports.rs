//! Ports and ranges of them.

use std::{fmt, str::FromStr};

/// Ports from one to another, both included; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortRange {
    from: u16,
    to: u16,
}

impl PortRange {
    /// The same ports in as few ranges as possible, sorted: nftables refuses sets that overlap.
    pub(super) fn merged(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        let mut merged: Vec<Self> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(range.from) <= u32::from(last.to) + 1 => {
                    last.to = last.to.max(range.to)
                }
                _ => merged.push(range),
            }
        }
        merged
    }

    /// As iptables writes it.
    pub(super) fn with_colon(self) -> String {
        if self.from == self.to { self.from.to_string() } else { format!("{}:{}", self.from, self.to) }
    }
}

impl FromStr for PortRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().ok().filter(|port| *port > 0).ok_or(()),
            false => Err(()),
        };
        let (from, to) = (port(from)?, port(to)?);
        if from <= to { Ok(Self { from, to }) } else { Err(()) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { write!(f, "{}", self.from) } else { write!(f, "{}-{}", self.from, self.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read_and_merged() {
        let ranges =
            ["443", "80-82", "83", "1-2", "81-90", "65535", "65534"].map(|text| text.parse().unwrap());
        let merged: Vec<_> = PortRange::merged(ranges.into()).iter().map(ToString::to_string).collect();
        assert_eq!(merged, ["1-2", "80-90", "443", "65534-65535"]);
        for bad in ["", "0", "65536", "9-8", "1-", "-1", "+1", "a", "1-2-3"] {
            assert_eq!(bad.parse::<PortRange>(), Err(()), "{bad}");
        }
    }
}
