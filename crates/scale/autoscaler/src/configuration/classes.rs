//! What is promised for a model: the predecessor's service classes.

use super::fields::{ConfigError, Fields};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is promised for one model, and how much it matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLevel {
    /// Name of the class.
    pub class: String,
    /// Smaller matters more.
    pub priority: i64,
    /// Time to first token, milliseconds, if promised.
    pub ttft_ms: Option<f64>,
    /// Time per output token, milliseconds, if promised.
    pub tpot_ms: Option<f64>,
    /// The share of the requests (of the tokens) that shall stay within both:
    /// 0.99 is the 99th percentile. None: the means shall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
}

/// All classes; a model in several is served by the one that matters most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classes(BTreeMap<String, ServiceLevel>);

impl Classes {
    /// What is promised for `model`.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<&ServiceLevel> {
        self.0.get(model)
    }
}

/// Reads the ConfigMap `configmap` (`namespace/name`): a key per class, each a
/// document of `name`, `priority` and `data`, a list of `model`, `slo-tpot`
/// and `slo-ttft` in milliseconds and, beyond what is published,
/// `slo-percentile` (50 to 99.9; without it the means are meant). A model in several classes belongs to the
/// one of the lowest priority number, then of the first name.
///
/// # Errors
/// The first field that cannot be used.
pub fn parse(configmap: &str, data: &BTreeMap<String, String>) -> Result<Classes, ConfigError> {
    let mut levels: BTreeMap<String, ServiceLevel> = BTreeMap::new();
    for (key, text) in data {
        let mut fields = Fields::read(configmap, key, text)?;
        let class = fields.name("name", "the name of the class")?;
        let priority = match fields.number("priority")? {
            Some(priority) if priority.fract() == 0.0 && priority.abs() <= 1e9 => priority as i64,
            Some(priority) => {
                return Err(fields.refuse("priority", format!("is {priority}: it must be a whole number")));
            }
            None => {
                return Err(fields.refuse(
                    "priority",
                    "is missing: it must be a whole number, 1 for what matters most",
                ));
            }
        };
        let models = fields.list("data")?;
        fields.finish()?;
        for mut entry in models {
            let model = entry.name("model", "the name of a model")?;
            let level = ServiceLevel {
                class: class.clone(),
                priority,
                ttft_ms: promise(&mut entry, "slo-ttft")?,
                tpot_ms: promise(&mut entry, "slo-tpot")?,
                percentile: percentile(&mut entry)?,
            };
            entry.finish()?;
            let better = |old: &ServiceLevel| (priority, &class) < (old.priority, &old.class);
            if levels.get(&model).is_none_or(better) {
                levels.insert(model, level);
            }
        }
    }
    Ok(Classes(levels))
}

fn promise(fields: &mut Fields, field: &'static str) -> Result<Option<f64>, ConfigError> {
    match fields.number(field)? {
        Some(millis) if millis <= 0.0 => {
            Err(fields.refuse(field, format!("is {millis}: it must be above 0, in milliseconds")))
        }
        millis => Ok(millis),
    }
}

fn percentile(fields: &mut Fields) -> Result<Option<f64>, ConfigError> {
    const FIELD: &str = "slo-percentile";
    match fields.number(FIELD)? {
        Some(percent) if !(50.0..=99.9).contains(&percent) => {
            Err(fields.refuse(FIELD, format!("is {percent}: it must be from 50 to 99.9, like 99")))
        }
        percent => Ok(percent.map(|percent| percent / 100.0)),
    }
}
