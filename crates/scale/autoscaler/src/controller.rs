//! The loop: take stock, decide, act, report.

use crate::handle::{Pass, Scaling};
use crate::ledger::Ledger;
use crate::record::{DecisionRecord, ExplanationRecord};
use crate::status::{self, Finding, Findings};
use crate::survey::{self, LastGood, Variant};
use crate::target::{self, ScaleError, Scaled, Scales, TargetKey};
use crate::views::{self, VariantView};
use crate::world::World;
use crate::writer::Writer;
use crate::{Actuator, Config, Handle};
use api::{VariantAutoscalingStatus, reasons};
use capacity::{Decision, Memory, MetricsWord, ModelView, Reason, VariantDecision};
use collect::{Clock, GatewayReader, PodScraper};
use jiff::Timestamp;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tell::{Moment, Teller};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use units::Instant;

mod model;
mod notable;
mod tell;
mod turns;

/// Least time between two passes, however often it is woken.
const BREATH: Duration = Duration::from_millis(25);

/// Decides until `stop`.
pub(crate) async fn run(client: Client, config: Config, handle: Handle, stop: CancellationToken) {
    let clock = Clock::start();
    let changed = Arc::new(Notify::new());
    let world = World::watch(&client, config.namespace.as_deref(), changed.clone(), &stop);
    let scraper = PodScraper::start(config.scrape.clone(), clock, stop.clone());
    let gateway = GatewayReader::start(config.gateway.clone(), clock, &stop);
    tokio::select! {
        () = stop.cancelled() => return,
        () = world.ready() => {}
    }
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let wake = config.wake.clone();
    let mut controller = Controller {
        scales: Scales::new(client.clone(), clock),
        writer: Writer::start(client),
        clock,
        world,
        scraper,
        gateway,
        handle,
        config,
        models: BTreeMap::new(),
        ledger: Ledger::default(),
        last_good: LastGood::new(),
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
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            () = changed.notified() => {}
            () = woken => {}
        }
        controller.pass().await;
        tokio::time::sleep(BREATH).await;
    }
    controller.writer.finish().await;
}

#[derive(Debug)]
struct Controller {
    config: Config,
    clock: Clock,
    world: World,
    scales: Scales,
    scraper: PodScraper,
    gateway: GatewayReader,
    handle: Handle,
    writer: Writer,
    /// What each model's decisions remember, by namespace and model.
    models: BTreeMap<ModelKey, Memory>,
    ledger: Ledger,
    last_good: LastGood,
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
    /// Somebody else set another number first.
    Overtaken,
    Failed(ScaleError),
}

impl Controller {
    async fn pass(&mut self) {
        self.scales.refresh(&survey::unwatched_targets(&self.world)).await;
        let started = self.clock.now();
        let variants = survey::take(
            &self.world,
            &self.scales,
            &mut self.ledger,
            &mut self.last_good,
            started,
        );
        self.scraper.set_endpoints(model::endpoints(&variants));
        let reading = self.gateway.read();
        let now = self.clock.now();
        let views = model::views(&variants, &reading, &self.scraper, now);
        let decisions = self.decide(&views, now);
        let deciding = self.clock.now().since(started);

        let acted = self.act(&variants, &decisions).await;
        let started = self.clock.now();
        let wall = Timestamp::now();
        let pass = self.report(&variants, &views, &decisions, &acted, now, wall);
        let took = deciding + self.clock.now().since(started);
        self.handle.publish(Pass {
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            ..pass
        });
    }

    fn decide(&mut self, views: &BTreeMap<ModelKey, ModelView>, now: Instant) -> BTreeMap<ModelKey, Decision> {
        self.models.retain(|key, _| views.contains_key(key));
        let mut decisions = BTreeMap::new();
        for (key, view) in views {
            let memory = self.models.entry(key.clone()).or_default();
            decisions.insert(key.clone(), capacity::decide(view, &self.config.policy, memory, now));
        }
        decisions
    }

    /// Carries decisions out, all at once; says what came of each variant's.
    async fn act(
        &mut self,
        variants: &[Variant],
        decisions: &BTreeMap<ModelKey, Decision>,
    ) -> BTreeMap<(String, String), Acted> {
        let mut acted = BTreeMap::new();
        let mut orders = Vec::new();
        for (variant, decided) in with_decisions(variants, decisions) {
            let id = (variant.namespace.clone(), variant.name.clone());
            match (self.config.actuator, &variant.target_key) {
                _ if decided.from == decided.to => drop(acted.insert(id, Acted::Done)),
                (Actuator::Gauge, _) => drop(acted.insert(id, Acted::Published)),
                (Actuator::Direct, Some(key)) => match self.scales.api(key).await {
                    Ok(api) => {
                        let generation = variant.target.as_ref().ok().and_then(|target| target.generation);
                        orders.push((id, key.clone(), api, decided.from, decided.to, generation));
                    }
                    Err(why) => drop(acted.insert(id, Acted::Failed(ScaleError::Kind(why)))),
                },
                (Actuator::Direct, None) => {}
            }
        }
        let orders = orders
            .into_iter()
            .map(|(id, key, api, from, to, generation)| async move {
                let result = target::set_replicas(&api, &key.name, from, to).await;
                (id, key, to, generation, result)
            });
        for (id, key, to, generation, result) in futures::future::join_all(orders).await {
            let outcome = self.settle(key, to, generation, result);
            acted.insert(id, outcome);
        }
        acted
    }

    fn settle(
        &mut self,
        key: TargetKey,
        to: u32,
        generation: Option<i64>,
        result: Result<Scaled, ScaleError>,
    ) -> Acted {
        let now = self.clock.now();
        self.ledger.prune(now);
        if !key.is_deployment() {
            self.scales.forget(&key);
        }
        match result {
            Ok(Scaled::Done) => {
                if key.is_deployment() {
                    self.ledger.note(key, to, generation, now);
                }
                Acted::Done
            }
            Ok(Scaled::Overtaken(wanted)) => {
                if key.is_deployment() {
                    self.ledger.note(key, wanted, generation, now);
                }
                Acted::Overtaken
            }
            Err(error) => Acted::Failed(error),
        }
    }

    /// Tells everybody: records, events, status, views.
    fn report(
        &mut self,
        variants: &[Variant],
        views: &BTreeMap<ModelKey, ModelView>,
        decisions: &BTreeMap<ModelKey, Decision>,
        acted: &BTreeMap<(String, String), Acted>,
        now: Instant,
        wall: Timestamp,
    ) -> Pass {
        let present: BTreeSet<&str> = variants.iter().map(|variant| variant.uid.as_str()).collect();
        self.written.retain(|uid, _| present.contains(uid.as_str()));
        self.teller.keep_only(|uid| present.contains(uid));
        for uid in self.writer.take_failed() {
            self.written.remove(&uid);
        }

        let explanations: BTreeMap<&ModelKey, Arc<ExplanationRecord>> = decisions
            .iter()
            .map(|(key, decision)| (key, Arc::new((&decision.explanation).into())))
            .collect();
        let at = Moment { now, wall };
        let mut told: BTreeSet<&ModelKey> = BTreeSet::new();
        let mut scalings = Vec::new();
        let mut shown = Vec::with_capacity(variants.len());
        for variant in variants {
            let found = decision_of(variant, decisions);
            let decided = found.map(|(_, _, decided)| decided);
            let outcome = acted.get(&(variant.namespace.clone(), variant.name.clone()));
            let findings = findings(variant, decided, outcome, self.config.actuator);
            if let Some((key, decision, decided)) = found
                && self.teller.decision(variant, decision, decided, outcome, at)
            {
                told.insert(key);
                scalings.extend(scaling_of(variant, decided, outcome));
            }
            let before = || status_before(&self.written, variant);
            self.teller.conditions(variant, &findings, before, at);
            self.write_status(variant, &findings, wall);
            let key = found.map(|(key, ..)| key);
            let view = key.and_then(|key| views.get(key));
            let explanation = key.and_then(|key| explanations.get(key)).cloned();
            shown.push(self.show(variant, decided, &findings, view, explanation, now));
        }
        for event in self.teller.take() {
            self.writer.event(event);
        }
        let records = told
            .into_iter()
            .filter_map(|key| decisions.get(key))
            .map(|decision| {
                self.records += 1;
                tracing::info!(target: "decision", "{}", decision.sentence);
                DecisionRecord::of(decision, self.records, wall)
            })
            .collect();
        let sources = [("gateway", self.gateway.health()), ("replica", self.scraper.health())]
            .into_iter()
            .collect();
        Pass {
            variants: shown,
            records,
            scalings,
            sources,
            took_micros: 0,
            write_failures: self.writer.failures(),
        }
    }

    fn write_status(&mut self, variant: &Variant, findings: &Findings, wall: Timestamp) {
        let before = status_before(&self.written, variant);
        if let Some(after) = status::next(&before, findings, wall)
            && self
                .writer
                .status(&variant.uid, &variant.namespace, &variant.name, status::patch(&after))
        {
            self.written.insert(variant.uid.clone(), after);
        }
    }

    fn show(
        &self,
        variant: &Variant,
        decided: Option<&VariantDecision>,
        findings: &Findings,
        model: Option<&ModelView>,
        explanation: Option<Arc<ExplanationRecord>>,
        now: Instant,
    ) -> VariantView {
        let outcome = findings
            .conditions
            .iter()
            .rev()
            .find(|finding| finding.kind == reasons::OPTIMIZATION_READY);
        let engine_of = |pod: &str| self.scraper.signals(&format!("{}/{pod}", variant.namespace))?.found;
        let settings = variant.settings.as_ref();
        VariantView {
            name: variant.name.clone(),
            namespace: variant.namespace.clone(),
            model: settings.map(|settings| settings.model.clone()).unwrap_or_default(),
            accelerator: variant.accelerator.clone(),
            controller_instance: variant.instance.clone(),
            cost: settings.map_or(0.0, |settings| settings.cost),
            min: settings.map_or(0, |settings| settings.min),
            max: settings.map_or(0, |settings| settings.max),
            current: variant.target.as_ref().ok().map(|target| target.replicas),
            ready: variant.ready(),
            desired: decided.map(|decided| decided.to),
            reason: outcome.map(|finding| finding.reason.to_owned()).unwrap_or_default(),
            sentence: outcome.map(|finding| finding.message.clone()).unwrap_or_default(),
            replicas: views::replicas(variant, model, engine_of, now),
            explanation,
        }
    }
}

fn model_key(variant: &Variant) -> Option<ModelKey> {
    let (settings, _) = variant.decidable()?;
    Some((variant.namespace.clone(), settings.model.clone()))
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

fn scaling_of(variant: &Variant, decided: &VariantDecision, outcome: Option<&Acted>) -> Option<Scaling> {
    let carried_out = matches!(outcome, Some(Acted::Done | Acted::Published));
    (carried_out && decided.from != decided.to).then(|| Scaling {
        namespace: variant.namespace.clone(),
        variant: variant.name.clone(),
        direction: if decided.to > decided.from { "up" } else { "down" },
        reason: decided.reason.as_str(),
    })
}

/// What this pass says of one variant, in conditions.
fn findings(
    variant: &Variant,
    decided: Option<&VariantDecision>,
    outcome: Option<&Acted>,
    actuator: Actuator,
) -> Findings {
    let target = variant.target.as_ref();
    let resolved = match (&target, &variant.target_key) {
        (Ok(_), Some(key)) => {
            let found = format!("{} exists", key.for_people());
            Finding::new(reasons::TARGET_RESOLVED, true, reasons::TARGET_FOUND, found)
        }
        (Err(why), Some(_)) => Finding::new(reasons::TARGET_RESOLVED, false, reasons::TARGET_NOT_FOUND, why.as_str()),
        (_, None) => Finding::unknown(
            reasons::TARGET_RESOLVED,
            reasons::INVALID_CONFIGURATION,
            "not looked for: the specification cannot be read",
        ),
    };
    let mut conditions = vec![resolved];
    match (&variant.skipped, &variant.invalid, decided, &target) {
        (Some(why), ..) => conditions.extend(status::undecided(reasons::SKIPPED_PROCESSING, why)),
        (None, Some(invalid), None, _) => {
            conditions.extend(status::undecided(reasons::INVALID_CONFIGURATION, invalid));
        }
        (None, Some(invalid), Some(decided), _) => {
            conditions.push(metrics(decided));
            let message = format!("{invalid}; the last specification that could be used stays in force");
            conditions.push(Finding::new(
                reasons::OPTIMIZATION_READY,
                false,
                reasons::INVALID_CONFIGURATION,
                message,
            ));
        }
        (None, None, Some(decided), _) => {
            conditions.push(metrics(decided));
            conditions.push(optimization(decided, outcome));
        }
        (None, None, None, Err(why)) => conditions.extend(status::undecided(reasons::TARGET_NOT_FOUND, why)),
        (None, None, None, Ok(_)) => {
            conditions.extend(status::undecided(
                reasons::METRICS_UNAVAILABLE,
                "no decision was taken yet",
            ));
        }
    }
    Findings {
        generation: variant.generation,
        desired: decided.map(|decided| decided.to),
        accelerator: variant.accelerator.clone(),
        applied: decided.map(|_| actuator == Actuator::Gauge || matches!(outcome, Some(Acted::Done))),
        replicas: target.ok().map(|target| target.replicas),
        ready: variant.target.is_ok().then(|| variant.ready()),
        conditions,
    }
}

/// The status as it was last written, by us or before us.
fn status_before(written: &BTreeMap<String, VariantAutoscalingStatus>, variant: &Variant) -> VariantAutoscalingStatus {
    written.get(&variant.uid).cloned().unwrap_or_else(|| {
        let status = variant.object.data.get("status").cloned().unwrap_or_default();
        serde_json::from_value(status).unwrap_or_default()
    })
}

fn metrics(decided: &VariantDecision) -> Finding {
    let reason = match decided.metrics.word {
        MetricsWord::Found => reasons::METRICS_FOUND,
        MetricsWord::Stale => reasons::METRICS_STALE,
        MetricsWord::Missing => reasons::METRICS_MISSING,
    };
    let found = decided.metrics.word == MetricsWord::Found;
    Finding::new(reasons::METRICS_AVAILABLE, found, reason, decided.metrics.says.as_str())
}

fn optimization(decided: &VariantDecision, outcome: Option<&Acted>) -> Finding {
    if let Some(Acted::Failed(error)) = outcome {
        let message = format!("{}; but its target could not be set: {error}", decided.sentence);
        return Finding::new(reasons::OPTIMIZATION_READY, true, "ScaleFailed", message);
    }
    let decided_on = decided.reason != Reason::MetricsUnavailable;
    Finding::new(
        reasons::OPTIMIZATION_READY,
        decided_on,
        decided.reason.as_str(),
        decided.sentence.as_str(),
    )
}
