//! How the sources of signals are doing.

use collect::SourceHealth;
use collect::cache::CacheStats;
use std::collections::BTreeMap;
use wire::prom::write::{Kind, Writer};

type Value = dyn Fn(&SourceHealth) -> Option<f64>;

/// Writes a sample for each source; what is not known has none.
pub(super) fn write(page: &mut Writer, sources: &BTreeMap<String, SourceHealth>) {
    let mut family = |name: &str, kind: Kind, help: &str, value: &Value| {
        page.family(name, kind, help);
        for (source, health) in sources {
            if let Some(value) = value(health) {
                page.sample(name, &[("source", source.as_str())], value);
            }
        }
    };
    family(
        "tidegate_source_requests_total",
        Kind::Counter,
        "Questions to a source of signals.",
        &|health| Some(health.asked as f64),
    );
    family(
        "tidegate_source_failures_total",
        Kind::Counter,
        "Questions without a usable answer.",
        &|health| Some(health.failed as f64),
    );
    family(
        "tidegate_source_seconds_total",
        Kind::Counter,
        "Time spent waiting for answers.",
        &|health| Some(health.busy_micros as f64 / 1e6),
    );
    family(
        "tidegate_source_bytes_total",
        Kind::Counter,
        "Bytes of answers.",
        &|health| Some(health.bytes as f64),
    );
    family(
        "tidegate_source_up",
        Kind::Gauge,
        "1 if a source answers, 0 if not; absent until it was asked.",
        &|health| health.up.map(|up| if up { 1.0 } else { 0.0 }),
    );
    family(
        "tidegate_source_last_success_timestamp_seconds",
        Kind::Gauge,
        "When a source last had a usable answer, unix time; absent before the first.",
        &|health| health.last_success.map(units::Instant::as_secs_f64),
    );
    family(
        "tidegate_source_clock_skew_seconds",
        Kind::Gauge,
        "By how much a source's clock is ahead of ours, if it tells the time.",
        &|health| health.clock_ahead_ms.map(|millis| millis as f64 / 1e3),
    );
    let mut of_cache = |name: &str, kind: Kind, help: &str, value: fn(&CacheStats) -> u64| {
        family(name, kind, help, &move |health| {
            health.cache.as_ref().map(|stats| value(stats) as f64)
        });
    };
    of_cache(
        "tidegate_source_cache_hits_total",
        Kind::Counter,
        "Readings of a source's cache that found something young enough.",
        |stats| stats.hits,
    );
    of_cache(
        "tidegate_source_cache_misses_total",
        Kind::Counter,
        "Readings of a source's cache that did not.",
        |stats| stats.misses,
    );
    of_cache(
        "tidegate_source_cache_evictions_total",
        Kind::Counter,
        "Entries that left a source's cache because there were too many.",
        |stats| stats.evicted,
    );
    of_cache(
        "tidegate_source_cache_expired_total",
        Kind::Counter,
        "Entries that were cleaned out of a source's cache because they were too old.",
        |stats| stats.expired,
    );
    of_cache(
        "tidegate_source_cache_entries",
        Kind::Gauge,
        "Entries in a source's cache.",
        |stats| stats.entries,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::Instant;

    #[test]
    fn every_source_says_how_it_does_and_what_is_not_known_is_absent() {
        let prometheus = SourceHealth {
            asked: 5,
            failed: 2,
            busy_micros: 1_500_000,
            bytes: 10,
            last_success: Some(Instant::from_millis(1_700_000_000_500)),
            up: Some(false),
            cache: Some(CacheStats {
                hits: 7,
                misses: 3,
                evicted: 1,
                expired: 4,
                entries: 2,
            }),
            clock_ahead_ms: Some(-250),
        };
        let sources = [
            ("prometheus".to_owned(), prometheus),
            ("replica".to_owned(), SourceHealth::default()),
        ]
        .into();
        let mut page = Writer::default();
        write(&mut page, &sources);
        let text = page.finish();
        let read = wire::prom::parse::parse(text.as_bytes()).unwrap();
        let value = |name: &str, source: &str| {
            let name = format!("tidegate_source_{name}");
            let mut samples = read.samples.iter();
            let of = samples.find(|sample| sample.name == name && sample.has_labels(&[("source", source)]));
            of.map(|sample| sample.value)
        };
        for (name, expected) in [
            ("requests_total", 5.0),
            ("failures_total", 2.0),
            ("seconds_total", 1.5),
            ("bytes_total", 10.0),
            ("up", 0.0),
            ("last_success_timestamp_seconds", 1_700_000_000.5),
            ("clock_skew_seconds", -0.25),
            ("cache_hits_total", 7.0),
            ("cache_misses_total", 3.0),
            ("cache_evictions_total", 1.0),
            ("cache_expired_total", 4.0),
            ("cache_entries", 2.0),
        ] {
            assert_eq!(value(name, "prometheus"), Some(expected), "{name}");
        }
        assert_eq!(value("requests_total", "replica"), Some(0.0));
        for name in [
            "up",
            "last_success_timestamp_seconds",
            "cache_hits_total",
            "clock_skew_seconds",
        ] {
            assert_eq!(value(name, "replica"), None, "{name}");
        }
    }
}
