//! Saturation by amounts: tokens held, and tokens made per second, against
//! what replicas can hold and make.

use super::{Ask, EPSILON, Rule, rule, unknown, verdict};
use crate::heard::heard;
use crate::load::Stand;
use crate::saturation::Mode;
use crate::saturation::tokens::{FrontQueue, TokenPolicy, TokenReplica, TokenVariant, TokenView, analyze};
use crate::throughput::{
    self, FitFrom, ThroughputPolicy, ThroughputReplica, ThroughputVariant, ThroughputView, VariantThroughput,
};
use crate::view::ReplicaView;
use crate::{Analyzer, GatewayView, ModelView};
use units::Signal;

/// What is asked for and what there is, in any one unit.
struct Amount {
    demand: f64,
    supply: f64,
    anticipated: f64,
    required: f64,
    spare: f64,
}

/// Tokens held and waiting against tokens that fit. What a template tells its
/// engine and cannot be read is said whatever the answer is.
pub(super) fn tokens(ask: &mut Ask<'_, '_>, view: &ModelView) -> Rule {
    let mut rule = by_tokens(ask, view);
    let unread = ask.load.stands.iter().filter_map(|stand| {
        let unread = &stand.variant.engine.as_ref()?.unread;
        (!unread.is_empty()).then(|| format!("{}: {}", stand.variant.name, unread.join(", ")))
    });
    rule.bounds.extend(unread);
    rule
}

fn by_tokens(ask: &mut Ask<'_, '_>, view: &ModelView) -> Rule {
    const NAME: &str = "Tokens";
    let (load, policy, now) = (ask.load, ask.policy, ask.now);
    if policy.analyzer == Analyzer::Percent {
        return unknown(NAME, "not asked: saturation is judged by percent");
    }
    let variants: Vec<TokenVariant> = load
        .stands
        .iter()
        .map(|stand| TokenVariant {
            name: stand.variant.name.clone(),
            accelerator: stand.variant.accelerator.clone(),
            gpus: stand.variant.gpus,
            cost: stand.variant.cost,
            ready: stand.ready,
            pending: stand.coming,
            engine: stand.variant.engine.clone(),
            replicas: stand
                .ready_replicas
                .iter()
                .map(|replica| {
                    let known = |signal: &Signal<f64>| heard(signal, policy, now);
                    let cache = known(&replica.kv_tokens);
                    TokenReplica {
                        name: replica.name.clone(),
                        cache,
                        in_use: cache.zip(known(&replica.kv)).map(|(cache, share)| cache * share),
                        waiting: known(&replica.waiting),
                        input: known(&replica.prompt_tokens),
                        output: known(&replica.generated_tokens),
                    }
                })
                .collect(),
        })
        .collect();
    let tells = |replica: &TokenReplica| replica.cache.is_some_and(|cache| cache > 0.0) && replica.in_use.is_some();
    if !variants.iter().flat_map(|variant| &variant.replicas).any(tells) {
        let why = "no ready replica tells how many tokens its KV cache holds: its server should publish that \
                   (vllm:cache_config_info with num_gpu_blocks and block_size, sglang:max_total_num_tokens); \
                   until then shares of the cache are judged";
        return unknown(NAME, why);
    }
    let queue = match (&view.gateway, load.demand) {
        (GatewayView::Absent, _) => FrontQueue::Absent,
        (GatewayView::Present { .. }, Some(demand)) => FrontQueue::Waiting {
            requests: demand.queued as f64,
            bytes: 0.0,
            hit_rate: None,
        },
        (GatewayView::Present { .. }, None) => FrontQueue::Silent,
    };
    let thresholds = TokenPolicy {
        kv_threshold: policy.kv_cache_threshold,
        queue_threshold: policy.queue_length_threshold,
        scale_up: policy.scale_up_threshold,
        scale_down: policy.scale_down_boundary,
        ..TokenPolicy::default()
    };
    let view = TokenView {
        model: view.model.clone(),
        namespace: view.namespace.clone(),
        variants,
        queue,
    };
    let analysis = analyze(&thresholds, Mode::Guarded, &view, &mut ask.memory.tokens, now);
    let says = analysis.said.join("; ");
    if !analysis.known {
        return unknown(NAME, says);
    }
    let cause = analysis.said.first().cloned().unwrap_or_default();
    let amount = Amount {
        demand: analysis.demand,
        supply: analysis.supply,
        anticipated: analysis.anticipated,
        required: analysis.required,
        spare: analysis.spare,
    };
    // What does not fit is no chance.
    let urgent = amount.demand > amount.anticipated;
    let known = |name: &str| analysis.variants.iter().any(|v| v.name == name && v.per_replica > 0.0);
    let live = live_slots(ask, known);
    by_amount(ask, NAME, &amount, live, urgent, says, cause)
}

/// Slots that serve or come, of the variants whose worth is known.
fn live_slots(ask: &Ask<'_, '_>, known: impl Fn(&str) -> bool) -> f64 {
    let stands = ask.load.stands.iter().filter(|stand| known(&stand.variant.name));
    stands
        .map(|stand| f64::from(stand.live_at(stand.variant.wanted)) * stand.slots)
        .sum()
}

/// Tokens per second asked for against what replicas make when full.
pub(super) fn throughput(ask: &mut Ask<'_, '_>, view: &ModelView) -> Rule {
    const NAME: &str = "Throughput";
    let (load, policy, now) = (ask.load, ask.policy, ask.now);
    if policy.analyzer == Analyzer::Percent {
        return unknown(NAME, "not asked: saturation is judged by percent");
    }
    let over_all = |of: fn(&ReplicaView) -> &Signal<f64>| {
        let ready = load.stands.iter().flat_map(|stand| &stand.ready_replicas);
        mean(ready.filter_map(|replica| heard(of(replica), policy, now)))
    };
    let input = over_all(|replica| &replica.prompt_tokens);
    let output = over_all(|replica| &replica.generated_tokens);
    let missing: Vec<&str> = [
        (input.is_none(), "the length of its prompts"),
        (output.is_none(), "the length of its answers"),
        (
            over_all(|replica| &replica.itl_ms).is_none(),
            "the time between its tokens",
        ),
        (
            over_all(|replica| &replica.kv_tokens).is_none(),
            "its KV cache in tokens",
        ),
    ]
    .into_iter()
    .filter_map(|(missing, what)| missing.then_some(what))
    .collect();
    if !missing.is_empty() {
        return unknown(NAME, format!("no ready replica tells {}", missing.join(", ")));
    }
    let variant = |stand: &Stand<'_>| {
        let known = |signal: &Signal<f64>| heard(signal, policy, now);
        let ready = || stand.ready_replicas.iter();
        ThroughputVariant {
            name: stand.variant.name.clone(),
            ready: stand.ready,
            pending: stand.coming,
            cache: mean(ready().filter_map(|replica| known(&replica.kv_tokens))),
            replicas: ready()
                .map(|replica| ThroughputReplica {
                    kv: known(&replica.kv),
                    itl_ms: known(&replica.itl_ms).filter(|ms| *ms > 0.0),
                    tokens: known(&replica.token_rate),
                })
                .collect(),
        }
    };
    let inside = load.stands.iter().flat_map(|stand| &stand.ready_replicas);
    let inside: f64 = inside.filter_map(|replica| heard(&replica.waiting, policy, now)).sum();
    let view = ThroughputView {
        namespace: view.namespace.clone(),
        model: view.model.clone(),
        variants: load.stands.iter().map(variant).collect(),
        arrivals: load.arriving,
        waiting: load.covered().then(|| inside + load.queued() as f64),
        input,
        output,
        hit_rate: over_all(|replica| &replica.prefix_hit_share),
        itl_target_ms: ask.slo.and_then(|slo| slo.itl_ms),
    };
    let thresholds = ThroughputPolicy {
        full_share: policy.kv_cache_threshold,
        scale_up: policy.scale_up_threshold,
        scale_down: policy.scale_down_boundary,
        ..ThroughputPolicy::default()
    };
    let analysis = throughput::analyze(&thresholds, &view, &mut ask.memory.throughput, now);
    if !analysis.known {
        return unknown(NAME, analysis.said);
    }
    // The emptier replicas are, the less a line through an assumed point says
    // they would make when full: more would call for more.
    let assumed = |variant: &&VariantThroughput| variant.from == FitFrom::Assumed;
    if let Some(variant) = analysis.variants.iter().find(assumed) {
        let says = format!(
            "no say: {} has not been seen at loads far enough apart to tell what a full replica makes",
            variant.name
        );
        return unknown(NAME, says);
    }
    let amount = Amount {
        demand: analysis.demand,
        supply: analysis.supply,
        anticipated: analysis.anticipated,
        required: analysis.required,
        spare: analysis.spare,
    };
    let live = live_slots(ask, |_| true);
    by_amount(ask, NAME, &amount, live, false, analysis.said.clone(), analysis.said)
}

/// Turns an amount into slots: as many as it takes at what one of the `live`
/// slots is worth, which are those that the amount was summed over. Slots of
/// variants nobody has seen yet are taken to be worth as much.
fn by_amount(
    ask: &mut Ask<'_, '_>,
    name: &'static str,
    amount: &Amount,
    live: f64,
    urgent: bool,
    says: String,
    cause: String,
) -> Rule {
    let (load, have) = (ask.load, ask.have);
    let worth = amount.anticipated / live;
    if !(worth.is_finite() && worth > 0.0 && amount.demand.is_finite()) {
        return unknown(name, format!("{says}; what a replica is worth is not known"));
    }
    let needs = live + amount.required / worth;
    let above = amount.required > 0.0 && needs > have.slots + EPSILON;
    let up = ask.lasting(name, above, urgent);
    let keep = if amount.spare > 0.0 && amount.supply > 0.0 {
        load.ready_capacity() * (1.0 - amount.spare / amount.supply).max(0.0)
    } else {
        have.slots
    };
    let mut rule = rule(name, verdict(up, keep, have), Some(needs), keep, says);
    rule.cause = Some(cause);
    rule
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0_u32, 0.0), |(n, sum), value| (n + 1, sum + value));
    (n > 0).then(|| sum / f64::from(n))
}
