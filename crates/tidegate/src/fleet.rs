//! The fleet file: nodes, models, variants, in one YAML file.
//!
//! Parsing keeps the place of every value, so that a mistake is shown in the
//! user's own text; [`check`] refuses what cannot work before anything starts,
//! and [`render`] turns the rest into plain Kubernetes objects.

mod check;
mod duration;
mod render;

pub(crate) use check::FleetError;
pub(crate) use duration::Millis;
pub(crate) use render::{objects, to_yaml};

use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::path::Path;

/// The fleet that `tidegate up` starts when no file is named.
pub(crate) const DEFAULT: &str = include_str!("fleet/default.yaml");

/// Port that replicas serve on unless the model says otherwise.
const DEFAULT_PORT: u16 = 8000;
/// Requests the gateway sends one replica at once unless the variant says otherwise.
const DEFAULT_SLOTS: u32 = 64;

/// A whole fleet file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    /// Machines with GPUs; simulated when they are not really there.
    pub(crate) nodes: Vec<Node>,
    /// Models, each with the ways it can be served.
    pub(crate) models: Vec<Model>,
}

/// A machine with GPUs of one type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Node name.
    pub(crate) name: Spanned<String>,
    /// Its GPUs.
    pub(crate) gpus: Gpus,
    /// CPU it offers, in cores.
    #[serde(default = "default_cpu")]
    pub(crate) cpu: u32,
    /// Memory it offers, a Kubernetes quantity.
    #[serde(default = "default_memory")]
    pub(crate) memory: String,
}

fn default_cpu() -> u32 {
    64
}

fn default_memory() -> String {
    "512Gi".to_owned()
}

/// GPUs of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gpus {
    /// Product name, as variants ask for it.
    pub(crate) r#type: Spanned<String>,
    /// How many.
    pub(crate) count: Spanned<u32>,
}

/// A model and the promise made for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Name of the pool, and of the model unless `serves` says otherwise.
    pub(crate) name: Spanned<String>,
    /// Model names that clients may ask for.
    #[serde(default)]
    pub(crate) serves: Vec<Spanned<String>>,
    /// What is promised.
    #[serde(default)]
    pub(crate) slo: Slo,
    /// Port that every replica of the model serves on.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// Ways to serve it.
    pub(crate) variants: Vec<Variant>,
}

impl Model {
    /// Model names that clients may ask for, at least one.
    pub(crate) fn served_names(&self) -> Vec<&str> {
        if self.serves.is_empty() {
            vec![&self.name.value]
        } else {
            self.serves.iter().map(|name| name.value.as_str()).collect()
        }
    }

    /// Port that every replica serves on.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

/// The promise: latency objectives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slo {
    /// Time to first token.
    #[serde(default)]
    pub(crate) ttft: Option<Millis>,
    /// Inter-token latency.
    #[serde(default)]
    pub(crate) itl: Option<Millis>,
}

/// One way to serve a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variant {
    /// Name of the Deployment and of the VariantAutoscaling.
    pub(crate) name: Spanned<String>,
    /// GPU type it runs on.
    pub(crate) gpu: Spanned<String>,
    /// GPUs per replica.
    #[serde(default)]
    pub(crate) gpus: Option<Spanned<u32>>,
    /// Cost of one replica per hour.
    pub(crate) cost: Spanned<f64>,
    /// Bounds.
    #[serde(default)]
    pub(crate) replicas: Replicas,
    /// The model server's command line.
    pub(crate) command: Spanned<Vec<String>>,
    /// Environment of the model server.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Requests the gateway sends one replica at once.
    #[serde(default)]
    pub(crate) slots: Option<Spanned<u32>>,
    /// Path that answers 200 when the server is ready.
    #[serde(default)]
    pub(crate) health: Option<Spanned<String>>,
    /// Time a replica has to finish its streams when it is stopped.
    #[serde(default)]
    pub(crate) grace: Option<Millis>,
}

impl Variant {
    /// GPUs per replica.
    pub(crate) fn gpus(&self) -> u32 {
        self.gpus.as_ref().map_or(1, |gpus| gpus.value)
    }

    /// Requests the gateway sends one replica at once.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.as_ref().map_or(DEFAULT_SLOTS, |slots| slots.value)
    }
}

/// Bounds of a variant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replicas {
    /// Least replicas, 0 unless given.
    #[serde(default)]
    pub(crate) min: Option<Spanned<u32>>,
    /// Most replicas, 1 or `min` unless given.
    #[serde(default)]
    pub(crate) max: Option<Spanned<u32>>,
}

impl Replicas {
    /// Least replicas.
    pub(crate) fn min(&self) -> u32 {
        self.min.as_ref().map_or(0, |min| min.value)
    }

    /// Most replicas.
    pub(crate) fn max(&self) -> u32 {
        self.max.as_ref().map_or_else(|| self.min().max(1), |max| max.value)
    }
}

/// Reads and checks a fleet from `text`; `name` is what errors call it.
pub(crate) fn parse(name: &str, text: &str) -> Result<Fleet, FleetError> {
    let fleet: Fleet = serde_saphyr::from_str(text).map_err(|e| check::unreadable(name, text, &e))?;
    check::check(name, text, &fleet)?;
    Ok(fleet)
}

/// Reads and checks the file at `path`, or the default fleet.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Fleet> {
    let Some(path) = path else {
        return Ok(parse("the default fleet", DEFAULT)?);
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| anyhow::anyhow!("cannot read the fleet file {name}: {e}"))?;
    Ok(parse(&name, &text)?)
}

#[cfg(test)]
mod tests;
