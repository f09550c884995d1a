//! JSON patches and merge patches in their odd corners.

use super::props::{config, deployment};

stories! {
    "patch/json-test-null-holds-for-a-missing-path" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[{op: test, path: /metadata/finalizers, value: null}, {op: add, path: /metadata/finalizers, value: [x.example/y]}]").await?;
        s.json_patch("configmaps/a", "[{op: test, path: /metadata/finalizers, value: null}, {op: add, path: /metadata/finalizers, value: [x.example/z]}]").await?;
    }
    "patch/json-test-that-fails" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[{op: test, path: /data/key, value: other}, {op: replace, path: /data/key, value: x}]").await?;
        s.json_patch("configmaps/a", "[{op: test, path: /data/none, value: other}]").await?;
        s.get("configmaps/a").await?;
    }
    "patch/json-remove-of-what-is-missing" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[{op: remove, path: /data/none}]").await?;
        s.json_patch("configmaps/a", "[{op: remove, path: /none/deeper}]").await?;
    }
    "patch/json-replace-of-what-is-missing" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[{op: replace, path: /data/none, value: x}]").await?;
    }
    "patch/json-add-below-a-missing-parent" => |s| {
        s.have("configmaps", "{metadata: {name: a}}").await?;
        s.json_patch("configmaps/a", "[{op: add, path: /data/key, value: x}]").await?;
        s.json_patch("configmaps/a", "[{op: add, path: /data, value: {}}, {op: add, path: /data/key, value: x}]").await?;
    }
    "patch/json-dash-appends" => |s| {
        s.have("configmaps", "{metadata: {name: a, finalizers: [x.example/a]}}").await?;
        s.json_patch("configmaps/a", "[{op: add, path: /metadata/finalizers/-, value: x.example/b}]").await?;
        s.json_patch("configmaps/a", "[{op: add, path: /metadata/finalizers/0, value: x.example/c}]").await?;
        s.json_patch("configmaps/a", "[{op: add, path: /metadata/finalizers/9, value: x.example/d}]").await?;
        s.json_patch("configmaps/a", "[{op: replace, path: /metadata/finalizers/-, value: x.example/e}]").await?;
        s.json_patch("configmaps/a", "[{op: remove, path: /metadata/finalizers/-1}]").await?;
        s.json_patch("configmaps/a", "[{op: remove, path: /metadata/finalizers/7}]").await?;
    }
    "patch/json-move-and-copy" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[{op: copy, from: /data/key, path: /data/twin}, {op: move, from: /data/key, path: /data/moved}]").await?;
        s.json_patch("configmaps/a", "[{op: move, from: /data/none, path: /data/x}]").await?;
        s.json_patch("configmaps/a", "[{op: copy, from: /data/none, path: /data/x}]").await?;
    }
    "patch/json-escaped-keys" => |s| {
        s.have("configmaps", "{metadata: {name: a, annotations: {x.example/y: '1', plain: '2'}}}").await?;
        s.json_patch("configmaps/a", "[{op: replace, path: /metadata/annotations/x.example~1y, value: '5'}, {op: add, path: '/metadata/labels', value: {l: m}}]").await?;
    }
    "patch/json-that-is-not-a-patch" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "{data: {a: b}}").await?;
        s.json_patch("configmaps/a", "[{op: dance, path: /data}]").await?;
        s.json_patch("configmaps/a", "[{op: add, value: x}]").await?;
        s.json_patch("configmaps/a", "[{op: add, path: data/x, value: x}]").await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "application/json-patch+json").raw("[{").send().await?;
    }
    "patch/json-that-changes-nothing-keeps-the-revision" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[]").await?;
        s.json_patch("configmaps/a", "[{op: replace, path: /data/key, value: one}]").await?;
    }
    "patch/json-that-makes-a-wrong-type" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.json_patch("configmaps/a", "[{op: replace, path: /data/key, value: 5}]").await?;
        s.json_patch("configmaps/a", "[{op: replace, path: /metadata/labels, value: x}]").await?;
    }
    "patch/json-of-a-deployment-by-index" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.json_patch("apps/v1 deployments/web", "[{op: replace, path: /spec/template/spec/containers/0/image, value: 'i:2'}]").await?;
        s.json_patch("apps/v1 deployments/web", "[{op: remove, path: /spec/template/spec/containers/0/ports/0}]").await?;
    }
    "patch/merge-null-removes" => |s| {
        s.have("configmaps", "{metadata: {name: a, labels: {x: y}}, data: {one: '1', two: '2'}}").await?;
        s.merge("configmaps/a", "{data: {one: null, three: '3'}, metadata: {labels: null}}").await?;
        s.merge("configmaps/a", "{data: null}").await?;
        s.merge("configmaps/a", "{data: {none: null}}").await?;
    }
    "patch/merge-replaces-lists" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.merge("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: other, image: 'i:3'}]}}}}").await?;
    }
    "patch/merge-of-nothing" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.merge("configmaps/a", "{}").await?;
        s.merge("configmaps/a", "[]").await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "application/merge-patch+json").raw("null").send().await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "application/merge-patch+json").raw("{data").send().await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "application/merge-patch+json").raw("").send().await?;
    }
    "patch/merge-cannot-rename" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.merge("configmaps/a", "{metadata: {name: b}}").await?;
        s.merge("configmaps/a", "{kind: Secret}").await?;
        s.merge("configmaps/a", "{metadata: {namespace: default}}").await?;
    }
    "patch/wrong-content-types" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "application/json").raw("{}").send().await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "text/plain").raw("{}").send().await?;
        s.ask("PATCH", "configmaps/a").raw("{}").send().await?;
    }
    "patch/strategic-on-a-custom-resource-is-415" => |s| {
        s.widgets(super::props::WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.strategic("{g}/v1 widgets/a", "{spec: {replicas: 2}}").await?;
    }
    "patch/strategic-containers-merge-by-name" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: main, image: 'i:2'}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: side, image: 's:1'}]}}}}").await?;
    }
    "patch/strategic-env-and-ports-merge-by-their-keys" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: main, env: [{name: A, value: '1'}, {name: B, value: '2'}]}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: main, env: [{name: B, value: '3'}, {name: C, value: '4'}], ports: [{containerPort: 9000}]}]}}}}").await?;
    }
    "patch/strategic-delete-directive" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: side, image: 's:1'}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: main, $patch: delete}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{name: none, $patch: delete}]}}}}").await?;
    }
    "patch/strategic-replace-directive" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{$patch: replace}, {name: new, image: 'n:1'}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{metadata: {labels: {$patch: replace, only: this}}}").await?;
        s.strategic("apps/v1 deployments/web", "{metadata: {labels: {$patch: delete}}}").await?;
    }
    "patch/strategic-unknown-directive" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {$patch: shuffle}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {containers: [{image: 'i:2'}]}}}}").await?;
    }
    "patch/strategic-element-order" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {$setElementOrder/containers: [{name: side}, {name: main}], containers: [{name: side, image: 's:1'}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {$setElementOrder/containers: [{name: main}, {name: side}]}}}}").await?;
    }
    "patch/strategic-primitive-lists" => |s| {
        s.have("configmaps", "{metadata: {name: a, finalizers: [x.example/a, x.example/b]}}").await?;
        s.strategic("configmaps/a", "{metadata: {finalizers: [x.example/c]}}").await?;
        s.strategic("configmaps/a", "{metadata: {$deleteFromPrimitiveList/finalizers: [x.example/a]}}").await?;
        s.strategic("configmaps/a", "{metadata: {$setElementOrder/finalizers: [x.example/c, x.example/b], finalizers: [x.example/c]}}").await?;
    }
    "patch/strategic-retain-keys" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {strategy: {$retainKeys: [type], type: Recreate}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {strategy: {$retainKeys: [type, rollingUpdate], type: RollingUpdate, rollingUpdate: {maxSurge: 1}}}}").await?;
    }
    "patch/strategic-null-and-maps" => |s| {
        s.have("configmaps", "{metadata: {name: a, labels: {x: y, z: w}}, data: {one: '1'}}").await?;
        s.strategic("configmaps/a", "{metadata: {labels: {x: null}}, data: {one: null, two: '2'}}").await?;
        s.strategic("configmaps/a", "{data: null}").await?;
    }
    "patch/strategic-volumes-and-tolerations" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {volumes: [{name: v, emptyDir: {}}], tolerations: [{key: a, operator: Exists}], imagePullSecrets: [{name: p}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {volumes: [{name: w, configMap: {name: c}}], tolerations: [{key: b, operator: Exists}]}}}}").await?;
        s.strategic("apps/v1 deployments/web", "{spec: {template: {spec: {volumes: [{name: v, $retainKeys: [name, hostPath], hostPath: {path: /x}}]}}}}").await?;
    }
    "patch/strategic-conditions-merge-by-type" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.strategic("apps/v1 deployments/web/status", "{status: {replicas: 1, conditions: [{type: Available, status: 'True'}]}}").await?;
        s.strategic("apps/v1 deployments/web/status", "{status: {conditions: [{type: Progressing, status: 'True', reason: R}, {type: Available, status: 'False'}]}}").await?;
    }
    "patch/strategic-owner-references-merge-by-uid" => |s| {
        s.have("configmaps", "{metadata: {name: a, ownerReferences: [{apiVersion: v1, kind: Pod, name: x, uid: u-1}]}}").await?;
        s.strategic("configmaps/a", "{metadata: {ownerReferences: [{apiVersion: v1, kind: Pod, name: y, uid: u-2}]}}").await?;
        s.strategic("configmaps/a", "{metadata: {ownerReferences: [{$patch: delete, uid: u-1}]}}").await?;
    }
    "patch/strategic-on-service-ports" => |s| {
        s.have("services", "{metadata: {name: w}, spec: {ports: [{name: a, port: 80}, {name: b, port: 81}]}}").await?;
        s.strategic("services/w", "{spec: {ports: [{port: 81, targetPort: 8000}]}}").await?;
    }
}
