//! What a write does to an object besides what the client asked for: system
//! fields, generation, separation of specification and status, deletion.
//!
//! Pure functions over the old and the new state; time and uid come in.

use serde_json::{Value, json};

use crate::crds;
use crate::failure::{Failure, Outcome};
use crate::forms::kinds;
use crate::forms::schema::Cause;
use crate::object::{
    copy, copy_meta, deleting, drop_nulls, finalizers, generation, grace, map, meta, metadata, set_meta, strings,
    unset_meta,
};
use crate::resource::Resource;

mod scale;

pub(crate) use scale::at_path;

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status, where that is a subresource.
    Main,
    /// The status alone.
    Status,
    /// Anything, for the server's own writes.
    Whole,
}

/// Makes what a client sent into a new object.
///
/// # Errors
/// [`Failure`] 422 when the result breaks a rule of its kind.
pub(crate) fn created(resource: &Resource, object: &mut Value, now: &str, uid: &str) -> Outcome<()> {
    for field in [
        "resourceVersion",
        "selfLink",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        unset_meta(object, field);
    }
    set_meta(object, "uid", uid);
    set_meta(object, "creationTimestamp", now);
    if resource.generation {
        set_meta(object, "generation", 1);
    }
    // A Node comes with its status: its kubelet makes it.
    if resource.has_status() && !resource.is("", "nodes") {
        map(object).remove("status");
    }
    if resource.custom.is_none() {
        kinds::admit(&resource.gvk(), object);
    }
    clean(resource, object);
    check(resource, object, None, Part::Main)
}

/// Makes what a client sent into the next state of `old`.
///
/// # Errors
/// [`Failure`] 409 for another object of the same name, 422 for broken rules.
pub(crate) fn updated(resource: &Resource, old: &Value, sent: Value, part: Part) -> Outcome<Value> {
    let name = meta(old, "name");
    let mut new = match part {
        Part::Whole => sent,
        Part::Main => main_part(resource, old, sent)?,
        Part::Status => status_part(resource, old, sent)?,
    };
    copy_meta(old, &mut new, "resourceVersion");
    unset_meta(&mut new, "managedFields");
    unset_meta(&mut new, "selfLink");
    clean(resource, &mut new);
    if part == Part::Main && resource.generation {
        let next = generation(old) + i64::from(specification_changed(resource, old, &new));
        set_meta(&mut new, "generation", next);
    }
    if deleting(old) {
        let known = finalizers(old);
        let added: Vec<&str> = finalizers(&new)
            .into_iter()
            .filter(|name| !known.contains(name))
            .collect();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|name| format!("\"{name}\"")).collect();
            let cause = Cause {
                reason: "FieldValueForbidden",
                message: format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
                field: "metadata.finalizers".to_owned(),
            };
            // Upstream looks twice and lists it twice.
            let causes = [cause.clone(), cause];
            return Err(Failure::invalid(&resource.group, &resource.kind, name, &causes));
        }
    }
    if part != Part::Whole && new != *old {
        check(resource, &new, Some(old), part)?;
    }
    Ok(new)
}

fn main_part(resource: &Resource, old: &Value, mut new: Value) -> Outcome<Value> {
    keep_identity(resource, old, &mut new)?;
    if resource.has_status() {
        copy(old, &mut new, "status");
    }
    if resource.is("", "namespaces") {
        // Only the finalize subresource empties this list.
        let held = old.pointer("/spec/finalizers").cloned();
        let spec = map(&mut new).entry("spec").or_insert(Value::Null);
        match held {
            Some(held) => map(spec).insert("finalizers".to_owned(), held),
            None => map(spec).remove("finalizers"),
        };
    }
    Ok(new)
}

fn status_part(resource: &Resource, old: &Value, mut new: Value) -> Outcome<Value> {
    keep_identity(resource, old, &mut new)?;
    let mut next = old.clone();
    copy(&new, &mut next, "status");
    if resource.custom.is_none() {
        for field in ["annotations", "finalizers", "labels"] {
            if field != "labels" || resource.group != "apps" {
                copy_meta(&new, &mut next, field);
            }
        }
    }
    Ok(next)
}

/// System fields cannot be changed: absent ones are filled in, others refused.
fn keep_identity(resource: &Resource, old: &Value, new: &mut Value) -> Outcome<()> {
    let mut causes = Vec::new();
    for field in ["uid", "deletionTimestamp"] {
        let sent = meta(new, field);
        if !sent.is_empty() && sent != meta(old, field) {
            // Upstream looks twice and lists it twice.
            let cause = Cause {
                reason: "FieldValueInvalid",
                message: format!("Invalid value: \"{sent}\": field is immutable"),
                field: format!("metadata.{field}"),
            };
            causes.extend([cause.clone(), cause]);
        }
        copy_meta(old, new, field);
    }
    if !causes.is_empty() {
        return Err(Failure::invalid(
            &resource.group,
            &resource.kind,
            meta(old, "name"),
            &causes,
        ));
    }
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "generateName",
        "generation",
        "deletionGracePeriodSeconds",
    ] {
        copy_meta(old, new, field);
    }
    Ok(())
}

/// Brings an object into the form in which it is stored.
fn clean(resource: &Resource, object: &mut Value) {
    match (&resource.custom, &resource.schema) {
        (Some(_), Some(schema)) => schema.settle(object),
        (Some(_), None) => {}
        (None, schema) => {
            if let Some(schema) = schema {
                schema.fill_maps(object);
            }
            drop_nulls(object);
            if let Some(schema) = schema {
                schema.prune(object);
            }
            kinds::default(&resource.gvk(), object);
            if resource.is("", "pods") {
                same_addresses(object);
            }
        }
    }
    let metadata = metadata(object);
    metadata.retain(|field, value| {
        let empty = match &*value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => {
                text.is_empty() && matches!(field.as_str(), "namespace" | "generateName" | "selfLink")
            }
            _ => false,
        };
        !empty
    });
    map(object).retain(|field, _| field != "apiVersion" && field != "kind");
}

fn check(resource: &Resource, new: &Value, old: Option<&Value>, part: Part) -> Outcome<()> {
    let causes = match (&resource.custom, &resource.schema) {
        (Some(custom), schema) => {
            let mut causes = kinds::validate(&resource.gvk(), new, old);
            causes.extend(schema.iter().flat_map(|schema| match part {
                // The rest of the object is not this write's doing.
                Part::Status => schema.validate_member(new, "status"),
                Part::Main | Part::Whole => schema.validate(new),
            }));
            causes.extend(custom.scale.iter().flat_map(|paths| scale::wrong(paths, new, part)));
            causes
        }
        (None, _) => kinds::validate(&resource.gvk(), new, old),
    };
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid(
        &resource.group,
        &resource.kind,
        meta(new, "name"),
        &causes,
    ))
}

/// Whether a change is one that controllers must see: anything but metadata and status.
fn specification_changed(resource: &Resource, old: &Value, new: &Value) -> bool {
    let status_apart = resource.custom.is_none() || resource.has_status();
    let counts = |field: &str| field != "metadata" && !(field == "status" && status_apart);
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else {
        return old != new;
    };
    let differ = a
        .iter()
        .any(|(field, value)| counts(field) && b.get(field) != Some(value))
        || b.keys().any(|field| counts(field) && !a.contains_key(field));
    // A Deployment's annotations are handed down to its ReplicaSets.
    let annotations = |object: &Value| object.pointer("/metadata/annotations").cloned();
    differ || (resource.is("apps", "deployments") && annotations(old) != annotations(new))
}

/// Whether nothing holds an object that is being deleted any more.
pub(crate) fn released(object: &Value) -> bool {
    deleting(object)
        && finalizers(object).is_empty()
        && strings(object.pointer("/spec/finalizers")).is_empty()
        && grace(object).unwrap_or(0) == 0
}

/// The list of a Pod's addresses follows the single one.
fn same_addresses(pod: &mut Value) {
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(address) = status
        .get("podIP")
        .filter(|address| address.as_str().is_some_and(|text| !text.is_empty()))
    else {
        return;
    };
    if status
        .get("podIPs")
        .and_then(|list| list.get(0))
        .and_then(|first| first.get("ip"))
        != Some(address)
    {
        let list = json!([{"ip": address}]);
        status.insert("podIPs".to_owned(), list);
    }
}

/// What a deletion asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// Seconds of grace.
    pub(crate) grace: Option<i64>,
    pub(crate) propagation: Propagation,
}

/// What shall happen to the objects that an object owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// The kind's own habit.
    #[default]
    Unset,
    Background,
    Foreground,
    Orphan,
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
pub(crate) enum Deleted {
    /// It goes at once; its last state.
    Gone(Value),
    /// It stays for now; its next state, the old one if it was told already.
    Held(Value),
}

/// Carries out a deletion on paper.
pub(crate) fn deleted(resource: &Resource, old: &Value, deletion: &Deletion, now: &str) -> Deleted {
    let mut new = old.clone();
    hold(&mut new, deletion.propagation, resource);
    let wait = if resource.is("", "pods") {
        pod_grace(old, deletion.grace)
    } else {
        0
    };
    let namespace = resource.is("", "namespaces");
    if deleting(old) {
        // Told before: a shorter grace counts, a longer one does not.
        if let Some(left) = grace(old)
            && wait < left
        {
            let begun = crate::time::moved(meta(old, "deletionTimestamp"), -left);
            set_meta(&mut new, "deletionTimestamp", crate::time::moved(&begun, wait));
            set_meta(&mut new, "deletionGracePeriodSeconds", wait);
        }
    } else {
        set_meta(
            &mut new,
            "deletionTimestamp",
            if wait > 0 {
                crate::time::moved(now, wait)
            } else {
                now.to_owned()
            },
        );
        // Upstream marks these two kinds by hand.
        let by_hand = namespace || resource.is(crds::GROUP, crds::PLURAL);
        if !by_hand {
            set_meta(&mut new, "deletionGracePeriodSeconds", wait);
        }
        if !by_hand && generation(&new) > 0 {
            let next = generation(&new) + 1;
            set_meta(&mut new, "generation", next);
        }
    }
    if namespace {
        let status = map(&mut new).entry("status").or_insert_with(|| json!({}));
        map(status).insert("phase".to_owned(), "Terminating".into());
    }
    if !released(&new) {
        return Deleted::Held(new);
    }
    // Watchers of a Pod see when its end came; other kinds go without a word.
    if resource.is("", "pods") {
        return Deleted::Gone(new);
    }
    Deleted::Gone(old.clone())
}

/// Sets the finalizers by which the garbage collector learns what to do with dependents.
fn hold(object: &mut Value, propagation: Propagation, resource: &Resource) {
    const ORPHAN: &str = "orphan";
    const FOREGROUND: &str = "foregroundDeletion";
    let orphans_by_habit = resource.is("", "replicationcontrollers") || resource.is("batch", "jobs");
    let mut names: Vec<String> = finalizers(object).into_iter().map(str::to_owned).collect();
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
        Propagation::Unset if names.iter().any(|name| name == ORPHAN) => Some(ORPHAN),
        Propagation::Unset if names.iter().any(|name| name == FOREGROUND) => Some(FOREGROUND),
        Propagation::Unset => orphans_by_habit.then_some(ORPHAN),
    };
    names.retain(|name| !(matches!(name.as_str(), ORPHAN | FOREGROUND) && Some(name.as_str()) != wanted));
    if let Some(wanted) = wanted
        && !names.iter().any(|name| name == wanted)
    {
        names.push(wanted.to_owned());
    }
    crate::object::set_finalizers(object, names);
}

/// A bound Pod that runs gets its time to stop; any other goes at once.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    const DEFAULT: i64 = 30;
    let text = |path| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let finished = matches!(text("/status/phase"), "Succeeded" | "Failed");
    if text("/spec/nodeName").is_empty() || finished {
        return 0;
    }
    let own = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    match asked.or(own).unwrap_or(DEFAULT) {
        // Negative grace means the shortest that is still graceful.
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

#[cfg(test)]
mod tests;
