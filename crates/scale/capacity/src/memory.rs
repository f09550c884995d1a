//! What one pass leaves for the next: bounded, and of use only to this crate.

use crate::Policy;
use crate::load::Load;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use units::Instant;

/// What is remembered of one model between decisions. Start with the default;
/// losing it costs patience (windows start over), never correctness.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last moment at which the model was not known to be idle.
    pub(crate) busy_at: Option<Instant>,
    /// The arrivals counter at the last pass.
    arrived: Option<u64>,
    /// Since when every signal has been fresh without a gap.
    pub(crate) covered_since: Option<Instant>,
    /// Needs of the window, each larger than all after it.
    peaks: VecDeque<(Instant, f64)>,
    /// Slots per replica, last seen, by variant.
    slots: BTreeMap<String, f64>,
    /// Since when replicas are asked for that do not exist, by variant.
    absent: BTreeMap<String, Instant>,
    /// Since when each rule's load has been above its trigger.
    above: BTreeMap<&'static str, Instant>,
    /// Seconds an answer takes, smoothed, and when it was last measured.
    service: Option<(Instant, f64)>,
    /// The last scale-down, until it has proven right or wrong.
    last_down: Option<LastDown>,
    /// The capacity below which a known load did not fit.
    floor: Option<Floor>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct LastDown {
    at: Instant,
    capacity_before: f64,
    measure: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Floor {
    capacity: f64,
    measure: f64,
}

/// Two loads within this factor are the same load seen twice.
const SAME_LOAD: f64 = 1.5;
/// Below this share of the load that did not fit, the lesson no longer applies.
const LESSER_LOAD: f64 = 0.7;
/// How many down windows a scale-down has to prove right.
const PROBATION: u32 = 20;
/// Time over which a shorter service time is believed.
const SERVICE_FALLS_IN: Duration = Duration::from_secs(5);
/// Time over which a longer service time is believed.
const SERVICE_RISES_IN: Duration = Duration::from_secs(30);
/// Most entries of the window's peaks: a lesser need closer than this part of
/// the window to the last one is not kept.
const PEAK_SLOTS: u32 = 256;

impl Memory {
    /// Slots per replica of a variant, as last seen.
    pub(crate) fn slots_of(&self, variant: &str) -> Option<f64> {
        self.slots.get(variant).copied()
    }

    pub(crate) fn learn_slots(&mut self, variant: &str, slots: f64) {
        self.slots.insert(variant.to_owned(), slots);
    }

    /// Forgets variants that are no longer there.
    pub(crate) fn keep_only(&mut self, present: impl Fn(&str) -> bool) {
        self.slots.retain(|name, _| present(name));
        self.absent.retain(|name, _| present(name));
    }

    /// Since when `variant` lacks replicas that nobody has made yet.
    pub(crate) fn absent_since(&mut self, variant: &str, lacks: bool, now: Instant) -> Instant {
        if lacks {
            *self.absent.entry(variant.to_owned()).or_insert(now)
        } else {
            self.absent.remove(variant);
            now
        }
    }

    /// How long the load of `rule` has been above its trigger.
    pub(crate) fn above_for(&mut self, rule: &'static str, above: bool, now: Instant) -> Duration {
        if above {
            now.since(*self.above.entry(rule).or_insert(now))
        } else {
            self.above.remove(rule);
            Duration::ZERO
        }
    }

    /// Seconds an answer takes, if that was ever measured.
    pub(crate) fn service(&self) -> Option<f64> {
        self.service.map(|(_, seconds)| seconds)
    }

    /// Takes in a measured service time, starting from `assumed`; asked twice
    /// at one moment it learns once. It learns shorter times fast and longer
    /// ones slowly: while a batch fills, few have finished yet, and Little's
    /// law gives too long a time.
    pub(crate) fn learn_service(&mut self, seconds: f64, assumed: Duration, now: Instant) {
        let (at, known) = self.service.unwrap_or((now, assumed.as_secs_f64()));
        let over = if seconds < known {
            SERVICE_FALLS_IN
        } else {
            SERVICE_RISES_IN
        };
        let weight = 1.0 - (-now.since(at).as_secs_f64() / over.as_secs_f64()).exp();
        self.service = Some((now.max(at), known + (seconds - known) * weight));
    }

    /// Notes whether there was work; what is unknown counts as work.
    pub(crate) fn note_work(&mut self, load: &Load<'_>, now: Instant) {
        let arrived = load.demand.map(|demand| demand.arrived);
        let counter_moved = matches!((arrived, self.arrived), (Some(now), Some(then)) if now != then);
        if arrived.is_some() {
            self.arrived = arrived;
        }
        if self.busy_at.is_none() || counter_moved || !load.known_idle() {
            self.busy_at = Some(now);
        }
    }

    /// How long the model has been known to be idle.
    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        self.busy_at.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// Notes whether all signals are fresh; a gap empties the window, for
    /// nobody knows what happened in it.
    pub(crate) fn note_coverage(&mut self, covered: bool, now: Instant) {
        if covered {
            self.covered_since.get_or_insert(now);
        } else {
            self.covered_since = None;
            self.peaks.clear();
        }
    }

    /// Adds the capacity needed now and returns the most that was needed
    /// within `window`.
    pub(crate) fn peak(&mut self, need: f64, window: Duration, now: Instant) -> f64 {
        let grain = window / PEAK_SLOTS;
        while self.peaks.back().is_some_and(|(_, known)| *known <= need) {
            self.peaks.pop_back();
        }
        if self.peaks.back().is_none_or(|(then, _)| now.since(*then) >= grain) {
            self.peaks.push_back((now, need));
        }
        self.oldest_peak(window, now)
    }

    fn oldest_peak(&mut self, window: Duration, now: Instant) -> f64 {
        while self.peaks.len() > 1 && self.peaks.front().is_some_and(|(at, _)| now.since(*at) > window) {
            self.peaks.pop_front();
        }
        self.peaks.front().map_or(0.0, |(_, need)| *need)
    }

    /// How long until the window holds nothing above `need`, if nothing comes up.
    pub(crate) fn time_to_lower(&self, need: f64, window: Duration, now: Instant) -> Duration {
        let highest = self
            .peaks
            .iter()
            .rev()
            .find(|(_, known)| *known > need)
            .map(|(at, _)| *at);
        let last = highest.max(self.covered_since).unwrap_or(now);
        window.saturating_sub(now.since(last))
    }

    /// Remembers a scale-down, to see whether the load fits what is left.
    pub(crate) fn note_down(&mut self, capacity_before: f64, measure: f64, now: Instant) {
        self.last_down = Some(LastDown {
            at: now,
            capacity_before,
            measure,
        });
    }

    /// A rule asks for more. If that is the load of the last scale-down, it did
    /// not fit: the capacity from before becomes the floor for such a load.
    pub(crate) fn note_up(&mut self, measure: f64, policy: &Policy, now: Instant) {
        if let Some(down) = self.last_down.take()
            && now.since(down.at) <= policy.down_after * PROBATION
            && measure <= down.measure * SAME_LOAD
        {
            self.floor = Some(Floor {
                capacity: down.capacity_before,
                measure: down.measure,
            });
        }
    }

    /// The capacity that a load of `measure` was seen to need.
    pub(crate) fn floor_for(&self, measure: f64) -> f64 {
        match self.floor {
            Some(floor) if measure >= floor.measure * LESSER_LOAD => floor.capacity,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_remembers_its_highest_need_and_no_longer() {
        let mut memory = Memory::default();
        let window = Duration::from_secs(30);
        let at = Instant::from_secs;
        assert_eq!(memory.peak(8.0, window, at(100)), 8.0);
        assert_eq!(memory.peak(3.0, window, at(110)), 8.0);
        assert_eq!(memory.peak(5.0, window, at(120)), 8.0);
        assert_eq!(memory.peak(1.0, window, at(130)), 8.0);
        assert_eq!(memory.peak(1.0, window, at(131)), 5.0);
        assert_eq!(memory.peak(0.0, window, at(151)), 1.0);
        assert_eq!(memory.peak(0.0, window, at(200)), 0.0);
    }

    #[test]
    fn the_window_stays_small_however_often_it_is_asked() {
        let mut memory = Memory::default();
        for i in 0..100_000_u64 {
            let now = Instant::from_millis(i * 5);
            memory.peak(1e6 - i as f64, Duration::from_secs(30), now);
        }
        assert!(memory.peaks.len() <= PEAK_SLOTS as usize + 2, "{}", memory.peaks.len());
    }

    #[test]
    fn a_load_that_did_not_fit_sets_a_floor_for_its_like() {
        let mut memory = Memory::default();
        let policy = Policy::default();
        memory.note_down(32.0, 10.0, Instant::from_secs(0));
        memory.note_up(11.0, &policy, Instant::from_secs(20));
        assert_eq!(memory.floor_for(10.0), 32.0);
        assert_eq!(memory.floor_for(6.0), 0.0);
    }

    #[test]
    fn a_new_load_after_a_scale_down_is_no_lesson() {
        let mut memory = Memory::default();
        let policy = Policy::default();
        memory.note_down(32.0, 10.0, Instant::from_secs(0));
        memory.note_up(40.0, &policy, Instant::from_secs(20));
        assert_eq!(memory.floor_for(40.0), 0.0);
    }
}
