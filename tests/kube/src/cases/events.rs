//! Events, which two groups show in two shapes.

stories! {
    "events/core-shape-read-in-both" => |s| {
        s.create("events", "{metadata: {name: e1}, involvedObject: {kind: Pod, name: p, namespace: '{ns}', uid: u1, apiVersion: v1}, reason: Started, message: 'Started it', type: Normal, count: 2, firstTimestamp: '2026-01-01T00:00:00Z', lastTimestamp: '2026-01-01T00:05:00Z', source: {component: kubelet, host: n1}}").await?;
        s.get("events/e1").await?;
        s.get("events.k8s.io/v1 events/e1").await?;
    }
    "events/newer-shape-read-in-both" => |s| {
        s.create("events.k8s.io/v1 events", "{metadata: {name: e2}, regarding: {kind: Deployment, name: web, namespace: '{ns}', apiVersion: apps/v1}, reason: Scaled, note: 'Scaled up', type: Normal, action: Scaling, reportingController: tidegate.dev/autoscaler, reportingInstance: one, eventTime: '2026-01-01T00:00:00.123456Z'}").await?;
        s.get("events.k8s.io/v1 events/e2").await?;
        s.get("events/e2").await?;
        s.get("events").await?;
    }
    "events/series-by-patch" => |s| {
        s.have("events.k8s.io/v1 events", "{metadata: {name: e3}, regarding: {kind: Deployment, name: web, namespace: '{ns}'}, reason: Scaled, type: Normal, action: Scaling, reportingController: x.example/y, reportingInstance: one, eventTime: '2026-01-01T00:00:00.000000Z'}").await?;
        s.merge("events.k8s.io/v1 events/e3", "{series: {count: 2, lastObservedTime: '2026-01-01T00:01:00.000000Z'}}").await?;
        s.merge("events.k8s.io/v1 events/e3", "{note: other}").await?;
    }
    "events/refused" => |s| {
        s.create("events.k8s.io/v1 events", "{metadata: {name: e4}, regarding: {kind: Pod, name: p, namespace: '{ns}'}, type: Normal}").await?;
        s.create("events", "{metadata: {name: e5}, involvedObject: {kind: Pod, name: p, namespace: default}, reason: R, type: Normal}").await?;
        s.create("events.k8s.io/v1 events", "{metadata: {name: e6}, regarding: {kind: Pod, name: p, namespace: '{ns}'}, reason: R, action: A, type: Loud, reportingController: x.example/y, reportingInstance: one, eventTime: '2026-01-01T00:00:00.000000Z'}").await?;
    }
    "events/selected-by-their-object" => |s| {
        for (name, object) in [("a", "p"), ("b", "q")] {
            s.have("events", &format!("{{metadata: {{name: {name}}}, involvedObject: {{kind: Pod, name: {object}, namespace: '{{ns}}', uid: u-{object}}}, reason: R, message: m, type: Normal, source: {{component: c}}}}")).await?;
        }
        s.get("events?fieldSelector=involvedObject.name%3Dp,involvedObject.kind%3DPod,involvedObject.namespace%3D{ns},involvedObject.uid%3Du-p").await?;
        s.get("events?fieldSelector=reason%3DR,type%3DNormal,source%3Dc,metadata.name%3Db").await?;
        s.get("events?fieldSelector=type!%3DNormal").await?;
        s.get("events?fieldSelector=message%3Dm").await?;
        s.get("events.k8s.io/v1 events?fieldSelector=regarding.name%3Dq").await?;
    }
}
