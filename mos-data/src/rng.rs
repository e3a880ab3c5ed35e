//! Named random streams: what one purpose draws never depends on how much another has drawn.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// The stream of `name` under `seed`, at `path` (epoch, step, shard, user, ...).
pub fn stream(seed: u64, name: &str, path: &[u64]) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(b"mos/stream/1");
    hash.update(seed.to_le_bytes());
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    path.iter().for_each(|p| hash.update(p.to_le_bytes()));
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// Lower-case hexadecimal SHA-256.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn streams_differ_by_seed_name_and_path_and_repeat() {
        let draw = |seed, name, path: &[u64]| stream(seed, name, path).next_u64();
        assert_eq!(draw(1, "a", &[2]), draw(1, "a", &[2]));
        let all = [
            draw(1, "a", &[2]),
            draw(2, "a", &[2]),
            draw(1, "b", &[2]),
            draw(1, "a", &[3]),
            draw(1, "a", &[]),
        ];
        assert!((0..all.len()).all(|i| (0..i).all(|j| all[i] != all[j])));
    }
}
