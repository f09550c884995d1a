//! What is particular to built-in kinds: their defaults, what creation adds, and
//! what upstream's validation refuses.
//!
//! The store's order on a write is: [`Schema::decode_error`](super::schema::Schema::decode_error),
//! unknown fields, on creation [`admit`], [`Schema::prune`](super::schema::Schema::prune),
//! [`default`], then [`validate`].

mod admission;
mod autoscaler_checks;
mod check;
mod defaults;
mod definition_checks;
mod object_checks;
mod pod_checks;
mod pod_defaults;
mod workload_checks;

use super::{Gvk, schema::Cause};
use serde_json::{Map, Value};

/// Fills in what upstream defaults on every write and read of a built-in kind.
/// Applying it again changes nothing.
pub fn default(gvk: &Gvk, object: &mut Value) {
    defaults::apply(gvk, object);
}

/// What upstream adds only when an object is created (admission and the kinds'
/// creation strategies): a Pod's tolerations, priority and first status, a
/// Namespace's finalizer, a Job's selector, a Service's address. Call it with
/// `metadata.name`, `.namespace` and `.uid` set, the client's status dropped, and
/// before [`default`].
pub fn admit(gvk: &Gvk, object: &mut Value) {
    admission::apply(gvk, object);
}

/// Checks a built-in object; `old` is the stored one on updates. Both are defaulted.
pub fn validate(gvk: &Gvk, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    check::object(gvk, new, old)
}

/// The object at a path of members, if each is an object.
fn object_at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut at = value;
    for step in path {
        at = at.get_mut(*step)?;
    }
    at.as_object_mut()
}

/// The object at a path, made where it is missing; `None` where something else stands.
fn make_at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut at = value.as_object_mut()?;
    for step in path {
        let inner = at.entry(*step).or_insert(Value::Null);
        if inner.is_null() {
            *inner = Value::Object(Map::new());
        }
        at = inner.as_object_mut()?;
    }
    Some(at)
}

/// Sets a member that is missing or null.
fn fill(map: &mut Map<String, Value>, key: &str, default: impl Into<Value>) {
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = default.into();
    }
}

/// Sets a member that is missing, null or the empty string.
fn fill_text(map: &mut Map<String, Value>, key: &str, default: &str) {
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() || slot.as_str() == Some("") {
        *slot = Value::from(default);
    }
}

/// The objects in a list member.
fn each<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests;
