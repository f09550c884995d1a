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
use std::fmt::Write;
use std::sync::atomic::Ordering;
use wire::signals::{Histogram, PoolSignals};

/// Every this many buckets of ours make one of the exposition: 22 bounds from
/// 0.1 ms to 13 min, half as far again each time.
const EVERY: usize = 8;

/// The whole page.
pub(crate) fn render(shared: &Shared) -> String {
    let signals = shared.signals();
    let mut out = String::with_capacity(8 << 10);
    let pools: Vec<(&str, &PoolSignals)> = signals.pools.iter().map(|(name, pool)| (name.as_str(), pool)).collect();
    family(
        &mut out,
        &pools,
        "requests_total",
        "counter",
        "Requests that reached the pool.",
        |pool| pool.arrived as f64,
    );
    family(
        &mut out,
        &pools,
        "requests_completed_total",
        "counter",
        "Requests answered completely.",
        |pool| pool.completed as f64,
    );
    labelled(
        &mut out,
        &pools,
        "requests_failed_total",
        "counter",
        "Requests that ended otherwise, by outcome.",
        |pool| {
            pool.failed
                .iter()
                .map(|(outcome, count)| (format!("outcome=\"{}\"", escaped(outcome)), *count as f64))
                .collect()
        },
    );
    family(
        &mut out,
        &pools,
        "prompt_tokens_total",
        "counter",
        "Prompt tokens of completed requests.",
        |pool| pool.prompt_tokens as f64,
    );
    family(
        &mut out,
        &pools,
        "output_tokens_total",
        "counter",
        "Tokens generated.",
        |pool| pool.output_tokens as f64,
    );
    family(
        &mut out,
        &pools,
        "queued_requests",
        "gauge",
        "Requests waiting now.",
        |pool| pool.queued as f64,
    );
    family(
        &mut out,
        &pools,
        "in_flight_requests",
        "gauge",
        "Requests at endpoints now.",
        |pool| pool.in_flight as f64,
    );
    family(
        &mut out,
        &pools,
        "ready_endpoints",
        "gauge",
        "Endpoints known.",
        |pool| pool.endpoints.len() as f64,
    );
    type OfEndpoint = fn(&wire::signals::EndpointSignals) -> u64;
    let per_endpoint: [(&str, &str, &str, OfEndpoint); 4] = [
        (
            "endpoint_in_flight_requests",
            "gauge",
            "Requests at the endpoint now.",
            |endpoint| endpoint.in_flight,
        ),
        (
            "endpoint_slots",
            "gauge",
            "Most requests sent to the endpoint at once.",
            |endpoint| endpoint.slots,
        ),
        (
            "endpoint_requests_total",
            "counter",
            "Attempts sent to the endpoint.",
            |endpoint| endpoint.sent,
        ),
        (
            "endpoint_failures_total",
            "counter",
            "Attempts that failed before the first byte.",
            |endpoint| endpoint.failed,
        ),
    ];
    for (name, kind, help, value) in per_endpoint {
        labelled(&mut out, &pools, name, kind, help, |pool| {
            let labels =
                |address: &str, pod: &str| format!("endpoint=\"{}\",pod=\"{}\"", escaped(address), escaped(pod));
            pool.endpoints
                .iter()
                .map(|(at, endpoint)| (labels(at, &endpoint.pod), value(endpoint) as f64))
                .collect()
        });
    }
    histogram(
        &mut out,
        &pools,
        "time_to_first_token_seconds",
        "From arrival to the first token of a stream.",
        |pool| &pool.ttft_ms,
    );
    histogram(
        &mut out,
        &pools,
        "inter_token_latency_seconds",
        "Between tokens of a stream.",
        |pool| &pool.itl_ms,
    );
    histogram(
        &mut out,
        &pools,
        "queue_seconds",
        "From arrival to an endpoint.",
        |pool| &pool.queue_ms,
    );
    header(
        &mut out,
        "rejected_requests_total",
        "counter",
        "Requests answered with an error by the gateway itself.",
    );
    for (status, count) in shared.turned_away.lock().iter() {
        let _ = writeln!(
            out,
            "tidegate_gateway_rejected_requests_total{{code=\"{status}\"}} {count}"
        );
    }
    header(&mut out, "connections", "gauge", "Client connections open now.");
    let _ = writeln!(
        out,
        "tidegate_gateway_connections {}",
        shared.connections.load(Ordering::Relaxed)
    );
    header(
        &mut out,
        "buffered_bytes",
        "gauge",
        "Bytes of large request bodies held now.",
    );
    let _ = writeln!(
        out,
        "tidegate_gateway_buffered_bytes {}",
        shared.buffered.load(Ordering::Relaxed)
    );
    out
}

type Pools<'a> = [(&'a str, &'a PoolSignals)];

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "# HELP tidegate_gateway_{name} {help}\n# TYPE tidegate_gateway_{name} {kind}"
    );
}

fn family(out: &mut String, pools: &Pools<'_>, name: &str, kind: &str, help: &str, value: fn(&PoolSignals) -> f64) {
    header(out, name, kind, help);
    for (pool, signals) in pools {
        let _ = writeln!(
            out,
            "tidegate_gateway_{name}{{pool=\"{}\"}} {}",
            escaped(pool),
            value(signals)
        );
    }
}

fn labelled(
    out: &mut String,
    pools: &Pools<'_>,
    name: &str,
    kind: &str,
    help: &str,
    values: impl Fn(&PoolSignals) -> Vec<(String, f64)>,
) {
    header(out, name, kind, help);
    for (pool, signals) in pools {
        for (labels, value) in values(signals) {
            let _ = writeln!(
                out,
                "tidegate_gateway_{name}{{pool=\"{}\",{labels}}} {value}",
                escaped(pool)
            );
        }
    }
}

fn histogram(out: &mut String, pools: &Pools<'_>, name: &str, help: &str, of: fn(&PoolSignals) -> &Histogram) {
    header(out, name, "histogram", help);
    for (pool, signals) in pools {
        let (pool, observed) = (escaped(pool), of(signals));
        let mut below = 0;
        for (i, count) in observed.counts.iter().enumerate().take(Histogram::BUCKETS) {
            below += count;
            if i % EVERY == EVERY - 1 {
                let bound = Histogram::bound_ms(i) / 1e3;
                let _ = writeln!(
                    out,
                    "tidegate_gateway_{name}_bucket{{pool=\"{pool}\",le=\"{bound:.6}\"}} {below}"
                );
            }
        }
        let total = observed.count();
        let _ = writeln!(
            out,
            "tidegate_gateway_{name}_bucket{{pool=\"{pool}\",le=\"+Inf\"}} {total}"
        );
        let _ = writeln!(
            out,
            "tidegate_gateway_{name}_sum{{pool=\"{pool}\"}} {}",
            observed.sum_ms / 1e3
        );
        let _ = writeln!(out, "tidegate_gateway_{name}_count{{pool=\"{pool}\"}} {total}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
