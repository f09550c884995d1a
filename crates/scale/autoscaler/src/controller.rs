//! The loop: take stock, decide, act, report.

use crate::configuration::{ConfigMaps, ModelConfig};
use crate::election::{self, Candidate, Leadership};
use crate::handle::Pass;
use crate::inventory::Counter;
use crate::ledger::Ledger;
use crate::replica_sources::ReplicaSources;
use crate::scales::Scales;
use crate::survey::pods::PodsRead;
use crate::survey::targets::TargetsRead;
use crate::survey::{self, LastGood, Sources, Survey, Variant};
use crate::target::ScaleError;
use crate::world::World;
use crate::writer::Writer;
use crate::{Actuator, Config, Handle};
use api::VariantAutoscalingStatus;
use capacity::{Decision, ModelView, Policy, VariantDecision};
use collect::Clock;
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use orders::Orders;
use past::Past;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tell::Teller;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use units::Instant;

mod act;
#[cfg(test)]
mod cost;
mod findings;
mod hold;
mod limit;
mod model;
mod notable;
mod orders;
mod past;
mod report;
mod tell;
mod turns;

/// Least time between two passes, however often it is woken; and at least as
/// long as the pass worked, so that half of a processor is the most it takes.
/// What it waited for others does not count.
const BREATH: Duration = Duration::from_millis(25);

/// Decides until `stop`.
pub(crate) async fn run(
    client: Client,
    config: Config,
    clock: Clock,
    replicas: ReplicaSources,
    changed: Arc<Notify>,
    handle: Handle,
    stop: CancellationToken,
) {
    let namespace = config.namespace.as_deref();
    let world = World::watch(&client, namespace, config.pickers.find, &changed, &stop);
    let scope = config.configuration.clone();
    let configs = ConfigMaps::watch(&client, scope, &config.policy, namespace, &changed, &stop);
    tokio::select! {
        biased;
        () = stop.cancelled() => return,
        ((), ()) = async { tokio::join!(world.ready(&client), configs.ready()) } => {}
    }
    // Who cannot see must not lead: only now is there anything to stand for.
    let observes = config.actuator == Actuator::Observe;
    let election = config.election.clone().filter(|_| !observes);
    let candidate = election.map(|election| Candidate::start(client.clone(), election, clock, changed.clone()));
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let wake = config.wake.clone();
    let leadership = match &candidate {
        Some(candidate) => candidate.leadership(),
        None if observes => Leadership::observer(),
        None => Leadership::alone(),
    };
    let mut controller = Controller {
        scales: Scales::new(client.clone(), clock),
        orders: Orders::default(),
        writer: Writer::start(client.clone(), leadership.clone(), clock),
        gpus: Counter::new(client, config.limiter.nodes.clone(), stop.clone()),
        leadership,
        clock,
        world,
        configs,
        replicas,
        handle,
        config,
        models: BTreeMap::new(),
        ledger: Ledger::default(),
        last_good: LastGood::new(),
        pods_read: PodsRead::default(),
        targets_read: TargetsRead::default(),
        written: BTreeMap::new(),
        teller: Teller::default(),
        records: 0,
    };
    loop {
        let woken = async {
            match &wake {
                Some(wake) => wake.notified().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            () = changed.notified() => {}
            () = woken => {}
        }
        let worked = controller.pass().await;
        tokio::time::sleep(BREATH.max(worked)).await;
    }
    controller.orders.finish().await;
    controller.writer.finish().await;
    if let Some(candidate) = candidate {
        candidate.resign().await;
    }
}

#[derive(Debug)]
struct Controller {
    config: Config,
    clock: Clock,
    leadership: Leadership,
    world: World,
    configs: ConfigMaps,
    scales: Scales,
    orders: Orders,
    replicas: ReplicaSources,
    gpus: Counter,
    handle: Handle,
    writer: Writer,
    /// What each model's decisions remember, by namespace and model.
    models: BTreeMap<ModelKey, Past>,
    ledger: Ledger,
    last_good: LastGood,
    pods_read: PodsRead,
    targets_read: TargetsRead,
    /// The status last written, by uid: the watch may be behind.
    written: BTreeMap<String, VariantAutoscalingStatus>,
    teller: Teller,
    records: u64,
}

type ModelKey = (String, String);

/// What came of one variant's decision.
#[derive(Debug)]
enum Acted {
    /// Nothing was to be done, or it is done.
    Done,
    /// It is published; somebody else acts.
    Published,
    /// Its target has not answered yet.
    UnderWay,
    /// Somebody else set another number first.
    Overtaken,
    Failed(ScaleError),
}

/// What came of a pass's decisions.
#[derive(Debug, Default)]
struct Carried {
    /// By the variant's uid.
    outcomes: BTreeMap<String, Acted>,
    late: Vec<Late>,
}

/// A decision whose target answered only after the pass that took it.
#[derive(Debug)]
struct Late {
    /// The variant's uid.
    variant: String,
    decided: VariantDecision,
    /// The decision on the whole model, for people.
    sentence: String,
}

impl Controller {
    /// Decides once on everything; says how long it worked, without waiting.
    async fn pass(&mut self) -> Duration {
        let instance = self.config.instance.as_deref();
        self.scales
            .refresh(&survey::unwatched_targets(&self.world, instance, &self.last_good))
            .await;
        let started = self.clock.now();
        self.configs.refresh();
        let mut sources = Sources {
            world: &self.world,
            scales: &self.scales,
            configs: &mut self.configs,
            pods_read: &mut self.pods_read,
            targets_read: &mut self.targets_read,
            pickers: self.replicas.pickers(),
            instance,
        };
        let Survey { variants, pickers } = survey::take(&mut sources, &mut self.ledger, &mut self.last_good, started);
        let endpoints = model::endpoints(&variants, self.replicas.tracked());
        self.replicas.track(endpoints);
        self.replicas.follow(&pickers);
        let asked = self.clock.now();
        self.replicas.refresh().await;
        let waited = self.clock.now().since(asked);
        self.replicas.read();
        let reading = self.replicas.gateways();
        let now = self.clock.now();
        let views = model::views(&variants, &reading, &mut self.replicas, now);
        self.forget_what_was_made_anew(&variants, &views);
        // One that does not lead decides too, so that it knows what to do when it does.
        let mut decisions = self.decide(&variants, &views, now);
        if let Some(why) = self.world.old_pods() {
            hold::take_nothing(&mut decisions, &why);
        }
        let gpus = self.limit(&variants, &views, &mut decisions, now);
        let deciding = self.clock.now().since(started).saturating_sub(waited);

        let carried = if self.leadership.leads(self.clock.now()) {
            self.act(&variants, &decisions).await
        } else {
            Carried::default()
        };
        let started = self.clock.now();
        let wall = crate::status::timestamp(self.clock.wall());
        let pass = self.report(&variants, views, &mut decisions, &carried, now, wall);
        let took = deciding + self.clock.now().since(started);
        self.handle.publish(Pass {
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            gpus,
            picker_pools: pickers.pools(),
            ..pass
        });
        took
    }

    /// Decides on every model: the one place that asks the core.
    fn decide(
        &mut self,
        variants: &[Variant],
        views: &BTreeMap<ModelKey, ModelView>,
        now: Instant,
    ) -> BTreeMap<ModelKey, Decision> {
        let configs = configs(variants);
        let mut decisions = BTreeMap::new();
        for (key, view) in views {
            let policy = self.policy_of(&configs, key).into_owned();
            let past = self.models.entry(key.clone()).or_default();
            decisions.insert(key.clone(), capacity::decide(view, &policy, &mut past.memory, now));
        }
        decisions
    }

    /// What a model is decided by: what ConfigMaps say, or else the defaults;
    /// and how old a recorded signal may be, which depends on the recorder.
    fn policy_of<'a>(&'a self, configs: &BTreeMap<(&str, &str), &'a ModelConfig>, key: &ModelKey) -> Cow<'a, Policy> {
        let policy = policy(configs, key).unwrap_or(&self.config.policy);
        match self.replicas.recorded_for(&key.0, &key.1) {
            Some(age) if age != policy.max_age_recorded => Cow::Owned(Policy {
                max_age_recorded: age,
                ..policy.clone()
            }),
            _ => Cow::Borrowed(policy),
        }
    }

    /// Where the one that leads is, if that is another Pod.
    fn leader_ip(&self) -> Option<IpAddr> {
        let election = self.config.election.as_ref()?;
        let holder = self.leadership.holder();
        let pod = election::pod_of(&holder);
        if pod == election::pod_of(&election.identity) {
            return None;
        }
        let pod = ObjectRef::new(pod).within(&election.namespace);
        self.world
            .pods
            .get(&pod)?
            .status
            .as_ref()?
            .pod_ip
            .as_ref()?
            .parse()
            .ok()
    }

    /// A target that was deleted and made anew starts anew: what is remembered
    /// is of another one.
    fn forget_what_was_made_anew(&mut self, variants: &[Variant], views: &BTreeMap<ModelKey, ModelView>) {
        self.models.retain(|key, _| views.contains_key(key));
        let mut targets: BTreeMap<ModelKey, BTreeMap<String, String>> = BTreeMap::new();
        for variant in variants {
            let uid = variant.target.as_ref().ok().and_then(|target| target.uid.clone());
            if let (Some(key), Some(uid)) = (model_key(variant), uid) {
                targets.entry(key).or_default().insert(variant.name.clone(), uid);
            }
        }
        for (key, now) in targets {
            let exists = |name: &str| {
                variants
                    .iter()
                    .any(|variant| variant.namespace == key.0 && variant.name == name)
            };
            self.models.entry(key.clone()).or_default().look_at(now, exists);
        }
    }
}

fn model_key(variant: &Variant) -> Option<ModelKey> {
    let (settings, _) = variant.decidable()?;
    Some((variant.namespace.clone(), settings.model.clone()))
}

/// What ConfigMaps say, by namespace and model.
fn configs(variants: &[Variant]) -> BTreeMap<(&str, &str), &ModelConfig> {
    let all = variants.iter().filter_map(|variant| {
        let (settings, _) = variant.decidable()?;
        let key = (variant.namespace.as_str(), settings.model.as_str());
        Some((key, variant.config.as_deref()?))
    });
    all.collect()
}

/// What ConfigMaps have a model decided by, if any speaks.
fn policy<'a>(configs: &BTreeMap<(&str, &str), &'a ModelConfig>, key: &ModelKey) -> Option<&'a Policy> {
    Some(&configs.get(&(key.0.as_str(), key.1.as_str()))?.policy)
}

fn decision_of<'a>(
    variant: &Variant,
    decisions: &'a BTreeMap<ModelKey, Decision>,
) -> Option<(&'a ModelKey, &'a Decision, &'a VariantDecision)> {
    let (key, decision) = decisions.get_key_value(&model_key(variant)?)?;
    let decided = decision.variants.iter().find(|decided| decided.name == variant.name)?;
    Some((key, decision, decided))
}

fn with_decisions<'a>(
    variants: &'a [Variant],
    decisions: &'a BTreeMap<ModelKey, Decision>,
) -> impl Iterator<Item = (&'a Variant, &'a VariantDecision)> {
    variants
        .iter()
        .filter_map(|variant| Some((variant, decision_of(variant, decisions)?.2)))
}
