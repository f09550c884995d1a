//! What the server can do, told to clients: groups, versions, resources and
//! their schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::answer::{self, Answer, Wanted};
use crate::forms::openapi;
use crate::registry::Registry;
use crate::resource::{Resource, Sub, api_version};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The version clients are told; they adapt to it.
pub(crate) const VERSION: &str = "v1.36.3+tidegate";

/// `GET /version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

/// `GET /api` and `GET /apis`, in the form the client asks for.
pub(crate) fn root(registry: &Registry, core: bool, headers: &HeaderMap, wanted: Wanted) -> Answer {
    let accept = headers
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let aggregated = accept.split(',').any(|clause| {
        let has = |part: &str| clause.split(';').any(|found| found.trim() == part);
        has("g=apidiscovery.k8s.io") && has("v=v2") && has("as=APIGroupDiscoveryList")
    });
    if !aggregated {
        let value = if core {
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        } else {
            let groups: Vec<Value> = registry
                .groups()
                .iter()
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, versions)| group_value(group, versions))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        };
        let mut answer = answer::json_value(200, &value, wanted);
        answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        return answer;
    }
    let groups = registry.groups();
    let items: Vec<Value> = groups
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = resources(registry, group, version)
                        .map(|resource| aggregated_resource(resource))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let tag = format!("\"{}\"", hash(list.to_string().as_bytes()));
    let mut answer = if matches(headers, &tag) {
        not_modified()
    } else {
        answer::json_value(200, &list, wanted)
    };
    let changed = answer.status() != StatusCode::NOT_MODIFIED;
    let fields = answer.headers_mut();
    if changed {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    }
    fields.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(ETAG, tag);
    }
    answer
}

/// `GET /apis/GROUP`.
pub(crate) fn group(registry: &Registry, group: &str) -> Option<Value> {
    let groups = registry.groups();
    let (_, versions) = groups.iter().find(|(name, _)| *name == group && !group.is_empty())?;
    let mut value = group_value(group, versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

/// `GET /api/VERSION` and `GET /apis/GROUP/VERSION`.
pub(crate) fn version_resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let list: Vec<Value> = resources(registry, group, version)
        .flat_map(|resource| legacy_resource(resource))
        .collect();
    if list.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": list,
    }))
}

fn resources<'a>(registry: &'a Registry, group: &str, version: &str) -> impl Iterator<Item = &'a Arc<Resource>> {
    registry
        .resources
        .iter()
        .filter(move |resource| resource.group == group && resource.version == version)
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({"groupVersion": api_version(group, version), "version": version});
    let list: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": group, "preferredVersion": list.first(), "versions": list})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let own = |resource: &Resource| {
        // Upstream names group and version only for custom resources.
        if resource.custom.is_some() {
            json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
        } else {
            json!({"group": "", "version": "", "kind": resource.kind})
        }
    };
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": own(resource),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let sub = |sub: &Sub| {
            let kind = match sub.body {
                None => own(resource),
                Some((group, version, kind)) => {
                    let version = if group.is_empty() { "" } else { version };
                    json!({"group": group, "version": version, "kind": kind})
                }
            };
            json!({"subresource": sub.name, "responseKind": kind, "verbs": sub.verbs})
        };
        value["subresources"] = resource.subresources.iter().map(sub).collect();
    }
    value
}

fn legacy_resource(resource: &Resource) -> Vec<Value> {
    let mut own = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        own["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        own["categories"] = json!(resource.categories);
    }
    if resource.verbs.contains(&"list") {
        let digest = Sha512::digest(resource.storage.as_bytes());
        let short = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &digest[..8]);
        own["storageVersionHash"] = short.into();
    }
    let sub = |sub: &Sub| {
        let mut value = json!({
            "name": format!("{}/{}", resource.plural, sub.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": sub.body.map_or(&*resource.kind, |(_, _, kind)| kind),
            "verbs": sub.verbs,
        });
        if let Some((group, version, _)) = sub.body.filter(|(group, _, _)| !group.is_empty()) {
            value["group"] = group.into();
            value["version"] = version.into();
        }
        value
    };
    std::iter::once(own)
        .chain(resource.subresources.iter().map(sub))
        .collect()
}

/// `GET /openapi/v2`: a document without definitions, which says where they are.
/// kubectl looks for a kind here that it found nowhere else, and goes on to say
/// that there is no such kind.
pub(crate) fn older_openapi(headers: &HeaderMap, wanted: Wanted) -> Answer {
    const PROTOBUF: &str = "com.github.proto-openapi.spec.v2";
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains(PROTOBUF)) {
        let media_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        return answer::answer(200, media_type, answer::full(openapi::older::protobuf(VERSION)));
    }
    answer::json_value(200, &openapi::older::json(VERSION), wanted)
}

/// The documents of `/openapi/v3`, rendered once per registry.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    cached: Mutex<BTreeMap<String, Bytes>>,
}

impl Documents {
    /// `GET /openapi/v3` and below.
    pub(crate) fn answer(
        &self,
        registry: &Registry,
        path: &str,
        asked_hash: &str,
        headers: &HeaderMap,
        wanted: Wanted,
    ) -> Option<Answer> {
        if path.is_empty() {
            let index = self.rendered("", || Some(openapi::index(&registry.crds)))?;
            return Some(tagged(&index, headers, wanted));
        }
        let index: Value = serde_json::from_slice(&self.rendered("", || Some(openapi::index(&registry.crds)))?).ok()?;
        let url = index["paths"][path]["serverRelativeURL"].as_str()?;
        let now = url.split_once("hash=").map_or("", |(_, hash)| hash);
        if !asked_hash.is_empty() && asked_hash != now {
            let mut moved = answer::text(301, "");
            moved.headers_mut().insert(LOCATION, HeaderValue::from_str(url).ok()?);
            return Some(moved);
        }
        let document = self.rendered(path, || openapi::document(path, &registry.crds))?;
        Some(tagged(&document, headers, wanted))
    }

    fn rendered(&self, path: &str, make: impl FnOnce() -> Option<Value>) -> Option<Bytes> {
        if let Some(found) = self.cached.lock().get(path) {
            return Some(found.clone());
        }
        let bytes: Bytes = serde_json::to_vec(&make()?).ok()?.into();
        self.cached.lock().insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }
}

fn tagged(json: &Bytes, headers: &HeaderMap, wanted: Wanted) -> Answer {
    let tag = format!("\"{}\"", hash(json));
    let mut answer = if matches(headers, &tag) {
        not_modified()
    } else {
        answer::json_text(200, json.to_vec(), wanted)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let asked = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    asked.split(',').any(|asked| asked.trim() == tag)
}

fn not_modified() -> Answer {
    answer::bare(304)
}

/// SHA-512 as upper-case hexadecimal.
fn hash(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
