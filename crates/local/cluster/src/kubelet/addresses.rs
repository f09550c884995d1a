//! One loopback address per Pod, and whole GPUs per Pod: who holds what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Candidates looked at before giving up for now: if so many in a row cannot
/// be used, the reason is not one neighbour but the machine.
const TRIES: u32 = 64;

/// The addresses of a range, each held by at most one Pod (by uid).
#[derive(Debug)]
pub(crate) struct Addresses {
    first: u32,
    count: u32,
    next: u32,
    held: BTreeMap<u32, String>,
}

impl Addresses {
    /// The range `base/prefix`, less its first and last address.
    ///
    /// # Errors
    /// When the text is no IPv4 range below 127.0.0.0/8 with room for a Pod.
    pub(crate) fn parse(range: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("address range {range:?}: {why}; write it like 127.77.0.0/16");
        let (base, prefix) = range.split_once('/').ok_or_else(|| wrong("no /prefix"))?;
        let base: Ipv4Addr = base.parse().map_err(|_| wrong("not an IPv4 address"))?;
        let prefix: u32 = prefix.parse().map_err(|_| wrong("the prefix is not a number"))?;
        if !base.is_loopback() || !(8..=30).contains(&prefix) {
            return Err(wrong("must lie in 127.0.0.0/8 with a prefix from 8 to 30"));
        }
        let size = 1u32 << (32 - prefix);
        let first = (u32::from(base) & !(size - 1)) + 1;
        Ok(Addresses {
            first,
            count: size - 2,
            next: 0,
            held: BTreeMap::new(),
        })
    }

    /// Keeps an address for the Pod that had it before; false when another holds it or it is outside.
    pub(crate) fn reserve(&mut self, uid: &str, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        if address < self.first || address - self.first >= self.count {
            return false;
        }
        self.held.entry(address).or_insert_with(|| uid.to_owned()) == uid
    }

    /// The Pod's address: the one it holds, or the next free one that is `usable`.
    /// Addresses go round, so one just given back is not taken again soon.
    pub(crate) fn allocate(&mut self, uid: &str, mut usable: impl FnMut(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        if let Some((address, _)) = self.held.iter().find(|(_, holder)| *holder == uid) {
            return Some(Ipv4Addr::from(*address));
        }
        let mut tries = 0;
        for _ in 0..self.count {
            let address = self.first + self.next;
            self.next = (self.next + 1) % self.count;
            if self.held.contains_key(&address) {
                continue;
            }
            if usable(Ipv4Addr::from(address)) {
                self.held.insert(address, uid.to_owned());
                return Some(Ipv4Addr::from(address));
            }
            tries += 1;
            if tries == TRIES {
                break;
            }
        }
        None
    }

    /// Gives back what the Pod holds.
    pub(crate) fn release(&mut self, uid: &str) {
        self.held.retain(|_, holder| holder != uid);
    }
}

/// The GPUs of one node, each held by at most one Pod (by uid).
#[derive(Debug)]
pub(crate) struct Gpus {
    free: BTreeSet<u32>,
    held: BTreeMap<String, Vec<u32>>,
}

impl Gpus {
    /// GPUs 0 to `count - 1`, all free.
    pub(crate) fn new(count: u32) -> Self {
        Gpus {
            free: (0..count).collect(),
            held: BTreeMap::new(),
        }
    }

    /// `count` GPUs for the Pod, lowest index first; all or none. What it holds already it keeps.
    pub(crate) fn take(&mut self, uid: &str, count: usize) -> Option<Vec<u32>> {
        if let Some(held) = self.held.get(uid) {
            return Some(held.clone());
        }
        if self.free.len() < count {
            return None;
        }
        let taken: Vec<u32> = self.free.iter().copied().take(count).collect();
        for index in &taken {
            self.free.remove(index);
        }
        self.held.insert(uid.to_owned(), taken.clone());
        Some(taken)
    }

    /// Gives back what the Pod holds.
    pub(crate) fn release(&mut self, uid: &str) {
        self.free.extend(self.held.remove(uid).into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pods_share_an_address_and_one_just_released_rests() {
        let mut addresses = Addresses::parse("127.77.0.0/29").unwrap();
        assert!(addresses.reserve("old", Ipv4Addr::new(127, 77, 0, 1)));
        assert!(!addresses.reserve("thief", Ipv4Addr::new(127, 77, 0, 1)));
        assert!(!addresses.reserve("far", Ipv4Addr::new(127, 78, 0, 1)));
        let a = addresses.allocate("a", |_| true).unwrap();
        assert_eq!(a, Ipv4Addr::new(127, 77, 0, 2));
        assert_eq!(addresses.allocate("a", |_| true), Some(a), "a Pod keeps its address");
        let b = addresses.allocate("b", |ip| ip.octets()[3] != 3).unwrap();
        assert_eq!(b, Ipv4Addr::new(127, 77, 0, 4), "an unusable address is passed over");
        addresses.release("a");
        assert_eq!(addresses.allocate("c", |_| true).unwrap().octets()[3], 5);
        for uid in ["d", "e", "f"] {
            assert!(addresses.allocate(uid, |_| true).is_some());
        }
        assert_eq!(addresses.allocate("g", |_| true), None, "the range is full");
    }

    #[test]
    fn a_wrong_range_is_refused_with_the_remedy() {
        for bad in ["127.0.0.1", "10.0.0.0/16", "127.0.0.0/31", "x/8", "127.0.0.0/x"] {
            assert!(Addresses::parse(bad).unwrap_err().contains("127.77.0.0/16"), "{bad}");
        }
    }

    #[test]
    fn gpus_are_taken_whole_and_given_back() {
        let mut gpus = Gpus::new(3);
        assert_eq!(gpus.take("a", 2), Some(vec![0, 1]));
        assert_eq!(gpus.take("b", 2), None);
        assert_eq!(gpus.take("b", 1), Some(vec![2]));
        gpus.release("a");
        assert_eq!(gpus.take("c", 1), Some(vec![0]));
        assert_eq!(gpus.take("d", 0), Some(vec![]));
    }
}
