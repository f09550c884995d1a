//! Which resources are served right now: the built-in ones and those of the
//! established CustomResourceDefinitions. A registry never changes; a change of
//! definitions makes a new one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::crds::storage_version;
use crate::forms::openapi::CrdDoc;
use crate::forms::schema::Schema;
use crate::forms::{Gvk, schema, table};
use crate::object::{deleting, meta, strings};
use crate::resource::{ALL_CUSTOM, Custom, Resource, SCALE, STATUS, ScalePaths, builtin, qualified};

/// The schema of the version in which objects are stored.
#[derive(Debug, Clone)]
struct StoredForm {
    source: Value,
    schema: Schema,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Registry {
    /// In the order of discovery: built-in first, then custom by group and version.
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) crds: Vec<CrdDoc>,
    /// In which form the objects of each definition are stored.
    forms: BTreeMap<Arc<str>, StoredForm>,
    index: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Registry {
    /// The built-in resources alone.
    pub(crate) fn builtin() -> Self {
        Self::of(builtin(), Vec::new(), BTreeMap::new())
    }

    /// The built-in resources and those of the given definitions that are established.
    pub(crate) fn with<'a>(&self, definitions: impl Iterator<Item = &'a Value>) -> Self {
        let mut resources: Vec<_> = self
            .resources
            .iter()
            .filter(|resource| resource.custom.is_none())
            .cloned()
            .collect();
        let mut custom = Vec::new();
        let mut docs = Vec::new();
        let mut forms = BTreeMap::new();
        for definition in definitions.filter(|definition| condition(definition, "Established")) {
            forms.extend(self.stored_form(definition));
            for version in definition
                .pointer("/spec/versions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if version["served"] == Value::Bool(true) {
                    custom.extend(served(definition, version).map(Arc::new));
                    docs.push(doc(definition, version));
                }
            }
        }
        custom.sort_by_cached_key(|resource| {
            (
                resource.group.clone(),
                Reverse(priority(&resource.version)),
                resource.plural.clone(),
            )
        });
        resources.extend(custom);
        Self::of(resources, docs, forms)
    }

    /// The form in which a definition's objects are stored; as it was, if it is the same.
    fn stored_form(&self, definition: &Value) -> Option<(Arc<str>, StoredForm)> {
        let storage: Arc<str> = meta(definition, "name").into();
        let name = storage_version(definition)?;
        let versions = definition.pointer("/spec/versions")?.as_array()?;
        let version = versions.iter().find(|version| version["name"] == *name)?;
        let source = &version["schema"]["openAPIV3Schema"];
        if let Some(same) = self.forms.get(&storage).filter(|form| form.source == *source) {
            return Some((storage, same.clone()));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spec = &definition["spec"];
        let gvk = Gvk::new(text(&spec["group"]), name, text(&spec["names"]["kind"]));
        let form = StoredForm {
            source: source.clone(),
            schema: schema::from_crd(source, &gvk).ok()?,
        };
        Some((storage, form))
    }

    /// The resources whose stored form is another than it was `before`, and the schema of that.
    pub(crate) fn new_forms<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a Arc<str>, &'a Schema)> {
        let known = |storage: &Arc<str>, form: &StoredForm| {
            before.forms.get(storage).is_some_and(|old| old.source == form.source)
        };
        self.forms
            .iter()
            .filter(move |(storage, form)| !known(storage, form))
            .map(|(storage, form)| (storage, &form.schema))
    }

    /// The schema in whose form the objects of a definition are stored.
    pub(crate) fn form(&self, storage: &str) -> Option<&Schema> {
        self.forms.get(storage).map(|form| &form.schema)
    }

    fn of(resources: Vec<Arc<Resource>>, crds: Vec<CrdDoc>, forms: BTreeMap<Arc<str>, StoredForm>) -> Self {
        let index = resources
            .iter()
            .map(|resource| {
                (
                    (
                        resource.group.clone(),
                        resource.version.clone(),
                        resource.plural.clone(),
                    ),
                    resource.clone(),
                )
            })
            .collect();
        Self {
            resources,
            crds,
            forms,
            index,
        }
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.index
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.resources.iter().any(|resource| resource.group == group)
    }

    /// Whether a group is served by CustomResourceDefinitions.
    pub(crate) fn is_custom(&self, group: &str) -> bool {
        self.resources
            .iter()
            .any(|resource| resource.group == group && resource.custom.is_some())
    }

    /// One resource for each set of stored objects that lives in namespaces.
    pub(crate) fn namespaced(&self) -> Vec<Arc<Resource>> {
        let mut seen = BTreeSet::new();
        let stored = self
            .resources
            .iter()
            .filter(|resource| resource.namespaced && resource.verbs.contains(&"list"));
        stored
            .filter(|resource| seen.insert(resource.storage.clone()))
            .cloned()
            .collect()
    }

    /// The groups in the order of discovery, each with its versions, best first.
    pub(crate) fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for resource in &self.resources {
            match groups.iter_mut().find(|(group, _)| *group == resource.group) {
                Some((_, versions)) if versions.contains(&&*resource.version) => {}
                Some((_, versions)) => versions.push(&resource.version),
                None => groups.push((&resource.group, vec![&resource.version])),
            }
        }
        groups
    }
}

/// Whether the condition of this type is True.
pub(crate) fn condition(object: &Value, kind: &str) -> bool {
    object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|list| {
            list.iter()
                .any(|condition| condition["type"] == kind && condition["status"] == "True")
        })
}

fn served(definition: &Value, version: &Value) -> Option<Resource> {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| strings(Some(value)).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (group, plural, kind) = (text(&spec["group"]), text(&names["plural"]), text(&names["kind"]));
    let name = text(&version["name"]);
    let gvk = Gvk::new(&*group, &*name, &*kind);
    let schema = match schema::from_crd(&version["schema"]["openAPIV3Schema"], &gvk) {
        Ok(schema) => Some(schema),
        Err(causes) => {
            tracing::warn!(
                crd = meta(definition, "name"),
                ?causes,
                "its schema cannot be used, the version is not served"
            );
            return None;
        }
    };
    let mut subresources = Vec::new();
    let scale = version
        .pointer("/subresources/scale")
        .filter(|scale| scale.is_object())
        .map(|scale| ScalePaths {
            spec: text(&scale["specReplicasPath"]),
            status: text(&scale["statusReplicasPath"]),
            selector: scale["labelSelectorPath"]
                .as_str()
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
        });
    if version.pointer("/subresources/status").is_some_and(Value::is_object) {
        subresources.push(STATUS);
    }
    if scale.is_some() {
        subresources.push(SCALE);
    }
    let deprecated = version["deprecated"] == Value::Bool(true);
    let warning = deprecated.then(|| {
        version["deprecationWarning"]
            .as_str()
            .map_or_else(|| deprecation(spec, &group, &name, &kind), str::to_owned)
    });
    let selectable = version.get("selectableFields").and_then(Value::as_array);
    Some(Resource {
        storage: qualified(&plural, &group).into(),
        list_kind: text(&names["listKind"]),
        singular: text(&names["singular"]),
        short_names: list(&names["shortNames"]),
        categories: list(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: ALL_CUSTOM,
        subresources,
        generation: true,
        schema,
        columns: table::for_crd(version),
        custom: Some(Custom {
            versions: spec["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|version| text(&version["name"]))
                .collect(),
            scale,
            terminating: deleting(definition),
            selectable_fields: selectable
                .into_iter()
                .flatten()
                .map(|field| text(&field["jsonPath"]))
                .collect(),
            warning,
        }),
        group,
        version: name,
        kind,
        plural,
    })
}

/// Upstream's own words on a deprecated version: which better one to use.
fn deprecation(spec: &Value, group: &str, name: &str, kind: &str) -> String {
    let listed = spec["versions"].as_array().into_iter().flatten();
    let better = listed
        .filter(|other| other["served"] == Value::Bool(true) && other["deprecated"] != Value::Bool(true))
        .filter_map(|other| other["name"].as_str())
        .filter(|other| priority(other) > priority(name))
        .max_by_key(|other| priority(other));
    match better {
        Some(better) => format!("{group}/{name} {kind} is deprecated; use {group}/{better} {kind}"),
        None => format!("{group}/{name} {kind} is deprecated"),
    }
}

fn doc(definition: &Value, version: &Value) -> CrdDoc {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let has = |name: &str| version["subresources"].get(name).is_some_and(Value::is_object);
    CrdDoc {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        kind: text(&spec["names"]["kind"]),
        list_kind: text(&spec["names"]["listKind"]),
        plural: text(&spec["names"]["plural"]),
        namespaced: spec["scope"] == "Namespaced",
        status: has("status"),
        scale: has("scale"),
        schema: version["schema"]["openAPIV3Schema"].clone(),
    }
}

/// Orders versions as Kubernetes does: `v2` over `v1` over `v1beta2` over `v1alpha1` over the rest.
fn priority(version: &str) -> (u8, u32, u32, Reverse<String>) {
    let other = (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else {
        return other;
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else {
        return other;
    };
    let minor = |text: &str| text.parse::<u32>().ok();
    let stage = &rest[digits..];
    let (stage, minor) = if stage.is_empty() {
        (3, Some(0))
    } else if let Some(text) = stage.strip_prefix("beta") {
        (2, minor(text))
    } else if let Some(text) = stage.strip_prefix("alpha") {
        (1, minor(text))
    } else {
        return other;
    };
    minor.map_or(other, |minor| (stage, major, minor, Reverse(String::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability_then_number() {
        let mut versions = ["v1alpha1", "foo1", "v1", "v2beta1", "v10", "v1beta2", "v2", "bar"];
        versions.sort_by_cached_key(|version| Reverse(priority(version)));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo1"]
        );
    }

    #[test]
    fn groups_are_told_once_and_the_core_group_first() {
        let registry = Registry::builtin();
        let groups = registry.groups();
        assert_eq!(groups[0], ("", vec!["v1"]));
        assert_eq!(groups.iter().filter(|(group, _)| *group == "apps").count(), 1);
        assert!(registry.find("apps", "v1", "deployments").is_some());
        assert_eq!(
            registry
                .namespaced()
                .iter()
                .filter(|resource| &*resource.storage == "events")
                .count(),
            1
        );
    }
}
