//! What was tried to keep a promise on one variant, and what came of it.
//!
//! Less load for each replica makes a latency shorter, down to what one
//! request alone takes. Two loads make a line, and the line tells that end.
//! Who is beyond the promise even there cannot keep it: the search stops, after
//! at most a fifth more replicas (one at least) than were there when it began.
//!
//! A latency is told as a mean over a while, and says something of the load as
//! it is only if the load was so all that while: after a burst, or with a
//! replica that has just come, it is the latency of what was before.

use std::collections::VecDeque;
use std::time::Duration;
use units::Instant;

/// A replica with so few requests at once shows what one alone takes.
const ALONE: f64 = 1.2;
/// Two loads per replica this far apart, as a share, make a line.
const LESS_LOAD: f64 = 0.85;
/// What a replica with one request shows may be in error by this share.
const IN_ERROR: f64 = 1.05;
/// And what a line shows by this one.
const LINE_IN_ERROR: f64 = 1.1;
/// Loads that differ by more, as a share, are not one.
const ONE_LOAD: f64 = 0.25;
/// Time over which a load and its latency are averaged.
const AVERAGED: Duration = Duration::from_secs(10);
/// A load this many times what it is now was another one.
const BURST: f64 = 2.0;
/// Loads of the past are kept as means of this long.
const SPAN: Duration = Duration::from_secs(5);
/// So many of them are kept.
const SPANS: usize = 32;

/// What was tried for one promise on one variant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tried {
    /// What was seen on average lately, with the replicas as they are.
    now: Option<Averaged>,
    /// Loads of the past, the oldest first.
    past: VecDeque<Span>,
    /// When the number of replicas changed last.
    changed: Option<Instant>,
    /// The load and the latency when more were asked for first.
    asked: Option<(f64, f64)>,
    /// The target that is known to be out of reach, and what one request alone takes.
    hopeless: Option<(f64, f64)>,
}

/// What the replicas of a variant show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// Requests at once in each.
    pub(super) each: f64,
    /// The latency.
    pub(super) ms: f64,
    /// Whether any request waits.
    pub(super) waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Averaged {
    replicas: usize,
    each: f64,
    ms: f64,
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    from: Instant,
    until: Instant,
    sum: f64,
    n: u32,
    waits: bool,
}

/// What to do about a promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Worth trying one more.
    OneMore,
    /// What is told is not of the replicas and the load as they are.
    Wait,
    /// One request alone takes too long already.
    GiveUp,
}

impl Tried {
    /// Takes in what so many replicas show.
    pub(super) fn note(&mut self, replicas: usize, seen: Seen, now: Instant) {
        let Seen { each, ms, .. } = seen;
        self.keep(seen, now);
        match &mut self.now {
            Some(before)
                if before.replicas == replicas && (each - before.each).abs() <= ONE_LOAD * before.each.max(each) =>
            {
                let step = now.since(before.at).as_secs_f64() / AVERAGED.as_secs_f64();
                let weight = 1.0 - (-step).exp();
                before.each += (each - before.each) * weight;
                before.ms += (ms - before.ms) * weight;
                before.at = now;
            }
            before => {
                if before.is_some_and(|before| before.replicas != replicas) {
                    self.changed = Some(now);
                }
                *before = Some(Averaged {
                    replicas,
                    each,
                    ms,
                    at: now,
                });
            }
        }
    }

    fn keep(&mut self, seen: Seen, now: Instant) {
        match self.past.back_mut() {
            Some(span) if now.since(span.from) < SPAN => {
                span.sum += seen.each;
                span.n += 1;
                span.waits |= seen.waits;
                span.until = now;
            }
            _ => {
                if self.past.len() == SPANS {
                    self.past.pop_front();
                }
                self.past.push_back(Span {
                    from: now,
                    until: now,
                    sum: seen.each,
                    n: 1,
                    waits: seen.waits,
                });
            }
        }
    }

    /// What one request alone takes, if that is known to be more than `target`.
    /// It is forgotten when another target is promised, and when replicas are
    /// seen to be quicker than that.
    pub(super) fn hopeless(&mut self, target: f64, now_ms: Option<f64>) -> Option<f64> {
        let (of, alone_ms) = self.hopeless?;
        if of == target && now_ms.is_none_or(|ms| ms > target && ms * LINE_IN_ERROR > alone_ms) {
            return Some(alone_ms);
        }
        self.hopeless = None;
        self.asked = None;
        None
    }

    /// Remembers that one request alone takes more than `target`.
    pub(super) const fn give_up(&mut self, target: f64, alone_ms: f64) {
        self.hopeless = Some((target, alone_ms));
    }

    /// The promise is broken with nothing on its way, by a latency that is the
    /// mean of what was `since`.
    pub(super) fn broken(&mut self, target: f64, since: Instant) -> Next {
        let Some(Averaged { each, ms, .. }) = self.now else {
            return Next::OneMore;
        };
        let meant = || self.past.iter().filter(|span| span.until > since);
        let most = meant().map(|span| span.sum / f64::from(span.n)).fold(0.0, f64::max);
        if self.changed.is_some_and(|at| at > since) || most > BURST * each.max(ALONE) {
            return Next::Wait;
        }
        let waited = meant().any(|span| span.waits);
        let (alone_ms, margin) = match self.asked {
            _ if each <= ALONE && !waited => (Some(ms), IN_ERROR),
            // A latency that bends flattens towards one alone.
            Some((before, before_ms)) if each <= before * LESS_LOAD => {
                let slope = ((before_ms - ms) / (before - each)).max(0.0);
                (Some(ms - slope * (each - 1.0).max(0.0)), LINE_IN_ERROR)
            }
            _ => (None, 1.0),
        };
        if let Some(alone_ms) = alone_ms.filter(|alone| *alone > target * margin) {
            self.give_up(target, alone_ms);
            return Next::GiveUp;
        }
        // The first try counts until the load has grown beyond it.
        if self
            .asked
            .is_none_or(|(before, _)| each > before || each <= before * LESS_LOAD)
        {
            self.asked = Some((each, ms));
        }
        Next::OneMore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET_MS: f64 = 500.0;
    /// A mean over a minute.
    const MINUTE: Duration = Duration::from_secs(60);

    /// So many replicas show the same each second for a while; the last moment.
    fn shows(tried: &mut Tried, replicas: usize, seen: Seen, from: u64, seconds: u64) -> Instant {
        for second in from..from + seconds {
            tried.note(replicas, seen, Instant::from_secs(second));
        }
        Instant::from_secs(from + seconds - 1)
    }

    const fn seen(each: f64, ms: f64, waits: bool) -> Seen {
        Seen { each, ms, waits }
    }

    #[test]
    fn one_request_shows_what_one_takes_once_the_mean_is_of_it_alone() {
        let mut tried = Tried::default();
        let now = shows(&mut tried, 1, seen(1.0, 900.0, false), 0, 100);
        assert_eq!(tried.broken(TARGET_MS, now - MINUTE), Next::GiveUp);
        assert_eq!(tried.hopeless(TARGET_MS, Some(900.0)), Some(900.0));
    }

    #[test]
    fn after_a_burst_the_latency_is_the_bursts() {
        let mut tried = Tried::default();
        shows(&mut tried, 1, seen(30.0, 4_600.0, true), 0, 11);
        // It is over, and the mean of the minute is what the burst made it.
        for second in 11..70 {
            let now = Instant::from_secs(second);
            tried.note(1, seen(0.5, 4_600.0, false), now);
            assert_eq!(tried.broken(TARGET_MS, now - MINUTE), Next::Wait, "{second} s");
        }
        assert_eq!(tried.hopeless(TARGET_MS, Some(4_600.0)), None);
    }

    #[test]
    fn a_replica_that_came_is_judged_once_the_mean_is_of_its_time() {
        let mut tried = Tried::default();
        let now = shows(&mut tried, 4, seen(30.0, 900.0, false), 0, 100);
        assert_eq!(tried.broken(TARGET_MS, now - MINUTE), Next::OneMore);
        for second in 100..160 {
            let now = Instant::from_secs(second);
            tried.note(5, seen(24.0, 900.0, false), now);
            assert_eq!(tried.broken(TARGET_MS, now - MINUTE), Next::Wait, "{second} s");
        }
        let now = shows(&mut tried, 5, seen(24.0, 890.0, false), 160, 60);
        assert_eq!(tried.broken(TARGET_MS, now - MINUTE), Next::GiveUp);
        let mut quicker = Tried::default();
        let now = shows(&mut quicker, 4, seen(30.0, 900.0, false), 0, 100);
        assert_eq!(quicker.broken(TARGET_MS, now - MINUTE), Next::OneMore);
        let now = shows(&mut quicker, 5, seen(24.0, 700.0, false), 100, 120);
        assert_eq!(quicker.broken(TARGET_MS, now - MINUTE), Next::OneMore, "more do help");
    }

    #[test]
    fn a_queue_is_not_what_one_request_takes() {
        let mut tried = Tried::default();
        let now = shows(&mut tried, 1, seen(1.0, 900.0, true), 0, 100);
        assert_eq!(tried.broken(TARGET_MS, now - MINUTE), Next::OneMore);
    }
}
