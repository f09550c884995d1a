//! What is in force for each model, by all ConfigMaps together.

use super::{ConfigError, Costs, Limits, Overrides, Saturation, Scope, ServiceLevel, Zero};
use super::{classes, classes::Classes, costs, quotas, saturation, zero};
use capacity::Policy;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which of the published ConfigMaps one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Thresholds of saturation.
    Saturation,
    /// Which models go to zero.
    Zero,
    /// Costs of accelerators; in the system namespace only.
    Costs,
    /// Service classes; in the system namespace only.
    Classes,
    /// Quotas of GPUs; in the system namespace only.
    Limits,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Saturation, Self::Zero, Self::Costs, Self::Classes, Self::Limits];

    /// Whether a namespace may have one of its own.
    #[must_use]
    pub const fn may_be_local(self) -> bool {
        matches!(self, Self::Saturation | Self::Zero)
    }
}

/// What the ConfigMaps are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Thresholds of saturation.
    pub saturation: String,
    /// Which models go to zero.
    pub zero: String,
    /// Costs of accelerators.
    pub costs: String,
    /// Service classes.
    pub classes: String,
    /// Quotas of GPUs.
    pub limits: String,
}

impl Default for Names {
    /// The published names; the last is ours.
    fn default() -> Self {
        Self {
            saturation: "wva-saturation-scaling-config".to_owned(),
            zero: "wva-model-scale-to-zero-config".to_owned(),
            costs: "accelerator-unit-costs".to_owned(),
            classes: "service-classes-config".to_owned(),
            limits: "tidegate-quotas".to_owned(),
        }
    }
}

impl Names {
    /// The name of the ConfigMap of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Saturation => &self.saturation,
            Kind::Zero => &self.zero,
            Kind::Costs => &self.costs,
            Kind::Classes => &self.classes,
            Kind::Limits => &self.limits,
        }
    }
}

/// What is in force for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What its decisions are taken by.
    pub policy: Policy,
    /// The thresholds behind the policy, with those of the other analyzers.
    pub saturation: Saturation,
    /// Whether and when it goes to zero.
    pub zero: Zero,
    /// What is promised for it.
    pub slo: Option<ServiceLevel>,
    /// Where it comes from, one line for each ConfigMap that speaks.
    pub from: Arc<[String]>,
    /// ConfigMaps that hold for it and cannot be used, and why.
    pub problems: Vec<String>,
    /// Where requests for it may wait that nobody can see, and what to do.
    pub unseen: Vec<String>,
}

/// One ConfigMap, for people and gauges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRecord {
    /// `namespace/name`.
    pub configmap: String,
    /// Whether what it says is in force.
    pub valid: bool,
    /// Why not.
    pub error: Option<String>,
}

/// All that ConfigMaps say.
#[derive(Debug)]
pub struct Book {
    scope: Scope,
    base: Policy,
    entries: BTreeMap<(Kind, String), Entry>,
    /// Answers already worked out, until something changes.
    answers: BTreeMap<(String, String), Arc<ModelConfig>>,
}

/// Most answers that are kept.
const MOST_ANSWERS: usize = 20_000;

#[derive(Debug)]
struct Entry {
    configmap: String,
    version: String,
    good: Option<Content>,
    error: Option<ConfigError>,
}

#[derive(Clone, Debug)]
enum Content {
    Saturation(Arc<Overrides<Saturation>>),
    Zero(Arc<Overrides<Zero>>),
    Costs(Arc<Costs>),
    Classes(Arc<Classes>),
    Limits(Arc<Limits>),
}

impl Book {
    /// An empty book; `base` is in force where no ConfigMap speaks.
    #[must_use]
    pub fn new(scope: Scope, base: Policy) -> Self {
        Self {
            scope,
            base,
            entries: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Takes note of a ConfigMap's `data`. `version` tells one content from
    /// the next: the same version is not read again.
    ///
    /// # Errors
    /// Why it cannot be used, when it was not known yet; the last good content
    /// stays in force.
    pub fn learn(
        &mut self,
        kind: Kind,
        namespace: &str,
        version: &str,
        data: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let id = (kind, namespace.to_owned());
        if self.entries.get(&id).is_some_and(|entry| entry.version == version) {
            return Ok(());
        }
        let configmap = format!("{namespace}/{}", self.scope.names.of(kind));
        let read = read(kind, &configmap, data);
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            configmap,
            version: String::new(),
            good: None,
            error: None,
        });
        version.clone_into(&mut entry.version);
        self.answers.clear();
        match read {
            Ok(content) => {
                // An empty one says nothing, and hides nothing.
                entry.good = (!data.is_empty()).then_some(content);
                entry.error = None;
                Ok(())
            }
            Err(error) => {
                let news = entry.error.as_ref() != Some(&error);
                entry.error = Some(error.clone());
                if news { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Forgets the ConfigMaps that are gone, and nothing else.
    pub fn keep_only(&mut self, present: &BTreeSet<(Kind, String)>) {
        let before = self.entries.len();
        self.entries.retain(|id, _| present.contains(id));
        if self.entries.len() != before {
            self.answers.clear();
        }
    }

    /// What is in force for `model`. ConfigMaps of its own namespace take the
    /// place of the system's.
    pub fn of_model(&mut self, namespace: &str, model: &str) -> Arc<ModelConfig> {
        let id = (namespace.to_owned(), model.to_owned());
        if let Some(answer) = self.answers.get(&id) {
            return answer.clone();
        }
        if self.answers.len() >= MOST_ANSWERS {
            self.answers.clear();
        }
        let answer = Arc::new(self.work_out(namespace, model));
        self.answers.insert(id, answer.clone());
        answer
    }

    fn work_out(&self, namespace: &str, model: &str) -> ModelConfig {
        let mut config = ModelConfig {
            policy: self.base.clone(),
            saturation: Saturation {
                kv_cache_threshold: self.base.kv_cache_threshold,
                queue_length_threshold: self.base.queue_length_threshold,
                kv_spare_trigger: self.base.kv_spare_trigger,
                queue_spare_trigger: self.base.queue_spare_trigger,
                analyzer: self.base.analyzer,
                scale_up_threshold: self.base.scale_up_threshold,
                scale_down_boundary: self.base.scale_down_boundary,
                ..Saturation::default()
            },
            zero: Zero::default(),
            slo: None,
            from: Vec::new().into(),
            problems: Vec::new(),
            unseen: Vec::new(),
        };
        let mut from = Vec::new();
        for kind in Kind::ALL {
            let global = || self.entries.get(&(kind, self.scope.system_namespace.clone()));
            let mine = kind
                .may_be_local()
                .then(|| self.entries.get(&(kind, namespace.to_owned())));
            let mine = mine
                .flatten()
                .filter(|entry| entry.good.is_some() || entry.error.is_some());
            let Some(entry) = mine.or_else(global) else { continue };
            config.problems.extend(entry.problem());
            // A local one that was never good hides nothing either.
            let speaking = [Some(entry), global()].into_iter().flatten();
            if let Some((entry, good)) = speaking
                .into_iter()
                .find_map(|entry| Some((entry, entry.good.as_ref()?)))
            {
                from.extend(put(&mut config, &entry.configmap, good, namespace, model));
            }
        }
        config.from = from.into();
        config.policy = config.saturation.applied_to(&config.policy);
        config.zero.enabled = config.zero.enabled.or(self.scope.scale_to_zero);
        if let Some(retention) = config.zero.retention {
            config.policy.zero_after = retention;
        }
        config
    }

    /// The cost of one `accelerator` per hour, if a table says it.
    #[must_use]
    pub fn cost_of(&self, accelerator: &str) -> Option<f64> {
        let table = self.entries.get(&(Kind::Costs, self.scope.system_namespace.clone()))?;
        match table.good.as_ref()? {
            Content::Costs(costs) => costs.of(accelerator),
            _ => None,
        }
    }

    /// What limits decisions besides free GPUs.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        let entry = self.entries.get(&(Kind::Limits, self.scope.system_namespace.clone()));
        match entry.and_then(|entry| entry.good.as_ref()) {
            Some(Content::Limits(limits)) => limits.clone(),
            _ => Arc::default(),
        }
    }

    /// Every ConfigMap that was seen in a namespace that `counts`; the
    /// system's always does.
    #[must_use]
    pub fn records(&self, counts: impl Fn(&str) -> bool) -> Vec<ConfigMapRecord> {
        let counts = |namespace: &str| namespace == self.scope.system_namespace || counts(namespace);
        let shown = self.entries.iter().filter(|((_, namespace), _)| counts(namespace));
        shown
            .map(|(_, entry)| ConfigMapRecord {
                configmap: entry.configmap.clone(),
                valid: entry.error.is_none(),
                error: entry.problem(),
            })
            .collect()
    }
}

impl Entry {
    fn problem(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let instead = if self.good.is_some() {
            "its last good content stays in force"
        } else {
            "the defaults are in force instead"
        };
        Some(format!("{error}; {instead}"))
    }
}

fn read(kind: Kind, configmap: &str, data: &BTreeMap<String, String>) -> Result<Content, ConfigError> {
    Ok(match kind {
        Kind::Saturation => {
            let read = saturation::parse(configmap, data)?;
            warn_shadowed(configmap, &read);
            Content::Saturation(Arc::new(read))
        }
        Kind::Zero => {
            let read = zero::parse(configmap, data)?;
            warn_shadowed(configmap, &read);
            Content::Zero(Arc::new(read))
        }
        Kind::Costs => Content::Costs(Arc::new(costs::parse(configmap, data)?)),
        Kind::Classes => Content::Classes(Arc::new(classes::parse(configmap, data)?)),
        Kind::Limits => Content::Limits(Arc::new(quotas::parse(configmap, data)?)),
    })
}

fn warn_shadowed<T>(configmap: &str, read: &Overrides<T>) {
    for (key, first) in read.shadowed() {
        tracing::warn!(
            configmap,
            key,
            "names the same model as key {first}, which counts: take one out"
        );
    }
}

/// Writes what `good` says of the model into `config`; tells it in a line, if
/// it says anything.
fn put(config: &mut ModelConfig, configmap: &str, good: &Content, namespace: &str, model: &str) -> Option<String> {
    match good {
        Content::Saturation(read) => {
            let (key, value) = read.of(namespace, model);
            config.saturation = value.clone();
            Some(format!(
                "ConfigMap {configmap}, key \"{key}\": kvCacheThreshold {}, kvSpareTrigger {}, queueLengthThreshold {}, queueSpareTrigger {}",
                value.kv_cache_threshold,
                value.kv_spare_trigger,
                value.queue_length_threshold,
                value.queue_spare_trigger
            ))
        }
        Content::Zero(read) => {
            let (key, value) = read.of(namespace, model);
            config.zero = *value;
            let enabled = match value.enabled {
                Some(true) => "true",
                Some(false) => "false",
                None => "open",
            };
            let retention = value
                .retention
                .map_or_else(String::new, |retention| format!(", retention_period {retention:?}"));
            Some(format!(
                "ConfigMap {configmap}, key \"{key}\": enable_scale_to_zero {enabled}{retention}"
            ))
        }
        Content::Costs(_) | Content::Limits(_) => None,
        Content::Classes(classes) => {
            let level = classes.of(model)?;
            config.slo = Some(level.clone());
            Some(format!(
                "ConfigMap {configmap}: service class {} of priority {}",
                level.class, level.priority
            ))
        }
    }
}
