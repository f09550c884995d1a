//! What the server fills in.

use super::props::pod;

stories! {
    "default/pod" => |s| {
        s.create("pods", &pod("p")).await?;
    }
    "default/pod-with-everything-we-use" => |s| {
        s.create("pods", "{metadata: {name: p}, spec: {restartPolicy: OnFailure, terminationGracePeriodSeconds: 5, hostNetwork: true, initContainers: [{name: i, image: 'i:latest'}], volumes: [{name: a, configMap: {name: c}}, {name: b, secret: {secretName: s}}, {name: c, hostPath: {path: /x}}, {name: d, projected: {sources: [{configMap: {name: c}}]}}, {name: e, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}], containers: [{name: c, image: i, ports: [{containerPort: 8000}], livenessProbe: {tcpSocket: {port: 8000}}, readinessProbe: {httpGet: {port: 8000}}, startupProbe: {exec: {command: [x]}, periodSeconds: 1}, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, valueFrom: {configMapKeyRef: {name: c, key: k}}}], resources: {limits: {cpu: '0.5', memory: '1.5Gi', nvidia.com/gpu: 1}}, lifecycle: {preStop: {httpGet: {port: 8000}}}}]}}").await?;
    }
    "default/pod-quality-of-service" => |s| {
        s.create("pods", "{metadata: {name: g}, spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1, memory: 1Gi}}}]}}").await?;
        s.create("pods", "{metadata: {name: b}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}}").await?;
    }
    "default/quantities-become-canonical" => |s| {
        s.create("pods", "{metadata: {name: q}, spec: {containers: [{name: c, image: i, resources: {limits: {cpu: '1000m', memory: '2048Mi', ephemeral-storage: '1000000k'}, requests: {cpu: '0.25', memory: '1e3'}}}]}}").await?;
    }
    "default/deployment" => |s| {
        s.create("apps/v1 deployments", "{metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.create("apps/v1 deployments", "{metadata: {name: r}, spec: {strategy: {type: Recreate}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
    }
    "default/deployment-rolling-update" => |s| {
        s.create("apps/v1 deployments", "{metadata: {name: d}, spec: {strategy: {rollingUpdate: {maxSurge: 1}}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: 'i@sha256:0123456789012345678901234567890123456789012345678901234567890123'}]}}}}").await?;
    }
    "default/replicaset-takes-the-templates-labels" => |s| {
        s.create("apps/v1 replicasets", "{metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
    }
    "default/services-of-each-type" => |s| {
        s.create("services", "{metadata: {name: a}, spec: {selector: {x: y}, ports: [{port: 80}]}}").await?;
        s.create("services", "{metadata: {name: b}, spec: {clusterIP: None, selector: {x: y}, ports: [{port: 80, targetPort: http}]}}").await?;
        s.create("services", "{metadata: {name: c}, spec: {type: NodePort, ports: [{port: 80}], sessionAffinity: ClientIP}}").await?;
        s.create("services", "{metadata: {name: d}, spec: {type: ExternalName, externalName: example.org}}").await?;
    }
    "default/job" => |s| {
        s.create("batch/v1 jobs", "{metadata: {name: j}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}").await?;
    }
    "default/cronjob" => |s| {
        s.create("batch/v1 cronjobs", "{metadata: {name: c}, spec: {schedule: '0 * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: c, image: i}]}}}}}}").await?;
    }
    "default/horizontalpodautoscaler" => |s| {
        s.create("autoscaling/v2 horizontalpodautoscalers", "{metadata: {name: h}, spec: {maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}").await?;
        s.create("autoscaling/v2 horizontalpodautoscalers", "{metadata: {name: i}, spec: {maxReplicas: 4, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}}").await?;
    }
    "default/statefulset-and-daemonset" => |s| {
        s.create("apps/v1 statefulsets", "{metadata: {name: r}, spec: {serviceName: r, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.create("apps/v1 daemonsets", "{metadata: {name: r}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
    }
    "default/secret-and-its-strings" => |s| {
        s.create("secrets", "{metadata: {name: a}, data: {a: aGk=, b: aGk=}, stringData: {b: over, c: plain}}").await?;
        s.create("secrets", "{metadata: {name: b}, data: {a: 'not base64!'}}").await?;
        s.merge("secrets/a", "{stringData: {d: new}}").await?;
        s.create("secrets", "{metadata: {name: t}, type: kubernetes.io/tls, data: {a: aGk=}}").await?;
    }
    "default/namespace-labels-itself" => |s| {
        s.create("/api/v1/namespaces", "{metadata: {name: '{ns}-x'}}").await?;
        s.merge("/api/v1/namespaces/{ns}-x", "{metadata: {labels: {kubernetes.io/metadata.name: other}}}").await?;
    }
    "default/node" => |s| {
        s.create("/api/v1/nodes", "{metadata: {name: 'n-{ns}'}}").await?;
        s.create("/api/v1/nodes", "{metadata: {name: 'm-{ns}'}, spec: {unschedulable: true}}").await?;
    }
    "default/priorityclass" => |s| {
        s.create("/apis/scheduling.k8s.io/v1/priorityclasses", "{metadata: {name: 'p-{ns}'}, value: 7}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {priorityClassName: 'p-{ns}', containers: [{name: c, image: i}]}}").await?;
        s.create("pods", "{metadata: {name: q}, spec: {priorityClassName: no-such, containers: [{name: c, image: i}]}}").await?;
    }
}
