//! When a model counts as saturated: the predecessor's saturation ConfigMap.
//!
//! Key `default` and any number of entries for single models. What an entry
//! leaves out it takes from `default`, and that from the published values.

use super::fields::{ConfigError, Fields};
use super::{DEFAULT_KEY, Override, Overrides};
use capacity::{Analyzer, Policy};
use std::collections::BTreeMap;

/// The thresholds for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Saturation {
    /// `kvCacheThreshold`: a replica is saturated at this share of its KV cache.
    pub kv_cache_threshold: f64,
    /// `queueLengthThreshold`: or with this many requests waiting inside it.
    pub queue_length_threshold: f64,
    /// `kvSpareTrigger`: up when less than this share is spare on average.
    pub kv_spare_trigger: f64,
    /// `queueSpareTrigger`: up when less than this queue is spare on average.
    pub queue_spare_trigger: f64,
    /// `enableLimiter`: whether the accelerators that are there limit the answer.
    pub enable_limiter: bool,
    /// `analyzerName`: `""` is by percent and `saturation` by tokens; both
    /// have a vote where nobody names one.
    pub analyzer: Analyzer,
    /// `scaleUpThreshold`: by tokens, up above this share of the supply.
    pub scale_up_threshold: f64,
    /// `scaleDownBoundary`: by tokens, down below this share of the supply.
    pub scale_down_boundary: f64,
}

impl Default for Saturation {
    /// The published values.
    fn default() -> Self {
        Self {
            kv_cache_threshold: 0.80,
            queue_length_threshold: 5.0,
            kv_spare_trigger: 0.10,
            queue_spare_trigger: 3.0,
            enable_limiter: false,
            analyzer: Analyzer::Both,
            scale_up_threshold: 0.85,
            scale_down_boundary: 0.70,
        }
    }
}

impl Saturation {
    /// `base` with these thresholds in it.
    #[must_use]
    pub fn applied_to(&self, base: &Policy) -> Policy {
        Policy {
            kv_cache_threshold: self.kv_cache_threshold,
            kv_spare_trigger: self.kv_spare_trigger,
            queue_length_threshold: self.queue_length_threshold,
            queue_spare_trigger: self.queue_spare_trigger,
            analyzer: self.analyzer,
            scale_up_threshold: self.scale_up_threshold,
            scale_down_boundary: self.scale_down_boundary,
            ..base.clone()
        }
    }
}

/// Reads the ConfigMap `configmap` (`namespace/name`).
///
/// # Errors
/// The first field that cannot be used.
pub fn parse(configmap: &str, data: &BTreeMap<String, String>) -> Result<Overrides<Saturation>, ConfigError> {
    let default = match data.get(DEFAULT_KEY) {
        Some(text) => {
            let mut fields = Fields::read(configmap, DEFAULT_KEY, text)?;
            super::no_owner(&mut fields)?;
            entry(fields, &Saturation::default())?
        }
        None => Saturation::default(),
    };
    let mut models = Vec::new();
    for (key, text) in data.iter().filter(|(key, _)| *key != DEFAULT_KEY) {
        let mut fields = Fields::read(configmap, key, text)?;
        let (model, namespace) = super::owner(&mut fields)?;
        models.push(Override {
            key: key.clone(),
            model,
            namespace,
            value: entry(fields, &default)?,
        });
    }
    Ok(Overrides { default, models })
}

fn entry(mut fields: Fields, base: &Saturation) -> Result<Saturation, ConfigError> {
    let mut read = base.clone();
    for (field, value) in [
        ("kvCacheThreshold", &mut read.kv_cache_threshold),
        ("queueLengthThreshold", &mut read.queue_length_threshold),
        ("kvSpareTrigger", &mut read.kv_spare_trigger),
        ("queueSpareTrigger", &mut read.queue_spare_trigger),
        ("scaleUpThreshold", &mut read.scale_up_threshold),
        ("scaleDownBoundary", &mut read.scale_down_boundary),
    ] {
        *value = fields.number(field)?.unwrap_or(*value);
    }
    read.enable_limiter = fields.switch("enableLimiter")?.unwrap_or(read.enable_limiter);
    match fields.text("analyzerName")?.as_deref() {
        None => {}
        Some("") => read.analyzer = Analyzer::Percent,
        Some("saturation") => read.analyzer = Analyzer::Tokens,
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            return Err(fields.refuse(
                "analyzerName",
                format!("is `{other}`: it must be \"\" (by percent) or saturation (by tokens)"),
            ));
        }
    }
    // A misspelt field first: it may be why the rest does not go together.
    fields.finish()?;
    check(&fields, &read)?;
    Ok(read)
}

/// Checks the whole, what was inherited included: a pair that is sound apart
/// may not be together.
fn check(fields: &Fields, read: &Saturation) -> Result<(), ConfigError> {
    if let Err(wrong) = read.applied_to(&Policy::default()).validate() {
        return Err(fields.refuse(wrong.key, format!("is {}: it {}", wrong.value, wrong.rule)));
    }
    Ok(())
}
