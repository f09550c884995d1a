//! `create`, and reading what clients send.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Api, Call, one};
use crate::answer::{self, Answer, Media};
use crate::failure::{Failure, Outcome};
use crate::forms::protobuf;
use crate::forms::schema::Cause;
use crate::lifecycle;
use crate::object::{deleting, meta, metadata, set_meta};
use crate::resource::{Resource, is_builtin};
use crate::store::{Expect, Object, Refused, key};
use crate::{crds, events, json, limits, time};

/// How strictly unknown fields are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    Strict,
    Warn,
    Ignore,
}

impl Call {
    /// # Errors
    /// 422 for a value that does not exist.
    pub(crate) fn strictness(&self, options: &str) -> Outcome<Strictness> {
        match self.query.get("fieldValidation") {
            "" | "Warn" => Ok(Strictness::Warn),
            "Strict" => Ok(Strictness::Strict),
            "Ignore" => Ok(Strictness::Ignore),
            other => Err(Failure::invalid_options(
                options,
                Cause {
                    reason: "FieldValueNotSupported",
                    message: format!(
                        "Unsupported value: \"{other}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                    ),
                    field: "fieldValidation".to_owned(),
                },
            )),
        }
    }
}

/// Reads a body as JSON, whatever it is written in.
///
/// # Errors
/// 415 for an unknown form, 400 for a body that is not in its form.
pub(crate) fn body(call: &Call, kind: &str) -> Outcome<Value> {
    read_body(call, kind).map(|(value, _)| value)
}

/// As [`body`], with the members that stand twice.
fn read_body(call: &Call, kind: &str) -> Outcome<(Value, Vec<String>)> {
    let bad = |why: String| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why}"
        ))
    };
    let not_json = |why: String| bad(format!("couldn't get version/kind; json parse error: {why}"));
    let mut twice = Vec::new();
    let value: Value = match answer::media(&call.content_type)? {
        // Bodies say what they are: some clients send protobuf under another name and back.
        _ if protobuf::is_protobuf(&call.body) => {
            protobuf::decode(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?
        }
        Media::Protobuf => return Err(bad("the body does not begin as Kubernetes protobuf does".to_owned())),
        Media::Json => {
            let (value, found) = json::read(&call.body).map_err(|error| not_json(error.to_string()))?;
            twice = found;
            value
        }
        Media::Yaml => {
            let text = std::str::from_utf8(&call.body).map_err(|error| bad(error.to_string()))?;
            serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
                .map_err(|error| bad(format!("yaml: {error}")))?
        }
    };
    let Value::Object(fields) = &value else {
        // As Go reads it: null is an object without fields.
        return if value.is_null() && call.resource.custom.is_none() {
            Ok((Value::Object(Map::new()), twice))
        } else {
            Err(not_json("the body is not an object".to_owned()))
        };
    };
    let odd = ["kind", "apiVersion"].into_iter().find(|field| {
        fields
            .get(*field)
            .is_some_and(|value| !value.is_string() && !value.is_null())
    });
    match odd {
        Some(field) => Err(not_json(format!("json: {field} must be a text, not {}", fields[field]))),
        None => Ok((value, twice)),
    }
}

/// Reads an object of the call's resource. Returns warnings for what was ignored.
///
/// # Errors
/// 400 for another kind, or unknown fields when strict.
pub(crate) fn object(call: &Call, strictness: Strictness) -> Outcome<(Value, Vec<String>)> {
    let resource = &call.resource;
    let (mut object, twice) = read_body(call, &resource.kind)?;
    if resource.custom.is_some() {
        return custom_object(call, object, &twice, strictness);
    }
    same_kind(resource, &mut object)?;
    if let Some(why) = mistyped(resource, &object) {
        return Err(unreadable(resource, &why));
    }
    let faults = told_twice(&twice).chain(unknown(resource, &object)).collect();
    let warnings = judge(faults, strictness).map_err(|why| unreadable(resource, &why))?;
    Ok((object, warnings))
}

fn told_twice(paths: &[String]) -> impl Iterator<Item = String> {
    paths.iter().map(|path| format!("duplicate field \"{path}\""))
}

/// As [`object`], of a custom kind: its fields are judged before its kind is.
fn custom_object(
    call: &Call,
    mut object: Value,
    twice: &[String],
    strictness: Strictness,
) -> Outcome<(Value, Vec<String>)> {
    let resource = &call.resource;
    for field in ["kind", "apiVersion"] {
        if object.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            let text = match answer::media(&call.content_type) {
                Ok(Media::Json) => String::from_utf8_lossy(&call.body).into_owned(),
                _ => object.to_string(),
            };
            return Err(Failure::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object '{}' is missing in '{text}' ({})",
                resource.kind,
                if field == "kind" { "Kind" } else { field },
                beginning(&call.body)
            )));
        }
    }
    let faults = told_twice(twice).chain(strange(resource, &object)).collect();
    let warnings = judge(faults, strictness).map_err(|why| unreadable(resource, &why))?;
    same_kind(resource, &mut object).map_err(|failure| failure.warned(&warnings))?;
    Ok((object, warnings))
}

/// The beginning of a body: as text if it looks like JSON, else in hexadecimal digits.
fn beginning(body: &[u8]) -> String {
    const MOST: usize = 30;
    let start = &body[..body.len().min(MOST)];
    let more = if body.len() > MOST { " ..." } else { "" };
    match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let digits: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}

/// The fields that a custom object's version does not have. Of a version that is not
/// defined no field is known.
fn strange(resource: &Resource, object: &Value) -> Vec<String> {
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let defined = resource
        .custom
        .as_ref()
        .is_none_or(|custom| custom.versions.iter().any(|name| name == version));
    if defined {
        return unknown(resource, object);
    }
    let fields = object.as_object().into_iter().flat_map(serde_json::Map::keys);
    fields
        .filter(|field| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|field| format!("unknown field \"{field}\""))
        .collect()
}

/// Why the object's fields cannot be those of its kind. Custom kinds are told so
/// by their validation.
pub(crate) fn mistyped(resource: &Resource, object: &Value) -> Option<String> {
    resource
        .schema
        .as_ref()
        .filter(|_| resource.custom.is_none())?
        .decode_error(object)
}

fn unreadable(resource: &Resource, why: &str) -> Failure {
    let Resource { kind, version, .. } = resource;
    Failure::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
    ))
}

/// Checks `apiVersion` and `kind`; absent ones are what the path says.
pub(crate) fn same_kind(resource: &Resource, object: &mut Value) -> Outcome<()> {
    let own = resource.api_version();
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if (version.is_empty() || version == own) && (kind.is_empty() || kind == resource.kind) {
        object["apiVersion"] = own.into();
        object["kind"] = resource.kind.as_str().into();
        return Ok(());
    }
    // Versions that upstream knows and no longer serves.
    let older = |version: &str| {
        matches!(resource.group.as_str(), "apps" | "batch" | "policy" | "autoscaling")
            && version.rsplit('/').next().is_some_and(|short| short.contains("beta"))
            && version.split('/').next() == Some(&*resource.group)
    };
    if version != own && (resource.custom.is_some() || (older(&version) && kind == resource.kind)) {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({own})"
        )));
    }
    if resource.custom.is_some() {
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: \"{kind}\": must be {}", resource.kind),
            field: "kind".to_owned(),
        };
        return Err(Failure::invalid(&resource.group, &kind, meta(object, "name"), &[cause]));
    }
    let kind = if kind.is_empty() { &*resource.kind } else { &*kind };
    let version = if version.is_empty() { &*own } else { &*version };
    let short = version.rsplit('/').next().unwrap_or_default();
    let why = if is_builtin(version, kind) {
        let internal = if resource.group.is_empty() {
            "core"
        } else {
            resource.group.split('.').next().unwrap_or_default()
        };
        format!(
            "converting ({short}.{kind}) to ({internal}.{}): unknown conversion",
            resource.kind
        )
    } else {
        format!("no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\"")
    };
    Err(Failure::bad_request(format!(
        "{kind} in version \"{short}\" cannot be handled as a {}: {why}",
        resource.kind
    )))
}

/// The fields that the kind does not have.
pub(crate) fn unknown(resource: &Resource, object: &Value) -> Vec<String> {
    let paths = resource
        .schema
        .as_ref()
        .map(|schema| schema.unknown_fields(object))
        .unwrap_or_default();
    paths.iter().map(|path| format!("unknown field \"{path}\"")).collect()
}

/// What is to be said about faults that can be passed over: warnings, or an error.
pub(crate) fn judge(faults: Vec<String>, strictness: Strictness) -> Result<Vec<String>, String> {
    match strictness {
        Strictness::Strict if !faults.is_empty() => Err(format!("strict decoding error: {}", faults.join(", "))),
        Strictness::Ignore => Ok(Vec::new()),
        Strictness::Strict | Strictness::Warn => Ok(faults),
    }
}

/// Settles the object's namespace with the path's.
pub(crate) fn settle_namespace(call: &Call, object: &mut Value) -> Outcome<()> {
    if !call.resource.namespaced {
        crate::object::unset_meta(object, "namespace");
        return Ok(());
    }
    match meta(object, "namespace") {
        "" => set_meta(object, "namespace", call.namespace.as_str()),
        same if same == call.namespace => {}
        _ => {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

impl Api {
    /// `POST` to a collection.
    pub(crate) async fn create(&self, call: &Call) -> Outcome<Answer> {
        let resource = &call.resource;
        if resource.namespaced && call.namespace.is_empty() {
            return Err(Failure::method_not_allowed());
        }
        let dry = call.query.dry_run("CreateOptions")?;
        let strictness = call.strictness("CreateOptions")?;
        call.query.check_manager("CreateOptions")?;
        if resource.custom.as_ref().is_some_and(|custom| custom.terminating) {
            let mut failure = Failure::method_not_allowed();
            "create not allowed while custom resource definition is terminating".clone_into(&mut failure.message);
            return Err(failure);
        }
        let (object, warnings) = object(call, strictness)?;
        answer::warned(self.create_read(call, object, dry).await, &warnings)
    }

    async fn create_read(&self, call: &Call, mut object: Value, dry: bool) -> Outcome<Answer> {
        let resource = &call.resource;
        if !matches!(meta(&object, "resourceVersion"), "" | "0") {
            return Err(Failure::new(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        settle_namespace(call, &mut object)?;
        if resource.group == "events.k8s.io" {
            object = events::from_events_group(&object);
            events::check_new(&object)?;
        }
        let stored = self.insert(&self.storing(resource)?, object, dry).await?;
        Ok(one(201, call, &stored))
    }

    /// Stores a new object, with a random name where asked for.
    ///
    /// # Errors
    /// 404 or 403 for the namespace, 409 for a name that is taken, 422 for an
    /// object that breaks the rules of its kind.
    pub(crate) async fn insert(&self, resource: &Arc<Resource>, object: Value, dry: bool) -> Outcome<Arc<Object>> {
        let base = meta(&object, "generateName").to_owned();
        let given = meta(&object, "name").to_owned();
        self.admit(
            resource,
            if given.is_empty() { &base } else { &given },
            meta(&object, "namespace"),
        )?;
        if given.is_empty() && base.is_empty() {
            let cause = Cause {
                reason: "FieldValueRequired",
                message: "Required value: name or generateName is required".to_owned(),
                field: "metadata.name".to_owned(),
            };
            return Err(Failure::invalid(&resource.group, &resource.kind, "", &[cause]));
        }
        let object = self.prioritized(resource, object)?;
        let mut tries = if given.is_empty() { limits::NAMES } else { 1 };
        loop {
            let mut new = object.clone();
            if given.is_empty() {
                set_meta(&mut new, "name", time::random_name(&base));
            }
            if resource.is("", "namespaces") {
                let name = meta(&new, "name").to_owned();
                let labels = crate::object::map(crate::object::child(metadata(&mut new), "labels"));
                labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
                new["spec"] = json!({"finalizers": ["kubernetes"]});
            }
            let definition = resource.is(crds::GROUP, crds::PLURAL);
            if definition {
                crds::prepare(&mut new);
            }
            lifecycle::created(resource, &mut new, &self.time(), &time::uid())?;
            if definition {
                crds::begin(&mut new)?;
            }
            if resource.is("", "namespaces") {
                new["status"] = json!({"phase": "Active"});
            }
            let name = meta(&new, "name").to_owned();
            let key = key(meta(&new, "namespace"), &name);
            if dry {
                if self.get(resource, &key).is_some() {
                    return Err(self.taken(resource, &key, &name));
                }
                return Ok(Arc::new(Object::unsaved(new)));
            }
            match self.put(resource, &key, new, Expect::Absent).await? {
                Ok(stored) => {
                    self.after_create(resource, &stored).await?;
                    return Ok(stored);
                }
                Err(Refused::Missing) => {
                    // Its namespace or definition went away meanwhile.
                    self.admit(resource, &name, meta(&object, "namespace"))?;
                    return Err(Failure::no_resource());
                }
                Err(_) if tries > 1 => tries -= 1,
                Err(Refused::Exists | Refused::Stale) => return Err(self.taken(resource, &key, &name)),
            }
        }
    }

    /// Why a name cannot be had.
    fn taken(&self, resource: &Resource, key: &Arc<str>, name: &str) -> Failure {
        let mut failure = Failure::already_exists(resource, name);
        if self.get(resource, key).is_some_and(|found| deleting(&found.value)) {
            failure.message = format!("object is being deleted: {}", failure.message);
        }
        failure
    }

    /// What follows at once from some kinds of objects.
    async fn after_create(&self, resource: &Resource, stored: &Object) -> Outcome<()> {
        if resource.is(crds::GROUP, crds::PLURAL) {
            self.establish(meta(&stored.value, "name")).await?;
        }
        if resource.is("", "namespaces") {
            let accounts = self.builtin("", "v1", "serviceaccounts")?;
            let namespace = meta(&stored.value, "name");
            let mut account = json!({"metadata": {"name": "default", "namespace": namespace}});
            lifecycle::created(&accounts, &mut account, &self.time(), &time::uid())?;
            // One that exists already is as good.
            let _ = self
                .put(&accounts, &key(namespace, "default"), account, Expect::Absent)
                .await?;
        }
        Ok(())
    }

    /// A Pod with the priority of its class, or of the class for all.
    fn prioritized(&self, resource: &Resource, mut pod: Value) -> Outcome<Value> {
        if !resource.is("", "pods") {
            return Ok(pod);
        }
        let classes = self.builtin("scheduling.k8s.io", "v1", "priorityclasses")?;
        let name = pod
            .pointer("/spec/priorityClassName")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let global = || {
            let listed = self.store.lock().list(&classes.storage, None);
            let defaults = listed
                .into_iter()
                .filter(|(_, class)| class.value["globalDefault"] == Value::Bool(true));
            defaults
                .min_by_key(|(_, class)| class.value["value"].as_i64())
                .map(|(_, class)| class)
        };
        let class = if name.is_empty() {
            global()
        } else {
            self.get(&classes, &key("", &name))
        };
        let built_in = match &*name {
            "system-cluster-critical" => Some(2_000_000_000),
            "system-node-critical" => Some(2_000_001_000),
            _ => None,
        };
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
            return Ok(pod);
        };
        match class {
            Some(class) => {
                spec.insert("priorityClassName".to_owned(), meta(&class.value, "name").into());
                spec.insert("priority".to_owned(), class.value["value"].clone());
                if let Some(policy) = class.value.get("preemptionPolicy") {
                    spec.insert("preemptionPolicy".to_owned(), policy.clone());
                }
            }
            None if name.is_empty() => {}
            None => {
                let Some(priority) = built_in else {
                    let why = format!("no PriorityClass with name {name} was found");
                    return Err(Failure::forbidden(resource, meta(&pod, "name"), &why));
                };
                spec.insert("priority".to_owned(), priority.into());
            }
        }
        Ok(pod)
    }

    /// Whether something may be created in a namespace.
    fn admit(&self, resource: &Resource, name: &str, namespace: &str) -> Outcome<()> {
        if !resource.namespaced {
            return Ok(());
        }
        let namespaces = self.builtin("", "v1", "namespaces")?;
        match self.get(&namespaces, namespace) {
            None => Err(Failure::not_found(&namespaces, namespace)),
            Some(found) if deleting(&found.value) => Err(Failure::namespace_terminating(resource, name, namespace)),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_strange_body_is_shown() {
        for (body, shown) in [
            ("", "<empty>"),
            ("{}", "{}"),
            (
                r#"{"metadata":{"name":"a"},"spec":{}}"#,
                r#"{"metadata":{"name":"a"},"spec ..."#,
            ),
            ("a: b", "613a2062"),
        ] {
            assert_eq!(beginning(body.as_bytes()), shown);
        }
    }
}
