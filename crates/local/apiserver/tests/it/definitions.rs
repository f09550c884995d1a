//! CustomResourceDefinitions, with those that Tidegate installs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::{conditions, wait::await_condition};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{SOON, client, create, eventually, from_json, start, wire};

async fn install(running: &apiserver::Running) -> Api<CustomResourceDefinition> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client(running));
    for definition in ::api::crds() {
        let name = definition.metadata.name.clone().unwrap();
        definitions.create(&PostParams::default(), &definition).await.unwrap();
        let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        timeout(SOON, established).await.unwrap().unwrap();
    }
    definitions
}

#[tokio::test]
async fn what_tidegate_installs_is_served_at_once() {
    let running = start().await;
    let before = etag(&running).await;
    install(&running).await;
    assert_ne!(
        etag(&running).await,
        before,
        "clients that cache must see that there is more"
    );
    let pools: Api<::api::InferencePool> = Api::namespaced(client(&running), "default");
    assert!(pools.list(&ListParams::default()).await.unwrap().items.is_empty());
    let variants: Api<::api::VariantAutoscaling> = Api::namespaced(client(&running), "default");
    assert!(variants.list(&ListParams::default()).await.unwrap().items.is_empty());
}

async fn etag(running: &apiserver::Running) -> String {
    let accept = "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\r\n";
    let answer = wire(running, "GET", "/apis", accept, b"").await;
    let tag = answer.header("ETag").unwrap().to_owned();
    let again = wire(
        running,
        "GET",
        "/apis",
        &format!("{accept}If-None-Match: {tag}\r\n"),
        b"",
    )
    .await;
    assert_eq!((again.code, again.body.len()), (304, 0));
    tag
}

fn widget_definition() -> Value {
    json!({
        "metadata": {"name": "widgets.tests.dev"},
        "spec": {
            "group": "tests.dev", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wg"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "minimum": 0, "default": 1}, "colour": {"type": "string"},
                    }},
                    "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

fn widgets(running: &apiserver::Running) -> Api<DynamicObject> {
    let gvk = kube::core::GroupVersionKind::gvk("tests.dev", "v1", "Widget");
    Api::namespaced_with(
        client(running),
        "default",
        &ApiResource::from_gvk_with_plural(&gvk, "widgets"),
    )
}

fn widget(name: &str, spec: &Value) -> DynamicObject {
    from_json(json!({"apiVersion": "tests.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}))
}

#[tokio::test]
async fn custom_objects_are_defaulted_pruned_validated_and_scaled() {
    let running = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client(&running));
    create(&definitions, widget_definition()).await;
    let widgets = widgets(&running);
    let made = widgets
        .create(
            &PostParams::default(),
            &widget("w", &json!({"colour": "red", "bad": 1})),
        )
        .await
        .unwrap();
    assert_eq!(made.data["spec"], json!({"colour": "red", "size": 1}));
    assert_eq!(made.metadata.generation, Some(1));

    let wrong = widgets
        .create(&PostParams::default(), &widget("x", &json!({"size": -1})))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = wrong else {
        panic!("{wrong}")
    };
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    assert!(status.message.contains("spec.size"), "{}", status.message);

    let params = PatchParams::default();
    let status = json!({"spec": {"size": 9}, "status": {"size": 1}});
    let after = widgets.patch_status("w", &params, &Patch::Merge(status)).await.unwrap();
    assert_eq!(
        (&after.data["spec"]["size"], &after.data["status"]["size"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(after.metadata.generation, Some(1));
    let scale = widgets
        .patch_scale("w", &params, &Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(5));
    assert_eq!(widgets.get("w").await.unwrap().metadata.generation, Some(2));

    let unversioned = widgets
        .replace("w", &PostParams::default(), &widget("w", &json!({})))
        .await
        .unwrap_err();
    assert!(matches!(unversioned, kube::Error::Api(status) if status.code == 422));
    let strategic = widgets
        .patch("w", &params, &Patch::Strategic(json!({})))
        .await
        .unwrap_err();
    assert!(matches!(strategic, kube::Error::Api(status) if status.code == 415));
}

#[tokio::test]
async fn a_definition_takes_its_objects_along() {
    let running = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client(&running));
    create(&definitions, widget_definition()).await;
    let widgets = widgets(&running);
    widgets
        .create(&PostParams::default(), &widget("w", &json!({})))
        .await
        .unwrap();
    definitions
        .delete("widgets.tests.dev", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the definition is gone", || async {
        definitions.get_opt("widgets.tests.dev").await.unwrap().is_none()
    })
    .await;
    let path = "/apis/tests.dev/v1/namespaces/default/widgets";
    assert_eq!(
        wire(&running, "GET", path, "", b"").await.text(),
        "404 page not found\n"
    );

    create(&definitions, widget_definition()).await;
    assert!(
        widgets.list(&ListParams::default()).await.unwrap().items.is_empty(),
        "old objects do not come back"
    );
}

#[tokio::test]
async fn a_definition_that_cannot_be_served_is_refused_with_the_field() {
    let running = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client(&running));
    let mut value = widget_definition();
    value["metadata"]["name"] = "other.tests.dev".into();
    let error = definitions
        .create(&PostParams::default(), &from_json(value))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = error else {
        panic!("{error}")
    };
    assert_eq!(status.code, 422);
    assert!(status.message.contains("metadata.name"), "{}", status.message);
}

#[tokio::test]
async fn what_is_refused_is_warned_of_too() {
    let running = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client(&running));
    create(&definitions, widget_definition()).await;
    let path = "/apis/tests.dev/v1/namespaces/default/widgets";
    for (body, code, warning) in [
        (
            r#"{"apiVersion":"tests.dev/v2","kind":"Widget","metadata":{"name":"a"},"spec":{}}"#,
            400,
            r#"299 - "unknown field \"spec\"""#,
        ),
        (
            r#"{"apiVersion":"tests.dev/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"size":-1,"bad":1}}"#,
            422,
            r#"299 - "unknown field \"spec.bad\"""#,
        ),
    ] {
        let json = "Content-Type: application/json\r\n";
        let answer = wire(&running, "POST", path, json, body.as_bytes()).await;
        assert_eq!(
            (answer.code, answer.header("Warning")),
            (code, Some(warning)),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn objects_are_read_as_the_schema_has_them_now() {
    let running = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client(&running));
    create(&definitions, widget_definition()).await;
    let widgets = widgets(&running);
    let made = widgets
        .create(&PostParams::default(), &widget("w", &json!({"colour": "red"})))
        .await
        .unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (operation, expected) in [
        (
            json!({"op": "add", "path": format!("{spec}/shape"), "value": {"type": "string", "default": "round"}}),
            json!({"colour": "red", "size": 1, "shape": "round"}),
        ),
        (
            json!({"op": "replace", "path": format!("{spec}/shape/default"), "value": "square"}),
            json!({"colour": "red", "size": 1, "shape": "square"}),
        ),
        (
            json!({"op": "remove", "path": format!("{spec}/colour")}),
            json!({"size": 1, "shape": "square"}),
        ),
        (
            json!({"op": "add", "path": format!("{spec}/colour"), "value": {"type": "string"}}),
            json!({"colour": "red", "size": 1, "shape": "square"}),
        ),
    ] {
        let patch: Patch<()> = Patch::Json(serde_json::from_value(json!([operation])).unwrap());
        definitions
            .patch("widgets.tests.dev", &PatchParams::default(), &patch)
            .await
            .unwrap();
        let read = widgets.get("w").await.unwrap();
        assert_eq!(read.data["spec"], expected, "{operation}");
        assert_eq!(read.metadata, made.metadata, "nothing was written");
        let listed = widgets.list(&ListParams::default()).await.unwrap();
        assert_eq!(listed.items[0].data["spec"], expected, "{operation}");
    }
}
