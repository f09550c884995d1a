//! Tables, as kubectl's get asks for them.

use super::props::{WIDGET_SCHEMA, bound_pod, config, deployment, pod};
use crate::story::TABLE;

stories! {
    "table/pods" => |s| {
        s.have("pods", &pod("loose")).await?;
        s.have("pods", &bound_pod("bound")).await?;
        s.table("pods").await?;
        s.set("pods/bound/status", "{status: {phase: Running, podIP: 192.0.2.7, podIPs: [{ip: 192.0.2.7}], conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: main, image: i, imageID: x, ready: true, started: true, restartCount: 3, state: {running: {startedAt: '2026-01-01T00:00:00Z'}}, lastState: {terminated: {exitCode: 1, finishedAt: '2026-01-01T00:00:00Z'}}}]}}").await?;
        s.table("pods/bound").await?;
    }
    "table/pods-in-trouble" => |s| {
        for (name, state) in [
            ("waiting", "{waiting: {reason: CrashLoopBackOff}}"),
            ("failed", "{terminated: {exitCode: 3, reason: Error}}"),
            ("killed", "{terminated: {exitCode: 137, signal: 9}}"),
            ("nameless", "{terminated: {exitCode: 2}}"),
            ("done", "{terminated: {exitCode: 0, reason: Completed}}"),
        ] {
            s.have("pods", &bound_pod(name)).await?;
            s.set(&format!("pods/{name}/status"), &format!("{{status: {{phase: Pending, containerStatuses: [{{name: main, image: i, imageID: x, ready: false, restartCount: 0, state: {state}}}]}}}}")).await?;
        }
        s.have("pods", &bound_pod("evicted")).await?;
        s.set("pods/evicted/status", "{status: {phase: Failed, reason: Evicted, message: low}}").await?;
        s.have("pods", &bound_pod("leaving")).await?;
        s.delete("pods/leaving").await?;
        s.table("pods").await?;
    }
    "table/pods-gates-and-init-containers" => |s| {
        s.have("pods", "{metadata: {name: a}, spec: {readinessGates: [{conditionType: x.example/ok}], initContainers: [{name: first, image: i}], containers: [{name: c, image: i}, {name: d, image: j}]}}").await?;
        s.table("pods/a").await?;
        s.set("pods/a/status", "{status: {phase: Pending, initContainerStatuses: [{name: first, image: i, imageID: x, ready: false, restartCount: 1, state: {running: {}}}]}}").await?;
        s.table("pods/a").await?;
    }
    "table/deployments" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.table("apps/v1 deployments").await?;
        s.set("apps/v1 deployments/web/status", "{status: {replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 1, unavailableReplicas: 1}}").await?;
        s.table("apps/v1 deployments/web").await?;
    }
    "table/replicasets" => |s| {
        s.have("apps/v1 replicasets", "{metadata: {name: r}, spec: {replicas: 3, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.table("apps/v1 replicasets").await?;
    }
    "table/statefulsets-and-daemonsets" => |s| {
        s.have("apps/v1 statefulsets", "{metadata: {name: r}, spec: {serviceName: r, replicas: 3, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.have("apps/v1 daemonsets", "{metadata: {name: r}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {z: a}, containers: [{name: c, image: i}]}}}}").await?;
        s.table("apps/v1 statefulsets").await?;
        s.table("apps/v1 daemonsets").await?;
    }
    "table/nodes" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n1-{ns}', labels: {story: '{ns}', node-role.kubernetes.io/gpu: ''}}, spec: {unschedulable: true}}").await?;
        s.have("/api/v1/nodes", "{metadata: {name: 'n2-{ns}', labels: {story: '{ns}'}}}").await?;
        s.set("/api/v1/nodes/n1-{ns}/status", "{status: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 192.0.2.1}], nodeInfo: {kubeletVersion: v9.9.9, osImage: Here, kernelVersion: '6', containerRuntimeVersion: 'process://1', operatingSystem: linux, architecture: amd64, bootID: '', machineID: '', systemUUID: '', kubeProxyVersion: ''}}}").await?;
        s.table("/api/v1/nodes?labelSelector=story%3D{ns}").await?;
    }
    "table/services" => |s| {
        s.have("services", "{metadata: {name: a}, spec: {selector: {app: a}, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}}").await?;
        s.have("services", "{metadata: {name: b}, spec: {clusterIP: None, ports: [{port: 80}]}}").await?;
        s.have("services", "{metadata: {name: c}, spec: {type: ExternalName, externalName: example.org}}").await?;
        s.have("services", "{metadata: {name: d}, spec: {type: NodePort, ports: [{port: 80}]}}").await?;
        s.have("services", "{metadata: {name: e}, spec: {type: LoadBalancer, ports: [{port: 80}]}}").await?;
        s.table("services").await?;
    }
    "table/configmaps-and-secrets" => |s| {
        s.have("configmaps", "{metadata: {name: a}, data: {k: v, l: w}, binaryData: {m: aGk=}}").await?;
        s.have("secrets", "{metadata: {name: a}, stringData: {k: v}}").await?;
        s.table("configmaps").await?;
        s.table("secrets").await?;
    }
    "table/namespaces-and-accounts" => |s| {
        s.table("/api/v1/namespaces/{ns}").await?;
        s.have("serviceaccounts", "{metadata: {name: robot}}").await?;
        s.table("serviceaccounts/robot").await?;
    }
    "table/events" => |s| {
        s.have("events", "{metadata: {name: e1}, involvedObject: {kind: Pod, name: p, namespace: '{ns}', fieldPath: 'spec.containers{main}'}, reason: Started, message: 'Started it', type: Normal, count: 3, firstTimestamp: '2026-01-01T00:00:00Z', lastTimestamp: '2026-01-01T00:05:00Z', source: {component: kubelet, host: n1}}").await?;
        s.table("events").await?;
        s.table("events.k8s.io/v1 events").await?;
    }
    "table/leases-and-endpointslices" => |s| {
        s.have("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {holderIdentity: me}}").await?;
        s.table("coordination.k8s.io/v1 leases").await?;
        s.have("discovery.k8s.io/v1 endpointslices", "{metadata: {name: e}, addressType: IPv4, endpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2]}], ports: [{name: http, port: 8000}]}").await?;
        s.table("discovery.k8s.io/v1 endpointslices").await?;
    }
    "table/jobs-and-cronjobs" => |s| {
        s.have("batch/v1 jobs", "{metadata: {name: j}, spec: {completions: 3, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}").await?;
        s.have("batch/v1 cronjobs", "{metadata: {name: c}, spec: {schedule: '*/5 * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}}").await?;
        s.table("batch/v1 jobs").await?;
        s.table("batch/v1 cronjobs").await?;
    }
    "table/horizontalpodautoscalers" => |s| {
        s.have("autoscaling/v2 horizontalpodautoscalers", "{metadata: {name: h}, spec: {maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: External, external: {metric: {name: wva_desired_replicas}, target: {type: AverageValue, averageValue: '1'}}}]}}").await?;
        s.table("autoscaling/v2 horizontalpodautoscalers").await?;
    }
    "table/definitions" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.table(super::props::WIDGET_DEFINITION).await?;
    }
    "table/custom-resource-columns" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.have("{g}/v1 widgets", "{metadata: {name: b}, spec: {model: two, replicas: 3, tier: dear}}").await?;
        s.set("{g}/v1 widgets/b/status", "{status: {conditions: [{type: Other, status: 'False'}, {type: Ready, status: 'True'}]}}").await?;
        s.table("{g}/v1 widgets").await?;
        s.table("{g}/v1 widgets/b").await?;
    }
    "table/custom-resource-without-columns" => |s| {
        s.have(super::props::DEFINITIONS, "{metadata: {name: 'gadgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: gadgets, kind: Gadget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}").await?;
        s.until("{g}/v1 gadgets", |reply| reply.status == 200).await?;
        s.have("{g}/v1 gadgets", "{metadata: {name: a}, any: thing}").await?;
        s.table("{g}/v1 gadgets").await?;
    }
    "table/of-nothing" => |s| {
        s.table("configmaps").await?;
        s.table("configmaps/none").await?;
    }
    "table/what-the-rows-carry" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.table("configmaps?includeObject=Object").await?;
        s.table("configmaps?includeObject=None").await?;
        s.table("configmaps?includeObject=Metadata").await?;
        s.table("configmaps?includeObject=Half").await?;
    }
    "table/in-pages" => |s| {
        for name in ["a", "b", "c"] {
            s.have("configmaps", &config(name, "one")).await?;
        }
        s.table("configmaps?limit=2").await?;
    }
    "table/beta-version-asked" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.ask("GET", "configmaps").accept("application/json;as=Table;v=v1beta1;g=meta.k8s.io").send().await?;
        s.ask("GET", "configmaps").accept("application/json;as=Chair;v=v1;g=meta.k8s.io").send().await?;
    }
    "table/of-what-was-written" => |s| {
        s.ask("POST", "configmaps").accept(TABLE).object(&config("a", "one"))?.send().await?;
        s.ask("DELETE", "configmaps/a").accept(TABLE).send().await?;
    }
    "table/budgets-roles-and-classes" => |s| {
        s.have("policy/v1 poddisruptionbudgets", "{metadata: {name: p}, spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}}").await?;
        s.table("policy/v1 poddisruptionbudgets").await?;
        s.have("rbac.authorization.k8s.io/v1 roles", "{metadata: {name: reader}, rules: []}").await?;
        s.table("rbac.authorization.k8s.io/v1 roles").await?;
    }
}
