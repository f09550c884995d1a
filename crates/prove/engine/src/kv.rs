//! KV blocks: who holds how many, and which prompt blocks can be found again.
//!
//! A block is free, held by one request, or cached: known by the hash of all
//! tokens up to its end, and shared by every request that has the same
//! beginning. A cached block nobody holds counts as free and is the last to be
//! reused, oldest first.

use std::collections::{BTreeMap, HashMap};

/// The hash of a block whose predecessors hash to `parent` (0 for the first
/// block). Equal beginnings give equal chains.
#[must_use]
pub fn chain_hash(parent: u64, block: &[u32]) -> u64 {
    let mut hash = parent ^ 0x9e37_79b9_7f4a_7c15;
    for &token in block {
        hash = (hash ^ u64::from(token)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash
}

/// Blocks one request holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    shared: Vec<u64>,
    private: u32,
}

impl Held {
    fn len(&self) -> u32 {
        self.shared.len() as u32 + self.private
    }
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    holders: u32,
    /// The key in `idle` while nobody holds it.
    stamp: u64,
}

/// All blocks of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    usable: u32,
    free: u32,
    // Only ever asked by key, so that its order cannot show.
    cached: HashMap<u64, Cached>,
    idle: BTreeMap<u64, u64>,
    next_stamp: u64,
}

impl Pool {
    pub(crate) fn new(usable: u32) -> Self {
        Self {
            usable,
            free: usable,
            cached: HashMap::new(),
            idle: BTreeMap::new(),
            next_stamp: 0,
        }
    }

    pub(crate) const fn usable(&self) -> u32 {
        self.usable
    }

    pub(crate) fn available(&self) -> u32 {
        self.free + self.idle.len() as u32
    }

    pub(crate) fn used(&self) -> u32 {
        self.usable - self.available()
    }

    /// How many of the leading `hashes` are cached, and how many of those
    /// nobody holds.
    pub(crate) fn find(&self, hashes: &[u64]) -> (usize, u32) {
        let mut idle = 0;
        for (i, hash) in hashes.iter().enumerate() {
            match self.cached.get(hash) {
                Some(cached) => idle += u32::from(cached.holders == 0),
                None => return (i, idle),
            }
        }
        (hashes.len(), idle)
    }

    /// Makes `held` a holder of the cached `hashes`.
    pub(crate) fn share(&mut self, held: &mut Held, hashes: &[u64]) {
        for hash in hashes {
            if let Some(cached) = self.cached.get_mut(hash) {
                if cached.holders == 0 {
                    self.idle.remove(&cached.stamp);
                }
                cached.holders += 1;
                held.shared.push(*hash);
            }
        }
    }

    /// Gives `held` as many blocks as it lacks to have `wanted`, or none.
    #[must_use]
    pub(crate) fn grow(&mut self, held: &mut Held, wanted: u32) -> bool {
        let lacking = wanted.saturating_sub(held.len());
        if lacking > self.available() {
            return false;
        }
        for _ in self.free..lacking {
            if let Some((_, hash)) = self.idle.pop_first() {
                self.cached.remove(&hash);
                self.free += 1;
            }
        }
        self.free -= lacking;
        held.private += lacking;
        true
    }

    /// Makes one of `held`'s own blocks findable by `hash`, unless another
    /// block already is.
    pub(crate) fn register(&mut self, held: &mut Held, hash: u64) {
        if held.private > 0 && !self.cached.contains_key(&hash) {
            self.cached.insert(hash, Cached { holders: 1, stamp: 0 });
            held.private -= 1;
            held.shared.push(hash);
        }
    }

    /// Takes back all blocks of `held`. The end of a chain is reused before
    /// its beginning, which more requests have in common.
    pub(crate) fn release(&mut self, held: &mut Held) {
        self.free += held.private;
        held.private = 0;
        for hash in held.shared.drain(..).rev() {
            if let Some(cached) = self.cached.get_mut(&hash) {
                cached.holders -= 1;
                if cached.holders == 0 {
                    cached.stamp = self.next_stamp;
                    self.idle.insert(self.next_stamp, hash);
                    self.next_stamp += 1;
                }
            }
        }
    }

    /// Forgets every cached block nobody holds.
    pub(crate) fn forget(&mut self) {
        for hash in std::mem::take(&mut self.idle).into_values() {
            self.cached.remove(&hash);
            self.free += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_chain_is_found_again_and_its_end_goes_first() {
        let mut pool = Pool::new(4);
        let chain = [1, 2, 3];
        let mut first = Held::default();
        assert!(pool.grow(&mut first, 4));
        chain.iter().for_each(|&hash| pool.register(&mut first, hash));
        pool.release(&mut first);
        assert_eq!((pool.used(), pool.find(&chain)), (0, (3, 3)));

        let mut second = Held::default();
        assert!(pool.grow(&mut second, 2));
        assert_eq!(
            pool.find(&chain),
            (2, 2),
            "the free block went first, then the end of the chain"
        );

        let mut third = Held::default();
        pool.share(&mut third, &chain[..2]);
        assert_eq!((pool.available(), pool.find(&chain)), (0, (2, 0)));
        assert!(!pool.grow(&mut third, 3));
        assert_eq!(third.len(), 2, "a refused request keeps what it had");
    }

    #[test]
    fn a_shared_block_is_held_until_the_last_holder_leaves() {
        let mut pool = Pool::new(2);
        let (mut one, mut two) = (Held::default(), Held::default());
        assert!(pool.grow(&mut one, 1));
        pool.register(&mut one, 7);
        pool.share(&mut two, &[7]);
        pool.release(&mut one);
        assert_eq!(pool.used(), 1);
        pool.release(&mut two);
        assert_eq!(pool.used(), 0);
        pool.forget();
        assert_eq!((pool.find(&[7]).0, pool.available()), (0, 2));
    }

    #[test]
    fn chains_agree_as_long_as_the_tokens_do() {
        let (a, b) = (chain_hash(0, &[1, 2]), chain_hash(0, &[1, 3]));
        assert_ne!(a, b);
        assert_ne!(chain_hash(a, &[4]), chain_hash(b, &[4]));
        assert_eq!(chain_hash(a, &[4]), chain_hash(chain_hash(0, &[1, 2]), &[4]));
    }
}
