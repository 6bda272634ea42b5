//! Time to live, as people write it: `4h`, `1h30m`, `2d`.

use std::{fmt, str::FromStr, time::Duration};

/// How long an object lives from its creation, its last change of `spec` or its last renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(Duration);

/// Why a text is no [`Ttl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TtlError {
    /// Not numbers with units.
    #[error("not a time to live; write numbers with s, m, h or d, as in 4h, 90m, 1h30m or 2d")]
    Form,
    /// Outside [`Ttl::MIN`] to [`Ttl::MAX`].
    #[error("a time to live is at least 1s and at most 90d")]
    Range,
}

impl Ttl {
    /// What a sandbox that says nothing gets: a working day and the night after it.
    pub const DEFAULT: Self = Self(Duration::from_secs(24 * 3600));
    /// Shortest.
    pub const MIN: Self = Self(Duration::from_secs(1));
    /// Longest: what nobody renews for a quarter of a year is forgotten, not needed.
    pub const MAX: Self = Self(Duration::from_secs(90 * 24 * 3600));

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut seconds = 0u64;
        let mut number: Option<u64> = None;
        let mut smallest = u64::MAX;
        for byte in text.bytes() {
            let unit = match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let next = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
                    number = Some(next.ok_or(TtlError::Range)?);
                    continue;
                }
                b's' => 1,
                b'm' => 60,
                b'h' => 3_600,
                b'd' => 86_400,
                _ => return Err(TtlError::Form),
            };
            if unit >= smallest {
                return Err(TtlError::Form);
            }
            smallest = unit;
            let part = number.take().ok_or(TtlError::Form)?.checked_mul(unit).ok_or(TtlError::Range)?;
            seconds = seconds.checked_add(part).ok_or(TtlError::Range)?;
        }
        if number.is_some() || text.is_empty() {
            return Err(TtlError::Form);
        }
        let ttl = Self(Duration::from_secs(seconds));
        if ttl < Self::MIN || ttl > Self::MAX { Err(TtlError::Range) } else { Ok(ttl) }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        for (unit, name) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_reads_back_as_it_is_written() {
        for (text, seconds) in
            [("4h", 14_400), ("1h30m", 5_400), ("2d", 172_800), ("1s", 1), ("90d", 7_776_000)]
        {
            let ttl: Ttl = text.parse().unwrap();
            assert_eq!(ttl.duration().as_secs(), seconds, "{text}");
            assert_eq!(ttl.to_string(), text);
        }
        assert_eq!("90m".parse::<Ttl>().unwrap().to_string(), "1h30m");
    }

    #[test]
    fn a_time_to_live_without_unit_or_out_of_range_is_refused() {
        for text in ["", "4", "h", "4 h", "-4h", "4h4h", "1m1h", "4w", "1.5h", "1h30"] {
            assert_eq!(text.parse::<Ttl>(), Err(TtlError::Form), "{text}");
        }
        for text in ["0s", "91d", "99999999999999999999h", "18446744073709551615d"] {
            assert_eq!(text.parse::<Ttl>(), Err(TtlError::Range), "{text}");
        }
    }
}
