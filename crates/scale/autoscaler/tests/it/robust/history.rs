//! What was seen, second by second, and what must hold of it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One condition as it stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// One second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moment {
    /// Seconds since the world began.
    pub(crate) at: u64,
    /// What the Deployment asks for; none while it does not exist.
    pub(crate) wanted: Option<i64>,
    /// Pods that serve.
    pub(crate) serving: usize,
    /// What the status says was decided.
    pub(crate) desired: Option<i64>,
    /// Conditions by type; none before the first status.
    pub(crate) conditions: BTreeMap<String, Said>,
}

impl Moment {
    pub(crate) fn new(at: u64, wanted: Option<i64>, serving: usize, variant: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let conditions = variant["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let said = |condition: &Value| Said {
            status: text(&condition["status"]),
            reason: text(&condition["reason"]),
            message: text(&condition["message"]),
        };
        Self {
            at,
            wanted,
            serving,
            desired: variant["status"]["desiredOptimizedAlloc"]["numReplicas"].as_i64(),
            conditions: conditions
                .iter()
                .map(|condition| (text(&condition["type"]), said(condition)))
                .collect(),
        }
    }

    pub(crate) fn says(&self, kind: &str) -> Said {
        self.conditions.get(kind).cloned().unwrap_or_default()
    }
}

/// Every second of a world, with the seed it came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) moments: Vec<Moment>,
}

/// The seconds that count, from and up to and with.
pub(crate) type Span = std::ops::RangeInclusive<u64>;

impl History {
    pub(crate) fn during(&self, span: &Span) -> impl Iterator<Item = &Moment> {
        self.moments.iter().filter(|moment| span.contains(&moment.at))
    }

    fn wanted(&self, span: &Span) -> Vec<i64> {
        self.during(span).filter_map(|moment| moment.wanted).collect()
    }

    /// Never fewer nor more than that.
    pub(crate) fn within(&self, span: Span, bounds: std::ops::RangeInclusive<i64>) -> &Self {
        for moment in self.during(&span) {
            let fits = moment.wanted.is_none_or(|wanted| bounds.contains(&wanted));
            assert!(fits, "outside of {bounds:?} at {}: {self}", moment.at);
        }
        self
    }

    /// Turns from more to fewer or back at most so often.
    pub(crate) fn turns(&self, span: Span, most: usize) -> &Self {
        let wanted = self.wanted(&span);
        let moves: Vec<bool> = wanted
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .map(|pair| pair[1] > pair[0])
            .collect();
        let turns = moves.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(turns <= most, "{turns} turns within {span:?}, more than {most}: {self}");
        self
    }

    /// Nothing is taken away.
    pub(crate) fn never_fewer(&self, span: Span) -> &Self {
        let fewer = self.wanted(&span).windows(2).any(|pair| pair[1] < pair[0]);
        assert!(!fewer, "fewer within {span:?}: {self}");
        self
    }

    /// Both are the same, moment by moment and word by word.
    pub(crate) fn repeats(&self, other: &Self) {
        let mut pairs = self.moments.iter().zip(&other.moments);
        if let Some((one, two)) = pairs.find(|(one, two)| one != two) {
            panic!("seed {}: first {one:?}\nthen {two:?}\n{self}", self.seed);
        }
        assert_eq!(self.moments.len(), other.moments.len(), "seed {}", self.seed);
    }

    /// Nothing changes.
    pub(crate) fn steady(&self, span: Span) -> &Self {
        let wanted = self.wanted(&span);
        assert!(
            wanted.windows(2).all(|pair| pair[0] == pair[1]),
            "a change within {span:?}: {self}"
        );
        self
    }

    /// A condition is one of these all the time.
    pub(crate) fn says(&self, span: Span, kind: &str, reasons: &[&str]) -> &Self {
        for moment in self.during(&span) {
            let said = moment.says(kind);
            assert!(
                reasons.contains(&said.reason.as_str()),
                "{kind} must be of {reasons:?} and is {said:?} at {}: {self}",
                moment.at
            );
        }
        self
    }

    /// The message of a condition has one of these words in it all the time.
    pub(crate) fn tells(&self, span: Span, kind: &str, words: &[&str]) -> &Self {
        for moment in self.during(&span) {
            let said = moment.says(kind);
            assert!(
                words.iter().any(|word| said.message.contains(word)),
                "{kind} must tell of {words:?} and says {said:?} at {}: {self}",
                moment.at
            );
        }
        self
    }

    /// The replicas that are told of are those that are there, or were a moment ago.
    pub(crate) fn counts_right(&self) -> &Self {
        const LATE: usize = 3;
        for (i, moment) in self.moments.iter().enumerate() {
            let message = moment.says("MetricsAvailable").message;
            let Some(told) = number_before(&message, " ready replica") else {
                continue;
            };
            let told = told + number_before(&message, " more ready").unwrap_or(0);
            let lately = &self.moments[i.saturating_sub(LATE)..=i];
            assert!(
                lately.iter().any(|then| then.serving == told),
                "{message:?} at {}: {self}",
                moment.at
            );
        }
        self
    }

    /// What holds of every status, whatever happens: all three conditions are
    /// there, none contradicts itself or another.
    pub(crate) fn sound(&self) -> &Self {
        for moment in self.moments.iter().filter(|moment| !moment.conditions.is_empty()) {
            let at = moment.at;
            for kind in ["TargetResolved", "MetricsAvailable", "OptimizationReady"] {
                let said = moment.says(kind);
                let told = !said.message.is_empty() && !said.reason.is_empty();
                assert!(told, "{kind} says nothing at {at}: {self}");
            }
            let ready = moment.says("OptimizationReady");
            let stays = number_after(&ready.message, " stays at ");
            let told = stays.filter(|_| moment.desired.is_some());
            assert!(
                told.is_none_or(|told| Some(told) == moment.desired),
                "{ready:?} and {:?} at {at}: {self}",
                moment.desired
            );
            let metrics = moment.says("MetricsAvailable");
            assert_eq!(
                metrics.status == "True",
                metrics.reason == "MetricsFound",
                "{metrics:?} at {at}: {self}"
            );
            let target = moment.says("TargetResolved");
            assert_eq!(
                target.status == "True",
                target.reason == "TargetFound",
                "{target:?} at {at}: {self}"
            );
            if target.status == "False" {
                assert_ne!(ready.status, "True", "{target:?} and {ready:?} at {at}: {self}");
            }
        }
        self
    }
}

/// The number that follows these words.
fn number_after(text: &str, words: &str) -> Option<i64> {
    let (_, rest) = text.split_once(words)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The number before these words.
fn number_before(text: &str, words: &str) -> Option<usize> {
    let (before, _) = text.split_once(words)?;
    before.rsplit(' ').next()?.parse().ok()
}

/// The changes, one a line.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        let mut before: Option<(Option<i64>, usize, Vec<String>)> = None;
        for moment in &self.moments {
            let short: Vec<String> = moment
                .conditions
                .iter()
                .map(|(kind, said)| format!("{kind}={}({})", said.status, said.reason))
                .collect();
            let now = (moment.wanted, moment.serving, short);
            if before.as_ref() != Some(&now) {
                let last = moment.conditions.values().map(|said| said.message.as_str());
                let wanted = moment.wanted.map_or("-".to_owned(), |wanted| wanted.to_string());
                writeln!(
                    f,
                    "{:>5} s: {wanted} wanted, {} serve, {}",
                    moment.at,
                    moment.serving,
                    now.2.join(" ")
                )?;
                for message in last {
                    writeln!(f, "           {}", message.chars().take(240).collect::<String>())?;
                }
            }
            before = Some(now);
        }
        Ok(())
    }
}
