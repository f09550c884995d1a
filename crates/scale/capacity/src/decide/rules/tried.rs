//! What was tried to keep a promise on one variant, and what came of it.
//!
//! Less load for each replica makes a latency shorter, down to what one
//! request alone takes. Two loads make a line, and the line tells that end.
//! Who is beyond the promise even there cannot keep it: the search stops, after
//! at most a fifth more replicas (one at least) than were there when it began.

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

/// What was tried for one promise on one variant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tried {
    /// Requests at once per replica and the latency, on average lately.
    seen: Option<Seen>,
    /// The same when more were asked for first.
    asked: Option<(f64, f64)>,
    /// The target that is known to be out of reach, and what one request alone takes.
    hopeless: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    replicas: usize,
    each: f64,
    ms: f64,
    at: Instant,
}

impl Tried {
    /// Takes in the load of each of so many replicas and the latency there.
    pub(super) fn note(&mut self, replicas: usize, each: f64, ms: f64, now: Instant) {
        match &mut self.seen {
            Some(seen) if seen.replicas == replicas && (each - seen.each).abs() <= ONE_LOAD * seen.each.max(each) => {
                let step = now.since(seen.at).as_secs_f64() / AVERAGED.as_secs_f64();
                let weight = 1.0 - (-step).exp();
                seen.each += (each - seen.each) * weight;
                seen.ms += (ms - seen.ms) * weight;
                seen.at = now;
            }
            seen => {
                *seen = Some(Seen {
                    replicas,
                    each,
                    ms,
                    at: now,
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

    /// The promise is broken with nothing on its way: whether that is for good
    /// (what one request alone takes), else it is worth trying one more.
    pub(super) fn broken(&mut self, target: f64, waits: bool) -> Option<f64> {
        let Seen { each, ms, .. } = self.seen?;
        let (alone_ms, margin) = match self.asked {
            _ if each <= ALONE && !waits => (Some(ms), IN_ERROR),
            // A latency that bends flattens towards one alone.
            Some((before, before_ms)) if each <= before * LESS_LOAD => {
                let slope = ((before_ms - ms) / (before - each)).max(0.0);
                (Some(ms - slope * (each - 1.0).max(0.0)), LINE_IN_ERROR)
            }
            _ => (None, 1.0),
        };
        if let Some(alone_ms) = alone_ms.filter(|alone| *alone > target * margin) {
            self.give_up(target, alone_ms);
            return Some(alone_ms);
        }
        // The first try counts until the load has grown beyond it.
        if self
            .asked
            .is_none_or(|(before, _)| each > before || each <= before * LESS_LOAD)
        {
            self.asked = Some((each, ms));
        }
        None
    }
}
