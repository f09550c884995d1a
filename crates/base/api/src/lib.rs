//! Custom resources and well-known names.
//!
//! The only crate that derives Kubernetes types. It knows shapes, never
//! behaviour: what a field means to a decision is said where the decision is.

pub mod names;
mod pool;
mod variant;

pub use pool::{
    EndpointPickerRef, FailureMode, InferencePool, InferencePoolSpec, InferencePoolStatus, ParentReference,
    ParentStatus, PickerPort, PoolSelector, TargetPort,
};
pub use variant::{
    AcceleratorProfile, Actuation, Allocation, CurrentLoad, DesiredAllocation, ModelProfile, PerformanceParameters,
    SloClassRef, TargetRef, VariantAutoscaling, VariantAutoscalingSpec, VariantAutoscalingStatus, reasons,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Every CustomResourceDefinition that Tidegate installs.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut pool = InferencePool::crd();
    // The group is a protected one; the API server asks for the approval that upstream's CRD carries too.
    pool.metadata.annotations.get_or_insert_default().insert(
        "api-approved.kubernetes.io".to_owned(),
        "https://github.com/kubernetes-sigs/gateway-api-inference-extension/pull/1173".to_owned(),
    );
    vec![VariantAutoscaling::crd(), pool]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crd_has_one_served_and_stored_version_with_status() {
        for crd in crds() {
            let [version] = &crd.spec.versions[..] else {
                panic!("{:?}", crd.metadata.name)
            };
            assert!(version.served && version.storage);
            assert!(version.subresources.as_ref().unwrap().status.is_some());
        }
    }
}
