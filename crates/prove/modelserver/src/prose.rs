//! Made-up words, the same for the same seed, one token each.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;

/// Short enough that each is one token, none of them needs escaping in JSON.
const WORDS: [&str; 64] = [
    "the", "a", "tide", "river", "stone", "light", "wind", "small", "bright", "old", "quiet", "green", "and", "or",
    "but", "with", "under", "over", "near", "from", "ship", "harbour", "gate", "water", "morning", "evening", "slow",
    "deep", "open", "turns", "moves", "holds", "carries", "brings", "finds", "keeps", "waits", "rises", "falls",
    "returns", "sees", "one", "two", "many", "every", "each", "path", "road", "field", "hill", "cloud", "rain",
    "summer", "winter", "boat", "sail", "rope", "anchor", "shore", "island", "wave", "sand", "bird", "song",
];

/// The words of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Prose {
    random: Pcg32,
    /// Words until the sentence ends; none before the first.
    left: u32,
    begun: bool,
}

impl Prose {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Pcg32::seed_from_u64(seed),
            left: 0,
            begun: false,
        }
    }

    /// Appends the next token to `out`.
    pub(crate) fn push_token(&mut self, out: &mut impl Extend<u8>) {
        let random = self.random.next_u32();
        if self.left == 1 {
            self.left = 0;
            out.extend([b'.']);
            return;
        }
        let word = WORDS[(random >> 26) as usize].as_bytes();
        if self.begun {
            out.extend([b' ']);
        }
        if self.left == 0 {
            // A sentence: six to thirteen words and its full stop.
            self.left = 7 + (random & 7);
            out.extend([word[0].to_ascii_uppercase()]);
            out.extend(word[1..].iter().copied());
        } else {
            out.extend(word.iter().copied());
        }
        self.begun = true;
        self.left -= 1;
    }
}

/// How long an answer is by itself: near normal around `mean`, at least 1.
pub(crate) fn natural_tokens(seed: u64, mean: u32, stdev: u32) -> u32 {
    let mut random = Pcg32::seed_from_u64(seed ^ 0x5851_f42d_4c95_7f2d);
    // Twelve uniform numbers add up to a variance of one.
    let sum: f64 = (0..12)
        .map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX))
        .sum();
    let drawn = f64::from(mean) + f64::from(stdev) * (sum - 6.0);
    drawn.round().clamp(1.0, f64::from(u32::MAX - 1)) as u32
}

/// One seed of two.
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::pieces;

    fn text(seed: u64, tokens: usize) -> String {
        let mut prose = Prose::new(seed);
        let mut out = Vec::new();
        (0..tokens).for_each(|_| prose.push_token(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_token_is_a_token_to_the_tokenizer() {
        for seed in 0..20 {
            let text = text(seed, 200);
            assert_eq!(pieces(&text).count(), 200, "{text}");
            assert_eq!(
                serde_json::to_string(&text).unwrap().len(),
                text.len() + 2,
                "nothing to escape"
            );
        }
    }

    #[test]
    fn the_same_seed_says_the_same() {
        assert_eq!(text(7, 50), text(7, 50));
        assert_ne!(text(7, 50), text(8, 50));
        assert!(text(7, 50).starts_with(|c: char| c.is_ascii_uppercase()));
    }

    #[test]
    fn lengths_are_spread_around_the_mean() {
        let lengths: Vec<f64> = (0..4000).map(|seed| f64::from(natural_tokens(seed, 128, 32))).collect();
        let mean = lengths.iter().sum::<f64>() / 4000.0;
        let variance = lengths.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 128.0).abs() < 2.0, "{mean}");
        assert!((variance.sqrt() - 32.0).abs() < 2.0, "{}", variance.sqrt());
        assert!((0..500).all(|seed| natural_tokens(seed, 1, 50) >= 1));
        assert_eq!(natural_tokens(3, 64, 0), 64);
    }
}
