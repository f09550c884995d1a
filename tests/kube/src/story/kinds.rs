//! Which kind a resource path holds, so that stories need not repeat it.

const KINDS: &[(&str, &str)] = &[
    ("bindings", "Binding"),
    ("configmaps", "ConfigMap"),
    ("controllerrevisions", "ControllerRevision"),
    ("cronjobs", "CronJob"),
    ("customresourcedefinitions", "CustomResourceDefinition"),
    ("daemonsets", "DaemonSet"),
    ("deployments", "Deployment"),
    ("endpoints", "Endpoints"),
    ("endpointslices", "EndpointSlice"),
    ("events", "Event"),
    ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("jobs", "Job"),
    ("leases", "Lease"),
    ("limitranges", "LimitRange"),
    ("namespaces", "Namespace"),
    ("nodes", "Node"),
    ("poddisruptionbudgets", "PodDisruptionBudget"),
    ("pods", "Pod"),
    ("priorityclasses", "PriorityClass"),
    ("replicasets", "ReplicaSet"),
    ("resourcequotas", "ResourceQuota"),
    ("roles", "Role"),
    ("rolebindings", "RoleBinding"),
    ("clusterroles", "ClusterRole"),
    ("secrets", "Secret"),
    ("serviceaccounts", "ServiceAccount"),
    ("services", "Service"),
    ("statefulsets", "StatefulSet"),
    ("widgets", "Widget"),
    ("gadgets", "Gadget"),
];

/// `apiVersion` and `kind` of the objects at a path; for a subresource whose
/// body is of another kind (scale, eviction, binding), that kind.
pub(super) fn of_path(path: &str) -> Option<(String, String)> {
    let path = path.split('?').next()?;
    let mut parts = path.trim_start_matches('/').split('/');
    let version = match parts.next()? {
        "api" => parts.next()?.to_owned(),
        "apis" => format!("{}/{}", parts.next()?, parts.next()?),
        _ => return None,
    };
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" && KINDS.iter().any(|(resource, _)| *resource == rest[2]) {
        rest.drain(..2);
    }
    match rest.get(2) {
        Some(&"eviction") => return Some(("policy/v1".to_owned(), "Eviction".to_owned())),
        Some(&"scale") => return Some(("autoscaling/v1".to_owned(), "Scale".to_owned())),
        Some(&"binding") => return Some(("v1".to_owned(), "Binding".to_owned())),
        _ => {}
    }
    let resource = *rest.first()?;
    let kind = KINDS.iter().find(|(known, _)| *known == resource)?.1;
    Some((version, kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_path() {
        for (path, version, kind) in [
            ("/api/v1/namespaces", "v1", "Namespace"),
            ("/api/v1/namespaces/a/configmaps/b?dryRun=All", "v1", "ConfigMap"),
            (
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "autoscaling/v1",
                "Scale",
            ),
            ("/api/v1/namespaces/a/pods/p/eviction", "policy/v1", "Eviction"),
            ("/api/v1/namespaces/a/status", "v1", "Namespace"),
        ] {
            assert_eq!(of_path(path), Some((version.to_owned(), kind.to_owned())), "{path}");
        }
    }
}
