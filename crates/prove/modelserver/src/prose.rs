//! Made-up words, the same for the same seed, one token each.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;

// Each word is short enough to be one token, and needs no escaping in JSON.
type Words = [&'static str; 16];
const ARTICLE: Words = [
    "the", "a", "every", "one", "this", "that", "each", "her", "his", "our", "some", "their", "no", "my", "your", "any",
];
const ADJECTIVE: Words = [
    "small", "bright", "old", "quiet", "green", "slow", "deep", "open", "calm", "distant", "grey", "warm", "narrow",
    "tall", "young", "silver",
];
const NOUN: Words = [
    "tide", "river", "stone", "light", "wind", "ship", "harbour", "gate", "morning", "path", "field", "hill", "cloud",
    "boat", "island", "bird",
];
const VERB: Words = [
    "turns", "moves", "waits", "rises", "falls", "returns", "rests", "sings", "shines", "drifts", "stands", "grows",
    "sleeps", "wakes", "leans", "fades",
];
const PLACE: Words = [
    "under", "over", "near", "beside", "behind", "beyond", "above", "below", "past", "along", "around", "before",
    "through", "toward", "across", "within",
];
const AND: Words = [
    "and", "but", "while", "until", "as", "so", "yet", "because", "and", "but", "while", "when", "as", "though", "and",
    "if",
];

/// A sentence is the first eight of these words, or all, and a full stop.
const SENTENCE: [&Words; 13] = [
    &ARTICLE, &ADJECTIVE, &NOUN, &VERB, &PLACE, &ARTICLE, &ADJECTIVE, &NOUN, &AND, &ARTICLE, &ADJECTIVE, &NOUN, &VERB,
];
const SHORT: usize = 8;

/// The words of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Prose {
    random: Pcg32,
    /// Words of the sentence so far, and how many it will have.
    said: usize,
    length: usize,
    begun: bool,
}

impl Prose {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Pcg32::seed_from_u64(seed),
            said: 0,
            length: 0,
            begun: false,
        }
    }

    /// Appends the next token to `out`.
    pub(crate) fn push_token(&mut self, out: &mut impl Extend<u8>) {
        if self.length > 0 && self.said == self.length {
            self.said = 0;
            self.length = 0;
            out.extend([b'.']);
            return;
        }
        let random = self.random.next_u32();
        if self.length == 0 {
            self.length = if random & 1 == 0 { SHORT } else { SENTENCE.len() };
        }
        let word = SENTENCE[self.said][(random >> 28) as usize].as_bytes();
        if self.begun {
            out.extend([b' ']);
        }
        let first = if self.said == 0 {
            word[0].to_ascii_uppercase()
        } else {
            word[0]
        };
        out.extend([first]);
        out.extend(word[1..].iter().copied());
        self.begun = true;
        self.said += 1;
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
    fn sentences_have_eight_or_thirteen_words() {
        let text = text(3, 300);
        let (whole, _) = text.rsplit_once('.').unwrap();
        let mut lengths: Vec<usize> = whole
            .split('.')
            .map(|sentence| sentence.split_whitespace().count())
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [8, 13], "{text}");
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
