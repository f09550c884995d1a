//! OpenAPI v3 documents: what `kubectl explain`, `apply`, `edit` and validation
//! read. Built-in groups come from the table, custom ones from their CRDs.

mod custom;
mod descriptions;
pub mod older;

use super::schema::{self, Resource};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What the OpenAPI document needs to know of one served version of a CRD.
#[derive(Debug, Clone)]
pub struct CrdDoc {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Plural, lower-case resource name.
    pub plural: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether the version has the status subresource.
    pub status: bool,
    /// Whether the version has the scale subresource.
    pub scale: bool,
    /// The version's `openAPIV3Schema`.
    pub schema: Value,
}

impl CrdDoc {
    fn path(&self) -> String {
        format!("apis/{}/{}", self.group, self.version)
    }

    /// The definition's name: the group backwards, version and kind.
    fn definition(&self, kind: &str) -> String {
        let backwards: Vec<&str> = self.group.rsplit('.').collect();
        format!("{}.{}.{kind}", backwards.join("."), self.version)
    }
}

const REFERENCE: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The answer to `/openapi/v3`: every group-version's document with the hash of its
/// content, so that clients may keep it.
pub fn index(crds: &[CrdDoc]) -> Value {
    let mut paths = Map::new();
    let paths_of_crds = crds.iter().map(CrdDoc::path);
    for path in schema::groups().iter().map(|g| g.path.clone()).chain(paths_of_crds) {
        let url = format!("/openapi/v3/{path}?hash={}", hash(&path, crds));
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The hash that [`index`] names for a document: it changes with the content.
pub fn hash(path: &str, crds: &[CrdDoc]) -> String {
    let mut digest = Sha256::new();
    digest.update(concat!(env!("CARGO_PKG_VERSION"), "/").as_bytes());
    digest.update(path.as_bytes());
    for crd in crds.iter().filter(|crd| crd.path() == path) {
        let shape = json!([
            crd.kind,
            crd.list_kind,
            crd.plural,
            crd.namespaced,
            crd.status,
            crd.scale,
            crd.schema
        ]);
        digest.update(shape.to_string().as_bytes());
    }
    digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// The document of a path such as `api/v1` or `apis/apps/v1` (as in the index), or `None`.
pub fn document(path: &str, crds: &[CrdDoc]) -> Option<Value> {
    let mut document = Document {
        path: path.to_owned(),
        paths: Map::new(),
        definitions: BTreeMap::new(),
    };
    let builtin = schema::groups().iter().find(|g| g.path == path);
    for resource in builtin.into_iter().flat_map(|g| &g.resources) {
        document.builtin(resource);
    }
    let mut found = builtin.is_some();
    for crd in crds.iter().filter(|crd| crd.path() == path) {
        document.custom(crd);
        found = true;
    }
    found.then(|| document.finish())
}

struct Document {
    path: String,
    paths: Map<String, Value>,
    definitions: BTreeMap<String, Value>,
}

/// A resource or subresource with the names of its definitions.
struct Endpoint<'a> {
    /// `pods` or `pods/status`.
    name: &'a str,
    namespaced: bool,
    verbs: &'a [String],
    kind: Value,
    definition: String,
    list: Option<String>,
    /// Strategic merge patches are taken; kubectl asks here before it sends one.
    strategic: bool,
}

impl Document {
    fn group_version(&self) -> (String, String) {
        let mut parts = self.path.split('/').skip(1);
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        match second {
            Some(version) => (first.to_owned(), version.to_owned()),
            None => (String::new(), first.to_owned()),
        }
    }

    fn builtin(&mut self, resource: &Resource) {
        let (group, version) = self.group_version();
        let kind = json!({
            "group": resource.group.as_ref().unwrap_or(&group),
            "version": resource.version.as_ref().unwrap_or(&version),
            "kind": resource.kind,
        });
        let gvk = super::Gvk::new(
            kind["group"].as_str().unwrap_or_default(),
            kind["version"].as_str().unwrap_or_default(),
            &resource.kind,
        );
        let Some(definition) = schema::definition_name(&gvk) else {
            return;
        };
        let list = format!("{definition}List");
        let endpoint = Endpoint {
            name: &resource.name,
            namespaced: resource.namespaced,
            verbs: &resource.verbs,
            kind,
            list: schema::definition(&list).map(|_| list),
            definition: definition.to_owned(),
            strategic: true,
        };
        self.endpoint(&endpoint);
    }

    fn custom(&mut self, crd: &CrdDoc) {
        let (definition, list) = (crd.definition(&crd.kind), crd.definition(&crd.list_kind));
        let kind = json!({"group": crd.group, "version": crd.version, "kind": crd.kind});
        self.definitions
            .insert(definition.clone(), custom::published(&crd.schema, &kind));
        let list_kind = json!({"group": crd.group, "version": crd.version, "kind": crd.list_kind});
        self.definitions.insert(
            list.clone(),
            json!({
                "type": "object",
                "required": ["items"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"allOf": [reference(&format!("{META}ListMeta"))]},
                    "items": {"type": "array", "items": reference(&definition)},
                },
                "x-kubernetes-group-version-kind": [list_kind],
            }),
        );
        let all = [
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
        .map(str::to_owned);
        let some = ["get", "patch", "update"].map(str::to_owned);
        let (status, scale) = (format!("{}/status", crd.plural), format!("{}/scale", crd.plural));
        let main = Endpoint {
            name: &crd.plural,
            namespaced: crd.namespaced,
            verbs: &all,
            kind: kind.clone(),
            definition: definition.clone(),
            list: Some(list),
            strategic: false,
        };
        self.endpoint(&main);
        if crd.status {
            self.endpoint(&Endpoint {
                name: &status,
                verbs: &some,
                list: None,
                kind,
                definition,
                ..main
            });
        }
        if crd.scale {
            let kind = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
            let definition = SCALE.to_owned();
            self.endpoint(&Endpoint {
                name: &scale,
                namespaced: crd.namespaced,
                verbs: &some,
                kind,
                definition,
                list: None,
                strategic: false,
            });
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint<'_>) {
        let (plural, subresource) = endpoint
            .name
            .split_once('/')
            .map_or((endpoint.name, None), |(p, s)| (p, Some(s)));
        let scope = if endpoint.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let collection = format!("/{}/{scope}{plural}", self.path);
        let item = match subresource {
            None => format!("{collection}/{{name}}"),
            Some(subresource) => format!("{collection}/{{name}}/{subresource}"),
        };
        let has = |verb: &str| endpoint.verbs.iter().any(|v| v == verb);
        let mut whole = Map::new();
        if has("list") {
            whole.insert("get".to_owned(), operation("list", endpoint));
        }
        if has("create") && subresource.is_none() {
            whole.insert("post".to_owned(), operation("post", endpoint));
        }
        if has("deletecollection") {
            whole.insert("delete".to_owned(), operation("deletecollection", endpoint));
        }
        if endpoint.namespaced && has("list") {
            let everywhere = json!({"get": operation("list", endpoint)});
            self.paths.insert(format!("/{}/{plural}", self.path), everywhere);
        }
        let mut one = Map::new();
        for (verb, method, action) in [
            ("get", "get", "get"),
            ("update", "put", "put"),
            ("patch", "patch", "patch"),
            ("delete", "delete", "delete"),
        ] {
            if has(verb) {
                one.insert(method.to_owned(), operation(action, endpoint));
            }
        }
        if has("create") && subresource.is_some() {
            one.insert("post".to_owned(), operation("post", endpoint));
        }
        for (path, mut operations, named) in [(collection, whole, false), (item, one, true)] {
            if !operations.is_empty() {
                operations.insert("parameters".to_owned(), path_parameters(endpoint.namespaced, named));
                self.paths.insert(path, Value::Object(operations));
            }
        }
    }

    /// Adds every definition that the others name, from the table.
    fn finish(mut self) -> Value {
        let mut wanted: Vec<String> = Vec::new();
        let paths = Value::Object(std::mem::take(&mut self.paths));
        references(&paths, &mut wanted);
        for definition in self.definitions.values() {
            references(definition, &mut wanted);
        }
        while let Some(name) = wanted.pop() {
            if self.definitions.contains_key(&name) {
                continue;
            }
            let Some(source) = schema::definition(&name) else {
                continue;
            };
            let mut definition = source.clone();
            without_own_marks(&mut definition);
            descriptions::add(&mut definition);
            references(&definition, &mut wanted);
            self.definitions.insert(name, definition);
        }
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.36.3"},
            "paths": paths,
            "components": {"schemas": self.definitions},
        })
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{REFERENCE}{name}")})
}

fn path_parameters(namespaced: bool, named: bool) -> Value {
    let mut parameters = vec![query("pretty", "string")];
    for (name, wanted) in [("name", named), ("namespace", namespaced)] {
        if wanted {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        }
    }
    Value::Array(parameters)
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn operation(action: &str, endpoint: &Endpoint<'_>) -> Value {
    let answer = match action {
        "list" => endpoint.list.clone().unwrap_or_else(|| endpoint.definition.clone()),
        "delete" | "deletecollection" => format!("{META}Status"),
        _ => endpoint.definition.clone(),
    };
    let write = matches!(action, "post" | "put" | "patch");
    let mut parameters = Vec::new();
    if write {
        parameters.extend(["dryRun", "fieldManager", "fieldValidation"].map(|name| query(name, "string")));
    }
    match action {
        "patch" => parameters.push(query("force", "boolean")),
        "list" | "deletecollection" => {
            parameters
                .extend(["continue", "fieldSelector", "labelSelector", "resourceVersion"].map(|n| query(n, "string")));
            parameters.push(query("limit", "integer"));
        }
        "delete" => {
            parameters.extend(["dryRun", "propagationPolicy"].map(|n| query(n, "string")));
            parameters.push(query("gracePeriodSeconds", "integer"));
        }
        _ => {}
    }
    let schema = |name: &str| json!({"schema": reference(name)});
    let mut operation = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": schema(&answer)}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": endpoint.kind,
    });
    match action {
        "post" | "put" => {
            operation["requestBody"] = json!({"content": {"*/*": schema(&endpoint.definition)}, "required": true});
        }
        "patch" => {
            let body = schema(&format!("{META}Patch"));
            let mut types = vec!["application/json-patch+json", "application/merge-patch+json"];
            if endpoint.strategic {
                types.push("application/strategic-merge-patch+json");
            }
            let content: Map<String, Value> = types.iter().map(|kind| ((*kind).to_owned(), body.clone())).collect();
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        "delete" | "deletecollection" => {
            operation["requestBody"] = json!({"content": {"*/*": schema(&format!("{META}DeleteOptions"))}});
        }
        _ => {}
    }
    operation
}

/// Collects the names of the definitions that a value refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner.as_str().and_then(|text| text.strip_prefix(REFERENCE)) {
                    Some(name) if key == "$ref" => found.push(name.to_owned()),
                    _ => references(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

/// Drops what only this crate reads.
fn without_own_marks(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("x-emit");
            map.values_mut().for_each(without_own_marks);
        }
        Value::Array(list) => list.iter_mut().for_each(without_own_marks),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn car(status: bool) -> CrdDoc {
        CrdDoc {
            group: "x.example.com".to_owned(),
            version: "v1".to_owned(),
            kind: "Car".to_owned(),
            list_kind: "CarList".to_owned(),
            plural: "cars".to_owned(),
            namespaced: true,
            status,
            scale: true,
            schema: json!({"type": "object", "properties": {"spec": {"type": "object"}}}),
        }
    }

    #[test]
    fn the_index_names_every_document_and_its_hash() {
        let index = index(&[car(true)]);
        for path in ["api/v1", "apis/apps/v1", "apis/policy/v1", "apis/x.example.com/v1"] {
            let url = index["paths"][path]["serverRelativeURL"].as_str().unwrap();
            assert_eq!(url, format!("/openapi/v3/{path}?hash={}", hash(path, &[car(true)])));
            assert!(document(path, &[car(true)]).is_some(), "{path}");
        }
        assert_ne!(
            hash("apis/x.example.com/v1", &[car(true)]),
            hash("apis/x.example.com/v1", &[car(false)])
        );
        assert!(document("apis/none/v1", &[]).is_none());
    }

    #[test]
    fn every_document_is_whole_and_says_who_validates() {
        for group in schema::groups() {
            let document = document(&group.path, &[]).unwrap();
            let mut names = Vec::new();
            references(&document, &mut names);
            for name in names {
                assert!(
                    document["components"]["schemas"][&name].is_object(),
                    "{}: {name}",
                    group.path
                );
            }
            for resource in group
                .resources
                .iter()
                .filter(|r| r.verbs.iter().any(|v| v == "patch") && !r.name.ends_with("/proxy"))
            {
                let patch = document["paths"].as_object().unwrap().values().any(|path| {
                    path["patch"]["x-kubernetes-group-version-kind"]["kind"] == resource.kind.as_str()
                        && path["patch"]["parameters"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .any(|p| p["name"] == "fieldValidation")
                });
                assert!(patch, "{} {}", group.path, resource.name);
            }
        }
        let apps = document("apis/apps/v1", &[]).unwrap();
        let spec = &apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
        assert!(spec["containers"].get("x-emit").is_none());
        let deployment = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert!(
            deployment["description"]
                .as_str()
                .unwrap()
                .starts_with("Keeps a number")
        );
        assert_eq!(deployment["properties"]["spec"]["description"], "What is wanted.");
        let path = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
        assert_eq!(path["put"]["x-kubernetes-group-version-kind"]["kind"], "Scale");
    }

    #[test]
    fn a_crd_is_published_with_its_kind_and_metadata() {
        let document = document("apis/x.example.com/v1", &[car(true)]).unwrap();
        let schema = &document["components"]["schemas"]["com.example.x.v1.Car"];
        assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Car");
        assert!(
            schema["properties"]["metadata"]["allOf"][0]["$ref"]
                .as_str()
                .unwrap()
                .ends_with("ObjectMeta")
        );
        let paths = document["paths"].as_object().unwrap();
        let item = "/apis/x.example.com/v1/namespaces/{namespace}/cars/{name}";
        for path in [item.to_owned(), format!("{item}/status"), format!("{item}/scale")] {
            assert!(paths.contains_key(&path), "{path}");
        }
    }
}
