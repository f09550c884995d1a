//! Status, scale, eviction, binding.

use super::props::{WIDGET_SCHEMA, bound_pod, deployment, pod};

stories! {
    "sub/status-and-spec-are-apart" => |s| {
        s.create("apps/v1 deployments", "{metadata: {name: web}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}, status: {replicas: 7}}").await?;
        s.merge("apps/v1 deployments/web", "{status: {replicas: 3}}").await?;
        s.merge("apps/v1 deployments/web/status", "{spec: {replicas: 9}, status: {replicas: 3}}").await?;
        s.get("apps/v1 deployments/web/status").await?;
        s.merge("apps/v1 deployments/web/status", "{metadata: {labels: {x: y}, annotations: {n: m}}}").await?;
    }
    "sub/status-replaced" => |s| {
        let mut read = s.have("apps/v1 deployments", &deployment("web")).await?;
        read.body["status"] = serde_json::json!({ "replicas": 2, "readyReplicas": 1 });
        read.body["spec"]["replicas"] = 8.into();
        s.put("apps/v1 deployments/web/status", &read.body).await?;
    }
    "sub/pod-status" => |s| {
        s.have("pods", &bound_pod("p")).await?;
        s.strategic("pods/p/status", "{status: {phase: Running, startTime: '2026-01-01T00:00:00Z', conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: main, image: i, imageID: x, ready: true, restartCount: 0, state: {running: {}}}]}}").await?;
        s.strategic("pods/p/status", "{status: {conditions: [{type: Ready, status: 'False', reason: R}, {type: Initialized, status: 'True'}]}}").await?;
        s.merge("pods/p", "{status: {phase: Failed}}").await?;
    }
    "sub/custom-resource-status" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.create("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}, status: {phase: Early}}").await?;
        s.merge("{g}/v1 widgets/a/status", "{status: {phase: Up}, spec: {model: other}}").await?;
        s.merge("{g}/v1 widgets/a", "{status: {phase: Down}}").await?;
        s.merge("{g}/v1 widgets/a/status", "{status: {phase: 5}}").await?;
        s.merge("{g}/v1 widgets/a/status", "{status: 5}").await?;
        s.get("{g}/v1 widgets/a/status").await?;
    }
    "sub/scale-of-a-deployment" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        let mut scale = s.get("apps/v1 deployments/web/scale").await?;
        scale.body["spec"]["replicas"] = 5.into();
        s.put("apps/v1 deployments/web/scale", &scale.body).await?;
        s.merge("apps/v1 deployments/web/scale", "{spec: {replicas: 0}}").await?;
        s.get("apps/v1 deployments/web").await?;
    }
    "sub/scale-refuses" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.merge("apps/v1 deployments/web/scale", "{spec: {replicas: -1}}").await?;
        s.merge("apps/v1 deployments/web/scale", "{spec: {replicas: many}}").await?;
        s.get("apps/v1 deployments/none/scale").await?;
        s.replace("apps/v1 deployments/web/scale", "{metadata: {name: web, namespace: '{ns}', resourceVersion: '1'}, spec: {replicas: 1}}").await?;
    }
    "sub/scale-put-without-content-type" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.ask("PUT", "apps/v1 deployments/web/scale").raw(s.fill(r#"{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"web","namespace":"{ns}"},"spec":{"replicas":3}}"#)).send().await?;
    }
    "sub/scale-of-replicasets-and-statefulsets" => |s| {
        let spec = "{metadata: {name: r}, spec: {serviceName: r, replicas: 3, selector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}, template: {metadata: {labels: {a: b, c: d}}, spec: {containers: [{name: c, image: i}]}}}}";
        s.have("apps/v1 statefulsets", spec).await?;
        s.get("apps/v1 statefulsets/r/scale").await?;
        s.have("apps/v1 replicasets", &spec.replace("serviceName: r, ", "")).await?;
        s.merge("apps/v1 replicasets/r/scale", "{spec: {replicas: 1}}").await?;
    }
    "sub/scale-of-a-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.set("{g}/v1 widgets/a/status", "{status: {replicas: 1, selector: 'a=b'}}").await?;
        s.get("{g}/v1 widgets/a/scale").await?;
        s.merge("{g}/v1 widgets/a/scale", "{spec: {replicas: 3}}").await?;
        s.get("{g}/v1 widgets/a").await?;
    }
    "sub/eviction" => |s| {
        s.have("pods", &bound_pod("p")).await?;
        s.create("pods/p/eviction", "{metadata: {name: p}}").await?;
        s.get("pods/p").await?;
        s.create("pods/none/eviction", "{metadata: {name: none}}").await?;
        s.have("pods", &pod("q")).await?;
        s.create("pods/q/eviction", "{metadata: {name: q}, deleteOptions: {gracePeriodSeconds: 0}}").await?;
        s.create("pods/p/eviction", "{metadata: {name: other}}").await?;
    }
    "sub/binding" => |s| {
        s.have("pods", &pod("p")).await?;
        s.create("pods/p/binding", "{metadata: {name: p}, target: {apiVersion: v1, kind: Node, name: far-away}}").await?;
        s.get("pods/p").await?;
        s.create("pods/p/binding", "{metadata: {name: p}, target: {apiVersion: v1, kind: Node, name: nearer}}").await?;
        s.create("pods/none/binding", "{metadata: {name: none}, target: {kind: Node, name: x}}").await?;
        s.create("pods/p/binding", "{metadata: {name: p}, target: {kind: House, name: x}}").await?;
    }
    "sub/unknown-subresource" => |s| {
        s.have("configmaps", "{metadata: {name: a}}").await?;
        s.get("configmaps/a/status").await?;
        s.get("configmaps/a/scale").await?;
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.get("apps/v1 deployments/web/none").await?;
        s.delete("apps/v1 deployments/web/status").await?;
    }
    "sub/pod-log-of-what-does-not-run" => |s| {
        s.have("pods", &pod("p")).await?;
        s.get("pods/p/log").await?;
        s.get("pods/none/log").await?;
        s.get("pods/p/log?container=none").await?;
        s.get("pods/p/log?tailLines=-4").await?;
    }
    "sub/node-status" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n-{ns}'}}").await?;
        s.strategic("/api/v1/nodes/n-{ns}/status", "{status: {capacity: {cpu: 4000m, memory: 1024Mi}, conditions: [{type: Ready, status: 'False'}]}}").await?;
        s.strategic("/api/v1/nodes/n-{ns}/status", "{status: {conditions: [{type: Ready, status: 'True'}, {type: DiskPressure, status: 'False'}]}}").await?;
        s.strategic("/api/v1/nodes/n-{ns}", "{spec: {unschedulable: true, taints: [{key: gpu, effect: NoSchedule}]}}").await?;
    }
}
