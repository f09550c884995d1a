//! The stationary state of the chain.

/// Solved in log space: a state may be 10^-300 as likely as another, and none
/// overflows. Time in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// Arrivals per millisecond.
    pub(crate) arrivals: f64,
    /// Departures per millisecond from a full batch.
    full_rate: f64,
    /// Probability of 0, 1, ... `max_batch` requests in the system.
    pub(crate) head: Vec<f64>,
    /// Log of the probability of a full batch and nobody waiting.
    log_full: f64,
    /// Log of how much likelier one more waiting is.
    log_ratio: f64,
    /// Places in the queue.
    queue: u32,
    /// Mean number in the system.
    pub(crate) in_system: f64,
    /// Mean number in the batch.
    pub(crate) in_service: f64,
    /// Probability that a request finds everything full and is lost.
    pub(crate) loss: f64,
    /// Requests that are served, per millisecond: by departures, so that it
    /// stays exact where nearly all are lost.
    pub(crate) throughput: f64,
}

/// A term this much below the largest adds nothing to an f64.
const NEGLIGIBLE: f64 = -745.0;

impl Chain {
    /// `rates` per millisecond from batches of 1, 2, ...; not empty, all
    /// positive, like `arrivals`.
    pub(crate) fn solve(rates: &[f64], queue: u32, arrivals: f64) -> Self {
        let full_rate = rates[rates.len() - 1];
        let log_arrivals = arrivals.ln();
        let mut logs = Vec::with_capacity(rates.len() + 1);
        let mut log = 0.0;
        logs.push(log);
        for rate in rates {
            log += log_arrivals - rate.ln();
            logs.push(log);
        }
        let log_ratio = log_arrivals - full_rate.ln();
        let log_last = log + f64::from(queue) * log_ratio;
        let top = logs.iter().copied().fold(log_last, f64::max);

        let batch = rates.len() as f64;
        let mut total = 0.0;
        let mut in_system = 0.0;
        let mut in_service = 0.0;
        let mut departures = 0.0;
        for (n, log) in logs.iter().enumerate() {
            let weight = (log - top).exp();
            total += weight;
            in_system += n as f64 * weight;
            in_service += n as f64 * weight;
            if n > 0 {
                departures += rates[n - 1] * weight;
            }
        }
        for (waiting, weight) in tail(log - top, log_ratio, queue).skip(1) {
            total += weight;
            in_system += (batch + waiting) * weight;
            in_service += batch * weight;
            departures += full_rate * weight;
        }
        let log_total = top + total.ln();
        Self {
            arrivals,
            full_rate,
            head: logs.iter().map(|log| (log - log_total).exp()).collect(),
            log_full: log - log_total,
            log_ratio,
            queue,
            in_system: in_system / total,
            in_service: in_service / total,
            loss: (log_last - log_total).exp().min(1.0),
            throughput: (departures / total).max(f64::MIN_POSITIVE),
        }
    }

    /// Share of the requests that are not lost.
    fn accepted(&self) -> f64 {
        (self.throughput / self.arrivals).max(f64::MIN_POSITIVE)
    }

    /// Mean time in the batch of a request that is served.
    pub(crate) fn service_ms(&self) -> f64 {
        self.in_service / self.throughput
    }

    /// Mean time a request that is served waits for its place in the batch.
    pub(crate) fn wait_ms(&self) -> f64 {
        ((self.in_system - self.in_service) / self.throughput).max(0.0)
    }

    /// Probability that an accepted arrival finds `n` in the system, for `n`
    /// below the batch size.
    pub(crate) fn finds(&self, n: usize) -> f64 {
        self.head[n] / self.accepted()
    }

    /// Share of accepted requests that wait longer than `wait_ms`. Somebody
    /// who finds j waiting is served after j + 1 departures, and while he
    /// waits the batch is full, so they come at its rate: Erlang.
    pub(crate) fn wait_beyond(&self, wait_ms: f64) -> f64 {
        if self.queue == 0 || wait_ms.is_nan() || wait_ms == f64::INFINITY {
            return 0.0;
        }
        let due = self.full_rate * wait_ms.max(0.0);
        let log_due = due.ln();
        // Log of the probability of exactly `j` departures (Poisson), and the
        // sum of those up to `j`.
        let mut log_exactly = -due;
        let mut at_most = log_exactly.exp();
        let mut beyond = 0.0;
        let mut next = 1.0;
        for (_, weight) in tail(self.log_full, self.log_ratio, self.queue - 1) {
            beyond += weight * at_most;
            log_exactly += log_due - f64::ln(next);
            at_most = (at_most + log_exactly.exp()).min(1.0);
            next += 1.0;
        }
        (beyond / self.accepted()).clamp(0.0, 1.0)
    }

    /// The wait that `share` of the accepted requests do not exceed.
    pub(crate) fn wait_percentile(&self, share: f64) -> f64 {
        let within = 1.0 - share;
        if self.wait_beyond(0.0) <= within {
            return 0.0;
        }
        let mut high = 1.0 / self.full_rate;
        for _ in 0..200 {
            if self.wait_beyond(high) <= within {
                break;
            }
            high *= 2.0;
        }
        let mut low = 0.0;
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.wait_beyond(middle) <= within {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}

/// `(0, first), (1, first + step), ...` up to `last`, the logs made weights;
/// cut short where a falling tail no longer counts.
fn tail(first: f64, step: f64, last: u32) -> impl Iterator<Item = (f64, f64)> {
    (0..=last)
        .map(move |j| (f64::from(j), first + f64::from(j) * step))
        .take_while(move |(_, log)| step >= 0.0 || *log > NEGLIGIBLE)
        .map(|(j, log)| (j, log.exp()))
}
