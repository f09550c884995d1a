//! What a picker does not count itself: arrivals, and how long the oldest of
//! those it holds has waited. Both follow from two numbers it does tell: how
//! many it holds, and how many it has held before.

use super::page::{self, OfModel};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use units::Instant;
use wire::signals::{GatewaySignals, PoolSignals};

/// Most moments that are remembered of one model's arrivals.
const MOST_MOMENTS: usize = 4096;

/// A picker's pages so far.
#[derive(Debug)]
pub(super) struct Book {
    namespace: String,
    models: BTreeMap<String, Past>,
}

/// What a page came to.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) signals: GatewaySignals,
    /// Whether it is worth a decision at once.
    pub(super) urgent: bool,
}

/// One model's past.
#[derive(Debug, Default)]
struct Past {
    /// Requests that have come.
    arrived: u64,
    left_queue: u64,
    /// When it was first seen that so many had come; of those who may still wait.
    moments: VecDeque<(Instant, u64)>,
    /// How many were held when a decision was last asked for.
    told: u64,
}

impl Book {
    pub(super) const fn new(namespace: String) -> Self {
        Self {
            namespace,
            models: BTreeMap::new(),
        }
    }

    /// Takes in a page that was asked for at `at`.
    ///
    /// # Errors
    /// It is no page of a picker.
    pub(super) fn take_in(&mut self, body: &[u8], at: Instant) -> Result<Told, String> {
        let page = page::read(body)?;
        self.models.retain(|model, _| page.contains_key(model));
        let mut told = Told {
            signals: GatewaySignals::default(),
            urgent: false,
        };
        for (model, of) in page {
            let past = self.models.entry(model.clone()).or_default();
            let waited = past.take_in(&of, at);
            told.urgent |= past.is_urgent(of.queued);
            let pool = pool(&model, of, past.arrived, waited);
            told.signals.pools.insert(format!("{}/{model}", self.namespace), pool);
        }
        Ok(told)
    }
}

fn pool(model: &str, of: OfModel, arrived: u64, waited: Option<Duration>) -> PoolSignals {
    PoolSignals {
        models: vec![model.to_owned()],
        arrived,
        completed: of.answered,
        prompt_tokens: of.prompt_tokens,
        output_tokens: of.answer_tokens,
        queued: of.queued,
        oldest_wait_ms: waited.map(|waited| u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)),
        in_flight: of.running,
        ttft_ms: of.ttft,
        itl_ms: of.itl,
        ..PoolSignals::default()
    }
}

impl Past {
    /// Returns how long, at least, the oldest of those who are held has waited:
    /// whoever came after as many as have left by now cannot all have left, in
    /// whatever order they do.
    fn take_in(&mut self, of: &OfModel, at: Instant) -> Option<Duration> {
        if of.left_queue < self.left_queue {
            // The picker began anew.
            *self = Self {
                told: self.told,
                ..Self::default()
            };
        }
        self.left_queue = of.left_queue;
        // The two are not read at one moment: a request on its way from one to
        // the other may be in neither, and nobody comes back from having come.
        let arrived = self.arrived.max(of.left_queue.saturating_add(of.queued));
        if arrived > self.arrived {
            self.arrived = arrived;
            if self.moments.len() == MOST_MOMENTS {
                self.moments.pop_back();
            }
            self.moments.push_back((at, arrived));
        }
        while self
            .moments
            .front()
            .is_some_and(|(_, arrived)| *arrived <= of.left_queue)
        {
            self.moments.pop_front();
        }
        let since = self.moments.front().map_or(at, |(since, _)| *since);
        (of.queued > 0).then(|| at.since(since))
    }

    /// Whether the first is held, or twice as many as when that was last said.
    fn is_urgent(&mut self, queued: u64) -> bool {
        let urgent = queued > 0 && queued >= self.told.saturating_mul(2);
        if urgent || queued < self.told {
            self.told = queued;
        }
        urgent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "shop/m";

    fn page(queued: u64, left: u64) -> String {
        format!(
            "llm_d_epp_flow_control_queue_size{{model_name=\"m\"}} {queued}\n\
             llm_d_epp_flow_control_request_queue_duration_seconds_count{{model_name=\"m\"}} {left}\n"
        )
    }

    /// What is told of pages (second, held, gone): arrivals, and seconds that the oldest waits.
    fn told(pages: &[(u64, u64, u64)]) -> Vec<(u64, Option<u64>, bool)> {
        let mut book = Book::new("shop".to_owned());
        let told = |(second, queued, left): &(u64, u64, u64)| {
            let told = book
                .take_in(page(*queued, *left).as_bytes(), Instant::from_secs(*second))
                .unwrap();
            let pool = &told.signals.pools[MODEL];
            assert_eq!(pool.queued, *queued);
            (pool.arrived, pool.oldest_wait_ms.map(|ms| ms / 1000), told.urgent)
        };
        pages.iter().map(told).collect()
    }

    #[test]
    fn who_came_is_who_waits_and_who_has_waited() {
        let said = told(&[(1, 0, 40), (2, 3, 41), (3, 3, 44), (4, 0, 47)]);
        let arrived: Vec<u64> = said.iter().map(|(arrived, ..)| *arrived).collect();
        assert_eq!(arrived, [40, 44, 47, 47]);
    }

    #[test]
    fn the_oldest_waits_since_it_came_and_no_longer_than_that() {
        let waits = |pages| -> Vec<Option<u64>> { told(pages).into_iter().map(|(_, waits, _)| waits).collect() };
        // One that nobody takes.
        assert_eq!(
            waits(&[(1, 0, 9), (2, 1, 9), (3, 1, 9), (7, 2, 9)]),
            [None, Some(0), Some(1), Some(5)]
        );
        // The first goes: who is left came later.
        assert_eq!(
            waits(&[(1, 1, 0), (4, 2, 0), (9, 1, 1), (10, 0, 2)]),
            [Some(0), Some(3), Some(5), None]
        );
        // A queue that moves on is no long wait.
        assert_eq!(waits(&[(1, 5, 0), (2, 5, 5), (3, 5, 10)]), [Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn a_request_between_two_numbers_is_no_restart() {
        let said = told(&[(1, 5, 1000), (2, 4, 1000), (3, 4, 1001)]);
        assert_eq!(said.iter().map(|(arrived, ..)| *arrived).collect::<Vec<_>>(), [1005; 3]);
    }

    #[test]
    fn a_picker_that_began_anew_counts_anew() {
        let said = told(&[(1, 5, 1000), (2, 1, 0), (3, 1, 0)]);
        assert_eq!(
            said[1..]
                .iter()
                .map(|(arrived, waits, _)| (*arrived, *waits))
                .collect::<Vec<_>>(),
            [(1, Some(0)), (1, Some(1))]
        );
    }

    #[test]
    fn the_first_that_is_held_and_twice_as_many_are_urgent() {
        let queue = [0, 1, 1, 2, 3, 4, 2, 3, 4, 0, 1];
        let pages: Vec<(u64, u64, u64)> = (1..).zip(queue).map(|(second, queued)| (second, queued, 9)).collect();
        let urgent: Vec<bool> = told(&pages).into_iter().map(|(.., urgent)| urgent).collect();
        let expected = [false, true, false, true, false, true, false, false, true, false, true];
        assert_eq!(urgent, expected);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut past = Past::default();
        let mut waited = None;
        for second in 0..2 * MOST_MOMENTS as u64 {
            let of = OfModel {
                queued: second + 1,
                ..OfModel::default()
            };
            waited = past.take_in(&of, Instant::from_secs(second));
        }
        assert_eq!(past.moments.len(), MOST_MOMENTS);
        assert_eq!(waited, Some(Duration::from_secs(2 * MOST_MOMENTS as u64 - 1)));
    }
}
