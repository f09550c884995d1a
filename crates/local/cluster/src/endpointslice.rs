//! The EndpointSlice controller: the Pods behind each Service with a selector.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::call::{Error, call, create, merge};
use crate::informer::{Key, key_of};
use crate::queue::Queue;
use crate::recorder::{Recorder, reference};
use crate::run::Shared;
use crate::{hash, pods};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// The name under which Kubernetes' own controller works: this one takes its place.
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Endpoints in one slice.
const SLICE: usize = 100;

/// Keeps EndpointSlices for ever.
pub(crate) async fn run(shared: Shared, recorder: Recorder) {
    shared.services.synced().await;
    shared.pods.synced().await;
    let queue = Queue::<Key>::new();
    let (own, of_pods, services) = (queue.clone(), queue.clone(), shared.services.clone());
    shared.services.listen("endpointslice", move |change| {
        for service in change.either() {
            own.add(key_of(service.as_ref()));
        }
    });
    shared.pods.listen("endpointslice", move |change| {
        for pod in change.either() {
            for service in services.list_in(&pod.namespace().unwrap_or_default()) {
                if selects(&service, pod) {
                    of_pods.add(key_of(service.as_ref()));
                }
            }
        }
    });
    let controller = Controller {
        shared,
        recorder,
        refused: AtomicBool::new(false),
    };
    queue.run("endpointslice", 2, |key| controller.sync(key)).await;
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|s| s.selector.as_ref())
        .filter(|s| !s.is_empty());
    let labels = pod.metadata.labels.as_ref();
    selector.is_some_and(|s| {
        s.iter()
            .all(|(key, value)| labels.is_some_and(|l| l.get(key) == Some(value)))
    })
}

struct Controller {
    shared: Shared,
    recorder: Recorder,
    refused: AtomicBool,
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Option<Duration>, Error> {
        let Some(service) = self.shared.services.get(&key) else {
            return Ok(None);
        };
        let has_selector = service
            .spec
            .as_ref()
            .and_then(|s| s.selector.as_ref())
            .is_some_and(|s| !s.is_empty());
        if !has_selector || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let pods = self.shared.pods.list_in(&key.0);
        let wanted = slices(
            &service,
            pods.iter().map(AsRef::as_ref).filter(|pod| selects(&service, pod)),
        );
        match self.write(&service, wanted).await {
            Err(error) if error.is_invalid() => {
                // A real API server takes no loopback addresses: such Pods are
                // to be found by their labels, and nothing here can help.
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the API takes no loopback endpoints; Services over local Pods stay empty");
                }
                Ok(None)
            }
            // The namespace is going away.
            Err(error) if error.is_forbidden() => Ok(None),
            Err(error) => {
                self.recorder.warning(
                    &reference(service.as_ref()),
                    "FailedToUpdateEndpointSlices",
                    error.to_string(),
                );
                Err(error)
            }
            Ok(()) => Ok(None),
        }
    }

    async fn write(&self, service: &Service, wanted: Vec<EndpointSlice>) -> Result<(), Error> {
        let api =
            Api::<EndpointSlice>::namespaced(self.shared.client.clone(), &service.namespace().unwrap_or_default());
        let ours = format!("{SERVICE_LABEL}={},{MANAGED_LABEL}={MANAGER}", service.name_any());
        let list = ListParams::default().labels(&ours);
        let known = call(|| format!("list slices of {}", service.name_any()), api.list(&list))
            .await?
            .items;
        for slice in &wanted {
            match known.iter().find(|k| k.metadata.name == slice.metadata.name) {
                None => drop(create(&api, slice).await?),
                Some(k)
                    if k.endpoints.clone().unwrap_or_default() == slice.endpoints.clone().unwrap_or_default()
                        && k.ports.clone().unwrap_or_default() == slice.ports.clone().unwrap_or_default() => {}
                Some(k) => {
                    let patch =
                        json!({"metadata": {"uid": k.uid()}, "endpoints": slice.endpoints, "ports": slice.ports});
                    merge(&api, &k.name_any(), &patch).await?;
                }
            }
        }
        for slice in known
            .iter()
            .filter(|k| wanted.iter().all(|w| w.metadata.name != k.metadata.name))
        {
            let (name, params) = (slice.name_any(), DeleteParams::default());
            match call(|| format!("delete endpointslice {name}"), api.delete(&name, &params)).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The slices of a Service: Pods whose ports resolve alike share them, and one
/// holds at most [`SLICE`] endpoints. There is always one, so that "no Pods"
/// can be told from "not looked at".
fn slices<'a>(service: &Service, selected: impl Iterator<Item = &'a Pod>) -> Vec<EndpointSlice> {
    let spec = service.spec.clone().unwrap_or_default();
    let not_ready_too = spec.publish_not_ready_addresses == Some(true);
    let ports = spec.ports.unwrap_or_default();
    let mut groups: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for pod in selected.filter(|pod| !pods::is_finished(pod)) {
        let Some(address) = pod.status.as_ref().and_then(|s| s.pod_ip.clone()) else {
            continue;
        };
        let going = pod.metadata.deletion_timestamp.is_some();
        let ready = pods::is_ready(pod);
        let resolved: Vec<EndpointPort> = ports.iter().filter_map(|port| resolve(port, pod)).collect();
        let key = serde_json::to_string(&resolved).unwrap_or_default();
        let endpoint = Endpoint {
            addresses: vec![address],
            conditions: Some(EndpointConditions {
                ready: Some(not_ready_too || (ready && !going)),
                serving: Some(not_ready_too || ready),
                terminating: Some(going),
            }),
            node_name: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
            target_ref: Some(k8s_openapi::api::core::v1::ObjectReference {
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                namespace: pod.metadata.namespace.clone(),
                uid: pod.metadata.uid.clone(),
                ..Default::default()
            }),
            ..Endpoint::default()
        };
        groups
            .entry(key)
            .or_insert_with(|| (resolved, Vec::new()))
            .1
            .push(endpoint);
    }
    if groups.is_empty() {
        groups.insert(String::new(), (Vec::new(), Vec::new()));
    }
    let mut slices = Vec::new();
    for (ports, endpoints) in groups.into_values() {
        let mut rest = endpoints.as_slice();
        loop {
            let (part, more) = rest.split_at(rest.len().min(SLICE));
            slices.push(slice(service, slices.len(), ports.clone(), part.to_vec()));
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
    }
    slices
}

fn resolve(port: &ServicePort, pod: &Pod) -> Option<EndpointPort> {
    let containers = pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
    let number = match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
        Some(IntOrString::Int(_)) => Some(port.port),
        Some(IntOrString::String(name)) => {
            let mut all = containers.iter().flat_map(|c| c.ports.iter().flatten());
            all.find(|p| p.name.as_ref() == Some(name)).map(|p| p.container_port)
        }
    };
    Some(EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(number?),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    })
}

fn slice(service: &Service, index: usize, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = service.name_any();
    let suffix = hash::short(format!("{}/{index}", service.uid().unwrap_or_default()).as_bytes(), 5);
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{suffix}")),
            namespace: service.namespace(),
            labels: Some(BTreeMap::from([
                (SERVICE_LABEL.to_owned(), name),
                (MANAGED_LABEL.to_owned(), MANAGER.to_owned()),
            ])),
            owner_references: service.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn service() -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": "s", "namespace": "ns", "uid": "u"}, "spec": {
            "selector": {"app": "x"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "m", "port": 9}]}}),
        )
        .unwrap()
    }

    fn pod(name: &str, port: i32, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"podIP": "127.77.0.1", "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn pods_are_grouped_by_their_ports_and_counted_off() {
        let many: Vec<Pod> = (0..150)
            .map(|n| pod(&format!("p{n}"), 8000, n > 0))
            .chain([pod("other", 9000, true)])
            .collect();
        let slices = slices(&service(), many.iter());
        let sizes: Vec<usize> = slices.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [100, 50, 1]);
        let port = |slice: &EndpointSlice| slice.ports.as_ref().unwrap()[0].port;
        assert_eq!((port(&slices[0]), port(&slices[2])), (Some(8000), Some(9000)));
        let first = &slices[0].endpoints.as_ref().unwrap()[0];
        assert_eq!(first.conditions.as_ref().unwrap().ready, Some(false));
        assert_eq!(super::slices(&service(), [].iter()).len(), 1);
        let mut nameless = pod("n", 1, true);
        nameless.status.as_mut().unwrap().pod_ip = None;
        assert!(
            super::slices(&service(), [nameless].iter())[0]
                .endpoints
                .as_ref()
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_service_without_selector_selects_nothing() {
        let none: Service = serde_json::from_value(json!({"metadata": {}, "spec": {"selector": Value::Null}})).unwrap();
        assert!(!selects(&none, &pod("p", 1, true)));
        assert!(selects(&service(), &pod("p", 1, true)));
    }
}
