//! Endpoint pickers by their InferencePools: the Service that a pool names, the
//! Pods that it selects, the port of their metrics. The predecessor finds them
//! so, too.

use super::pods::PodIndex;
use crate::configuration::ModelConfig;
use api::InferencePool;
use collect::Picker;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::Selector;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Most Pods of one picker that are asked, each several times a second: who may
/// write a Service is not to have us ask everything that it selects.
const MOST_PODS: usize = 8;

/// Which of a Service's ports has metrics, as the predecessor decides it.
const METRIC: &str = "metric";

/// What became of one pool's picker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Who is asked.
    Asked(String),
    /// Why nobody can be, and what to do.
    Unseen(String),
}

impl Told {
    /// What configuration says of a model, with this.
    pub(super) fn add_to(&self, config: Arc<ModelConfig>) -> Arc<ModelConfig> {
        let mut config = Arc::unwrap_or_clone(config);
        let (Self::Asked(says) | Self::Unseen(says)) = self;
        config.from = config.from.iter().cloned().chain([says.clone()]).collect();
        if matches!(self, Self::Unseen(_)) {
            config.unseen.push(says.clone());
        }
        Arc::new(config)
    }
}

/// The pickers of all pools.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) pickers: BTreeSet<Picker>,
    /// By namespace and pool.
    told: BTreeMap<String, BTreeMap<String, Told>>,
}

/// How many InferencePools have a picker to be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PickerPools {
    pub(crate) asked: usize,
    pub(crate) unseen: usize,
}

impl Found {
    /// Pools whose picker cannot be asked: namespace, and a sentence.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.told.iter();
        let all = all.flat_map(|(namespace, of)| of.values().map(move |told| (namespace.as_str(), told)));
        all.filter_map(|(namespace, told)| match told {
            Told::Unseen(says) => Some((namespace, says.as_str())),
            Told::Asked(_) => None,
        })
    }

    pub(crate) fn pools(&self) -> PickerPools {
        let (all, unseen) = (
            self.told.values().map(BTreeMap::len).sum::<usize>(),
            self.unseen().count(),
        );
        PickerPools {
            asked: all - unseen,
            unseen,
        }
    }

    /// What became of the picker of one pool, if it has one.
    pub(super) fn of(&self, namespace: &str, pool: &str) -> Option<&Told> {
        self.told.get(namespace)?.get(pool)
    }
}

/// Finds the pickers of `pools` that nobody has named: `named` says which
/// namespaces' are.
pub(super) fn find(
    pools: &[Arc<InferencePool>],
    service: impl Fn(&str, &str) -> Option<Arc<Service>>,
    pods: &mut PodIndex<'_>,
    named: impl Fn(&str) -> bool,
) -> Found {
    let mut found = Found::default();
    for pool in pools {
        let namespace = pool.namespace().unwrap_or_default();
        let Some(reference) = &pool.spec.endpoint_picker_ref else {
            continue;
        };
        if named(&namespace) {
            continue;
        }
        let is_service = reference.kind.as_deref().is_none_or(|kind| kind == "Service")
            && reference.group.as_deref().is_none_or(str::is_empty);
        let of_service = if is_service {
            asked(&namespace, &reference.name, service(&namespace, &reference.name), pods)
        } else {
            Err(format!(
                "it is no Service, but a {}",
                reference.kind.as_deref().unwrap_or_default()
            ))
        };
        let name = pool.name_any();
        let told = match of_service {
            Ok((pickers, says)) => {
                found.pickers.extend(pickers);
                Told::Asked(format!("InferencePool {name}: its endpoint picker {says}"))
            }
            Err(why) => Told::Unseen(format!(
                "InferencePool {name}: what its endpoint picker {} holds cannot be seen: {why}; say where its metrics \
                 are by --picker {namespace}=URL, or look for none by --picker-discovery=false",
                reference.name
            )),
        };
        found.told.entry(namespace).or_default().insert(name, told);
    }
    found
}

/// The Pods to ask of one picker, and a sentence.
fn asked(
    namespace: &str,
    name: &str,
    service: Option<Arc<Service>>,
    pods: &mut PodIndex<'_>,
) -> Result<(Vec<Picker>, String), String> {
    let service = service.ok_or("there is no such Service, or no right to read it")?;
    let spec = service.spec.as_ref().ok_or("its Service says nothing")?;
    let selector = spec.selector.clone().filter(|selector| !selector.is_empty());
    let selector = selector.filter(|_| spec.type_.as_deref() != Some("ExternalName"));
    let selector = selector.ok_or("its Service selects no Pods")?;
    let port = metrics_port(spec.ports.as_deref().unwrap_or_default())?;
    let selector: Selector = selector.into_iter().collect();
    let mut ready: Vec<(&str, SocketAddr)> = pods
        .select(namespace, &selector)
        .filter(|pod| is_ready(pod))
        .filter_map(|pod| Some((pod.metadata.name.as_deref()?, address(pod, port)?)))
        .collect();
    ready.sort_unstable();
    let pods = if ready.len() == 1 { "Pod" } else { "Pods" };
    let says = match (ready.len(), ready.first()) {
        (0, _) | (_, None) => format!("is not asked: no Pod of Service {name} is ready"),
        (n, Some((_, first))) if n > MOST_PODS => format!(
            "is asked at {MOST_PODS} of {n} Pods of Service {name}, port {}: more are not",
            first.port()
        ),
        (n, Some((_, first))) => format!("is asked at {n} {pods} of Service {name}, port {}", first.port()),
    };
    let pickers = ready.into_iter().take(MOST_PODS);
    let pickers = pickers.map(|(_, address)| Picker::at(namespace, address)).collect();
    Ok((pickers, says))
}

fn metrics_port(ports: &[ServicePort]) -> Result<&ServicePort, String> {
    let named = |port: &&ServicePort| port.name.as_deref().is_some_and(|name| name.contains(METRIC));
    let port = ports.iter().find(named);
    let port = port.ok_or("its Service has no port whose name contains `metric`")?;
    let of_tls = |name: &Option<String>| name.as_deref().is_some_and(|name| name.contains("https"));
    if of_tls(&port.name) || of_tls(&port.app_protocol) {
        return Err("its metrics are behind https, and a Pod's address is in no certificate".to_owned());
    }
    Ok(port)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Where a Pod has the port of a Service.
fn address(pod: &Pod, port: &ServicePort) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.as_ref()?.containers.iter();
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find(|port| port.name.as_ref() == Some(name))?.container_port
        }
    };
    let number = u16::try_from(number).ok().filter(|number| *number > 0)?;
    Some(SocketAddr::new(ip, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::pods::staying;
    use serde_json::{Value, json};

    fn pool(picker: &Value) -> Arc<InferencePool> {
        let pool = json!({"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": "llama", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "llama"}}, "targetPorts": [{"number": 8000}],
                "endpointPickerRef": picker}});
        Arc::new(serde_json::from_value(pool).unwrap())
    }

    fn service(ports: &Value) -> Value {
        json!({"metadata": {"name": "epp", "namespace": "shop"},
            "spec": {"selector": {"app": "epp"}, "ports": ports}})
    }

    fn pod(name: &str, app: &str, ip: &str, ready: bool) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
            "spec": {"containers": [{"name": "epp", "ports": [{"name": "metrics", "containerPort": 9191}]}]},
            "status": {"podIP": ip, "phase": "Running",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// What is found with the picker `picker` of a pool, where there is `service`.
    fn found(picker: &Value, service: &Value, pods: Vec<Arc<Pod>>, named: bool) -> (Vec<String>, Option<Told>) {
        let service: Option<Arc<Service>> = serde_json::from_value(service.clone()).unwrap();
        let by_name = |namespace: &str, name: &str| service.clone().filter(|_| (namespace, name) == ("shop", "epp"));
        let pods = staying(pods);
        let found = find(&[pool(picker)], by_name, &mut PodIndex::of(&pods), |_| named);
        let told = found.of("shop", "llama").cloned();
        let of_told = PickerPools {
            asked: usize::from(matches!(told, Some(Told::Asked(_)))),
            unseen: usize::from(matches!(told, Some(Told::Unseen(_)))),
        };
        assert_eq!(found.pools(), of_told);
        (found.pickers.iter().map(ToString::to_string).collect(), told)
    }

    fn epp() -> Value {
        json!({"name": "epp", "port": {"number": 9002}})
    }

    fn pods() -> Vec<Arc<Pod>> {
        vec![
            pod("epp-a", "epp", "10.0.0.1", true),
            pod("epp-b", "epp", "fd00::2", true),
            pod("epp-c", "epp", "10.0.0.3", false),
            pod("llama-a", "llama", "10.0.0.4", true),
        ]
    }

    #[test]
    fn the_ready_pods_of_the_service_are_asked_at_its_port_for_metrics() {
        for (ports, expected) in [
            (
                json!([{"name": "grpc-ext-proc", "port": 9002}, {"name": "http-metrics", "port": 9090}]),
                [
                    "shop=http://10.0.0.1:9090/metrics",
                    "shop=http://[fd00::2]:9090/metrics",
                ],
            ),
            (
                json!([{"name": "metrics", "port": 80, "targetPort": 9100}]),
                [
                    "shop=http://10.0.0.1:9100/metrics",
                    "shop=http://[fd00::2]:9100/metrics",
                ],
            ),
            (
                json!([{"name": "metrics", "port": 80, "targetPort": "metrics"}]),
                [
                    "shop=http://10.0.0.1:9191/metrics",
                    "shop=http://[fd00::2]:9191/metrics",
                ],
            ),
        ] {
            let (pickers, told) = found(&epp(), &service(&ports), pods(), false);
            assert_eq!(pickers, expected, "{ports}");
            let Some(Told::Asked(says)) = told else {
                panic!("{told:?}")
            };
            assert!(says.contains("is asked at 2 Pods of Service epp"), "{says}");
        }
    }

    #[test]
    fn what_keeps_a_picker_from_being_asked_is_told_with_the_remedy() {
        let metrics = service(&json!([{"name": "metrics", "port": 9090}]));
        let mut external = metrics.clone();
        external["spec"]["type"] = json!("ExternalName");
        for (picker, service, why) in [
            (epp(), Value::Null, "there is no such Service"),
            (epp(), external, "selects no Pods"),
            (
                epp(),
                service(&json!([{"name": "grpc", "port": 9002}])),
                "no port whose name contains `metric`",
            ),
            (
                epp(),
                service(&json!([{"name": "https-metrics", "port": 9090}])),
                "behind https",
            ),
            (
                json!({"kind": "Backend", "group": "x", "name": "epp"}),
                metrics.clone(),
                "but a Backend",
            ),
        ] {
            let (pickers, told) = found(&picker, &service, pods(), false);
            let Some(Told::Unseen(says)) = told else {
                panic!("{told:?}")
            };
            assert!(says.contains(why) && says.contains("--picker shop=URL"), "{says}");
            assert!(pickers.is_empty());
        }
        let (pickers, told) = found(&epp(), &metrics, Vec::new(), false);
        assert!(pickers.is_empty());
        assert!(matches!(told, Some(Told::Asked(says)) if says.contains("no Pod of Service epp is ready")));
    }

    #[test]
    fn where_pickers_are_named_none_is_looked_for_and_of_many_pods_some_are_asked() {
        let metrics = service(&json!([{"name": "metrics", "port": 9090}]));
        assert_eq!(found(&epp(), &metrics, pods(), true), (Vec::new(), None));
        let many = (1..=20).map(|i| pod(&format!("epp-{i:02}"), "epp", &format!("10.0.0.{i}"), true));
        let (pickers, told) = found(&epp(), &metrics, many.collect(), false);
        assert_eq!(pickers.len(), MOST_PODS);
        assert!(matches!(told, Some(Told::Asked(says)) if says.contains("8 of 20 Pods")));
    }
}
