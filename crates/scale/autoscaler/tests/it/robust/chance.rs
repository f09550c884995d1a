//! Chance that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (SplitMix64): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not `below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// The seeds to repeat, with commas between them.
const VARIABLE: &str = "TIDEGATE_TEST_SEED";

/// The seeds of a scenario: so many that are always the same and one that never
/// is; or those that are to be repeated. Each is printed before it is tried.
pub(crate) fn seeds(scenario: &'static str, fixed: u64) -> impl Iterator<Item = u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seeds: Vec<u64> = match std::env::var(VARIABLE) {
        Ok(named) => named.split(',').map(read).collect(),
        Err(_) => (1..=fixed).chain([u64::from(since.subsec_nanos())]).collect(),
    };
    seeds.into_iter().inspect(move |seed| tell(scenario, *seed))
}

fn read(seed: &str) -> u64 {
    seed.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{VARIABLE}: `{seed}` is no seed; seeds are numbers with commas between them"))
}

#[expect(clippy::print_stderr, reason = "whoever reads of a failure needs the seed")]
fn tell(scenario: &str, seed: u64) {
    eprintln!("{scenario}: {VARIABLE}={seed}");
}
