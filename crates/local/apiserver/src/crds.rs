//! CustomResourceDefinitions: what makes a definition into a served resource,
//! and takes it away again.

use serde_json::{Value, json};

use crate::engine::Api;
use crate::engine::delete::Order;
use crate::failure::{Failure, Outcome};
use crate::forms::Gvk;
use crate::forms::schema::{self, Cause};
use crate::lifecycle::Part;
use crate::object::{child, deleting, finalizers, map, meta, set_finalizers, strings};
use crate::registry::condition;
use crate::resource::qualified;
use crate::store::key;
use crate::time;

pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";
pub(crate) const STORAGE: &str = "customresourcedefinitions.apiextensions.k8s.io";
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what a definition may leave out.
pub(crate) fn prepare(definition: &mut Value) {
    let spec = map(child(map(definition), "spec"));
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    let names = map(child(spec, "names"));
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
    names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
}

/// Checks what serving relies on, and sets the status of a new definition.
///
/// # Errors
/// 422 that names the field.
pub(crate) fn begin(definition: &mut Value) -> Outcome<()> {
    check(definition, false)?;
    definition["status"] = json!({
        "acceptedNames": {"plural": "", "kind": ""},
        "conditions": null,
        "storedVersions": storage_version(definition).into_iter().collect::<Vec<_>>(),
    });
    Ok(())
}

/// Keeps the status of a changed definition true.
///
/// # Errors
/// As [`begin`].
pub(crate) fn updated(old: &Value, new: &mut Value) -> Outcome<()> {
    prepare(new);
    check(new, true)?;
    let mut stored: Vec<String> = strings(old.pointer("/status/storedVersions"))
        .into_iter()
        .map(str::to_owned)
        .collect();
    if let Some(version) = storage_version(new).filter(|version| !stored.contains(version)) {
        stored.push(version);
        new["status"]["storedVersions"] = stored.into();
    }
    Ok(())
}

/// The version in which objects are stored.
pub(crate) fn storage_version(definition: &Value) -> Option<String> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let mut storage = versions
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == Value::Bool(true));
    storage.next()?["name"].as_str().map(str::to_owned)
}

fn check(definition: &Value, exists: bool) -> Outcome<()> {
    let text = |path: &str| definition.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let mut causes = Vec::new();
    let mut refuse = |reason, field: &str, message: String| {
        causes.push(Cause {
            reason,
            message,
            field: field.to_owned(),
        });
    };
    for path in ["group", "scope", "names/plural", "names/kind"] {
        if text(&format!("/spec/{path}")).is_empty() {
            refuse(
                "FieldValueRequired",
                &format!("spec.{}", path.replace('/', ".")),
                "Required value".to_owned(),
            );
        }
    }
    let (plural, group, name) = (
        text("/spec/names/plural"),
        text("/spec/group"),
        meta(definition, "name"),
    );
    // What exists already keeps its group and plural: that is told elsewhere.
    if !exists && name != format!("{plural}.{group}") {
        let message = format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group");
        refuse("FieldValueInvalid", "metadata.name", message);
    }
    for field in ["kind", "listKind"] {
        let word = text(&format!("/spec/names/{field}"));
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !word.chars().all(letters) || word.starts_with(|c: char| !c.is_ascii_alphabetic()) {
            let message =
                format!("Invalid value: \"{word}\": must be letters, digits and '-', and begin with a letter");
            refuse("FieldValueInvalid", &format!("spec.names.{field}"), message);
        }
    }
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let stored = versions
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == Value::Bool(true))
        .count();
    if stored != 1 {
        let message = "Invalid value: must have exactly one version marked as storage version".to_owned();
        refuse("FieldValueInvalid", "spec.versions", message);
    }
    causes.extend(schema_causes(definition));
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid(GROUP, "CustomResourceDefinition", name, &causes))
}

/// What is wrong with the versions' schemas. Where all versions have the same one,
/// upstream calls it the definition's.
fn schema_causes(definition: &Value) -> Vec<Cause> {
    let Some(versions) = definition.pointer("/spec/versions").and_then(Value::as_array) else {
        return Vec::new();
    };
    let schemas: Vec<&Value> = versions
        .iter()
        .map(|version| &version["schema"]["openAPIV3Schema"])
        .collect();
    let shared = schemas.windows(2).all(|pair| pair[0] == pair[1]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut causes = Vec::new();
    for (index, (version, schema)) in
        versions
            .iter()
            .zip(&schemas)
            .enumerate()
            .take(if shared { 1 } else { usize::MAX })
    {
        let place = if shared {
            "spec.validation".to_owned()
        } else {
            format!("spec.versions[{index}].schema")
        };
        if schema.is_null() {
            let message = "Required value: schemas are required".to_owned();
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            causes.push(Cause {
                reason: "FieldValueRequired",
                message,
                field,
            });
            continue;
        }
        let kind = schema["type"].as_str().unwrap_or_default();
        if !matches!(kind, "" | "object") && version["subresources"]["status"].is_object() {
            let detail =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            let field = format!("{place}.openAPIV3Schema.type");
            causes.push(Cause::invalid(field, &schema["type"], detail));
        }
        let gvk = Gvk::new(
            text(&definition["spec"]["group"]),
            text(&version["name"]),
            text(&definition["spec"]["names"]["kind"]),
        );
        let found = schema::from_crd(schema, &gvk).err().unwrap_or_default();
        causes.extend(found.into_iter().map(|cause| Cause {
            field: format!("{place}.openAPIV3Schema.{}", cause.field),
            ..cause
        }));
    }
    causes
}

/// The definition with the finalizer that keeps it until its instances are gone.
pub(crate) fn held(definition: &Value) -> Value {
    let mut held = definition.clone();
    let mut names: Vec<String> = finalizers(definition).into_iter().map(str::to_owned).collect();
    if !deleting(definition) && !names.iter().any(|name| name == CLEANUP) {
        names.push(CLEANUP.to_owned());
        set_finalizers(&mut held, names);
    }
    held
}

/// Says in the status that instances are being deleted.
pub(crate) fn terminate(definition: &mut Value) {
    set_condition(
        definition,
        "Terminating",
        true,
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    );
}

fn set_condition(definition: &mut Value, kind: &str, status: bool, reason: &str, message: &str) {
    let status = if status { "True" } else { "False" };
    let conditions = child(map(child(map(definition), "status")), "conditions");
    let mut list = conditions.as_array().cloned().unwrap_or_default();
    let new = |since: Value| json!({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(condition) if condition["status"] == status => {
            *condition = new(condition["lastTransitionTime"].clone());
        }
        Some(condition) => *condition = new(time::now().into()),
        None => list.push(new(time::now().into())),
    }
    *conditions = list.into();
}

/// Why a definition's names cannot be had: others of its group have them.
fn names_taken(definition: &Value, others: &[Value]) -> Option<(&'static str, String)> {
    let spec = &definition["spec"];
    let words = |names: &Value, field: &str| -> Vec<String> {
        match &names[field] {
            Value::String(word) if !word.is_empty() => vec![word.clone()],
            list => strings(Some(list)).into_iter().map(str::to_owned).collect(),
        }
    };
    for other in others {
        if other["spec"]["group"] != spec["group"] || meta(other, "name") == meta(definition, "name") {
            continue;
        }
        let theirs = &other["status"]["acceptedNames"];
        let taken: Vec<String> = ["plural", "singular", "shortNames"]
            .iter()
            .flat_map(|field| words(theirs, field))
            .collect();
        for (field, reason) in [
            ("plural", "PluralConflict"),
            ("singular", "SingularConflict"),
            ("shortNames", "ShortNamesConflict"),
        ] {
            if let Some(word) = words(&spec["names"], field)
                .into_iter()
                .find(|word| taken.contains(word))
            {
                return Some((reason, format!("\"{word}\" is already in use")));
            }
        }
        let kinds: Vec<String> = ["kind", "listKind"]
            .iter()
            .flat_map(|field| words(theirs, field))
            .collect();
        for (field, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
            if let Some(word) = words(&spec["names"], field)
                .into_iter()
                .find(|word| kinds.contains(word))
            {
                return Some((reason, format!("\"{word}\" is already in use")));
            }
        }
    }
    None
}

impl Api {
    /// Accepts a definition's names and serves it, at once.
    ///
    /// # Errors
    /// When the status cannot be stored.
    pub(crate) async fn establish(&self, name: &str) -> Outcome<()> {
        let definitions = self.builtin(GROUP, "v1", PLURAL)?;
        let others: Vec<Value> = self
            .store
            .lock()
            .list(STORAGE, None)
            .into_iter()
            .map(|(_, object)| object.value.clone())
            .collect();
        let built_in = self.registry().resources.iter().any(|resource| {
            resource.custom.is_none()
                && !resource.group.is_empty()
                && name == qualified(&resource.plural, &resource.group)
        });
        let done = self
            .modify(&definitions, &key("", name), Part::Whole, false, |old| {
                let mut new = old.value.clone();
                let conflict = names_taken(&new, &others)
                    .or_else(|| built_in.then(|| ("PluralConflict", "a built-in resource has this name".to_owned())));
                match conflict {
                    None => {
                        new["status"]["acceptedNames"] = new["spec"]["names"].clone();
                        set_condition(&mut new, "NamesAccepted", true, "NoConflicts", "no conflicts found");
                        set_condition(
                            &mut new,
                            "Established",
                            true,
                            "InitialNamesAccepted",
                            "the initial names have been accepted",
                        );
                    }
                    Some((reason, message)) => {
                        set_condition(&mut new, "NamesAccepted", false, reason, &message);
                        if !condition(&new, "Established") {
                            set_condition(
                                &mut new,
                                "Established",
                                false,
                                "NotAccepted",
                                "not all names are accepted",
                            );
                        }
                    }
                }
                Ok(new)
            })
            .await;
        self.refresh();
        match done {
            // Deleted meanwhile: nothing to serve.
            Err(failure) if failure.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Deletes the instances of definitions that are being deleted, and lets go of
    /// those that have none left. Returns whether any is waiting.
    pub(crate) async fn clean_definitions(&self) -> Outcome<bool> {
        let definitions = self.builtin(GROUP, "v1", PLURAL)?;
        let list = self.store.lock().list(STORAGE, None);
        let mut waiting = false;
        for (name, definition) in list {
            if !deleting(&definition.value) || !finalizers(&definition.value).contains(&CLEANUP) {
                continue;
            }
            let text = |path: &str| {
                definition
                    .value
                    .pointer(path)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let (plural, group) = (text("/spec/names/plural"), text("/spec/group"));
            let storage = qualified(plural, group);
            if condition(&definition.value, "Established") && !self.empty(group, plural, None).await? {
                waiting = true;
                continue;
            }
            let gone = self
                .modify(&definitions, &name, Part::Whole, false, |old| {
                    let mut new = old.value.clone();
                    let kept = finalizers(&new)
                        .into_iter()
                        .filter(|name| *name != CLEANUP)
                        .map(str::to_owned)
                        .collect();
                    set_finalizers(&mut new, kept);
                    Ok(new)
                })
                .await;
            match gone {
                Ok(_) => {}
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
            self.refresh();
            self.store.lock().forget(&storage);
            self.bell.forget(&storage);
        }
        Ok(waiting)
    }

    /// Deletes what a resource holds (in one namespace, if given). Returns whether
    /// nothing is left.
    pub(crate) async fn empty(&self, group: &str, plural: &str, namespace: Option<&str>) -> Outcome<bool> {
        let registry = self.registry();
        let Some(resource) = registry
            .resources
            .iter()
            .find(|resource| resource.group == group && resource.plural == plural)
        else {
            return Ok(true);
        };
        let order = Order::background();
        let objects = self.store.lock().list(&resource.storage, namespace);
        for (key, object) in &objects {
            if deleting(&object.value) {
                continue;
            }
            match self.discard(resource, key, &order).await {
                Ok(_) => {}
                Err(failure) if matches!(failure.code, 404 | 409) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.store.lock().list(&resource.storage, namespace).is_empty())
    }
}
