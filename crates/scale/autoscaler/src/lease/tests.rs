use super::*;
use proptest::prelude::*;

const TERMS: Terms = Terms {
    lease: Duration::from_secs(60),
    renew: Duration::from_secs(50),
    retry: Duration::from_secs(10),
};

fn record(holder: &str, renewed: &str) -> Record {
    Record {
        holder: holder.to_owned(),
        lease: Some(Duration::from_secs(60)),
        renewed: renewed.to_owned(),
        transitions: 3,
    }
}

#[test]
fn the_step_follows_from_what_was_seen_and_when() {
    let at = Instant::from_secs;
    let take = Step::Take { transitions: 4 };
    let short = Record {
        lease: Some(Duration::from_secs(1)),
        ..record("", "1")
    };
    let cases = [
        ("no lease", None, 0, Step::Create),
        ("ours", Some(record("me", "1")), 0, Step::Renew { transitions: 3 }),
        (
            "ours and long over",
            Some(record("me", "1")),
            600,
            Step::Renew { transitions: 3 },
        ),
        ("another's", Some(record("you", "1")), 0, Step::Wait),
        ("another's, nearly over", Some(record("you", "1")), 59, Step::Wait),
        ("another's, over", Some(record("you", "1")), 60, take),
        ("released", Some(short), 0, take),
        (
            "without a duration",
            Some(Record {
                lease: None,
                ..record("you", "1")
            }),
            59,
            Step::Wait,
        ),
        (
            "without a duration, over",
            Some(Record {
                lease: None,
                ..record("you", "1")
            }),
            60,
            take,
        ),
    ];
    for (what, seen, later, expected) in cases {
        let mut observed = Observed::default();
        observed.see(seen, at(1_000));
        assert_eq!(decide(&observed, "me", &TERMS, at(1_000 + later)), expected, "{what}");
    }
}

#[test]
fn only_a_change_prolongs_anothers_lease_whatever_time_it_tells() {
    let at = Instant::from_secs;
    let mut observed = Observed::default();
    // A time far in the future, from a clock that is wrong by years.
    observed.see(Some(record("you", "2099-01-01")), at(0));
    observed.see(Some(record("you", "2099-01-01")), at(59));
    assert_ne!(
        decide(&observed, "me", &TERMS, at(60)),
        Step::Wait,
        "seen again is not changed"
    );
    // A time that went backwards is a renewal all the same.
    observed.see(Some(record("you", "1970-01-01")), at(60));
    assert_eq!(decide(&observed, "me", &TERMS, at(119)), Step::Wait);
}

#[test]
fn terms_that_cannot_hold_say_which_and_why() {
    let seconds = Duration::from_secs;
    let terms = |lease, renew, retry| Terms { lease, renew, retry };
    assert_eq!(TERMS.validate(), Ok(()));
    for (terms, word) in [
        (
            terms(Duration::from_millis(1_500), seconds(1), Duration::from_millis(100)),
            "lease duration",
        ),
        (
            terms(seconds(u64::from(u32::MAX)), seconds(1), Duration::from_millis(100)),
            "lease duration",
        ),
        (terms(seconds(60), seconds(60), seconds(10)), "renew deadline"),
        (terms(seconds(60), seconds(12), seconds(10)), "retry period"),
        (terms(seconds(60), seconds(50), Duration::ZERO), "retry period"),
    ] {
        assert!(terms.validate().unwrap_err().to_string().contains(word), "{terms:?}");
    }
}

/// A contender in virtual time: its own clock, and times at which it is cut off.
#[derive(Clone, Debug)]
struct Contender {
    name: String,
    skew: Duration,
    /// From, until (seconds): no request of it arrives.
    cut_off: Vec<(u64, u64)>,
    /// Killed at this second, if ever.
    killed: Option<u64>,
    observed: Observed,
    renewed: Option<Instant>,
    next_look: u64,
    writes: u32,
}

impl Contender {
    fn own(&self, real: Instant) -> Instant {
        real + self.skew
    }

    fn leads(&self, real: Instant) -> bool {
        let alive = self.killed.is_none_or(|killed| real < Instant::from_secs(killed));
        alive && leads(self.renewed, &TERMS, self.own(real))
    }

    /// Looks at the store, and writes if it is to.
    fn look(&mut self, store: &mut Option<Record>, real: Instant, second: u64) {
        let reachable = !self
            .cut_off
            .iter()
            .any(|(from, until)| (*from..*until).contains(&second));
        if !reachable || self.killed.is_some_and(|killed| second >= killed) {
            return;
        }
        let now = self.own(real);
        self.observed.see(store.clone(), now);
        let transitions = match decide(&self.observed, &self.name, &TERMS, now) {
            Step::Wait => {
                self.renewed = None;
                return;
            }
            Step::Create => 0,
            Step::Take { transitions } | Step::Renew { transitions } => transitions,
        };
        self.writes += 1;
        let written = Record {
            holder: self.name.clone(),
            lease: Some(TERMS.lease),
            renewed: format!("{}-{}", self.name, self.writes),
            transitions,
        };
        *store = Some(written.clone());
        self.observed.see(Some(written), now);
        self.renewed = Some(now);
    }
}

/// Lets contenders run for `seconds`; who led at each second.
fn run(contenders: &mut [Contender], seconds: u64) -> Vec<Vec<String>> {
    let mut store = None;
    let mut led = Vec::new();
    for second in 0..seconds {
        let real = Instant::from_secs(second);
        for contender in contenders.iter_mut() {
            if second >= contender.next_look {
                contender.look(&mut store, real, second);
                contender.next_look = second + TERMS.retry.as_secs();
            }
        }
        led.push(
            contenders
                .iter()
                .filter(|c| c.leads(real))
                .map(|c| c.name.clone())
                .collect(),
        );
    }
    led
}

fn contender(name: &str, skew_secs: u64, first_look: u64) -> Contender {
    Contender {
        name: name.to_owned(),
        skew: Duration::from_secs(skew_secs),
        cut_off: Vec::new(),
        killed: None,
        observed: Observed::default(),
        renewed: None,
        next_look: first_look,
        writes: 0,
    }
}

#[test]
fn the_other_takes_over_within_lease_and_retry_of_a_kill() {
    // Clocks a year apart.
    let mut both = [contender("a", 0, 0), contender("b", 31_536_000, 3)];
    both[0].killed = Some(100);
    let led = run(&mut both, 300);
    assert_eq!(led[99], ["a"]);
    let taken = led.iter().position(|who| *who == ["b"]).unwrap() as u64;
    let bound = 100 + (TERMS.lease + TERMS.retry).as_secs();
    assert!((101..=bound).contains(&taken), "{taken}");
    assert!(led[taken as usize..].iter().all(|who| *who == ["b"]), "and keeps it");
}

proptest! {
    /// Whoever is cut off, killed or comes late, and however wrong the clocks
    /// are: never two at once, and somebody in the end.
    #[test]
    fn never_two_lead_at_once(
        skews in prop::collection::vec(0_u64..100_000_000, 3),
        starts in prop::collection::vec(0_u64..30, 3),
        cuts in prop::collection::vec(prop::collection::vec((0_u64..600, 1_u64..200), 0..4), 3),
        killed in prop::option::of(50_u64..600),
    ) {
        let mut contenders: Vec<Contender> = (0..3)
            .map(|at| {
                let mut made = contender(["a", "b", "c"][at], skews[at], starts[at]);
                made.cut_off = cuts[at].iter().map(|(from, length)| (*from, from + length)).collect();
                made
            })
            .collect();
        contenders[0].killed = killed;
        let led = run(&mut contenders, 1_200);
        for (second, who) in led.iter().enumerate() {
            prop_assert!(who.len() <= 1, "at {second} s: {who:?}");
        }
        prop_assert!(led[1_199].len() == 1, "somebody leads once all is well");
    }
}
