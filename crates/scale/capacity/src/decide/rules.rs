//! The rules: each looks at one load and says what it needs.

use super::{Load, Memory, Policy, Reason, RuleSaid, Targets, Verdict, count, number, percent, time};
use units::Instant;

/// Absorbs rounding: .65 and .75 in use leave exactly .10 spare, whatever the
/// last bit says.
const EPSILON: f64 = 1e-9;

/// This share of all slots is asked for by more than chance: no waiting to see
/// whether it lasts.
const FAR_TOO_MUCH: f64 = 1.25;

/// What the rules said.
#[derive(Debug)]
pub(super) struct Said {
    /// Each of them.
    pub(super) rules: Vec<RuleSaid>,
    /// The reason and cause, if any asks for more.
    pub(super) up: Option<(Reason, String)>,
    /// Slots asked for by those that ask for more.
    pub(super) needs: f64,
    /// Least slots that keep every load well under its trigger.
    pub(super) needs_to_keep: f64,
    /// Whether a request waits (or is at an endpoint) while nothing is asked for.
    pub(super) asked_from_zero: bool,
}

/// Asks every rule.
///
/// `targets` are the replicas asked for, within bounds: what they come to is
/// what there is to compare with.
pub(super) fn ask(load: &Load<'_>, targets: &Targets, policy: &Policy, memory: &mut Memory, now: Instant) -> Said {
    let have = Have {
        slots: targets.live_capacity(load),
        coming: targets.coming(load),
    };
    let lasting = &mut |rule, above, urgent| {
        let lasts = memory.above_for(rule, above, now) >= policy.up_after;
        above && (urgent || lasts)
    };
    let mut all = vec![
        kv_cache(load, policy, have, lasting),
        waiting_inside(load, policy, have, lasting),
        saturated_share(load, policy, have, lasting),
        slots(load, policy, have, lasting),
        queue_wait(load, policy, have),
    ];
    all.push(lesson(memory, have, now));
    let mut said = Said {
        rules: Vec::new(),
        up: None,
        needs: have.slots,
        needs_to_keep: 0.0,
        asked_from_zero: load.queued() > 0 || load.demand.is_some_and(|demand| demand.in_flight > 0),
    };
    let mut causes = Vec::new();
    let mut reason = None;
    for rule in all {
        said.needs_to_keep = said.needs_to_keep.max(rule.keep);
        if let (Verdict::Up, Some(needs)) = (rule.said.verdict, rule.said.needs) {
            said.needs = said.needs.max(needs);
            reason = reason.or(Some(rule.reason));
            causes.extend(rule.cause);
        }
        said.rules.push(rule.said);
    }
    if let Some(mut reason) = reason {
        if load.queued() > 0 {
            causes.insert(0, queue_words(load));
            reason = Reason::QueueWaiting;
        }
        causes.dedup();
        said.up = Some((reason, causes.join(", ")));
        said.needs_to_keep = said.needs_to_keep.max(have.slots);
    }
    said
}

/// Whether a load above its trigger counts: rule, above, urgent.
type Lasting<'a> = &'a mut dyn FnMut(&'static str, bool, bool) -> bool;

/// What there is: slots that serve or come, replicas on their way.
#[derive(Clone, Copy)]
struct Have {
    slots: f64,
    coming: u32,
}

struct Rule {
    said: RuleSaid,
    /// Slots below which this load would be too near its trigger.
    keep: f64,
    reason: Reason,
    cause: Option<String>,
}

fn rule(name: &'static str, verdict: Verdict, needs: Option<f64>, keep: f64, says: String) -> Rule {
    Rule {
        said: RuleSaid {
            rule: name,
            verdict,
            needs,
            says,
        },
        keep,
        reason: Reason::Saturated,
        cause: None,
    }
}

/// Up or, when a capacity below `have` would do, down.
fn verdict(up: bool, keep: f64, have: Have) -> Verdict {
    match () {
        () if up => Verdict::Up,
        () if keep < have.slots => Verdict::Down,
        () => Verdict::Hold,
    }
}

fn kv_cache(load: &Load<'_>, policy: &Policy, have: Have, lasting: Lasting<'_>) -> Rule {
    const NAME: &str = "KvCache";
    let Some(kv) = load.kv else {
        return rule(
            NAME,
            Verdict::Unknown,
            None,
            0.0,
            "no ready replica tells its KV cache".to_owned(),
        );
    };
    let limit = policy.kv_limit();
    // Where it is known how the load grows, that says how much must be spare;
    // else the spare share that is configured does.
    let (needs, keep) = match kv_with_growth(load, policy, kv.total) {
        Some(needs) => (needs, needs + policy.hysteresis * one_replica(load)),
        None => (kv.total / policy.kv_target(), kv.total / (limit * policy.after_down())),
    };
    let above = match load.growth() {
        Some(_) => needs > have.slots + EPSILON,
        None => kv.total > 0.0 && kv.total >= have.slots * limit - EPSILON,
    };
    let up = lasting(
        NAME,
        above,
        kv.total > 0.0 && kv.total >= have.slots * policy.kv_cache_threshold,
    );
    let says = format!(
        "KV cache {} in use on average over all replicas (most {}); more is asked for from {} on",
        percent(kv.mean),
        percent(kv.max),
        percent(limit)
    );
    let mut rule = rule(NAME, verdict(up, keep, have), Some(needs), keep, says);
    rule.cause = Some(if load.saturated == load.ready_replicas && load.ready_replicas > 0 {
        format!("KV {} on all replicas", percent(kv.mean))
    } else {
        format!("KV {} on average, {} at most", percent(kv.mean), percent(kv.max))
    });
    rule
}

/// Slots whose KV cache stays below what saturates when the load has grown as
/// far as is expected.
fn kv_with_growth(load: &Load<'_>, policy: &Policy, total: f64) -> Option<f64> {
    Some(total * load.growth()? / policy.kv_cache_threshold)
}

fn waiting_inside(load: &Load<'_>, policy: &Policy, have: Have, lasting: Lasting<'_>) -> Rule {
    const NAME: &str = "WaitingInside";
    let Some(waiting) = load.waiting else {
        return rule(
            NAME,
            Verdict::Unknown,
            None,
            0.0,
            "no ready replica tells its waiting requests".to_owned(),
        );
    };
    let limit = policy.waiting_limit();
    // How many more this needs cannot be told from a queue's length, so it asks
    // for one at a time and waits for what is on its way.
    let above = waiting.mean > limit + EPSILON && have.coming == 0;
    let up = lasting(NAME, above, waiting.mean >= policy.queue_length_threshold);
    let keep = waiting.total / (limit * policy.after_down());
    let says = format!(
        "{} requests wait inside each engine on average (most {}); more is asked for above {}",
        number(waiting.mean),
        number(waiting.max),
        number(limit)
    );
    let mut rule = rule(
        NAME,
        verdict(up, keep, have),
        up.then(|| one_more(have.slots)),
        keep,
        says,
    );
    rule.cause = Some(format!("{} waiting in each engine", number(waiting.mean)));
    rule
}

fn saturated_share(load: &Load<'_>, policy: &Policy, have: Have, lasting: Lasting<'_>) -> Rule {
    const NAME: &str = "SaturatedShare";
    if load.judged == 0 {
        return rule(
            NAME,
            Verdict::Unknown,
            None,
            0.0,
            "no ready replica can be judged".to_owned(),
        );
    }
    let share = load.saturated as f64 / load.judged as f64;
    let above = share >= policy.saturated_share - EPSILON && have.coming == 0;
    let up = lasting(NAME, above, false);
    // While one is full, nothing is taken away, whatever the mean says.
    let keep = if load.saturated > 0 { have.slots } else { 0.0 };
    let says = format!(
        "{} of {} saturated; more is asked for from {} on, and nothing is taken away while one is",
        load.saturated,
        count(load.judged, "replica is", "replicas are"),
        percent(policy.saturated_share)
    );
    let mut rule = rule(
        NAME,
        verdict(up, keep, have),
        up.then(|| one_more(have.slots)),
        keep,
        says,
    );
    rule.cause = (load.saturated < load.judged).then(|| format!("{} of {} replicas full", load.saturated, load.judged));
    rule
}

fn slots(load: &Load<'_>, policy: &Policy, have: Have, lasting: Lasting<'_>) -> Rule {
    const NAME: &str = "Slots";
    let (true, Some(asked)) = (load.slots_known, load.slots_asked) else {
        let says = if load.slots_known {
            "requests at replicas are not known"
        } else {
            "slots are not known"
        };
        return rule(NAME, Verdict::Unknown, None, 0.0, says.to_owned());
    };
    // What is expected is known no better than to a part of a replica, and a
    // queue that is gone at once is chance.
    let waits = load.oldest_wait() >= policy.queue_wait / 2;
    let expected = load.expected.map_or(asked, |expected| expected.load);
    let above =
        expected > have.slots + policy.hysteresis * one_replica(load) || (waits && asked > have.slots + EPSILON);
    let urgent = asked > have.slots * FAR_TOO_MUCH || waits_long(load, policy);
    let above = above || urgent && asked > have.slots;
    let needs = asked.max(expected);
    let up = lasting(NAME, above, urgent);
    // What chance asks for in a moment is part of what is expected already.
    let keep = if waits { needs } else { expected } + policy.hysteresis * one_replica(load);
    let says = format!(
        "{} slots asked for ({} busy, {} queued) of {} that serve or come; {}",
        number(asked),
        number(load.busy.unwrap_or(0.0)),
        load.queued(),
        number(have.slots),
        expectation(load)
    );
    let mut rule = rule(NAME, verdict(up, keep, have), Some(needs), keep, says);
    rule.cause = Some(format!(
        "{} of {} slots busy",
        number(load.busy.unwrap_or(0.0)),
        number(load.ready_capacity())
    ));
    rule
}

/// Slots of the smallest replica that serves; what a scale-down takes at least.
fn one_replica(load: &Load<'_>) -> f64 {
    let serving = load.stands.iter().filter(|stand| stand.ready > 0);
    serving.map(|stand| stand.slots).reduce(f64::min).unwrap_or(0.0)
}

/// `by the time a new replica serves (12 s) 54 are expected, 9 % above the mean of the last 60 s`.
fn expectation(load: &Load<'_>) -> String {
    let Some(expected) = load.expected else {
        return "what to expect is not known yet".to_owned();
    };
    let (share, way) = match expected.growth {
        growth if growth >= 1.0 => (growth - 1.0, "above"),
        growth => (1.0 - growth, "below"),
    };
    format!(
        "by the time a new replica serves ({}) {} are expected, {} {way} the mean of the last {}",
        time(expected.horizon),
        number(expected.load),
        percent(share),
        time(expected.over)
    )
}

fn queue_wait(load: &Load<'_>, policy: &Policy, have: Have) -> Rule {
    const NAME: &str = "QueueWait";
    let Some(demand) = load.demand else {
        return rule(
            NAME,
            Verdict::Unknown,
            None,
            0.0,
            "no gateway tells its queue".to_owned(),
        );
    };
    let up = waits_long(load, policy) && have.coming == 0;
    // A short queue in front of full slots is how a well used fleet looks.
    let slots_free = load.busy.is_none_or(|busy| busy < 0.9 * load.ready_capacity());
    let lasts = load.oldest_wait() >= policy.queue_wait / 2;
    let keep = if demand.queued > 0 && (lasts || slots_free) {
        have.slots
    } else {
        0.0
    };
    let says = if demand.queued == 0 {
        "no request waits at the gateway".to_owned()
    } else {
        format!(
            "{}; more is asked for after {}",
            queue_words(load),
            time(policy.queue_wait)
        )
    };
    let mut rule = rule(
        NAME,
        verdict(up, keep, have),
        up.then(|| one_more(have.slots)),
        keep,
        says,
    );
    rule.reason = Reason::QueueWaiting;
    rule
}

fn waits_long(load: &Load<'_>, policy: &Policy) -> bool {
    load.queued() > 0 && load.oldest_wait() >= policy.queue_wait
}

fn lesson(memory: &Memory, have: Have, now: Instant) -> Rule {
    let keep = memory.floor(now);
    let says = if keep > 0.0 {
        format!("such a load did not fit on less than {} slots before", number(keep))
    } else {
        "no scale-down of such a load has failed".to_owned()
    };
    rule(
        "Lesson",
        verdict(false, keep, have),
        (keep > 0.0).then_some(keep),
        keep,
        says,
    )
}

/// Anything above what there is makes the plan add one replica.
fn one_more(have: f64) -> f64 {
    have + 1e-3
}

/// `queue 22 waits 1.4 s`.
pub(super) fn queue_words(load: &Load<'_>) -> String {
    match load.demand.and_then(|demand| demand.oldest_wait) {
        Some(wait) => format!("queue {} waits {}", load.queued(), time(wait)),
        None => format!("queue {}", load.queued()),
    }
}

/// The load in a few words, of whatever is known.
pub(super) fn load_words(load: &Load<'_>) -> String {
    let mut parts = Vec::new();
    if load.queued() > 0 {
        parts.push(queue_words(load));
    }
    match load.busy {
        Some(busy) if load.slots_known => {
            parts.push(format!(
                "{} of {} slots busy",
                number(busy),
                number(load.ready_capacity())
            ));
        }
        Some(busy) => parts.push(format!("{} requests at replicas", number(busy))),
        None => {}
    }
    if let Some(kv) = load.kv {
        parts.push(format!("KV {}", percent(kv.mean)));
    }
    if let Some(waiting) = load.waiting.filter(|waiting| waiting.max > 0.0) {
        parts.push(format!("{} waiting in each engine", number(waiting.mean)));
    }
    if parts.is_empty() {
        "no load is known".to_owned()
    } else {
        parts.join(", ")
    }
}

/// What would change the answer.
pub(super) fn would_change(load: &Load<'_>, have: f64, policy: &Policy, memory: &Memory, now: Instant) -> Vec<String> {
    let mut changes = Vec::new();
    if load.wanted() == 0 {
        changes.push("up: a request held at the gateway".to_owned());
        return changes;
    }
    if let (true, Some(asked)) = (load.slots_known, load.slots_asked) {
        let needs = asked.max(load.expected.map_or(asked, |expected| expected.load));
        changes.push(format!(
            "up: more than {} slots expected (now {})",
            number(have),
            number(needs)
        ));
    }
    if let Some(kv) = load.kv {
        let limit = percent(policy.kv_limit());
        changes.push(format!(
            "up: KV cache at {limit} or more on average (now {})",
            percent(kv.mean)
        ));
    }
    if let Some(waiting) = load.waiting {
        let limit = number(policy.waiting_limit());
        changes.push(format!(
            "up: more than {limit} waiting in each engine (now {})",
            number(waiting.mean)
        ));
    }
    let least = load
        .stands
        .iter()
        .filter(|stand| stand.ready > 0)
        .map(|stand| stand.slots)
        .reduce(f64::min);
    if let Some(least) = least.filter(|least| load.ready_capacity() > *least)
        && load.slots_known
    {
        let fits = (load.ready_capacity() - least - policy.hysteresis * least).max(0.0);
        let window = time(memory.patience(policy));
        changes.push(format!(
            "down: at most {} slots expected during {window}, every signal fresh",
            number(fits)
        ));
    }
    if load.stands.iter().any(|stand| stand.variant.min == 0) {
        let (idle, after) = (time(memory.idle_for(now)), time(policy.zero_after));
        changes.push(format!("to the minimum: no work for {after} (now {idle})"));
    }
    changes
}
