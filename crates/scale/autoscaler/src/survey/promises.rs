//! What InferencePools promise: latencies in annotations, for models that no
//! service class speaks of. They are of the 99th percentile, as the page that
//! shows them says; a service class may promise another, or the mean.

use crate::configuration::{ModelConfig, ServiceLevel};
use api::InferencePool;
use api::names::{MODELS_ANNOTATION, SLO_ITL_ANNOTATION, SLO_TTFT_ANNOTATION};
use kube::ResourceExt;
use std::collections::HashMap;
use std::sync::Arc;

/// The priority of a model in no service class, as published; what its pool
/// promises changes nothing of it.
pub(crate) const NO_CLASS: i64 = 100;

/// The share of requests (of tokens, between them) that a pool's promise is of.
const SHARE: f64 = 0.99;

/// What one pool says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Promise {
    pool: String,
    ttft_ms: Option<f64>,
    itl_ms: Option<f64>,
    problems: Vec<String>,
}

/// What the pools say, by namespace and model; of several the first by name.
#[derive(Debug, Default)]
pub(super) struct Promises {
    by_model: HashMap<(String, String), Promise>,
    completed: HashMap<(String, String), Arc<ModelConfig>>,
}

impl Promises {
    pub(super) fn of(pools: &[Arc<InferencePool>]) -> Self {
        let mut by_model: HashMap<(String, String), Promise> = HashMap::new();
        for pool in pools {
            let promise = Promise::of(pool);
            if promise.ttft_ms.is_none() && promise.itl_ms.is_none() && promise.problems.is_empty() {
                continue;
            }
            let namespace = pool.namespace().unwrap_or_default();
            for model in models(pool) {
                let first = by_model
                    .entry((namespace.clone(), model))
                    .or_insert_with(|| promise.clone());
                if promise.pool < first.pool {
                    *first = promise.clone();
                }
            }
        }
        Self {
            by_model,
            completed: HashMap::new(),
        }
    }

    /// `config` of a model with what its pool promises, unless a service class does.
    pub(super) fn complete(&mut self, namespace: &str, model: &str, config: Arc<ModelConfig>) -> Arc<ModelConfig> {
        let key = (namespace.to_owned(), model.to_owned());
        let Some(promise) = self.by_model.get(&key) else {
            return config;
        };
        let completed = self.completed.entry(key);
        completed.or_insert_with(|| Arc::new(promise.complete(&config))).clone()
    }
}

impl Promise {
    fn of(pool: &InferencePool) -> Self {
        let mut promise = Self {
            pool: pool.name_any(),
            ..Self::default()
        };
        let mut read = |annotation: &str| {
            let text = pool.annotations().get(annotation)?;
            let millis = text.trim().parse::<f64>().ok().filter(|ms| ms.is_normal() && *ms > 0.0);
            if millis.is_none() {
                promise.problems.push(format!(
                    "InferencePool {}: metadata.annotations[{annotation}] is {:?}: it must be a number of milliseconds \
                     above 0; it does not count",
                    promise.pool,
                    text.chars().take(40).collect::<String>()
                ));
            }
            millis
        };
        let (ttft_ms, itl_ms) = (read(SLO_TTFT_ANNOTATION), read(SLO_ITL_ANNOTATION));
        Self {
            ttft_ms,
            itl_ms,
            ..promise
        }
    }

    fn complete(&self, config: &ModelConfig) -> ModelConfig {
        let mut completed = config.clone();
        completed.problems.extend(self.problems.iter().cloned());
        if completed.slo.is_some() || (self.ttft_ms.is_none() && self.itl_ms.is_none()) {
            return completed;
        }
        let said = [("TTFT", self.ttft_ms), ("ITL", self.itl_ms)];
        let said = said
            .iter()
            .filter_map(|(what, ms)| Some(format!("{what} {} ms", (*ms)?)));
        let line = format!(
            "InferencePool {}: promises, of the 99th percentile, {}",
            self.pool,
            said.collect::<Vec<_>>().join(" and ")
        );
        completed.from = config.from.iter().cloned().chain([line]).collect();
        completed.slo = Some(ServiceLevel {
            class: format!("InferencePool {}", self.pool),
            priority: NO_CLASS,
            ttft_ms: self.ttft_ms,
            tpot_ms: self.itl_ms,
            percentile: Some(SHARE),
        });
        completed
    }
}

/// The models a pool serves, as the gateway reads them.
fn models(pool: &InferencePool) -> Vec<String> {
    let named = pool.annotations().get(MODELS_ANNOTATION);
    let named = named.into_iter().flat_map(|list| list.split(','));
    let models: Vec<String> = named
        .map(str::trim)
        .filter(|model| !model.is_empty())
        .map(str::to_owned)
        .collect();
    if models.is_empty() {
        vec![pool.name_any()]
    } else {
        models
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Book, Names, Scope};
    use capacity::Policy;
    use serde_json::json;

    fn pool(name: &str, annotations: &serde_json::Value) -> Arc<InferencePool> {
        let pool = json!({"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
            "spec": {"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}]}});
        Arc::new(serde_json::from_value(pool).unwrap())
    }

    fn plain() -> Arc<ModelConfig> {
        let scope = Scope {
            system_namespace: "system".to_owned(),
            names: Names::default(),
            scale_to_zero: None,
        };
        Book::new(scope, Policy::default()).of_model("shop", "llama")
    }

    #[test]
    fn what_a_pool_promises_holds_for_each_of_its_models() {
        let said = json!({"tidegate.dev/models": "llama, llama-chat", "tidegate.dev/slo-ttft-ms": "500", "tidegate.dev/slo-itl-ms": "40.5"});
        let mut promises = Promises::of(&[pool("big", &said)]);
        for model in ["llama", "llama-chat"] {
            let config = promises.complete("shop", model, plain());
            let slo = config.slo.clone().unwrap();
            assert_eq!(
                (slo.ttft_ms, slo.tpot_ms, slo.percentile, slo.priority),
                (Some(500.0), Some(40.5), Some(0.99), NO_CLASS)
            );
            assert_eq!(
                config.from.last().unwrap(),
                "InferencePool big: promises, of the 99th percentile, TTFT 500 ms and ITL 40.5 ms"
            );
        }
        assert_eq!(promises.complete("shop", "big", plain()), plain());
        assert_eq!(promises.complete("elsewhere", "llama", plain()), plain());
    }

    #[test]
    fn a_service_class_goes_before_the_pool_and_a_bad_number_is_told() {
        let said = json!({"tidegate.dev/slo-ttft-ms": "500", "tidegate.dev/slo-itl-ms": "-1"});
        let mut promises = Promises::of(&[pool("llama", &said)]);
        let class = ServiceLevel {
            class: "premium".to_owned(),
            priority: 1,
            ttft_ms: Some(100.0),
            tpot_ms: None,
            percentile: None,
        };
        let config = Arc::new(ModelConfig {
            slo: Some(class.clone()),
            ..(*plain()).clone()
        });
        let completed = promises.complete("shop", "llama", config);
        assert_eq!(completed.slo, Some(class));
        let problem = &completed.problems[0];
        assert!(
            problem.contains("metadata.annotations[tidegate.dev/slo-itl-ms] is \"-1\"") && problem.contains("above 0"),
            "{problem}"
        );
    }

    #[test]
    fn of_two_pools_of_one_model_the_first_by_name_speaks() {
        let said = |ms: &str| json!({"tidegate.dev/models": "llama", "tidegate.dev/slo-ttft-ms": ms});
        let mut promises = Promises::of(&[pool("b", &said("200")), pool("a", &said("100"))]);
        let slo = promises.complete("shop", "llama", plain()).slo.clone().unwrap();
        assert_eq!(slo.ttft_ms, Some(100.0));
    }
}
