//! From values to pixels, with ticks at round values.

/// A linear or logarithmic axis. It always has a length, whatever the values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Ends in values; of logarithms (base 10) where `log` is set.
    domain: (f64, f64),
    /// Ends in pixels.
    range: (f64, f64),
    log: bool,
}

impl Scale {
    /// Around `values`, with a little room at both ends.
    pub(crate) fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        Self { domain: padded(values, 0.05), range: (0.0, 1.0), log: false }
    }

    /// From 0 to the largest of `values`.
    pub(crate) fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let most = values.into_iter().filter(|v| v.is_finite()).fold(0.0, f64::max);
        Self { domain: (0.0, if most > 0.0 { most } else { 1.0 }), range: (0.0, 1.0), log: false }
    }

    /// From `lo` to `hi`, exactly.
    pub(crate) fn between(lo: f64, hi: f64) -> Self {
        let hi = if hi > lo { hi } else { lo + 1.0 };
        Self { domain: (lo, hi), range: (0.0, 1.0), log: false }
    }

    /// Of the logarithms of `values`; those that are not positive are left out.
    pub(crate) fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let logs = values.into_iter().filter(|v| *v > 0.0).map(f64::log10);
        Self { domain: padded(logs, 0.06), range: (0.0, 1.0), log: true }
    }

    /// Onto these pixels.
    pub(crate) fn onto(self, from: f64, to: f64) -> Self {
        Self { range: (from, to), ..self }
    }

    /// Where a value lies, in pixels; values beyond the ends lie at the ends.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = ((value - self.domain.0) / (self.domain.1 - self.domain.0)).clamp(0.0, 1.0);
        self.range.0 + share * (self.range.1 - self.range.0)
    }

    /// Round values within the ends, about `wanted` of them, as they are written.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let (lo, hi) = self.domain;
        if self.log && hi - lo > 0.5 {
            let steps: &[f64] = match hi - lo {
                d if d > 2.5 => &[1.0],
                d if d > 1.2 => &[1.0, 3.0],
                _ => &[1.0, 2.0, 5.0],
            };
            let stride = ((hi - lo) / wanted.max(1) as f64).ceil() as usize;
            let all = (lo.floor() as i32..=hi.ceil() as i32)
                .step_by(stride.max(1))
                .flat_map(|decade| steps.iter().map(move |s| s * 10f64.powi(decade)));
            return all.filter(|v| (lo..=hi).contains(&v.log10())).map(|v| (v, compact(v))).collect();
        }
        let (lo, hi) = if self.log { (10f64.powf(lo), 10f64.powf(hi)) } else { (lo, hi) };
        let rough = (hi - lo) / wanted.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let first = (lo / step - 1e-9).ceil() as i64;
        let last = (hi / step + 1e-9).floor() as i64;
        let written = |v: f64| if step >= 500.0 { compact(v) } else { format!("{v:.digits$}") };
        (first..=last).map(|i| (i as f64 * step, written(i as f64 * step + 0.0))).collect()
    }
}

/// The span of the finite values and a share of it around; a span of nothing becomes one of something.
fn padded(values: impl IntoIterator<Item = f64>, share: f64) -> (f64, f64) {
    // Differences of larger numbers are not finite.
    let finite = values.into_iter().filter(|v| v.abs() < 1e300);
    let (lo, hi) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo > hi {
        return (0.0, 1.0);
    }
    let room = if hi > lo { (hi - lo) * share } else { (lo.abs() * 0.05).max(1e-6) };
    (lo - room, hi + room)
}

/// A number in three digits or so: `950`, `12.3k`, `4.56M`.
pub(crate) fn compact(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        s if s >= 999.5e9 => (value / 1e12, "T"),
        s if s >= 999.5e6 => (value / 1e9, "G"),
        s if s >= 999.5e3 => (value / 1e6, "M"),
        s if s >= 999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        s if s >= 99.95 || s == 0.0 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.9995 => 2,
        _ => 3,
    };
    let number = format!("{scaled:.digits$}");
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_short() {
        for (value, wanted) in [
            (0.0, "0"),
            (950.0, "950"),
            (12_345.0, "12.3k"),
            (4_560_000.0, "4.56M"),
            (0.25, "0.25"),
            (1e3, "1k"),
        ] {
            assert_eq!(compact(value), wanted);
        }
    }

    #[test]
    fn ticks_are_round() {
        let ticks = |scale: Scale, n| scale.ticks(n).into_iter().map(|t| t.1).collect::<Vec<_>>().join(" ");
        assert_eq!(ticks(Scale::between(0.652, 0.781), 4), "0.70 0.75");
        assert_eq!(ticks(Scale::between(0.0, 100.0), 5), "0 20 40 60 80 100");
        assert_eq!(ticks(Scale::log([5e3, 3e5]), 5), "10k 30k 100k 300k");
    }

    proptest! {
        #[test]
        fn every_scale_has_a_length(values in prop::collection::vec(any::<f64>(), 0..5), log: bool) {
            let scale = if log { Scale::log(values.clone()) } else { Scale::linear(values.clone()) };
            let scale = scale.onto(10.0, 200.0);
            for v in values.into_iter().filter(|v| v.is_finite()) {
                prop_assert!((10.0..=200.0).contains(&scale.at(v)), "{v}");
            }
            prop_assert!(scale.ticks(5).len() < 40);
        }
    }
}
