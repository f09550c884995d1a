//! Checks.
use crate::forms::{Gvk, schema::Cause};
use serde_json::Value;

pub(super) fn object(_gvk: &Gvk, _new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}
