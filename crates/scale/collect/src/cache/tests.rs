use super::*;
use proptest::prelude::*;

const TTL: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Instant {
    Instant::from_secs(1_000 + seconds)
}

fn filled(most: usize, keys: &[&str]) -> MemoryCache<usize> {
    let cache = MemoryCache::new(TTL, most);
    for (value, key) in keys.iter().enumerate() {
        cache.put((*key).to_owned(), value, at(0));
    }
    cache
}

#[test]
fn what_is_older_than_the_time_to_live_is_not_handed_out() {
    let cache = filled(4, &["replica:n/m"]);
    assert_eq!(cache.get("replica:n/m", at(30)), Cached::Hit(0));
    let age = Duration::from_secs(31);
    assert_eq!(cache.get("replica:n/m", at(31)), Cached::Expired { age });
    assert_eq!(cache.get("replica:n/other", at(0)), Cached::Absent);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 1));
    cache.put("replica:n/m".to_owned(), 7, at(40));
    assert_eq!(cache.get("replica:n/m", at(41)), Cached::Hit(7), "put anew");
}

#[test]
fn cleaning_up_leaves_what_is_young() {
    let cache = filled(4, &["a", "b"]);
    cache.put("b".to_owned(), 9, at(20));
    assert_eq!(
        (cache.clean(at(30)), cache.clean(at(31)), cache.clean(at(31))),
        (0, 1, 0)
    );
    assert_eq!((cache.stats().entries, cache.stats().expired), (1, 1));
    assert_eq!(cache.get("b", at(31)), Cached::Hit(9));
}

#[test]
fn the_least_recently_used_goes_when_there_are_too_many() {
    let cache = filled(3, &["a", "b", "c"]);
    assert_eq!(cache.get("a", at(1)), Cached::Hit(0));
    cache.put("d".to_owned(), 3, at(2));
    assert_eq!(cache.get("b", at(2)), Cached::Absent, "used longest ago");
    for key in ["a", "c", "d"] {
        assert!(matches!(cache.get(key, at(2)), Cached::Hit(_)), "{key}");
    }
    cache.put("a".to_owned(), 5, at(3));
    let stats = cache.stats();
    assert_eq!((stats.evicted, stats.entries), (1, 3), "put anew is no more");
}

#[test]
fn a_prefix_takes_its_namespace_and_no_other() {
    let cache = filled(
        9,
        &["replica:n/a", "replica:n/b", "replica:nn/a", "model:n/a", "replica:n"],
    );
    assert_eq!(cache.invalidate_prefix("replica:n/"), 2);
    assert_eq!(cache.stats().entries, 3);
    assert!(cache.invalidate("model:n/a") && !cache.invalidate("model:n/a"));
    assert_eq!(cache.invalidate_prefix(""), 2);
    assert_eq!(cache.stats().evicted, 0, "nobody was driven out");
}

#[test]
fn no_cache_keeps_nothing() {
    let cache = NoCache;
    Cache::put(&cache, "a".to_owned(), 1, at(0));
    assert_eq!(Cache::<i32>::get(&cache, "a", at(0)), Cached::Absent);
    assert!(!Cache::<i32>::keeps(&cache) && !Cache::<i32>::invalidate(&cache, "a"));
    assert_eq!(
        (
            Cache::<i32>::invalidate_prefix(&cache, ""),
            Cache::<i32>::clean(&cache, at(0))
        ),
        (0, 0)
    );
    assert_eq!(Cache::<i32>::stats(&cache), CacheStats::default());
}

#[derive(Clone, Debug)]
enum Does {
    Put(u8),
    Get(u8),
    Invalidate(u8),
    Prefix(u8),
    Clean,
    Wait(u64),
}

fn anything() -> impl Strategy<Value = Does> {
    prop_oneof![
        4 => any::<u8>().prop_map(Does::Put),
        4 => any::<u8>().prop_map(Does::Get),
        1 => any::<u8>().prop_map(Does::Invalidate),
        1 => (0..10_u8).prop_map(Does::Prefix),
        1 => Just(Does::Clean),
        2 => (0..40_u64).prop_map(Does::Wait),
    ]
}

proptest! {
    #[test]
    fn it_never_holds_more_nor_older_and_never_another_ones(
        most in 1..20_usize,
        all in proptest::collection::vec(anything(), 0..200),
    ) {
        let cache = MemoryCache::new(TTL, most);
        let key = |number: u8| format!("{}/{number}", number % 10);
        let mut now = at(0);
        let mut last_put: BTreeMap<String, Instant> = BTreeMap::new();
        for does in all {
            match does {
                Does::Put(number) => {
                    cache.put(key(number), (number, now), now);
                    last_put.insert(key(number), now);
                }
                Does::Get(number) => match cache.get(&key(number), now) {
                    Cached::Hit((whose, put)) => {
                        prop_assert_eq!((whose, Some(&put)), (number, last_put.get(&key(number))));
                        prop_assert!(now.since(put) <= TTL);
                    }
                    Cached::Expired { age } => prop_assert!(age > TTL),
                    Cached::Absent => {}
                },
                Does::Invalidate(number) => {
                    cache.invalidate(&key(number));
                    last_put.remove(&key(number));
                    prop_assert_eq!(cache.get(&key(number), now), Cached::Absent);
                }
                Does::Prefix(first) => {
                    cache.invalidate_prefix(&format!("{first}/"));
                    last_put.retain(|key, _| !key.starts_with(&format!("{first}/")));
                }
                Does::Clean => {
                    cache.clean(now);
                    prop_assert_eq!(cache.clean(now), 0);
                }
                Does::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            let stats = cache.stats();
            prop_assert!(stats.entries as usize <= most);
            let state = cache.state.lock();
            prop_assert_eq!(state.used.len(), state.entries.len());
        }
    }
}
