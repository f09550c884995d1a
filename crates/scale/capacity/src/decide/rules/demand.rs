//! What clients ask for: slots, waits at the gateway, and what earlier
//! scale-downs taught.

use super::words::queue_words;
use super::{Ask, EPSILON, Rule, one_more, one_replica, rule, unknown, verdict};
use crate::load::Load;
use crate::words::{number, percent, time};
use crate::{Policy, Reason};

/// This share of all slots is asked for by more than chance: no waiting to see
/// whether it lasts.
const FAR_TOO_MUCH: f64 = 1.25;

pub(super) fn slots(ask: &mut Ask<'_, '_>) -> Rule {
    const NAME: &str = "Slots";
    let (load, policy, have) = (ask.load, ask.policy, ask.have);
    let (true, Some(asked)) = (load.slots_known, load.slots_asked) else {
        let says = if load.slots_known {
            "requests at replicas are not known"
        } else {
            "slots are not known"
        };
        return unknown(NAME, says);
    };
    // What is expected is known no better than to a part of a replica, and a
    // queue that is gone at once is chance.
    let waits = load.oldest_wait() >= policy.queue_wait / 2;
    let expected = load.expected.map_or(asked, |expected| expected.load);
    let above =
        expected > have.slots + policy.hysteresis * one_replica(load) || (waits && asked > have.slots + EPSILON);
    let urgent = asked > have.slots * FAR_TOO_MUCH || waits_long(load, policy);
    let above = above || urgent && asked > have.slots;
    // A queue that nobody tells of is not empty: behind full slots it may be long.
    let full = load.ready_replicas > 0 && load.busy.is_some_and(|busy| busy + EPSILON >= load.ready_capacity());
    let hidden = full && load.demand.is_none();
    let asks_for_one = hidden && have.coming == 0;
    let hidden_long = ask.memory.above_for("Slots full", asks_for_one, ask.now) >= policy.queue_wait;
    let mut needs = asked.max(expected);
    let mut keep = expected;
    if waits {
        keep = needs;
    }
    if hidden {
        keep = keep.max(have.slots);
        if asks_for_one {
            needs = needs.max(one_more(have.slots));
        }
    }
    let up = ask.lasting(NAME, above, urgent) || hidden_long && asks_for_one;
    // What chance asks for in a moment is part of what is expected already.
    let keep = keep + policy.hysteresis * one_replica(load);
    let says = format!(
        "{} slots asked for ({} busy, {}) of {} that serve or come; {}",
        number(asked),
        number(load.busy.unwrap_or(0.0)),
        match (load.demand, hidden) {
            (Some(_), _) => format!("{} queued", load.queued()),
            (None, false) => "nobody tells who is queued".to_owned(),
            (None, true) => "who waits for one of them nobody tells".to_owned(),
        },
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

pub(super) fn queue_wait(ask: &Ask<'_, '_>) -> Rule {
    const NAME: &str = "QueueWait";
    let (load, policy, have) = (ask.load, ask.policy, ask.have);
    let Some(demand) = load.demand else {
        return unknown(NAME, "no gateway tells its queue");
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

pub(super) fn lesson(ask: &Ask<'_, '_>) -> Rule {
    let (memory, have, now) = (&*ask.memory, ask.have, ask.now);
    let keep = memory.lessons.floor(now);
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
