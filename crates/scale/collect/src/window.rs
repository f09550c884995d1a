//! Rates from counters over a sliding window.

use std::collections::VecDeque;
use std::time::Duration;
use units::Instant;

/// The recent readings of one counter. A reading lower than the one before is
/// a restart: what it counts then came after the restart.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterWindow {
    length: Duration,
    last: Option<f64>,
    /// Time and the sum of all increases until then.
    readings: VecDeque<(Instant, f64)>,
}

/// What a reading added to what was counted before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// By how much the count went up; what came since the restart, if there was one.
    pub increase: f64,
    /// Whether the counter began anew.
    pub restarted: bool,
}

/// Most readings kept; closer ones are thinned out to it.
const MOST_READINGS: u32 = 64;

impl CounterWindow {
    /// An empty window of `length`.
    #[must_use]
    pub const fn new(length: Duration) -> Self {
        Self {
            length,
            last: None,
            readings: VecDeque::new(),
        }
    }

    /// Takes in a reading, and says what it added. Readings that are no number,
    /// negative or from before the last one are not counted.
    pub fn push(&mut self, at: Instant, value: f64) -> Option<Step> {
        if !value.is_finite() || value < 0.0 || self.is_before(at) {
            return None;
        }
        let restarted = self.last.is_some_and(|last| value < last);
        let increase = match self.last {
            None => 0.0,
            Some(last) if value >= last => value - last,
            Some(_) => value,
        };
        self.last = Some(value);
        self.advance(at, increase);
        Some(Step { increase, restarted })
    }

    /// Moves on by `step`, which may be negative, without a reading of a
    /// counter. A step that is no number or from before the last one is none.
    pub fn advance(&mut self, at: Instant, step: f64) {
        if !step.is_finite() || self.is_before(at) {
            return;
        }
        let sum = self.readings.back().map_or(0.0, |(_, sum)| *sum) + step;
        let grain = self.length / MOST_READINGS;
        // The newest reading always counts; one too close before it goes.
        if let [.., (before, _), (_, _)] = *self.readings.make_contiguous()
            && at.since(before) < grain
        {
            self.readings.pop_back();
        }
        self.readings.push_back((at, sum));
        // One reading from before the window is its left edge.
        while self
            .readings
            .get(1)
            .is_some_and(|(second, _)| at.since(*second) >= self.length)
        {
            self.readings.pop_front();
        }
    }

    fn is_before(&self, at: Instant) -> bool {
        self.readings.back().is_some_and(|(last, _)| at < *last)
    }

    /// Increase per second over the window, or `None` until two readings lie
    /// far enough apart to tell.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (*self.readings.front()?, *self.readings.back()?);
        let seconds = last.since(first).as_secs_f64();
        (seconds >= 0.2).then(|| (to - from) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(readings: &[(u64, f64)]) -> CounterWindow {
        let mut window = CounterWindow::new(Duration::from_secs(10));
        for (seconds, value) in readings {
            window.push(Instant::from_secs(*seconds), *value);
        }
        window
    }

    #[test]
    fn a_rate_needs_two_readings() {
        assert_eq!(window(&[]).per_second(), None);
        assert_eq!(window(&[(1, 100.0)]).per_second(), None);
        assert_eq!(window(&[(1, 100.0), (3, 140.0)]).per_second(), Some(20.0));
    }

    #[test]
    fn a_restart_counts_what_came_after_it() {
        assert_eq!(window(&[(1, 100.0), (2, 110.0), (3, 5.0)]).per_second(), Some(7.5));
    }

    #[test]
    fn a_reading_says_what_it_added() {
        let mut window = CounterWindow::new(Duration::from_secs(10));
        let mut push = |seconds, value| window.push(Instant::from_secs(seconds), value);
        let step = |increase, restarted| Some(Step { increase, restarted });
        assert_eq!(push(1, 100.0), step(0.0, false));
        assert_eq!(push(2, 110.0), step(10.0, false));
        assert_eq!(push(3, 4.0), step(4.0, true));
        assert_eq!(push(2, 5.0), None, "from before");
        assert_eq!(push(4, f64::NAN), None);
    }

    #[test]
    fn steps_may_go_down() {
        let mut window = CounterWindow::new(Duration::from_secs(10));
        for (seconds, step) in [(1, 0.0), (2, 5.0), (3, -3.0), (3, f64::NAN), (1, 100.0)] {
            window.advance(Instant::from_secs(seconds), step);
        }
        assert_eq!(window.per_second(), Some(1.0));
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let readings: Vec<(u64, f64)> = (0..30)
            .map(|s| (s, if s < 15 { 0.0 } else { (s - 15) as f64 }))
            .collect();
        assert_eq!(window(&readings).per_second(), Some(1.0));
    }

    #[test]
    fn absurd_readings_are_not_counted() {
        let rate = window(&[(1, 0.0), (2, f64::NAN), (3, -5.0), (4, f64::INFINITY), (5, 4.0)]).per_second();
        assert_eq!(rate, Some(1.0));
    }

    #[test]
    fn however_often_it_is_fed_it_stays_small_and_right() {
        let mut window = CounterWindow::new(Duration::from_secs(10));
        for i in 0..20_000_u64 {
            window.push(Instant::from_millis(i), i as f64);
        }
        assert!(
            window.readings.len() <= MOST_READINGS as usize + 3,
            "{}",
            window.readings.len()
        );
        let rate = window.per_second().unwrap();
        assert!((rate - 1000.0).abs() < 1.0, "{rate}");
    }
}
