//! Custom resource definitions and what they define.

use super::props::{DEFINITIONS, WIDGET_DEFINITION, WIDGET_SCHEMA, widget_definition};

stories! {
    "crd/created-and-established" => |s| {
        s.create(DEFINITIONS, &widget_definition(WIDGET_SCHEMA)).await?;
        s.widgets_served().await?;
        s.get(WIDGET_DEFINITION).await?;
        s.get("{g}/v1 widgets").await?;
    }
    "crd/names-that-do-not-fit" => |s| {
        s.create(DEFINITIONS, "{metadata: {name: 'things.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}").await?;
        s.create(DEFINITIONS, "{metadata: {name: 'widgets.{g}'}, spec: {group: '{g}', scope: Somewhere, names: {plural: widgets, kind: widget kind}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}").await?;
    }
    "crd/versions-that-do-not-fit" => |s| {
        s.create(DEFINITIONS, "{metadata: {name: 'widgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: []}}").await?;
        s.create(DEFINITIONS, "{metadata: {name: 'widgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}, {name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}").await?;
        s.create(DEFINITIONS, "{metadata: {name: 'widgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [{name: v1, served: true, storage: true}]}}").await?;
    }
    "crd/schema-that-is-not-structural" => |s| {
        for schema in ["{properties: {spec: {type: object}}}", "{type: object, properties: {spec: {properties: {a: {type: string}}}}}", "{type: array}", "{type: object, properties: {spec: {type: object, properties: {a: {type: text}}}}}", "{type: object, properties: {a: {type: array}}}"] {
            s.create(DEFINITIONS, &widget_definition(schema)).await?;
        }
    }
    "crd/defaults-fill-in" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.create("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo, parts: [{name: x}, {name: y, size: 9}]}}").await?;
        s.merge("{g}/v1 widgets/a", "{spec: {replicas: null, tier: null}}").await?;
        s.merge("{g}/v1 widgets/a", "{spec: {note: null}}").await?;
        s.create("{g}/v1 widgets", "{metadata: {name: b}, spec: {model: mo, replicas: null, note: null}}").await?;
    }
    "crd/unknown-fields-are-pruned" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.create("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo, color: red, free: {any: {deep: 1}}, limits: {a: b}}, extra: 1}").await?;
        s.get("{g}/v1 widgets/a").await?;
    }
    "crd/values-are-validated" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        for spec in [
            "{}",
            "{model: m}",
            "{model: 'Not Good'}",
            "{model: 5}",
            "{model: mo, replicas: -1}",
            "{model: mo, replicas: 10}",
            "{model: mo, replicas: two}",
            "{model: mo, replicas: 1.5}",
            "{model: mo, tier: middling}",
            "{model: mo, tags: [a, b, c, d]}",
            "{model: mo, tags: [1]}",
            "{model: mo, tags: a}",
            "{model: mo, parts: [{size: 1}]}",
            "{model: mo, parts: [{name: a}, {name: a}]}",
            "{model: mo, limits: {a: 1}}",
            "{model: mo, port: true}",
            "{model: null}",
        ] {
            s.create("{g}/v1 widgets", &format!("{{metadata: {{name: a}}, spec: {spec}}}")).await?;
        }
        s.create("{g}/v1 widgets", "{metadata: {name: a}}").await?;
        s.create("{g}/v1 widgets", "{metadata: {name: a}, spec: none}").await?;
    }
    "crd/int-or-string-takes-both" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.create("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo, port: 80}}").await?;
        s.create("{g}/v1 widgets", "{metadata: {name: b}, spec: {model: mo, port: http}}").await?;
    }
    "crd/patch-that-breaks-the-schema" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.merge("{g}/v1 widgets/a", "{spec: {replicas: 99}}").await?;
        s.json_patch("{g}/v1 widgets/a", "[{op: replace, path: /spec/tier, value: odd}]").await?;
        s.json_patch("{g}/v1 widgets/a", "[{op: add, path: /spec/parts, value: [{name: p}]}, {op: test, path: /spec/tier, value: cheap}]").await?;
    }
    "crd/object-of-another-kind-or-group" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.create("{g}/v1 widgets", "{apiVersion: '{g}/v1', kind: Gadget, metadata: {name: a}, spec: {model: mo}}").await?;
        s.create("{g}/v1 widgets", "{apiVersion: '{g}/v2', kind: Widget, metadata: {name: a}, spec: {model: mo}}").await?;
        s.ask("POST", "{g}/v1 widgets").header("content-type", "application/json").raw(r#"{"metadata":{"name":"a"},"spec":{"model":"mo"}}"#).send().await?;
        s.ask("POST", "configmaps").header("content-type", "application/json").raw(r#"{"metadata":{"name":"untyped"}}"#).send().await?;
    }
    "crd/status-and-scale-as-declared" => |s| {
        s.have(DEFINITIONS, "{metadata: {name: 'gadgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: gadgets, kind: Gadget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}").await?;
        s.until("{g}/v1 gadgets", |reply| reply.status == 200).await?;
        s.create("{g}/v1 gadgets", "{metadata: {name: a}, spec: {replicas: 1}, status: {phase: Up}}").await?;
        s.get("{g}/v1 gadgets/a/status").await?;
        s.get("{g}/v1 gadgets/a/scale").await?;
        s.merge("{g}/v1 gadgets/a", "{status: {phase: Down}}").await?;
    }
    "crd/cluster-scoped" => |s| {
        s.have(DEFINITIONS, "{metadata: {name: 'gadgets.{g}'}, spec: {group: '{g}', scope: Cluster, names: {plural: gadgets, kind: Gadget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}").await?;
        s.until("/apis/{g}/v1/gadgets", |reply| reply.status == 200).await?;
        s.create("/apis/{g}/v1/gadgets", "{metadata: {name: a}, any: thing}").await?;
        s.get("/apis/{g}/v1/gadgets").await?;
        s.get("{g}/v1 gadgets").await?;
        s.create("/apis/{g}/v1/gadgets", "{metadata: {name: b, namespace: default}}").await?;
    }
    "crd/changed-schema-applies-to-the-next-write" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.json_patch(WIDGET_DEFINITION, "[{op: add, path: /spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color, value: {type: string, default: red}}]").await?;
        s.until("{g}/v1 widgets/a", |reply| reply.body["spec"]["color"] == "red").await?;
        s.get("{g}/v1 widgets/a").await?;
    }
    "crd/definition-is-immutable-in-parts" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.merge(WIDGET_DEFINITION, "{spec: {scope: Cluster}}").await?;
        s.merge(WIDGET_DEFINITION, "{spec: {group: other.example.org}}").await?;
        s.merge(WIDGET_DEFINITION, "{spec: {names: {shortNames: [wg]}}}").await?;
    }
    "crd/deleting-takes-its-objects-along" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        let mut watch = s.watch("{g}/v1 widgets").await?;
        watch.take(1).await?;
        s.delete(WIDGET_DEFINITION).await?;
        s.until(WIDGET_DEFINITION, |reply| reply.status == 404).await?;
        watch.take(1).await?;
        s.until("{g}/v1 widgets", |reply| reply.status == 404).await?;
        s.get("{g}/v1 widgets").await?;
    }
    "crd/two-versions-served" => |s| {
        s.have(DEFINITIONS, "{metadata: {name: 'gadgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: gadgets, kind: Gadget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {a: {type: string}}}}}}}, {name: v1beta1, served: true, storage: false, deprecated: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {a: {type: string}}}}}}}]}}").await?;
        s.until("{g}/v1beta1 gadgets", |reply| reply.status == 200).await?;
        s.create("{g}/v1beta1 gadgets", "{metadata: {name: a}, spec: {a: b}}").await?;
        s.get("{g}/v1 gadgets/a").await?;
        s.get("{g}/v1beta1 gadgets").await?;
        s.get("{g}/v2 gadgets").await?;
    }
    "crd/embedded-rules" => |s| {
        s.have(DEFINITIONS, "{metadata: {name: 'gadgets.{g}'}, spec: {group: '{g}', scope: Namespaced, names: {plural: gadgets, kind: Gadget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, maxProperties: 3, properties: {url: {type: string, format: date-time}, size: {type: number, exclusiveMinimum: true, minimum: 0, multipleOf: 2}, list: {type: array, x-kubernetes-list-type: set, minItems: 1, items: {type: string, maxLength: 3}}, one: {type: object, oneOf: [{required: [a]}, {required: [b]}], properties: {a: {type: string}, b: {type: string}}}}}}}}}]}}").await?;
        s.until("{g}/v1 gadgets", |reply| reply.status == 200).await?;
        for spec in ["{url: now}", "{size: 0}", "{size: 3}", "{list: []}", "{list: [a, a]}", "{list: [abcd]}", "{one: {}}", "{one: {a: x, b: y}}", "{url: '2026-01-01T00:00:00Z', size: 4, list: [a]}"] {
            s.create("{g}/v1 gadgets", &format!("{{metadata: {{name: a}}, spec: {spec}}}")).await?;
        }
    }
}
