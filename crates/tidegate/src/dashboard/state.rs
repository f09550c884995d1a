//! The state of everything at one moment, in the page's own terms.

use super::facts::{Facts, Fleet, label, occupied};
use super::headline::{Headline, headline};
use super::history::{History, Point, fresh, short};
use super::input::{Address, Decision, Input, Reading, Replica, ReplicaState, Slo, Variant};
use super::say::span;
use serde::Serialize;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use wire::signals::{EndpointSignals, GatewaySignals};

/// A replica's own numbers older than this are shown as stale.
const REPLICA_STALE_MS: u64 = 15_000;
/// Decisions shown.
const DECISIONS: usize = 40;

/// What the page shows. The charts' points and the decisions travel beside it
/// in a [`Message`], because most of them were sent before.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct State {
    now: u64,
    version: String,
    addresses: Vec<Address>,
    headline: Headline,
    signals: SignalAge,
    fleet: FleetState,
    models: Vec<ModelState>,
    variants: Vec<VariantState>,
    #[serde(skip)]
    points: Vec<Point>,
    #[serde(skip)]
    decisions: Vec<DecisionState>,
    #[serde(skip)]
    decisions_tag: u64,
}

/// How old the newest of the gateway's numbers is, and why there are none.
#[derive(Clone, Debug, Serialize)]
struct SignalAge {
    at: Option<u64>,
    fresh: bool,
    why: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct FleetState {
    serving: u64,
    starting: u64,
    cost_per_hour: Option<f64>,
}

/// One model: its promise, and its numbers if they are fresh.
#[derive(Clone, Debug, Serialize)]
struct ModelState {
    pool: String,
    name: String,
    ttft_slo_ms: Option<f64>,
    itl_slo_ms: Option<f64>,
    queued: Option<u64>,
    oldest_wait_ms: Option<u64>,
    in_flight: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct VariantState {
    name: String,
    model: String,
    accelerator: String,
    cost_per_hour: Option<f64>,
    cost_now: Option<f64>,
    min: u32,
    max: u32,
    current: Option<u32>,
    ready: Option<u32>,
    desired: Option<u32>,
    reason: String,
    sentence: String,
    waits_for: Vec<String>,
    replicas: Vec<ReplicaView>,
}

#[derive(Clone, Debug, Serialize)]
struct ReplicaView {
    pod: String,
    state: ReplicaState,
    reason: Option<String>,
    started: Option<u64>,
    /// When a starting one should serve, unix milliseconds.
    due: Option<u64>,
    /// What starts of this variant usually take, milliseconds.
    usual_ms: Option<u64>,
    slots: Option<u64>,
    in_flight: Option<u64>,
    running: Figure,
    waiting: Figure,
    kv: Figure,
    restarts: u32,
}

/// A number, or since when and why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Figure {
    v: Option<f64>,
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct DecisionState {
    id: String,
    at: u64,
    model: String,
    variant: Option<String>,
    from: u32,
    to: u32,
    sentence: String,
    otherwise: Option<String>,
    explanation: serde_json::Value,
}

/// One event: the state, the points since the reader's last one, and the
/// decisions if they are others than the reader has.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    state: &'a State,
    points: &'a [Point],
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<&'a [DecisionState]>,
}

/// How far a reader has read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    newest: u64,
    decisions: Option<u64>,
}

impl State {
    /// What a reader who has read up to `read` still needs, and how far it is then.
    pub(super) fn message(&self, read: Read) -> (Message<'_>, Read) {
        let first = self.points.partition_point(|point| point.seq <= read.newest);
        let known = read.decisions == Some(self.decisions_tag);
        let message = Message {
            state: self,
            points: self.points.get(first..).unwrap_or_default(),
            decisions: (!known).then_some(self.decisions.as_slice()),
        };
        let newest = self.points.last().map_or(read.newest, |point| point.seq);
        (
            message,
            Read {
                newest,
                decisions: Some(self.decisions_tag),
            },
        )
    }

    /// The sentence as one line, for tests.
    #[cfg(test)]
    pub(super) fn sentence(&self) -> String {
        format!("{}. {}", self.headline.word, self.headline.text)
    }
}

/// Everything the page shows at `now`. Pure: `history` has observed what came before.
pub(crate) fn state(history: &History, input: &Input, now_unix_ms: u64) -> State {
    let signals = fresh(input, now_unix_ms);
    let last = input.gateway.as_ref().ok();
    let fleet = Fleet::of(input.variants.iter(), history, now_unix_ms);
    let why = match (&input.gateway, signals) {
        (Err(why), _) => Some(why.clone()),
        (Ok(stale), None) => {
            let age = span(now_unix_ms.saturating_sub(stale.at_unix_ms) as f64);
            Some(format!("the gateway has told nothing for {age}"))
        }
        (Ok(_), Some(_)) => None,
    };
    let headline = match signals {
        Some(signals) => headline(&facts(history, input, signals, now_unix_ms), &fleet),
        None => Headline::silent(why.as_deref().unwrap_or("the gateway tells nothing")),
    };
    let (decisions, decisions_tag) = decisions(input);
    State {
        now: now_unix_ms,
        version: input.version.clone(),
        addresses: input.addresses.clone(),
        headline,
        signals: SignalAge {
            at: last.map(|signals| signals.at_unix_ms),
            fresh: signals.is_some(),
            why,
        },
        fleet: FleetState {
            serving: fleet.serving,
            starting: fleet.starting,
            cost_per_hour: short(fleet.cost_per_hour),
        },
        models: models(input, last.map(AsRef::as_ref), signals.is_some()),
        variants: input
            .variants
            .iter()
            .map(|v| variant(history, v, signals, now_unix_ms))
            .collect(),
        points: history.points_after(0).cloned().collect(),
        decisions,
        decisions_tag,
    }
}

fn facts(history: &History, input: &Input, signals: &GatewaySignals, now_unix_ms: u64) -> Vec<Facts> {
    let pools = signals.pools.iter();
    pools
        .map(|(key, pool)| {
            let recent = history.recent(signals, key);
            Facts::of_pool(history, input, signals, (key, pool), &recent, now_unix_ms)
        })
        .collect()
}

/// The models as the gateway told them last; their numbers only if that is fresh.
fn models(input: &Input, signals: Option<&GatewaySignals>, fresh: bool) -> Vec<ModelState> {
    let Some(signals) = signals else { return Vec::new() };
    let slo = |models: &[String]| input.slos.iter().find(|slo: &&Slo| models.contains(&slo.model));
    let pools = signals.pools.iter().take(super::history::POOLS);
    pools
        .map(|(key, pool)| ModelState {
            pool: key.clone(),
            name: label(key, pool),
            ttft_slo_ms: slo(&pool.models).and_then(|slo| slo.ttft_ms),
            itl_slo_ms: slo(&pool.models).and_then(|slo| slo.itl_ms),
            queued: fresh.then_some(pool.queued),
            oldest_wait_ms: pool.oldest_wait_ms.filter(|_| fresh),
            in_flight: fresh.then_some(pool.in_flight),
        })
        .collect()
}

fn variant(
    history: &History,
    variant: &Variant,
    signals: Option<&Arc<GatewaySignals>>,
    now_unix_ms: u64,
) -> VariantState {
    let usual_ms = history.starts.usual_ms(&variant.name);
    let view = |replica: &Replica| {
        let endpoint = signals.and_then(|signals| endpoint(signals, &replica.pod));
        let starting = replica.state == ReplicaState::Starting;
        ReplicaView {
            pod: replica.pod.clone(),
            state: replica.state,
            reason: replica.reason.clone(),
            started: replica.started_unix_ms,
            due: replica
                .started_unix_ms
                .zip(usual_ms)
                .filter(|_| starting)
                .map(|(started, usual)| started + usual),
            usual_ms: usual_ms.filter(|_| starting),
            slots: endpoint.map(|endpoint| endpoint.slots),
            in_flight: endpoint.map(|endpoint| endpoint.in_flight),
            running: figure(&replica.running, now_unix_ms),
            waiting: figure(&replica.waiting, now_unix_ms),
            kv: figure(&replica.kv, now_unix_ms),
            restarts: replica.restarts,
        }
    };
    VariantState {
        name: variant.name.clone(),
        model: variant.model.clone(),
        accelerator: variant.accelerator.clone(),
        cost_per_hour: variant.cost_per_hour,
        cost_now: short(variant.cost_per_hour.map(|cost| cost * occupied(variant) as f64)),
        min: variant.min,
        max: variant.max,
        current: variant.current,
        ready: variant.ready,
        desired: variant.desired,
        reason: variant.reason.clone(),
        sentence: variant.sentence.clone(),
        waits_for: variant.waits_for.clone(),
        replicas: variant.replicas.iter().map(view).collect(),
    }
}

/// The gateway's own ledger of a Pod, named with or without its namespace.
fn endpoint<'a>(signals: &'a GatewaySignals, pod: &str) -> Option<&'a EndpointSignals> {
    let bare = |name: &'a str| name.rsplit('/').next().unwrap_or(name);
    let mut all = signals.pools.values().flat_map(|pool| pool.endpoints.values());
    all.find(|endpoint| endpoint.pod == pod || bare(&endpoint.pod) == pod)
}

fn figure(reading: &Reading, now_unix_ms: u64) -> Figure {
    match reading {
        Reading::Seen { value, at_unix_ms } if now_unix_ms.saturating_sub(*at_unix_ms) <= REPLICA_STALE_MS => {
            match short(Some(*value)) {
                Some(value) => Figure {
                    v: Some(value),
                    at: Some(*at_unix_ms),
                    why: None,
                },
                None => Figure {
                    v: None,
                    at: Some(*at_unix_ms),
                    why: Some("it told no number".to_owned()),
                },
            }
        }
        Reading::Seen { at_unix_ms, .. } => Figure {
            v: None,
            at: Some(*at_unix_ms),
            why: Some("its last value is too old".to_owned()),
        },
        Reading::Missing { since_unix_ms, why } => Figure {
            v: None,
            at: *since_unix_ms,
            why: Some(why.clone()),
        },
    }
}

/// The newest decisions, newest first, and a tag that differs when they do.
fn decisions(input: &Input) -> (Vec<DecisionState>, u64) {
    let mut newest: Vec<&Arc<Decision>> = input.decisions.iter().collect();
    newest.sort_by(|a, b| b.at_unix_ms.cmp(&a.at_unix_ms).then_with(|| a.variant.cmp(&b.variant)));
    newest.truncate(DECISIONS);
    let mut tag = DefaultHasher::new();
    let shown = newest
        .into_iter()
        .map(|decision| {
            let variant = decision.variant.as_deref().unwrap_or_default();
            let id = format!("{}-{}-{variant}-{}", decision.at_unix_ms, decision.model, decision.to);
            id.hash(&mut tag);
            DecisionState {
                id,
                at: decision.at_unix_ms,
                model: decision.model.clone(),
                variant: decision.variant.clone(),
                from: decision.from,
                to: decision.to,
                sentence: decision.sentence.clone(),
                otherwise: decision.otherwise.clone(),
                explanation: decision.explanation.clone(),
            }
        })
        .collect();
    (shown, tag.finish())
}

#[cfg(test)]
mod tests;
