//! What an accelerator costs: the predecessor's table of unit costs.

use super::fields::{ConfigError, Fields};
use std::collections::BTreeMap;

/// Cost of one accelerator per hour, by accelerator, in the unit of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs(BTreeMap<String, Cost>);

/// One accelerator of the table.
#[derive(Clone, Debug, PartialEq)]
struct Cost {
    device: Option<String>,
    cost: f64,
}

impl Costs {
    /// The cost of `accelerator`, by its key, else by its device's name.
    #[must_use]
    pub fn of(&self, accelerator: &str) -> Option<f64> {
        let by_device = || {
            let same = |cost: &&Cost| {
                let device = cost.device.as_deref();
                device.is_some_and(|device| device == accelerator || crate::accelerator::short(device) == accelerator)
            };
            self.0.values().find(same)
        };
        self.0.get(accelerator).or_else(by_device).map(|cost| cost.cost)
    }
}

/// Reads the ConfigMap `configmap` (`namespace/name`): a key per accelerator,
/// each a document of `device` and `cost`.
///
/// # Errors
/// The first field that cannot be used.
pub fn parse(configmap: &str, data: &BTreeMap<String, String>) -> Result<Costs, ConfigError> {
    let mut costs = BTreeMap::new();
    for (key, text) in data {
        let mut fields = Fields::read(configmap, key, text)?;
        let device = fields.text("device")?;
        let cost = match fields.number("cost")? {
            Some(cost) if cost >= 0.0 => cost,
            Some(cost) => return Err(fields.refuse("cost", format!("is {cost}: it must be 0 or more"))),
            None => return Err(fields.refuse("cost", "is missing: it must be the cost per hour")),
        };
        fields.finish()?;
        costs.insert(key.clone(), Cost { device, cost });
    }
    Ok(Costs(costs))
}
