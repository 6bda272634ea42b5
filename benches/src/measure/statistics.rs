//! Medians and spread.

use serde::{Deserialize, Serialize};

/// Several values of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// The slope of the line that lies closest to the points (least squares): y for each x. `None` where all x are equal.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (middle_x, middle_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - middle_x).powi(2)).sum();
    let common: f64 = points.iter().map(|(x, y)| (x - middle_x) * (y - middle_y)).sum();
    (spread > 0.0).then(|| common / spread)
}

/// The value below which `part` of the sorted `values` lie.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
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

    #[test]
    fn the_slope_is_that_of_the_line_whatever_scatters_around_it() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(0.0, 4.0), (1.0, 6.0), (2.0, 4.0), (3.0, 6.0), (4.0, 4.0)]), Some(0.0));
        assert_eq!(slope(&[(1.0, 4.0), (1.0, 5.0)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 9.0];
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| quantile(&sorted, part)), [1.0, 3.0, 9.0, 9.0].map(Some));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
