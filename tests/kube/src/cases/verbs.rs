//! The verbs on objects of each group.

use super::props::{config, deployment, pod};

stories! {
    "verbs/configmap-created-and-read-back" => |s| {
        s.create("configmaps", "{metadata: {name: a, labels: {x: y}, annotations: {n: '1'}}, data: {k: v}, binaryData: {b: aGVsbG8=}}").await?;
        s.get("configmaps/a").await?;
    }
    "verbs/created-twice-already-exists" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.create("configmaps", &config("a", "two")).await?;
    }
    "verbs/missing-object-not-found" => |s| {
        s.get("configmaps/none").await?;
        s.delete("configmaps/none").await?;
        s.replace("configmaps/none", "{metadata: {name: none}}").await?;
        s.merge("configmaps/none", "{data: {a: b}}").await?;
        s.get("apps/v1 deployments/none").await?;
        s.get("/api/v1/nodes/no-such-node").await?;
    }
    "verbs/replace-changes-and-keeps-identity" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.replace("configmaps/a", "{metadata: {name: a}, data: {other: '2'}}").await?;
        s.get("configmaps/a").await?;
    }
    "verbs/replace-with-other-name-is-refused" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.replace("configmaps/a", "{metadata: {name: b}, data: {other: '2'}}").await?;
    }
    "verbs/replace-with-other-namespace-is-refused" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.replace("configmaps/a", "{metadata: {name: a, namespace: default}}").await?;
        s.create("configmaps", "{metadata: {name: b, namespace: default}}").await?;
    }
    "verbs/replace-with-nothing-new-keeps-the-revision" => |s| {
        let made = s.create("configmaps", &config("a", "one")).await?;
        s.put("configmaps/a", &made.body).await?;
        s.get("configmaps/a").await?;
    }
    "verbs/delete-answers-status" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.delete("configmaps/a").await?;
        s.get("configmaps/a").await?;
        s.delete("configmaps/a").await?;
    }
    "verbs/delete-of-a-group-names-the-group" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.delete_with("apps/v1 deployments/web", "{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Background}").await?;
    }
    "verbs/delete-with-wrong-propagation-is-refused" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.delete_with("configmaps/a", "{propagationPolicy: Sideways}").await?;
        s.delete("configmaps/a?propagationPolicy=Background&orphanDependents=true").await?;
        s.delete("configmaps/a?gracePeriodSeconds=soon").await?;
    }
    "verbs/deletecollection-with-selector" => |s| {
        for (name, value) in [("a", "one"), ("b", "two"), ("c", "one")] {
            s.have("configmaps", &config(name, value)).await?;
        }
        s.delete("configmaps?labelSelector=tier%3Done").await?;
        s.get("configmaps").await?;
        s.delete("configmaps").await?;
        s.get("configmaps").await?;
    }
    "verbs/deletecollection-of-a-group" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.delete("apps/v1 deployments").await?;
        s.get("apps/v1 deployments").await?;
    }
    "verbs/list-of-nothing" => |s| {
        s.get("configmaps").await?;
        s.get("apps/v1 deployments").await?;
        s.get("coordination.k8s.io/v1 leases").await?;
    }
    "verbs/list-is-in-order-of-names" => |s| {
        for name in ["b", "a.b", "a-b", "a", "c"] {
            s.have("configmaps", &config(name, "one")).await?;
        }
        s.get("configmaps").await?;
    }
    "verbs/namespaced-objects-listed-across-namespaces" => |s| {
        s.have("configmaps", &config("a", "across-{ns}")).await?;
        s.get("/api/v1/configmaps?labelSelector=tier%3Dacross-{ns}").await?;
        s.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3D{ns}").await?;
    }
    "verbs/deployment-through-its-life" => |s| {
        s.create("apps/v1 deployments", &deployment("web")).await?;
        let read = s.get("apps/v1 deployments/web").await?;
        let mut changed = read.body.clone();
        changed["spec"]["replicas"] = 5.into();
        s.put("apps/v1 deployments/web", &changed).await?;
        s.get("apps/v1 deployments").await?;
        s.delete("apps/v1 deployments/web").await?;
    }
    "verbs/lease-created-by-replacing" => |s| {
        let lease = "{metadata: {name: l}, spec: {holderIdentity: me, leaseDurationSeconds: 15, renewTime: '2026-01-02T03:04:05.123456Z'}}";
        s.replace("coordination.k8s.io/v1 leases/l", lease).await?;
        s.get("coordination.k8s.io/v1 leases/l").await?;
        s.replace("coordination.k8s.io/v1 leases/l", "{metadata: {name: l}, spec: {holderIdentity: you}}").await?;
    }
    "verbs/service-secret-and-account" => |s| {
        s.create("secrets", "{metadata: {name: s}, stringData: {user: me}, data: {pass: aGVsbG8=}}").await?;
        s.create("serviceaccounts", "{metadata: {name: robot}}").await?;
        s.create("services", "{metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8000}]}}").await?;
        s.get("services/web").await?;
        s.delete("services/web").await?;
        s.delete("secrets/s").await?;
    }
    "verbs/node-of-our-own" => |s| {
        s.create("/api/v1/nodes", "{metadata: {name: node-{ns}, labels: {zone: a}}}").await?;
        s.set("/api/v1/nodes/node-{ns}/status", "{status: {capacity: {cpu: '4', memory: 8Gi, nvidia.com/gpu: '2'}, conditions: [{type: Ready, status: 'True', reason: KubeletReady, message: ok}]}}").await?;
        s.get("/api/v1/nodes/node-{ns}").await?;
        s.delete("/api/v1/nodes/node-{ns}").await?;
    }
    "verbs/roles-and-bindings" => |s| {
        s.create("rbac.authorization.k8s.io/v1 roles", "{metadata: {name: reader}, rules: [{apiGroups: [''], resources: [pods], verbs: [get, list]}]}").await?;
        s.create("rbac.authorization.k8s.io/v1 rolebindings", "{metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}, subjects: [{kind: ServiceAccount, name: robot}]}").await?;
        s.get("rbac.authorization.k8s.io/v1 rolebindings/b").await?;
    }
    "verbs/endpointslice-and-endpoints" => |s| {
        s.create("discovery.k8s.io/v1 endpointslices", "{metadata: {name: e, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [{addresses: [192.0.2.1], conditions: {ready: true}}], ports: [{name: http, port: 8000}]}").await?;
        s.get("discovery.k8s.io/v1 endpointslices/e").await?;
    }
    "verbs/replicaset-and-controllerrevision" => |s| {
        s.create("apps/v1 replicasets", "{metadata: {name: r}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.create("apps/v1 controllerrevisions", "{metadata: {name: one}, revision: 1, data: {spec: {a: 1}}}").await?;
    }
    "verbs/poddisruptionbudget" => |s| {
        s.create("policy/v1 poddisruptionbudgets", "{metadata: {name: p}, spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}}").await?;
        s.merge("policy/v1 poddisruptionbudgets/p", "{spec: {minAvailable: 50%}}").await?;
    }
    "verbs/owner-references-are-kept" => |s| {
        let owner = s.have("configmaps", &config("owner", "one")).await?;
        s.create("configmaps", &format!("{{metadata: {{name: child, ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {}, controller: true, blockOwnerDeletion: true}}]}}}}", owner.uid())).await?;
        s.create("configmaps", "{metadata: {name: bad, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner}]}}").await?;
        s.create("configmaps", "{metadata: {name: two, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: a, uid: u1, controller: true}, {apiVersion: v1, kind: ConfigMap, name: b, uid: u2, controller: true}]}}").await?;
    }
    "verbs/metadata-that-the-server-sets-cannot-be-chosen" => |s| {
        s.create("configmaps", "{metadata: {name: a, uid: 11111111-1111-1111-1111-111111111111, creationTimestamp: '2001-01-01T00:00:00Z', generation: 7, selfLink: /x, deletionTimestamp: '2001-01-01T00:00:00Z'}}").await?;
        s.create("configmaps", "{metadata: {name: b, resourceVersion: '5'}}").await?;
        s.merge("configmaps/a", "{metadata: {creationTimestamp: '2001-01-01T00:00:00Z', generation: 9}}").await?;
        s.merge("configmaps/a", "{metadata: {uid: 22222222-2222-2222-2222-222222222222}}").await?;
    }
    "verbs/pod-template-fields-survive" => |s| {
        s.create("pods", "{metadata: {name: p}, spec: {nodeSelector: {zone: a}, tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], volumes: [{name: v, emptyDir: {}}], containers: [{name: c, image: 'i:2', command: [tidegate], args: [sim], env: [{name: A, value: b}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}], resources: {limits: {nvidia.com/gpu: 1, memory: 1Gi, cpu: 500m}}, volumeMounts: [{name: v, mountPath: /v}], readinessProbe: {httpGet: {path: /health, port: 8000}}}]}}").await?;
    }
    "verbs/create-on-a-named-path-is-not-allowed" => |s| {
        s.create("configmaps/a", &config("a", "one")).await?;
        s.ask("PUT", "configmaps").json(&serde_json::json!({})).send().await?;
        s.ask("PATCH", "configmaps").header("content-type", "application/merge-patch+json").raw("{}").send().await?;
    }
    "verbs/pod-created-and-listed" => |s| {
        s.create("pods", &pod("p")).await?;
        s.get("pods").await?;
    }
}
