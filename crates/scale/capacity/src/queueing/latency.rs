//! Latencies read off the solved chain.

use super::chain::Chain;
use super::{Averaging, QueueModel, ServiceTime};

/// What one replica does at a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Performance {
    /// Requests offered per second.
    pub rate: f64,
    /// Requests served per second.
    pub throughput: f64,
    /// Share of the requests that is refused because the queue is full.
    pub loss: f64,
    /// Mean wait for a place in the batch, in milliseconds.
    pub wait_ms: f64,
    /// Mean number of requests in the batch, idle time included.
    pub in_service: f64,
    /// Mean number of requests that wait.
    pub waiting: f64,
    /// Prefill at the mean batch, in milliseconds.
    pub prefill_ms: f64,
    /// Mean time between tokens, in milliseconds.
    pub itl_ms: f64,
    /// Mean time to the first token, in milliseconds: wait and prefill, and in
    /// the three-parameter model the first decode step.
    pub ttft_ms: f64,
    /// Share of the batch in use, 0 to 1.
    pub rho: f64,
}

impl Performance {
    pub(super) fn read(model: &QueueModel, chain: &Chain) -> Self {
        let replica = &model.replica;
        let (service, load) = (replica.service, replica.load);
        let most = f64::from(replica.max_batch);
        let service_ms = chain.service_ms();
        let wait_ms = chain.wait_ms();
        let (prefill_ms, itl_ms, first_step) = match service {
            ServiceTime::Iteration { .. } => {
                let prefill = service.prefill_ms(mean_batch(replica.averaging, chain), load);
                let itl = (service_ms - prefill) / load.output_tokens;
                (prefill, itl, itl)
            }
            ServiceTime::PrefillDecode { .. } => {
                let n = effective_batch(model, service_ms).clamp(0.0, most);
                (service.prefill_ms(n, load), service.decode_ms(n, load), 0.0)
            }
        };
        Self {
            rate: chain.arrivals * 1e3,
            throughput: chain.throughput * 1e3,
            loss: chain.loss,
            wait_ms,
            in_service: chain.in_service,
            waiting: chain.throughput * wait_ms,
            prefill_ms,
            itl_ms,
            ttft_ms: wait_ms + prefill_ms + first_step,
            rho: (chain.in_service / most).clamp(0.0, 1.0),
        }
    }
}

fn mean_batch(averaging: Averaging, chain: &Chain) -> f64 {
    match averaging {
        Averaging::AsPublished => chain.in_service,
        // Of states with anybody in: never below one request.
        Averaging::Busy => {
            let busy: f64 = 1.0 - chain.head[0];
            if busy > 0.0 {
                (chain.in_service / busy).max(1.0)
            } else {
                1.0
            }
        }
    }
}

/// The batch at which a request takes just the mean service time (the older
/// model's "effective concurrency").
fn effective_batch(model: &QueueModel, service_ms: f64) -> f64 {
    let replica = &model.replica;
    let ServiceTime::PrefillDecode {
        alpha_ms,
        beta_ms,
        gamma_ms,
        delta_ms,
    } = replica.service
    else {
        return 1.0;
    };
    let load = replica.load;
    let (fixed, slope) = match replica.averaging {
        // The predecessor subtracts the prefill even where there is no prompt,
        // and divides by nothing for a single token without one.
        Averaging::AsPublished => {
            let steps = load.output_tokens - 1.0;
            (
                gamma_ms + alpha_ms * steps,
                delta_ms * load.input_tokens + beta_ms * steps,
            )
        }
        Averaging::Busy => {
            let steps = replica.service.steps(load);
            let prompt = if load.input_tokens > 0.0 { 1.0 } else { 0.0 };
            (
                prompt * gamma_ms + alpha_ms * steps,
                prompt * delta_ms * load.input_tokens + beta_ms * steps,
            )
        }
    };
    let most = f64::from(replica.max_batch);
    match (service_ms - fixed) / slope {
        n if n.is_finite() => n,
        // Time does not depend on the batch: any will do.
        _ => most,
    }
}

pub(super) fn ttft_beyond(model: &QueueModel, chain: &Chain, ttft_ms: f64) -> f64 {
    let replica = &model.replica;
    let (service, load) = (replica.service, replica.load);
    let own = |batch: usize| {
        let n = batch as f64;
        let first_step = match service {
            ServiceTime::Iteration { .. } => service.decode_ms(n, load),
            ServiceTime::PrefillDecode { .. } => 0.0,
        };
        service.prefill_ms(n, load) + first_step
    };
    let most = chain.head.len() - 1;
    let at_once: f64 = (0..most)
        .filter(|&n| own(n + 1) > ttft_ms)
        .map(|n| chain.finds(n))
        .sum();
    // Those who wait join a full batch.
    let left = ttft_ms - own(most);
    let waited = chain.wait_beyond(left.max(0.0));
    (at_once + waited).clamp(0.0, 1.0)
}

pub(super) fn itl_beyond(model: &QueueModel, chain: &Chain, itl_ms: f64) -> f64 {
    let (service, load) = (model.replica.service, model.replica.load);
    let most = chain.head.len() - 1;
    // Time with a full batch is all that is not spent with a smaller one.
    let below: f64 = chain.head[..most].iter().sum();
    let (mut all, mut slow) = (0.0, 0.0);
    for n in 1..=most {
        let step = service.decode_ms(n as f64, load);
        let time = if n == most {
            (1.0 - below).max(0.0)
        } else {
            chain.head[n]
        };
        let tokens = if step > 0.0 { time * n as f64 / step } else { 0.0 };
        all += tokens;
        if step > itl_ms {
            slow += tokens;
        }
    }
    if all > 0.0 { (slow / all).clamp(0.0, 1.0) } else { 0.0 }
}

/// The least time, in milliseconds, that is exceeded with at most the
/// probability `1 - share`; `beyond` falls with the time.
pub(super) fn percentile(share: f64, beyond: impl Fn(f64) -> f64) -> f64 {
    const DOUBLINGS: u32 = 200;
    const HALVINGS: u32 = 60;
    let holds = |ms: f64| beyond(ms) <= 1.0 - share;
    if holds(0.0) {
        return 0.0;
    }
    let mut high = 1.0;
    for _ in 0..DOUBLINGS {
        if holds(high) {
            break;
        }
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
