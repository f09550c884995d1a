//! The gateway's numbers as Prometheus text.
//!
//! All names begin with `tidegate_gateway_`. By `pool`:
//! `requests_total`, `requests_completed_total`, `requests_failed_total` (also
//! by `outcome`: `queue_full`, `deadline`, `cancelled`, `upstream_error`,
//! `shutting_down`), `prompt_tokens_total`, `output_tokens_total`,
//! `queued_requests`, `in_flight_requests`, `ready_endpoints`, and the
//! histograms `time_to_first_token_seconds`, `inter_token_latency_seconds` and
//! `queue_seconds`. By `pool`, `endpoint` and `pod`:
//! `endpoint_in_flight_requests`, `endpoint_slots`, `endpoint_requests_total`,
//! `endpoint_failures_total`. For the whole gateway:
//! `rejected_requests_total` (by `code`), `connections`, `buffered_bytes`.

use crate::fleet::Shared;
use std::sync::atomic::Ordering;
use wire::prom::write::{Kind, Writer};
use wire::signals::{EndpointSignals, Histogram, PoolSignals};

/// Every this many buckets of ours make one of the exposition: 22 bounds from
/// 0.1 ms to 13 min, half as far again each time.
const EVERY: usize = 8;

/// The whole page.
pub(crate) fn render(shared: &Shared) -> String {
    let signals = shared.signals();
    let mut page = Page {
        pools: signals.pools.iter().map(|(name, pool)| (name.as_str(), pool)).collect(),
        out: Writer::with_capacity(8 << 10),
    };
    for (name, kind, help, value) in OF_POOL {
        page.of_pool(name, kind, help, value);
    }
    page.failures();
    for (name, kind, help, value) in OF_ENDPOINT {
        page.of_endpoint(name, kind, help, value);
    }
    for (name, help, histogram) in HISTOGRAMS {
        page.histogram(name, help, histogram);
    }
    let rejected = page.family(
        "rejected_requests_total",
        Kind::Counter,
        "Requests answered with an error by the gateway itself.",
    );
    for (status, count) in shared.turned_away.lock().iter() {
        page.out
            .sample(&rejected, &[("code", &status.to_string())], *count as f64);
    }
    let now = |number: &std::sync::atomic::AtomicUsize| number.load(Ordering::Relaxed) as f64;
    page.of_gateway("connections", "Client connections open now.", now(&shared.connections));
    page.of_gateway(
        "buffered_bytes",
        "Bytes of large request bodies held now.",
        now(&shared.buffered),
    );
    page.out.finish()
}

type OfPool = fn(&PoolSignals) -> f64;

const OF_POOL: [(&str, Kind, &str, OfPool); 7] = [
    (
        "requests_total",
        Kind::Counter,
        "Requests that reached the pool.",
        |pool| pool.arrived as f64,
    ),
    (
        "requests_completed_total",
        Kind::Counter,
        "Requests answered completely.",
        |pool| pool.completed as f64,
    ),
    (
        "prompt_tokens_total",
        Kind::Counter,
        "Prompt tokens of completed requests.",
        |pool| pool.prompt_tokens as f64,
    ),
    ("output_tokens_total", Kind::Counter, "Tokens generated.", |pool| {
        pool.output_tokens as f64
    }),
    ("queued_requests", Kind::Gauge, "Requests waiting now.", |pool| {
        pool.queued as f64
    }),
    (
        "in_flight_requests",
        Kind::Gauge,
        "Requests at endpoints now.",
        |pool| pool.in_flight as f64,
    ),
    ("ready_endpoints", Kind::Gauge, "Endpoints known.", |pool| {
        pool.endpoints.len() as f64
    }),
];

type OfEndpoint = fn(&EndpointSignals) -> u64;

const OF_ENDPOINT: [(&str, Kind, &str, OfEndpoint); 4] = [
    (
        "endpoint_in_flight_requests",
        Kind::Gauge,
        "Requests at the endpoint now.",
        |endpoint| endpoint.in_flight,
    ),
    (
        "endpoint_slots",
        Kind::Gauge,
        "Most requests sent to the endpoint at once.",
        |endpoint| endpoint.slots,
    ),
    (
        "endpoint_requests_total",
        Kind::Counter,
        "Attempts sent to the endpoint.",
        |endpoint| endpoint.sent,
    ),
    (
        "endpoint_failures_total",
        Kind::Counter,
        "Attempts that failed before the first byte.",
        |endpoint| endpoint.failed,
    ),
];

type OfHistogram = fn(&PoolSignals) -> &Histogram;

const HISTOGRAMS: [(&str, &str, OfHistogram); 3] = [
    (
        "time_to_first_token_seconds",
        "From arrival to the first token of a stream.",
        |pool| &pool.ttft_ms,
    ),
    ("inter_token_latency_seconds", "Between tokens of a stream.", |pool| {
        &pool.itl_ms
    }),
    ("queue_seconds", "From arrival to an endpoint.", |pool| &pool.queue_ms),
];

/// The page in the making.
struct Page<'a> {
    pools: Vec<(&'a str, &'a PoolSignals)>,
    out: Writer,
}

impl Page<'_> {
    /// Begins a family; gives its full name.
    fn family(&mut self, name: &str, kind: Kind, help: &str) -> String {
        let name = format!("tidegate_gateway_{name}");
        self.out.family(&name, kind, help);
        name
    }

    fn of_gateway(&mut self, name: &str, help: &str, value: f64) {
        let name = self.family(name, Kind::Gauge, help);
        self.out.sample(&name, &[], value);
    }

    fn of_pool(&mut self, name: &str, kind: Kind, help: &str, value: OfPool) {
        let name = self.family(name, kind, help);
        for (pool, signals) in &self.pools {
            self.out.sample(&name, &[("pool", pool)], value(signals));
        }
    }

    fn failures(&mut self) {
        let name = self.family(
            "requests_failed_total",
            Kind::Counter,
            "Requests that ended otherwise, by outcome.",
        );
        for (pool, signals) in &self.pools {
            for (outcome, count) in &signals.failed {
                let labels = [("pool", *pool), ("outcome", outcome)];
                self.out.sample(&name, &labels, *count as f64);
            }
        }
    }

    fn of_endpoint(&mut self, name: &str, kind: Kind, help: &str, value: OfEndpoint) {
        let name = self.family(name, kind, help);
        for (pool, signals) in &self.pools {
            for (address, endpoint) in &signals.endpoints {
                let labels = [("pool", *pool), ("endpoint", address), ("pod", &endpoint.pod)];
                self.out.sample(&name, &labels, value(endpoint) as f64);
            }
        }
    }

    fn histogram(&mut self, name: &str, help: &str, of: OfHistogram) {
        let name = self.family(name, Kind::Histogram, help);
        let last = (EVERY - 1..Histogram::BUCKETS).step_by(EVERY);
        // To the microsecond, so that a label does not end in a binary fraction's tail.
        let bounds: Vec<f64> = last
            .map(|bucket| (Histogram::bound_ms(bucket) * 1e3).round() / 1e6)
            .collect();
        for (pool, signals) in &self.pools {
            let observed = of(signals);
            let mut counts: Vec<u64> = observed.counts.chunks(EVERY).map(|some| some.iter().sum()).collect();
            let above: u64 = counts.drain(bounds.len().min(counts.len())..).sum();
            counts.resize(bounds.len(), 0);
            counts.push(above);
            self.out
                .histogram(&name, &[("pool", pool)], &bounds, &counts, observed.sum_ms / 1e3);
        }
    }
}
