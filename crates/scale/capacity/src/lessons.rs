//! What scale-downs taught: a steady load that did not fit on fewer replicas
//! keeps, for a while, what it had before.

use std::time::Duration;
use units::Instant;

/// How much is asked of a model, in two units: arrivals are the same however
/// many replicas serve them, while requests at once are fewer the more there
/// are. Arrivals go before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// Requests per second, where somebody counts them.
    pub(crate) arrivals: Option<f64>,
    /// Requests at replicas, where anybody tells.
    pub(crate) requests: Option<f64>,
}

/// The unit of a level; levels are only compared in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Arrivals,
    Requests,
}

/// A load's measure by a quick and a slow mean.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level {
    quick: f64,
    slow: f64,
    since: Instant,
    at: Instant,
}

impl Level {
    const QUICK_S: f64 = 300.0;
    const SLOW_S: f64 = 900.0;

    const fn of(measure: f64, now: Instant) -> Self {
        Self {
            quick: measure,
            slow: measure,
            since: now,
            at: now,
        }
    }

    fn note(&mut self, measure: f64, now: Instant) {
        let step = now.since(self.at).as_secs_f64();
        let age = now.since(self.since).as_secs_f64();
        self.quick += (measure - self.quick) * (step / age.clamp(1.0, Self::QUICK_S)).min(1.0);
        self.slow += (measure - self.slow) * (step / age.clamp(1.0, Self::SLOW_S)).min(1.0);
        self.at = now;
    }

    /// By how much two readings of one steady load may differ, as a share: what
    /// chance makes of so many arrivals, and `besides`.
    fn tolerance(&self, besides: f64) -> f64 {
        besides + 2.0 / (self.slow.max(1e-3) * Self::QUICK_S).sqrt()
    }

    /// The level, if the load has kept to it.
    fn steady(&self, besides: f64) -> Option<f64> {
        ((self.quick - self.slow).abs() <= self.slow * self.tolerance(besides)).then_some(self.slow)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct LastDown {
    at: Instant,
    capacity_before: f64,
    /// The load, if it was steady.
    level: Option<(Unit, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Floor {
    /// How long it is heeded, and until when.
    lasts: Duration,
    until: Instant,
    capacity: f64,
    /// The load that needs it.
    unit: Unit,
    measure: f64,
}

/// Two means of one load differ by chance, and by this share besides ...
const NEARLY_EQUAL: f64 = 0.002;
/// ... or by this one.
const ABOUT_EQUAL: f64 = 0.03;
/// How long a lesson is heeded before less is tried again.
const LESSON: Duration = Duration::from_secs(1_800);
/// How long a scale-down has to prove right, under a load that keeps steady.
const PROBATION: Duration = Duration::from_secs(6 * 3_600);
/// A level that nobody has told of for so long is no level of now.
const LASTS: Duration = Duration::from_secs(600);

/// What is known of steady loads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lessons {
    arrivals: Option<Level>,
    requests: Option<Level>,
    /// The last scale-down, until it has proven right or wrong.
    last_down: Option<LastDown>,
    /// The capacity below which a known load did not fit.
    floor: Option<Floor>,
}

impl Lessons {
    /// Takes in how much is asked of the model.
    pub(crate) fn note(&mut self, asked: Asked, now: Instant) {
        for (level, measure) in [
            (&mut self.arrivals, asked.arrivals),
            (&mut self.requests, asked.requests),
        ] {
            if let Some(measure) = measure {
                level.get_or_insert_with(|| Level::of(measure, now)).note(measure, now);
            }
        }
    }

    /// The level by arrivals, where they were counted lately, else by requests.
    fn level(&self, now: Instant) -> Option<(Unit, Level)> {
        let lately = |level: &Level| now.since(level.at) <= LASTS;
        let arrivals = self.arrivals.filter(lately).map(|level| (Unit::Arrivals, level));
        arrivals.or_else(|| Some((Unit::Requests, self.requests?)))
    }

    const fn level_in(&self, unit: Unit) -> Option<Level> {
        match unit {
            Unit::Arrivals => self.arrivals,
            Unit::Requests => self.requests,
        }
    }

    /// Remembers a scale-down, to see whether the load fits what is left.
    pub(crate) fn note_down(&mut self, capacity_before: f64, now: Instant) {
        let level = self.level(now);
        self.last_down = Some(LastDown {
            at: now,
            capacity_before,
            level: level.and_then(|(unit, level)| Some((unit, level.steady(NEARLY_EQUAL)?))),
        });
    }

    /// A rule asks for more. If the load is still the steady one of the last
    /// scale-down, it did not fit: the capacity from before becomes the floor
    /// for such a load. A load that moves teaches nothing here: it may come and
    /// go, and that is what the forecast learns from. Replicas that are `full`
    /// prove more than an expectation, so the load may then differ more.
    pub(crate) fn note_up(&mut self, full: bool, at: Instant) {
        let besides = if full { ABOUT_EQUAL } else { NEARLY_EQUAL };
        let Some(down) = self.last_down.take() else { return };
        let Some((unit, then)) = down.level else { return };
        let Some(level) = self.level_in(unit) else { return };
        if at.since(down.at) <= PROBATION
            && let Some(now) = level.steady(besides)
            && (now - then).abs() <= then * level.tolerance(besides)
        {
            // The same lesson again: it is heeded twice as long.
            let again = self.floor.filter(|floor| {
                floor.unit == unit && (floor.measure - then).abs() <= then * level.tolerance(NEARLY_EQUAL)
            });
            let lasts = again.map_or(LESSON, |floor| (floor.lasts * 2).min(PROBATION));
            self.floor = Some(Floor {
                lasts,
                until: at + lasts,
                capacity: down.capacity_before,
                unit,
                measure: then,
            });
        }
    }

    /// The capacity that the present load was seen to need.
    pub(crate) fn floor(&self, now: Instant) -> f64 {
        let Some(floor) = self.floor.filter(|floor| now <= floor.until) else {
            return 0.0;
        };
        let such = |level: Level| level.slow >= floor.measure * (1.0 - level.tolerance(NEARLY_EQUAL));
        match self.level_in(floor.unit) {
            Some(level) if such(level) => floor.capacity,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVALS: fn(f64) -> Asked = |rate| Asked {
        arrivals: Some(rate),
        requests: None,
    };
    const REQUESTS: fn(f64) -> Asked = |requests| Asked {
        arrivals: None,
        requests: Some(requests),
    };
    const BOTH: fn(f64, f64) -> Asked = |rate, requests| Asked {
        arrivals: Some(rate),
        requests: Some(requests),
    };

    fn note(lessons: &mut Lessons, asked: Asked, from: Instant, seconds: u64) -> Instant {
        for second in 0..seconds {
            lessons.note(asked, from + Duration::from_secs(second));
        }
        from + Duration::from_secs(seconds)
    }

    /// Lessons that have seen `asked` for a quarter of an hour.
    fn steady(asked: Asked) -> (Lessons, Instant) {
        let mut lessons = Lessons::default();
        let now = note(&mut lessons, asked, Instant::ZERO, 900);
        (lessons, now)
    }

    #[test]
    fn a_steady_load_that_did_not_fit_sets_a_floor_for_its_like() {
        for of in [ARRIVALS, REQUESTS] {
            let (mut lessons, now) = steady(of(10.0));
            lessons.note_down(32.0, now);
            lessons.note_up(true, now + Duration::from_secs(20));
            assert_eq!(lessons.floor(now), 32.0);
            note(&mut lessons, of(5.0), now, 1800);
            assert_eq!(lessons.floor(now), 0.0);
        }
    }

    #[test]
    fn a_load_that_rose_after_a_scale_down_is_no_lesson() {
        let (mut lessons, now) = steady(ARRIVALS(10.0));
        lessons.note_down(32.0, now);
        let now = note(&mut lessons, ARRIVALS(20.0), now, 120);
        lessons.note_up(true, now);
        assert_eq!(lessons.floor(now), 0.0);
    }

    #[test]
    fn the_same_arrivals_are_the_same_load_however_many_requests_they_keep_inside() {
        let (mut lessons, now) = steady(BOTH(10.0, 20.0));
        lessons.note_down(48.0, now);
        // Fewer replicas are slower, so that more requests are inside.
        let now = note(&mut lessons, BOTH(10.0, 31.0), now, 60);
        lessons.note_up(true, now);
        assert_eq!(lessons.floor(now), 48.0);
        // The very same without arrivals teaches nothing.
        let (mut lessons, now) = steady(REQUESTS(20.0));
        lessons.note_down(48.0, now);
        let now = note(&mut lessons, REQUESTS(31.0), now, 60);
        lessons.note_up(true, now);
        assert_eq!(lessons.floor(now), 0.0);
    }

    #[test]
    fn arrivals_that_nobody_tells_for_a_moment_are_still_the_measure() {
        let (mut lessons, now) = steady(BOTH(10.0, 20.0));
        let now = note(&mut lessons, REQUESTS(31.0), now, 30);
        lessons.note_down(48.0, now);
        let now = note(&mut lessons, BOTH(10.0, 33.0), now, 60);
        lessons.note_up(true, now);
        assert_eq!(lessons.floor(now), 48.0);
        // For a quarter of an hour they are not: requests are compared with requests.
        let (mut lessons, now) = steady(BOTH(10.0, 20.0));
        let now = note(&mut lessons, REQUESTS(20.0), now, 900);
        lessons.note_down(48.0, now);
        let now = note(&mut lessons, BOTH(30.0, 20.0), now, 60);
        lessons.note_up(true, now);
        assert_eq!(lessons.floor(now), 48.0);
    }
}
