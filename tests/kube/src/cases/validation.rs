//! What the server refuses, and in which words.

use super::props::{deployment, pod};

stories! {
    "invalid/names" => |s| {
        for name in ["Upper", "under_score", "-dash", "a..b", "'with space'", "''"] {
            s.create("configmaps", &format!("{{metadata: {{name: {name}}}}}")).await?;
        }
        s.create("configmaps", &format!("{{metadata: {{name: {}}}}}", "x".repeat(254))).await?;
        s.create("services", "{metadata: {name: 1abc}, spec: {ports: [{port: 80}]}}").await?;
        s.create("/api/v1/namespaces", "{metadata: {name: a.b}}").await?;
    }
    "invalid/labels" => |s| {
        s.create("configmaps", "{metadata: {name: a, labels: {'bad key': v}}}").await?;
        s.create("configmaps", "{metadata: {name: a, labels: {k: 'bad value'}}}").await?;
        s.create("configmaps", "{metadata: {name: a, labels: {a/b/c: v}}}").await?;
        s.create("configmaps", &format!("{{metadata: {{name: a, labels: {{k: {}}}}}}}", "x".repeat(64))).await?;
        s.create("configmaps", "{metadata: {name: a, labels: {k: 5}}}").await?;
    }
    "invalid/annotations" => |s| {
        s.create("configmaps", "{metadata: {name: a, annotations: {'bad key': v}}}").await?;
        s.create("configmaps", "{metadata: {name: a, annotations: {-x: v}}}").await?;
    }
    "invalid/configmap-keys" => |s| {
        s.create("configmaps", "{metadata: {name: a}, data: {'bad key': v}}").await?;
        s.create("configmaps", "{metadata: {name: a}, data: {k: v}, binaryData: {k: aGk=}}").await?;
        s.create("configmaps", "{metadata: {name: a}, binaryData: {k: '!!'}}").await?;
    }
    "invalid/pod-without-containers" => |s| {
        s.create("pods", "{metadata: {name: p}, spec: {}}").await?;
        s.create("pods", "{metadata: {name: p}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: []}}").await?;
    }
    "invalid/pod-containers" => |s| {
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{image: i}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: Bad_Name, image: i}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i}, {name: c, image: i}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, ports: [{containerPort: 70000}]}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, imagePullPolicy: Sometimes}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, env: [{name: ''}]}]}}").await?;
    }
    "invalid/pod-spec" => |s| {
        s.create("pods", "{metadata: {name: p}, spec: {restartPolicy: Perhaps, containers: [{name: c, image: i}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {nodeSelector: {'bad key': v}, containers: [{name: c, image: i}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, volumeMounts: [{name: none, mountPath: /x}]}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {tolerations: [{operator: Maybe}], containers: [{name: c, image: i}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {terminationGracePeriodSeconds: -1, containers: [{name: c, image: i}]}}").await?;
    }
    "invalid/pod-resources" => |s| {
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {limits: {cpu: lots}}}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {requests: {nvidia.com/gpu: 1}}}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {limits: {nvidia.com/gpu: '0.5'}}}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {limits: {gpu: 1}}}]}}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {limits: {memory: '-1'}}}]}}").await?;
    }
    "invalid/pod-spec-is-mostly-immutable" => |s| {
        s.have("pods", &pod("p")).await?;
        s.strategic("pods/p", "{spec: {containers: [{name: main, image: 'other:2'}]}}").await?;
        s.strategic("pods/p", "{spec: {containers: [{name: main, command: [x]}]}}").await?;
        s.merge("pods/p", "{spec: {nodeName: here}}").await?;
        s.merge("pods/p", "{spec: {restartPolicy: Never}}").await?;
        s.merge("pods/p", "{spec: {activeDeadlineSeconds: 60}}").await?;
    }
    "invalid/deployment-selector-mismatch" => |s| {
        s.create("apps/v1 deployments", "{metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.create("apps/v1 deployments", "{metadata: {name: d}, spec: {selector: {}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.create("apps/v1 deployments", "{metadata: {name: d}, spec: {template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}}").await?;
    }
    "invalid/deployment-selector-is-immutable" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.merge("apps/v1 deployments/web", "{spec: {selector: {matchLabels: {x: y}}, template: {metadata: {labels: {x: y}}}}}").await?;
    }
    "invalid/deployment-numbers" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.merge("apps/v1 deployments/web", "{spec: {replicas: -2}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {replicas: two}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {replicas: 1.5}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {strategy: {type: Sideways}}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {template: {spec: {restartPolicy: Never}}}}").await?;
        s.merge("apps/v1 deployments/web", "{spec: {progressDeadlineSeconds: 1, minReadySeconds: 5}}").await?;
    }
    "invalid/deployment-empty" => |s| {
        s.create("apps/v1 deployments", "{metadata: {name: d}}").await?;
        s.create("apps/v1 deployments", "{metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}}}").await?;
    }
    "invalid/service" => |s| {
        s.create("services", "{metadata: {name: a}, spec: {}}").await?;
        s.create("services", "{metadata: {name: a}, spec: {ports: [{port: 0}]}}").await?;
        s.create("services", "{metadata: {name: a}, spec: {ports: [{port: 80}, {port: 81}]}}").await?;
        s.create("services", "{metadata: {name: a}, spec: {type: Sideways, ports: [{port: 80}]}}").await?;
        s.create("services", "{metadata: {name: a}, spec: {ports: [{port: 80, protocol: XYZ}]}}").await?;
        s.have("services", "{metadata: {name: b}, spec: {ports: [{port: 80}]}}").await?;
        s.merge("services/b", "{spec: {clusterIP: 10.0.0.77}}").await?;
    }
    "invalid/job" => |s| {
        s.create("batch/v1 jobs", "{metadata: {name: j}, spec: {template: {spec: {containers: [{name: c, image: i}]}}}}").await?;
        s.have("batch/v1 jobs", "{metadata: {name: k}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}").await?;
        s.merge("batch/v1 jobs/k", "{spec: {completions: 5}}").await?;
        s.create("batch/v1 cronjobs", "{metadata: {name: c}, spec: {schedule: soon, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}}").await?;
    }
    "invalid/lease" => |s| {
        s.create("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {leaseDurationSeconds: 0}}").await?;
        s.create("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {renewTime: yesterday}}").await?;
        s.create("coordination.k8s.io/v1 leases", "{metadata: {name: l}, spec: {leaseTransitions: -1}}").await?;
    }
    "invalid/endpointslice" => |s| {
        s.create("discovery.k8s.io/v1 endpointslices", "{metadata: {name: e}, addressType: IPv4, endpoints: [{addresses: [nowhere]}]}").await?;
        s.create("discovery.k8s.io/v1 endpointslices", "{metadata: {name: e}, endpoints: []}").await?;
        s.create("discovery.k8s.io/v1 endpointslices", "{metadata: {name: e}, addressType: IPv4, endpoints: [{addresses: []}]}").await?;
    }
    "invalid/endpointslice-on-loopback" => |s| {
        s.create("discovery.k8s.io/v1 endpointslices", "{metadata: {name: e}, addressType: IPv4, endpoints: [{addresses: [127.0.0.5]}]}").await?;
    }
    "invalid/node-status-and-taints" => |s| {
        s.create("/api/v1/nodes", "{metadata: {name: 'n-{ns}'}, spec: {taints: [{key: a, effect: Perhaps}]}}").await?;
        s.create("/api/v1/nodes", "{metadata: {name: Bad_Node}}").await?;
    }
    "invalid/wrong-types-in-a-body" => |s| {
        s.create("configmaps", "{metadata: {name: a}, data: {k: 5}}").await?;
        s.create("configmaps", "{metadata: {name: a}, data: [k]}").await?;
        s.create("configmaps", "{metadata: {name: 5}}").await?;
        s.create("configmaps", "{metadata: wrong}").await?;
        s.create("pods", "{metadata: {name: p}, spec: {containers: {name: c}}}").await?;
    }
    "invalid/horizontalpodautoscaler" => |s| {
        s.create("autoscaling/v2 horizontalpodautoscalers", "{metadata: {name: h}, spec: {maxReplicas: 0, scaleTargetRef: {kind: Deployment, name: web}}}").await?;
        s.create("autoscaling/v2 horizontalpodautoscalers", "{metadata: {name: h}, spec: {minReplicas: 5, maxReplicas: 2, scaleTargetRef: {kind: Deployment, name: web}}}").await?;
        s.create("autoscaling/v2 horizontalpodautoscalers", "{metadata: {name: h}, spec: {maxReplicas: 2}}").await?;
    }
    "invalid/poddisruptionbudget" => |s| {
        s.create("policy/v1 poddisruptionbudgets", "{metadata: {name: p}, spec: {minAvailable: 1, maxUnavailable: 1}}").await?;
        s.create("policy/v1 poddisruptionbudgets", "{metadata: {name: p}, spec: {minAvailable: 150%}}").await?;
    }
    "invalid/role-binding" => |s| {
        s.create("rbac.authorization.k8s.io/v1 rolebindings", "{metadata: {name: b}, subjects: []}").await?;
        s.have("rbac.authorization.k8s.io/v1 rolebindings", "{metadata: {name: c}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}}").await?;
        s.merge("rbac.authorization.k8s.io/v1 rolebindings/c", "{roleRef: {name: other}}").await?;
    }
    "invalid/secret-type-is-immutable" => |s| {
        s.have("secrets", "{metadata: {name: a}, type: example.org/x}").await?;
        s.merge("secrets/a", "{type: example.org/y}").await?;
    }
}
