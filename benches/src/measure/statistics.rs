//! Medians and spread.

use serde::Serialize;

/// Several values of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The middle value; the mean of the two middle ones where their number is even.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Summary {
    /// `None` of nothing.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = match middle.checked_sub(1).and_then(|below| values.get(below)) {
            Some(below) if values.len().is_multiple_of(2) => f64::midpoint(*below, upper),
            _ => upper,
        };
        Some(Self { median, low: *values.first()?, high: *values.last()? })
    }

    /// How far apart the values lie, as a part of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / self.median }
    }
}

/// `one` ÷ `other`, round by round: noise that a round brings to both goes out.
#[must_use]
pub fn ratio(one: &[Option<f64>], other: &[Option<f64>]) -> Option<Summary> {
    Summary::of(one.iter().zip(other).filter_map(|(a, b)| Some((*a)? / (*b)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_odd_and_even_numbers_of_values() {
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Some(Summary { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(Summary::of([7.0]).map(|s| s.spread()), Some(0.0));
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_rounds_without_a_value_are_left_out() {
        let ratio = ratio(&[Some(2.0), None, Some(9.0)], &[Some(4.0), Some(1.0), Some(9.0)]).unwrap();
        assert_eq!(ratio, Summary { median: 0.75, low: 0.5, high: 1.0 });
    }
}
