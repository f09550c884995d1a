//! Which models may go to zero, and after how long without work: the
//! predecessor's scale-to-zero ConfigMap.

use super::fields::{ConfigError, Fields};
use super::{DEFAULT_KEY, Override, Overrides};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is said of one model; what nobody says stays open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zero {
    /// `enable_scale_to_zero`: `Some(true)` lets variants whose minimum is the
    /// default of 1 go to zero, `Some(false)` keeps one replica of the model
    /// whatever the minimum, `None` leaves the minimum alone.
    pub enabled: Option<bool>,
    /// `retention_period`: idle time before a model goes to zero.
    pub retention: Option<Duration>,
}

/// Reads the ConfigMap `configmap` (`namespace/name`).
///
/// # Errors
/// The first field that cannot be used.
pub fn parse(configmap: &str, data: &BTreeMap<String, String>) -> Result<Overrides<Zero>, ConfigError> {
    let default = match data.get(DEFAULT_KEY) {
        Some(text) => {
            let mut fields = Fields::read(configmap, DEFAULT_KEY, text)?;
            super::no_owner(&mut fields)?;
            entry(fields, Zero::default())?
        }
        None => Zero::default(),
    };
    let mut models = Vec::new();
    for (key, text) in data.iter().filter(|(key, _)| *key != DEFAULT_KEY) {
        let mut fields = Fields::read(configmap, key, text)?;
        let (model, namespace) = super::owner(&mut fields)?;
        models.push(Override {
            key: key.clone(),
            model,
            namespace,
            value: entry(fields, default)?,
        });
    }
    Ok(Overrides { default, models })
}

fn entry(mut fields: Fields, base: Zero) -> Result<Zero, ConfigError> {
    let read = Zero {
        enabled: fields.switch("enable_scale_to_zero")?.or(base.enabled),
        retention: fields.duration("retention_period")?.or(base.retention),
    };
    fields.finish()?;
    Ok(read)
}
