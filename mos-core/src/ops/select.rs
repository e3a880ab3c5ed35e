//! The largest of some scores, without sorting: the k-th largest is found by bisection of the integers whose order is that of
//! the scores, each step counting in wide vectors how many lie above.

use super::bits;

/// Keys whose places are found in one go.
const LANES: usize = 16;
/// Steps of the bisection that may halve values.
const BY_VALUE: usize = 16;

/// Chooses again and again without allocating.
#[derive(Default)]
pub(super) struct Selector {
    keys: Vec<i32>,
}

impl Selector {
    /// Appends the places of the `k` largest scores in time order, by [`f32::total_cmp`] (ties: the latest).
    #[inline(always)]
    pub(super) fn append_top(&mut self, scores: &[f32], k: usize, places: &mut Vec<u32>) {
        if k >= scores.len() {
            places.extend(0..scores.len() as u32);
        } else if k > 0 {
            self.keys.resize(scores.len(), 0);
            self.keys.iter_mut().zip(scores).for_each(|(key, x)| *key = order(*x));
            let (least, left_out) = threshold(&self.keys, k);
            append_from(&self.keys, least, left_out, places);
        }
    }
}

/// An integer whose order is that of `total_cmp`.
#[inline(always)]
fn order(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// Inverse of [`order`].
#[inline(always)]
fn score(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32)
}

/// A key, and how many of those equal to it are too many among the `k` largest: all that are not below it less these are `k`.
/// For 0 < k < number of keys.
#[inline(always)]
fn threshold(keys: &[i32], k: usize) -> (i32, usize) {
    let (mut least, mut most) = (i32::MAX, i32::MIN);
    for key in keys {
        (least, most) = (least.min(*key), most.max(*key));
    }
    // From `low` on there are more than k keys (`from_low` of them), from `high` on fewer.
    let (mut low, mut from_low, mut high) = (i64::from(least), keys.len(), i64::from(most) + 1);
    for step in 0.. {
        if high - low == 1 {
            break;
        }
        // Halving values takes fewer steps than halving keys, as long as the scores are of one size.
        let by_value = i64::from(order(0.5 * score(low as i32) + 0.5 * score((high - 1) as i32)));
        let middle = if step < BY_VALUE && low < by_value && by_value < high {
            by_value
        } else {
            low + (high - low) / 2
        };
        let from_middle = count_from(keys, middle as i32);
        if from_middle == k {
            return (middle as i32, 0);
        }
        if from_middle > k {
            (low, from_low) = (middle, from_middle);
        } else {
            high = middle;
        }
    }
    (low as i32, from_low - k)
}

/// How many keys are not below `least`.
#[inline(always)]
fn count_from(keys: &[i32], least: i32) -> usize {
    let mut count = 0u32;
    for key in keys {
        count += u32::from(*key >= least);
    }
    count as usize
}

/// Appends the places of the keys from `least` on, without the first `left_out` of those equal to it.
#[inline(always)]
fn append_from(keys: &[i32], least: i32, mut left_out: usize, places: &mut Vec<u32>) {
    for (chunk, keys) in keys.chunks(LANES).enumerate() {
        let mut found = 0u32;
        match <&[i32; LANES]>::try_from(keys) {
            Ok(keys) => {
                for i in 0..LANES {
                    found |= u32::from(keys[i] >= least) << i;
                }
            }
            Err(_) => {
                for (i, key) in keys.iter().enumerate() {
                    found |= u32::from(*key >= least) << i;
                }
            }
        }
        for i in bits(found.into()) {
            if left_out > 0 && keys[i as usize] == least {
                left_out -= 1;
            } else {
                places.push((chunk * LANES) as u32 + i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: sort, the largest first and of equals the latest.
    fn sorted(scores: &[f32], k: usize) -> Vec<u32> {
        let mut places: Vec<u32> = (0..scores.len() as u32).collect();
        let larger = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]);
        places.sort_by(|a, b| larger(a, b).then_with(|| b.cmp(a)));
        places.truncate(k);
        places.sort_unstable();
        places
    }

    /// Few values, so that there are ties; all kinds of them.
    fn any_score() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => (-4i8..4).prop_map(|x| f32::from(x) * 0.25),
            4 => -3.0f32..3.0,
            1 => prop::sample::select(vec![
                0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-40, -1e-40,
                f32::from_bits(u32::MAX), f32::from_bits(u32::MAX >> 1),
            ]),
            1 => any::<u32>().prop_map(f32::from_bits),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_largest_are_those_of_sorting(
            scores in prop::collection::vec(any_score(), 0..130),
            others in prop::collection::vec(any_score(), 0..40),
            k in 0usize..140,
        ) {
            let (mut selector, mut places) = (Selector::default(), vec![7]);
            selector.append_top(&scores, k, &mut places);
            prop_assert_eq!((places[0], &places[1..]), (7, &sorted(&scores, k)[..]));
            places.clear();
            selector.append_top(&others, k, &mut places);
            prop_assert_eq!(places, sorted(&others, k), "again, of another number of scores");
        }

        #[test]
        fn keys_are_in_the_order_of_scores(a in any_score(), b in any_score()) {
            prop_assert_eq!(order(a).cmp(&order(b)), a.total_cmp(&b));
            prop_assert_eq!(score(order(a)).to_bits(), a.to_bits());
        }
    }

    #[test]
    fn of_equal_scores_the_latest_are_taken() {
        let mut places = Vec::new();
        Selector::default().append_top(&[1.0; 40], 3, &mut places);
        assert_eq!(places, [37, 38, 39]);
        places.clear();
        Selector::default().append_top(&[0.0, -0.0, -0.0], 2, &mut places);
        assert_eq!(places, [0, 2]);
    }
}
