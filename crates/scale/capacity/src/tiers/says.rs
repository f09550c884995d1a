//! The decision in sentences.

use super::{Have, Move, TierPolicy, TierView, Time, Worth};
use crate::Policy;
use crate::forecast::Expected;
use crate::words::{number, percent, some_of, time};
use units::{Instant, Signal};

/// What the decision was taken on.
pub(super) struct Ground<'a> {
    pub(super) view: &'a TierView,
    pub(super) tiers: &'a TierPolicy,
    pub(super) policy: &'a Policy,
    pub(super) have: Have,
    pub(super) wake: Time,
    pub(super) start: Time,
    pub(super) worth: Option<Worth>,
    pub(super) expected: Option<Expected>,
    /// The highest the load has been, where that bounds what is expected.
    pub(super) ceiling: Option<f64>,
    /// What must serve within a wake, within bounds.
    pub(super) wanted: u32,
    pub(super) serving: u32,
    pub(super) warm: u32,
    /// When the replica that is needed least has been kept long enough.
    pub(super) kept_until: Option<Instant>,
    pub(super) now: Instant,
}

impl Ground<'_> {
    fn asleep(&self) -> u32 {
        self.warm - self.serving
    }

    /// The whole decision as one line.
    pub(super) fn sentence(&self, moves: &[Move]) -> String {
        let head = format!(
            "{}: {} serve, {} asleep, {} off",
            self.view.model,
            self.serving,
            self.asleep(),
            self.view.max - self.warm
        );
        let moves = moves_words(moves);
        let why = match (self.worth, self.expected) {
            (None, _) => self.no_use(),
            (Some(_), None) => "its load is not known, so nobody is let go and nobody started in advance".to_owned(),
            (Some(_), Some(expected)) => format!(
                "{} must serve within a wake ({}), {} be there within a start ({})",
                self.wanted,
                time(self.wake.value()),
                number(expected.load),
                time(self.start.value())
            ),
        };
        if moves.is_empty() {
            format!("{head}: {why}")
        } else {
            format!("{head}: {why}; {moves}")
        }
    }

    /// Why nobody sleeps.
    fn no_use(&self) -> String {
        if self.tiers.most_asleep == 0 {
            return "none may sleep".to_owned();
        }
        if self.tiers.cost() >= 1.0 {
            return "a sleeper would cost as much as one that serves".to_owned();
        }
        format!(
            "waking takes {}, which is no quicker than starting ({})",
            time(self.wake.value()),
            time(self.start.value())
        )
    }

    /// Each input, measured or assumed, and each rule.
    pub(super) fn grounds(&self) -> Vec<String> {
        let mut grounds = vec![
            format!(
                "there are {} that serve, {} waking, {} starting, {} asleep",
                self.have.serving, self.have.waking, self.have.starting, self.have.asleep
            ),
            format!("waking takes {}", self.wake.says()),
            format!("starting takes {}", self.start.says()),
            format!("{} are asked to serve; {}", self.view.wanted, self.bounds()),
            self.load(),
        ];
        let Some(worth) = self.worth else {
            grounds.push(format!("nobody sleeps: {}", self.no_use()));
            return grounds;
        };
        if let Some(highest) = self.ceiling {
            grounds.push(format!(
                "by growth more would be needed; {:.1} times the highest of the last days ({}) is provided for",
                self.policy.growth_most,
                number(highest)
            ));
        } else if let Some(expected) = self.expected {
            grounds.push(format!(
                "in {:.2} % of the time at most {} are needed within {}: {} times the mean of the last {}",
                worth.outlook.cover * 100.0,
                number(expected.load),
                time(expected.horizon),
                format_args!("{:.2}", expected.growth),
                time(expected.over)
            ));
        }
        if self.serving > self.wanted {
            grounds.push(format!(
                "only {} may sleep, so {} serve in place of sleepers",
                self.tiers.most_asleep,
                self.serving - self.wanted
            ));
        }
        grounds.push(format!(
            "a sleeper costs {} of one that serves; not needed, it is kept for {}: then its keep has cost what a cold start would",
            percent(self.tiers.cost()),
            time(worth.keep)
        ));
        grounds
    }

    fn bounds(&self) -> String {
        format!(
            "{} to {} may serve, {} may sleep",
            self.view.min, self.view.max, self.tiers.most_asleep
        )
    }

    fn load(&self) -> String {
        match (&self.view.load, self.expected) {
            (Signal::Missing { why, .. }, _) => format!("the load is not known: {why}"),
            (Signal::Observed(seen), Some(_)) => {
                format!(
                    "the load keeps {} replicas busy ({})",
                    number(seen.value),
                    seen.source.as_str()
                )
            }
            (Signal::Observed(seen), None) => format!(
                "the load is not known: {} said {} {} ago, which is too old or cannot be",
                seen.source.as_str(),
                seen.value,
                time(self.now.since(seen.at))
            ),
        }
    }

    /// What would change the decision.
    pub(super) fn would_change(&self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.worth.is_none() {
            changes.push(if self.tiers.most_asleep == 0 {
                "room for sleepers".to_owned()
            } else if self.tiers.cost() >= 1.0 {
                "a sleepCost below 1".to_owned()
            } else {
                "wake-ups quicker than starts".to_owned()
            });
            return changes;
        }
        if self.expected.is_none() {
            changes.push("a fresh load".to_owned());
            return changes;
        }
        if self.warm < self.view.max && self.asleep() < self.tiers.most_asleep {
            changes.push(format!(
                "a need of more than {} within a start gets another",
                number(f64::from(self.warm) + self.policy.hysteresis)
            ));
        }
        if let Some(until) = self.kept_until.filter(|_| self.asleep() > 0)
            && until > self.now
        {
            changes.push(format!(
                "one is let go in {} if no more than {} are needed until then",
                time(until.since(self.now)),
                self.warm - 1
            ));
        }
        changes
    }
}

/// `wake a, b and 3 more, start 2, put c to sleep, let d go`, or nothing.
fn moves_words(moves: &[Move]) -> String {
    let (mut wake, mut start, mut sleep, mut go) = (Vec::new(), 0, Vec::new(), Vec::new());
    for step in moves {
        match step {
            Move::Wake(name) => wake.push(name.clone()),
            Move::Start(replicas) => start = *replicas,
            Move::Sleep(name) => sleep.push(name.clone()),
            Move::LetGo(name) => go.push(name.clone()),
        }
    }
    let mut parts = Vec::new();
    if !wake.is_empty() {
        parts.push(format!("wake {}", some_of(&wake)));
    }
    if start > 0 {
        parts.push(format!("start {start}"));
    }
    if !sleep.is_empty() {
        parts.push(format!("put {} to sleep", some_of(&sleep)));
    }
    if !go.is_empty() {
        parts.push(format!("let {} go", some_of(&go)));
    }
    parts.join(", ")
}
