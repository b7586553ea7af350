//! A measured figure: the median of many short pieces, and how far they spread.

/// The median of a sample, and its first and last tenth. All NaN if there was no sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The middle.
    pub median: f64,
    /// A tenth of the sample is at most this.
    pub low: f64,
    /// A tenth of the sample is at least this.
    pub high: f64,
    /// How many pieces.
    pub samples: usize,
}

impl Figure {
    /// The figure of a sample, in any order.
    pub fn of(mut sample: Vec<f64>) -> Figure {
        sample.sort_by(f64::total_cmp);
        let n = sample.len();
        let at = |i: usize| sample.get(i).copied().unwrap_or(f64::NAN);
        Figure {
            median: (at(n / 2) + at(n.saturating_sub(1) / 2)) / 2.0,
            low: at(n.saturating_sub(1) / 10),
            high: at(n.saturating_sub(1) - n.saturating_sub(1) / 10),
            samples: n,
        }
    }

    /// How far the sample spreads: `(high - low) / median`.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }

    /// The figure in another unit; `factor` is positive.
    pub fn scaled(self, factor: f64) -> Figure {
        Figure {
            median: self.median * factor,
            low: self.low * factor,
            high: self.high * factor,
            samples: self.samples,
        }
    }
}

/// `rate` as a fraction of a ceiling; `None` unless both are finite and the ceiling is positive.
pub fn share(rate: f64, ceiling: f64) -> Option<f64> {
    (rate.is_finite() && ceiling.is_finite() && ceiling > 0.0).then_some(rate / ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_forgets_the_outliers() {
        let mut sample: Vec<f64> = (0..21).map(|i| 100.0 + f64::from(i)).collect();
        sample[20] = 1e9;
        sample.reverse();
        let f = Figure::of(sample);
        assert_eq!(
            (f.median, f.low, f.high, f.samples),
            (110.0, 102.0, 118.0, 21)
        );
        assert!((f.spread() - 16.0 / 110.0).abs() < 1e-12);
        assert_eq!(f.scaled(2.0).median, 220.0);
        assert_eq!(Figure::of(vec![1.0, 3.0]).median, 2.0);
        assert!(Figure::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn a_share_needs_a_ceiling() {
        assert_eq!(share(5.0, 10.0), Some(0.5));
        assert_eq!(share(5.0, 0.0), None);
        assert_eq!(share(f64::NAN, 1.0), None);
        assert_eq!(share(1.0, f64::INFINITY), None);
    }
}
