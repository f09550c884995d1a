//! What one pass leaves for the next: bounded, and of use only to this crate.

use crate::Policy;
use crate::decide::{Kind, Models, Tried};
use crate::forecast::Forecast;
use crate::lessons::Lessons;
use crate::load::Load;
use crate::saturation::tokens::TokenMemory;
use crate::throughput::ThroughputMemory;
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
    /// How long replicas of each variant take to start.
    starts: BTreeMap<String, Starts>,
    /// What the load has done before.
    pub(crate) forecast: Forecast,
    /// Since when each rule's load has been above its trigger.
    above: BTreeMap<&'static str, Instant>,
    /// Seconds an answer takes, smoothed, and when it was last measured.
    service: Option<(Instant, f64)>,
    /// What scale-downs taught.
    pub(crate) lessons: Lessons,
    /// How many replicas are ready, and since when.
    replicas_since: Option<(usize, Instant)>,
    /// What replicas showed of the tokens they hold.
    pub(crate) tokens: TokenMemory,
    /// And of those they make.
    pub(crate) throughput: ThroughputMemory,
    /// And of the time they take.
    pub(crate) models: Models,
    /// When replicas of a variant that did not come up may be tried again, where
    /// others keep no promise.
    pub(crate) tried_again: BTreeMap<String, Instant>,
    /// When the queueing model last asked for more replicas of a promise.
    pub(crate) sized_up: Option<Instant>,
    /// What was tried on each variant to keep each latency within the SLO.
    pub(crate) tried: BTreeMap<(String, Kind), Tried>,
}

/// The starts of one variant's replicas.
#[derive(Clone, Debug, Default, PartialEq)]
struct Starts {
    /// Those that are starting, since when.
    running: BTreeMap<String, Instant>,
    /// How long a start takes, seconds, if one was seen.
    typical: Option<f64>,
}

/// The longest time over which replicas' rates are means.
const SETTLES: Duration = Duration::from_secs(60);
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
    pub(crate) fn keep_only(&mut self, namespace: &str, model: &str, present: impl Fn(&str) -> bool) {
        for gone in self.starts.keys().filter(|name| !present(name)) {
            self.tokens.forget(namespace, model, gone);
            self.throughput.forget(namespace, model, gone);
        }
        self.models.keep_only(&present);
        self.tried.retain(|(name, _), _| present(name));
        self.tried_again.retain(|name, _| present(name));
        self.slots.retain(|name, _| present(name));
        self.absent.retain(|name, _| present(name));
        self.starts.retain(|name, _| present(name));
    }

    /// Notes which replicas of `variant` are starting (since when) and which
    /// are ready; one that was starting and is ready tells how long it takes.
    pub(crate) fn note_starts<'a>(
        &mut self,
        variant: &str,
        starting: impl Iterator<Item = (&'a str, Instant)>,
        ready: impl Iterator<Item = &'a str>,
        now: Instant,
    ) {
        if !self.starts.contains_key(variant) {
            self.starts.insert(variant.to_owned(), Starts::default());
        }
        let Some(starts) = self.starts.get_mut(variant) else {
            return;
        };
        if !starts.running.is_empty() {
            for name in ready {
                if let Some(since) = starts.running.get(name) {
                    let took = now.since(*since).as_secs_f64();
                    // A slow start is believed at once, a quick one by and by.
                    let known = starts.typical.unwrap_or(took);
                    let believed = if took > known { 1.0 } else { 0.3 };
                    starts.typical = Some(known + (took - known) * believed);
                }
            }
        }
        starts.running = starting.map(|(name, since)| (name.to_owned(), since)).collect();
    }

    /// How long a need must have been lower before replicas are taken away: what
    /// takes long to start is given back as slowly (the rule of ski rental).
    pub(crate) fn patience(&self, policy: &Policy) -> Duration {
        policy.down_after.max(self.startup().unwrap_or_default())
    }

    /// The longest time that replicas of these variants are known to take.
    pub(crate) fn startup(&self) -> Option<Duration> {
        let longest = self
            .starts
            .values()
            .filter_map(|starts| starts.typical)
            .reduce(f64::max)?;
        Some(Duration::from_secs_f64(longest))
    }

    /// How long a replica of `variant` may take to start: `given`, or twice as
    /// long as they are known to take.
    pub(crate) fn may_take(&self, variant: &str, given: Duration) -> Duration {
        let typical = self.starts.get(variant).and_then(|starts| starts.typical);
        let twice = typical.and_then(|seconds| Duration::try_from_secs_f64(2.0 * seconds).ok());
        twice.map_or(given, |twice| twice.max(given))
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

    /// Requests per second that `replicas` ready ones count, `told`; unknown for
    /// a while after one has come or gone. Each counts over a window of its own:
    /// what went to the one that is gone is not in the others' yet, and what
    /// the new one was given at first is in theirs as well.
    pub(crate) fn settled(&mut self, told: Option<f64>, replicas: usize, now: Instant) -> Option<f64> {
        let (were, since) = self.replicas_since.unwrap_or((replicas, Instant::ZERO));
        let since = if were == replicas { since } else { now };
        self.replicas_since = Some((replicas, since));
        told.filter(|_| now.since(since) >= SETTLES)
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
    fn what_replicas_count_is_known_once_they_are_the_same_for_a_while() {
        let mut memory = Memory::default();
        let mut settled = |told, replicas, now| memory.settled(told, replicas, Instant::from_secs(now));
        assert_eq!(settled(Some(12.0), 3, 100), Some(12.0));
        assert_eq!(settled(Some(8.0), 2, 110), None, "the third's are not heard yet");
        assert_eq!(settled(Some(12.0), 2, 169), None);
        assert_eq!(settled(Some(12.0), 2, 170), Some(12.0));
        assert_eq!(settled(Some(17.0), 3, 180), None, "some are counted twice");
        assert_eq!(settled(None, 3, 300), None);
    }

    #[test]
    fn a_slow_start_is_believed_at_once_and_a_quick_one_by_and_by() {
        let mut memory = Memory::default();
        let mut start = |name: &str, since: u64, ready: u64| {
            let starting = [(name, Instant::from_secs(since))];
            memory.note_starts("v", starting.into_iter(), [].into_iter(), Instant::from_secs(since));
            memory.note_starts("v", [].into_iter(), [name].into_iter(), Instant::from_secs(ready));
            memory.startup().unwrap().as_secs()
        };
        assert_eq!(start("a", 0, 20), 20);
        assert_eq!(start("b", 100, 200), 100);
        assert_eq!(start("c", 300, 310), 73);
    }
}
