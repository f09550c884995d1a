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
/// Probabilities whose log is below this do not show in any sum of them.
const UNSEEN: f64 = -45.0;
/// Up to this ratio a geometric sum in closed form keeps enough digits.
const CLOSED_FORM: f64 = 0.9995;

/// Departures from batches of 1, 2, ...
#[derive(Clone, Debug)]
pub(crate) struct Departures {
    /// Per millisecond; not empty, all positive.
    rates: Vec<f64>,
    /// Sum of the logs of the first 0, 1, 2, ... of them.
    logs: Vec<f64>,
}

impl Departures {
    /// Of batches of 1, 2, ...: per millisecond, all positive, at least one.
    pub(crate) fn new(rates: Vec<f64>) -> Self {
        let mut sum = 0.0;
        let logs = std::iter::once(0.0)
            .chain(rates.iter().map(|rate| {
                sum += rate.ln();
                sum
            }))
            .collect();
        Self { rates, logs }
    }

    /// From a batch of one.
    pub(crate) fn single(&self) -> f64 {
        self.rates[0]
    }

    /// From a full batch.
    pub(crate) fn full(&self) -> f64 {
        self.rates[self.rates.len() - 1]
    }
}

impl Chain {
    /// The stationary state with `arrivals` per millisecond, above 0.
    pub(crate) fn solve(departures: &Departures, queue: u32, arrivals: f64) -> Self {
        let full_rate = departures.full();
        let log_arrivals = arrivals.ln();
        let mut head: Vec<f64> = departures
            .logs
            .iter()
            .enumerate()
            .map(|(n, log)| n as f64 * log_arrivals - log)
            .collect();
        let log_full = head[head.len() - 1];
        let log_ratio = log_arrivals - full_rate.ln();
        let log_last = log_full + f64::from(queue) * log_ratio;
        let top = head.iter().copied().fold(log_last, f64::max);

        let batch = departures.rates.len() as f64;
        let mut total = 0.0;
        let mut in_service = 0.0;
        let mut served = 0.0;
        for (n, weight) in head.iter_mut().enumerate() {
            *weight = (*weight - top).exp();
            total += *weight;
            in_service += n as f64 * *weight;
            if n > 0 {
                served += departures.rates[n - 1] * *weight;
            }
        }
        let (waiting, mean_waiting) = behind(log_full - top, log_ratio, queue);
        let in_system = in_service + batch * waiting + mean_waiting;
        total += waiting;
        in_service += batch * waiting;
        served += full_rate * waiting;
        let log_total = top + total.ln();
        for weight in &mut head {
            *weight /= total;
        }
        Self {
            arrivals,
            full_rate,
            head,
            log_full: log_full - log_total,
            log_ratio,
            queue,
            in_system: in_system / total,
            in_service: in_service / total,
            loss: (log_last - log_total).exp().min(1.0),
            throughput: (served / total).max(f64::MIN_POSITIVE),
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
        for (_, weight) in tail(self.log_full, self.log_ratio, self.queue - 1, UNSEEN) {
            beyond += weight * at_most;
            log_exactly += log_due - f64::ln(next);
            at_most = (at_most + log_exactly.exp()).min(1.0);
            next += 1.0;
        }
        (beyond / self.accepted()).clamp(0.0, 1.0)
    }
}

/// Weight of all states in which somebody waits, and the same times how many.
fn behind(log_full: f64, log_ratio: f64, queue: u32) -> (f64, f64) {
    let ratio = log_ratio.exp();
    if ratio <= CLOSED_FORM {
        let (full, places) = (log_full.exp(), f64::from(queue));
        let last = (places * log_ratio).exp();
        let weight = full * ratio * (1.0 - last) / (1.0 - ratio);
        let times = full * ratio * (1.0 - last * (1.0 + places * (1.0 - ratio))) / (1.0 - ratio).powi(2);
        return (weight, times.max(0.0));
    }
    tail(log_full, log_ratio, queue, NEGLIGIBLE)
        .skip(1)
        .fold((0.0, 0.0), |(weight, times), (j, w)| (weight + w, times + j * w))
}

/// `(0, first), (1, first + step), ...` up to `last`, the logs made weights;
/// cut short where a falling tail is below `least`.
fn tail(first: f64, step: f64, last: u32, least: f64) -> impl Iterator<Item = (f64, f64)> {
    (0..=last)
        .map(move |j| (f64::from(j), first + f64::from(j) * step))
        .take_while(move |(_, log)| step >= 0.0 || *log > least)
        .map(|(j, log)| (j, log.exp()))
}
