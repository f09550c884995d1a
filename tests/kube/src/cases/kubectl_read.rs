//! What kubectl prints when it reads.

use super::props::{WIDGET_SCHEMA, bound_pod, config, deployment, pod};
use crate::story::Story;
use anyhow::Result;

/// Two ConfigMaps, told apart by a label.
async fn shelf(s: &Story) -> Result<()> {
    s.have("configmaps", &config("a", "one")).await?;
    s.have("configmaps", &config("b", "two")).await?;
    Ok(())
}

stories! {
    "kubectl/get-configmaps" => |s| {
        shelf(&s).await?;
        s.kubectl("get configmaps").await?;
        s.kubectl("get cm a b").await?;
        s.kubectl("get cm -l tier=one --show-labels").await?;
        s.kubectl("get cm -o wide --no-headers").await?;
    }
    "kubectl/get-as-yaml-and-json" => |s| {
        shelf(&s).await?;
        s.kubectl("get cm a -o yaml").await?;
        s.kubectl("get cm a -o json").await?;
        s.kubectl("get cm -o yaml").await?;
    }
    "kubectl/get-by-jsonpath-name-and-columns" => |s| {
        shelf(&s).await?;
        s.kubectl("get cm -o jsonpath={.items[*].data.key}").await?;
        s.kubectl("get cm -o name").await?;
        s.kubectl("get cm -o custom-columns=N:.metadata.name,V:.data.key").await?;
        s.kubectl("get cm --sort-by=.data.key").await?;
        s.kubectl("get cm -o go-template={{range.items}}{{.metadata.name}};{{end}}").await?;
    }
    "kubectl/get-what-is-not-there" => |s| {
        s.kubectl("get cm none").await?;
        s.kubectl("get cm").await?;
        s.kubectl("get thing").await?;
        s.kubectl("get cm none --ignore-not-found").await?;
        s.kubectl("get cm -l 'a in b'").await?;
        s.kubectl("get cm --field-selector color=red").await?;
    }
    "kubectl/get-pods" => |s| {
        s.have("pods", &pod("loose")).await?;
        s.have("pods", &bound_pod("bound")).await?;
        s.kubectl("get pods").await?;
        s.kubectl("get pods -o wide").await?;
        s.kubectl("get pod bound -o yaml").await?;
        s.kubectl("get pods --field-selector spec.nodeName=far-away").await?;
    }
    "kubectl/get-many-kinds" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.have("services", "{metadata: {name: web}, spec: {ports: [{port: 80}]}}").await?;
        s.kubectl("get deployments,services -o wide").await?;
        s.kubectl("get deploy/web svc/web").await?;
        s.kubectl("get deploy web -o yaml").await?;
        s.kubectl("get svc web -o jsonpath={.spec.ports[0].port}").await?;
    }
    "kubectl/get-nodes" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n-{ns}', labels: {story: '{ns}'}}, spec: {taints: [{key: gpu, effect: NoSchedule}]}}").await?;
        s.set("/api/v1/nodes/n-{ns}/status", "{status: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 192.0.2.1}]}}").await?;
        s.kubectl("get nodes -l story={ns}").await?;
        s.kubectl("get nodes -l story={ns} -o wide -L story").await?;
    }
    "kubectl/get-in-chunks" => |s| {
        shelf(&s).await?;
        s.have("configmaps", &config("c", "one")).await?;
        s.kubectl("get cm --chunk-size=2").await?;
    }
    "kubectl/get-custom-resources" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.kubectl("get widgets.{g}").await?;
        s.kubectl("get widgets.v1.{g} -o wide").await?;
        s.kubectl("get widgets.{g} a -o yaml").await?;
        s.kubectl("get crd widgets.{g}").await?;
    }
    "kubectl/get-watching" => |s| {
        shelf(&s).await?;
        let mut watch = s.kubectl_watch("get cm -w")?;
        watch.take(3).await?;
        s.set("configmaps/a", "{data: {more: x}}").await?;
        watch.take(1).await?;
        s.have("configmaps", &config("late", "one")).await?;
        watch.take(1).await?;
        s.delete("configmaps/a").await?;
        watch.take(1).await?;
    }
    "kubectl/get-watching-events" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        // Of an object by its name kubectl would pass over what happens before its
        // watch has begun, and of a list it begins at what it has shown.
        let mut watch = s.kubectl_watch("get cm --field-selector metadata.name=a -w --output-watch-events")?;
        watch.take(2).await?;
        s.set("configmaps/a", "{data: {more: x}}").await?;
        s.delete("configmaps/a").await?;
        watch.take(2).await?;
    }
    "kubectl/get-watching-custom-resources" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        let mut watch = s.kubectl_watch("get widgets.{g} -w -o custom-columns=N:.metadata.name,R:.spec.replicas")?;
        watch.take(2).await?;
        s.set("{g}/v1 widgets/a", "{spec: {replicas: 5}}").await?;
        watch.take(1).await?;
    }
    "kubectl/describe-pod" => |s| {
        s.have("pods", "{metadata: {name: p, labels: {a: b}, annotations: {n: m}}, spec: {nodeName: far-away, tolerations: [{key: gpu, operator: Exists}], volumes: [{name: v, emptyDir: {}}, {name: c, configMap: {name: c}}], containers: [{name: main, image: 'i:1', command: [tidegate], args: [sim], ports: [{containerPort: 8000}], env: [{name: A, value: b}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}], resources: {limits: {cpu: 1, nvidia.com/gpu: 1}}, readinessProbe: {httpGet: {path: /health, port: 8000}}, volumeMounts: [{name: v, mountPath: /v}]}]}}").await?;
        s.set("pods/p/status", "{status: {phase: Running, podIP: 192.0.2.7, podIPs: [{ip: 192.0.2.7}], conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: main, image: i, imageID: x, containerID: 'process://1', ready: true, restartCount: 3, state: {running: {startedAt: '2026-01-01T00:00:00Z'}}, lastState: {terminated: {exitCode: 137, reason: Error, startedAt: '2026-01-01T00:00:00Z', finishedAt: '2026-01-01T00:00:10Z'}}}]}}").await?;
        s.have("events", "{metadata: {name: e1}, involvedObject: {kind: Pod, name: p, namespace: '{ns}', fieldPath: 'spec.containers{main}'}, reason: Started, message: 'Started it', type: Normal, count: 3, firstTimestamp: '2026-01-01T00:00:00Z', lastTimestamp: '2026-01-01T00:05:00Z', source: {component: kubelet, host: n1}}").await?;
        s.kubectl("describe pod p").await?;
        s.kubectl("describe pod none").await?;
    }
    "kubectl/describe-deployment" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("describe deployment web").await?;
    }
    "kubectl/describe-node" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n-{ns}', labels: {story: '{ns}'}}, spec: {taints: [{key: gpu, effect: NoSchedule}]}}").await?;
        s.set("/api/v1/nodes/n-{ns}/status", "{status: {capacity: {cpu: '4', memory: 8Gi, nvidia.com/gpu: '2', pods: '110'}, allocatable: {cpu: '4', memory: 8Gi, nvidia.com/gpu: '2', pods: '110'}, conditions: [{type: Ready, status: 'True', reason: KubeletReady, message: ok, lastHeartbeatTime: '2026-01-01T00:00:00Z', lastTransitionTime: '2026-01-01T00:00:00Z'}], addresses: [{type: InternalIP, address: 192.0.2.1}]}}").await?;
        s.have("pods", "{metadata: {name: p}, spec: {nodeName: 'n-{ns}', containers: [{name: c, image: i, resources: {limits: {cpu: 500m, nvidia.com/gpu: 1}}}]}}").await?;
        s.kubectl("describe node n-{ns}").await?;
    }
    "kubectl/describe-configmap-secret-and-service" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.have("secrets", "{metadata: {name: a}, stringData: {k: v}}").await?;
        s.have("services", "{metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8000}]}}").await?;
        s.kubectl("describe configmap a").await?;
        s.kubectl("describe secret a").await?;
        s.kubectl("describe service web").await?;
    }
    "kubectl/describe-namespace" => |s| {
        s.kubectl("describe namespace {ns}").await?;
    }
    "kubectl/describe-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        let widget = s.have("{g}/v1 widgets", "{metadata: {name: a, labels: {x: w}}, spec: {model: mo, parts: [{name: p}]}}").await?;
        s.set("{g}/v1 widgets/a/status", "{status: {conditions: [{type: Ready, status: 'True'}]}}").await?;
        s.have("events.k8s.io/v1 events", &format!("{{metadata: {{name: e2}}, regarding: {{kind: Widget, name: a, namespace: '{{ns}}', apiVersion: '{{g}}/v1', uid: {}}}, reason: Scaled, note: 'Scaled up', type: Normal, action: Scaling, reportingController: tidegate.dev/autoscaler, reportingInstance: one, eventTime: '2026-01-01T00:00:00.123456Z'}}", widget.uid())).await?;
        s.kubectl("describe widgets.{g} a").await?;
    }
    "kubectl/describe-replicaset-job-and-lease" => |s| {
        s.have("apps/v1 replicasets", "{metadata: {name: r}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.have("batch/v1 jobs", "{metadata: {name: j}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}").await?;
        s.have("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {holderIdentity: me}}").await?;
        s.kubectl("describe replicaset r").await?;
        s.kubectl("describe job j").await?;
        s.kubectl("describe lease l").await?;
    }
    "kubectl/events" => |s| {
        s.have("pods", &pod("p")).await?;
        s.have("events", "{metadata: {name: e1}, involvedObject: {kind: Pod, name: p, namespace: '{ns}', apiVersion: v1}, reason: Started, message: 'Started it', type: Normal, count: 3, firstTimestamp: '2026-01-01T00:00:00Z', lastTimestamp: '2026-01-01T00:05:00Z', source: {component: kubelet, host: n1}}").await?;
        s.have("events", "{metadata: {name: e2}, involvedObject: {kind: Node, name: n, namespace: '{ns}', apiVersion: v1}, reason: Sad, message: 'It is sad', type: Warning, count: 1, firstTimestamp: '2026-01-02T00:00:00Z', lastTimestamp: '2026-01-02T00:00:00Z', source: {component: c}}").await?;
        s.kubectl("events").await?;
        s.kubectl("events --for pod/p").await?;
        s.kubectl("events --types Warning").await?;
        s.kubectl("get events").await?;
        s.kubectl("get events -o wide --field-selector reason=Sad").await?;
    }
    "kubectl/explain" => |s| {
        s.kubectl("explain pod.spec.containers.readinessProbe.httpGet").await?;
        s.kubectl("explain deployment.spec.replicas").await?;
        s.kubectl("explain pod.spec.none").await?;
        s.kubectl("explain none").await?;
    }
    "kubectl/explain-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.until_explained().await?;
        s.until_found().await?;
        s.kubectl_explains("explain widgets.spec --api-version={g}/v1").await?;
        s.kubectl_explains("explain widgets.spec.parts --api-version={g}/v1 --recursive").await?;
    }
    "kubectl/api-resources" => |s| {
        s.kubectl("api-resources --api-group=apps -o wide --no-headers").await?;
        s.kubectl("api-resources --api-group=batch").await?;
        s.kubectl("api-resources --api-group=events.k8s.io").await?;
        s.kubectl("api-resources --api-group=policy").await?;
        s.kubectl("api-resources --api-group=apiextensions.k8s.io -o wide").await?;
    }
    "kubectl/api-resources-custom" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.until("/apis/{g}/v1", |reply| reply.body["resources"].as_array().is_some_and(|all| all.len() == 3)).await?;
        s.kubectl("api-resources --api-group={g} -o wide --cached=false").await?;
    }
    "kubectl/version-and-cluster" => |s| {
        s.kubectl("version -o json").await?;
        s.kubectl("cluster-info").await?;
    }
    "kubectl/logs-of-what-does-not-run" => |s| {
        s.have("pods", &pod("p")).await?;
        s.kubectl("logs p").await?;
        s.kubectl("logs none").await?;
        s.kubectl("logs p -c none").await?;
    }
    "kubectl/can-i" => |s| {
        s.kubectl("auth can-i get pods").await?;
        s.kubectl("auth can-i '*' '*'").await?;
    }
    "kubectl/get-raw" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.kubectl("get --raw /api/v1/namespaces/{ns}/configmaps/a").await?;
        s.kubectl("get --raw /readyz").await?;
        s.kubectl("get --raw /none").await?;
    }
    "kubectl/get-cluster-and-account-kinds" => |s| {
        s.have("serviceaccounts", "{metadata: {name: robot}}").await?;
        s.have("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {holderIdentity: me}}").await?;
        s.kubectl("get ns {ns}").await?;
        s.kubectl("get sa/robot lease/l").await?;
        s.kubectl("get all").await?;
    }
}
