//! HorizontalPodAutoscalers: what is filled in, refused, shown and kept apart.

const HPAS: &str = "autoscaling/v2 horizontalpodautoscalers";

/// An autoscaler of the Deployment `web` with more in its spec.
fn hpa(name: &str, more: &str) -> String {
    format!(
        "{{metadata: {{name: {name}}}, spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, {more}}}}}"
    )
}

/// One external metric with this target.
fn external(target: &str) -> String {
    format!("maxReplicas: 4, metrics: [{{type: External, external: {{metric: {{name: waiting}}, target: {target}}}}}]")
}

stories! {
    "hpa/behavior-is-filled-only-where-it-is" => |s| {
        s.create(HPAS, &hpa("a", "maxReplicas: 4")).await?;
        s.create(HPAS, &hpa("b", "maxReplicas: 4, behavior: {}")).await?;
        s.create(HPAS, &hpa("c", "maxReplicas: 4, behavior: {scaleUp: {stabilizationWindowSeconds: 30}}")).await?;
        s.create(HPAS, &hpa("d", "maxReplicas: 4, behavior: {scaleDown: {selectPolicy: Disabled}}")).await?;
        s.create(HPAS, &hpa("e", "maxReplicas: 4, behavior: {scaleUp: {tolerance: '0.05', policies: [{type: Pods, value: 1, periodSeconds: 60}]}}")).await?;
    }
    "hpa/empty-policies" => |s| {
        s.create(HPAS, &hpa("a", "maxReplicas: 4, behavior: {scaleUp: {policies: []}}")).await?;
    }
    "hpa/metrics-of-each-kind" => |s| {
        s.create(HPAS, &hpa("a", &external("{type: AverageValue, averageValue: '0.5'}"))).await?;
        s.create(HPAS, &hpa("b", &external("{type: Value, value: 1024Mi}"))).await?;
        s.create(HPAS, &hpa("c", "minReplicas: 2, maxReplicas: 4, metrics: [{type: Pods, pods: {metric: {name: qps, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: 3}}}, {type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: web}, metric: {name: qps}, target: {type: Value, value: 10}}}, {type: ContainerResource, containerResource: {name: memory, container: main, target: {type: AverageValue, averageValue: 1Gi}}}]")).await?;
    }
    "hpa/bounds-that-cannot-be" => |s| {
        for bounds in ["minReplicas: 0, maxReplicas: 3", "minReplicas: -1, maxReplicas: -2", "minReplicas: 5, maxReplicas: 3", "maxReplicas: 0"] {
            s.create(HPAS, &hpa("a", bounds)).await?;
        }
    }
    "hpa/targets-that-cannot-be" => |s| {
        for target in ["{kind: Deployment, name: web}", "{apiVersion: a/b/c, kind: Deployment, name: web}", "{apiVersion: v1, kind: Deployment, name: a/b}", "{apiVersion: v1, kind: ReplicationController, name: web}", "{}"] {
            s.create(HPAS, &format!("{{metadata: {{generateName: a-}}, spec: {{maxReplicas: 2, scaleTargetRef: {target}}}}}")).await?;
        }
    }
    "hpa/metrics-that-cannot-be" => |s| {
        for metric in [
            "{type: Nothing}",
            "{}",
            "{type: External}",
            "{type: External, pods: {metric: {name: a}, target: {type: AverageValue, averageValue: 1}}}",
            "{type: External, external: {metric: {name: a/b}, target: {type: Value, value: 0}}}",
            "{type: External, external: {metric: {name: a}, target: {type: Value, value: 1, averageValue: '-1'}}}",
            "{type: External, external: {metric: {name: a}, target: {}}}",
            "{type: Pods, pods: {metric: {name: ''}, target: {type: Value, value: 1}}}",
            "{type: Resource, resource: {name: '', target: {type: Utilization, averageUtilization: 0}}}",
            "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50, averageValue: 1}}}",
            "{type: ContainerResource, containerResource: {name: gpu, container: Bad_Name, target: {type: Utilization}}}",
            "{type: ContainerResource, containerResource: {name: cpu, container: '', target: {type: Often, averageUtilization: 5}}}",
            "{type: Object, object: {describedObject: {kind: Service}, metric: {name: a}, target: {type: Value}}}",
        ] {
            s.create(HPAS, &hpa("a", &format!("maxReplicas: 2, metrics: [{metric}]"))).await?;
        }
    }
    "hpa/behavior-that-cannot-be" => |s| {
        for rules in [
            "{stabilizationWindowSeconds: -1}",
            "{stabilizationWindowSeconds: 3601}",
            "{selectPolicy: Most}",
            "{policies: [{type: Some, value: 0, periodSeconds: 0}]}",
            "{policies: [{type: Percent, value: 10, periodSeconds: 1801}]}",
            "{tolerance: '-0.1'}",
        ] {
            s.create(HPAS, &hpa("a", &format!("maxReplicas: 2, behavior: {{scaleDown: {rules}}}"))).await?;
        }
    }
    "hpa/an-old-target-may-stay" => |s| {
        s.have(HPAS, &hpa("a", "maxReplicas: 4")).await?;
        s.merge(&format!("{HPAS}/a"), "{spec: {maxReplicas: 9}}").await?;
        s.merge(&format!("{HPAS}/a"), "{spec: {minReplicas: 0}}").await?;
        s.merge(&format!("{HPAS}/a"), "{spec: {scaleTargetRef: {apiVersion: v1}}}").await?;
        s.merge(&format!("{HPAS}/a"), "{spec: {behavior: {scaleUp: {selectPolicy: Min}}}}").await?;
    }
    "hpa/status-and-spec-are-apart" => |s| {
        s.create(HPAS, "{metadata: {name: a}, spec: {maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}, status: {currentReplicas: 3, desiredReplicas: 3}}").await?;
        s.merge(&format!("{HPAS}/a/status"), "{spec: {maxReplicas: 9}, status: {currentReplicas: 2, desiredReplicas: 3, lastScaleTime: '2026-01-01T00:00:00Z', conditions: [{type: AbleToScale, status: 'True', reason: R, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}]}}").await?;
        s.merge(&format!("{HPAS}/a/status"), "{status: {currentReplicas: -1, desiredReplicas: -2}}").await?;
        s.merge(&format!("{HPAS}/a"), "{status: {currentReplicas: 7}}").await?;
        s.get(&format!("{HPAS}/a/status")).await?;
    }
    "hpa/table-of-each-kind" => |s| {
        s.have(HPAS, &hpa("a", &external("{type: Value, value: '2500m'}"))).await?;
        s.set(&format!("{HPAS}/a/status"), "{status: {currentReplicas: 2, desiredReplicas: 2, currentMetrics: [{type: External, external: {metric: {name: waiting}, current: {value: '1500m'}}}]}}").await?;
        s.have(HPAS, &hpa("b", "minReplicas: 2, maxReplicas: 4, metrics: [{type: Pods, pods: {metric: {name: qps}, target: {type: AverageValue, averageValue: 3}}}, {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}, {type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: web}, metric: {name: qps}, target: {type: AverageValue, averageValue: 10}}}]")).await?;
        s.set(&format!("{HPAS}/b/status"), "{status: {currentReplicas: 3, desiredReplicas: 3, currentMetrics: [{type: ''}, {type: Resource, resource: {name: cpu, current: {averageUtilization: 35, averageValue: 350m}}}, {type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: web}, metric: {name: qps}, current: {averageValue: 7}}}]}}").await?;
        s.table(HPAS).await?;
    }
    "hpa/kubectl" => |s| {
        s.have(HPAS, &hpa("a", &external("{type: AverageValue, averageValue: 5}"))).await?;
        s.set(&format!("{HPAS}/a/status"), "{status: {currentReplicas: 2, desiredReplicas: 3, currentMetrics: [{type: External, external: {metric: {name: waiting}, current: {averageValue: '7500m'}}}], conditions: [{type: ScalingActive, status: 'True', reason: ValidMetricFound, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}]}}").await?;
        s.kubectl("get hpa").await?;
        s.kubectl("describe hpa a").await?;
    }
}
