//! Subresources: scale, binding and eviction of Pods, and questions that are
//! asked by creating an object that is never stored.

use http::Method;
use serde_json::{Map, Value, json};

use super::create::{body, settle_namespace};
use super::delete::Order;
use super::update::Patch;
use super::{Api, Call};
use crate::answer::{self, Answer};
use crate::failure::{Failure, Outcome, details};
use crate::forms::schema::Cause;
use crate::lifecycle::{Part, at_path};
use crate::object::{child, map, meta, set_meta};
use crate::resource::Resource;
use crate::store::Object;
use crate::time;

impl Api {
    /// `GET`, `PUT` and `PATCH` of `…/scale`.
    pub(crate) async fn scale(&self, call: &Call, method: &Method) -> Outcome<Answer> {
        let resource = &call.resource;
        if method == Method::GET {
            let object = self
                .get(resource, &call.key())
                .ok_or_else(|| Failure::not_found(resource, &call.name))?;
            self.durable(object.revision).await?;
            return Ok(answer::json_value(200, &scale_of(resource, &object)?, call.wanted));
        }
        let dry = call.query.dry_run("UpdateOptions")?;
        let patch = if method == Method::PATCH {
            call.query.check_no_force()?;
            Some(Patch::read(call)?)
        } else {
            None
        };
        let sent = if patch.is_none() {
            body(call, "Scale")?
        } else {
            Value::Null
        };
        let stored = self
            .modify(resource, &call.key(), Part::Main, dry, |old| {
                let mut scale = sent.clone();
                if let Some(patch) = &patch {
                    scale = scale_of(resource, old)?;
                    patch.apply(resource, &mut scale)?;
                }
                if !matches!(meta(&scale, "name"), "") && meta(&scale, "name") != call.name {
                    return Err(Failure::bad_request(format!(
                        "the name of the object ({}) does not match the name on the URL ({})",
                        meta(&scale, "name"),
                        call.name
                    )));
                }
                let replicas = &scale["spec"]["replicas"];
                if patch.is_some() && !replicas.is_null() && !replicas.is_i64() {
                    let shown = serde_json::to_string(&scale.to_string()).unwrap_or_default();
                    let why = format!("json: spec.replicas must be a whole number, not {replicas}");
                    return Err(Failure::misfit(&shown, &why));
                }
                let replicas = if replicas.is_null() { Some(0) } else { replicas.as_i64() };
                let Some(replicas) = replicas.filter(|replicas| *replicas >= 0) else {
                    let cause = Cause {
                        reason: "FieldValueInvalid",
                        message: format!(
                            "Invalid value: {}: must be greater than or equal to 0",
                            scale["spec"]["replicas"]
                        ),
                        field: "spec.replicas".to_owned(),
                    };
                    return Err(Failure::invalid("autoscaling", "Scale", &call.name, &[cause]));
                };
                let mut new = old.value.clone();
                set_meta(&mut new, "resourceVersion", meta(&scale, "resourceVersion"));
                let path = resource
                    .custom
                    .as_ref()
                    .and_then(|custom| custom.scale.as_ref())
                    .map_or(".spec.replicas", |paths| &paths.spec);
                set_path(&mut new, path, replicas.into());
                Ok(new)
            })
            .await?;
        Ok(answer::json_value(200, &scale_of(resource, &stored)?, call.wanted))
    }

    /// `POST …/pods/NAME/binding`: gives a Pod its node.
    pub(crate) async fn bind(&self, call: &Call) -> Outcome<Answer> {
        let binding = body(call, "Binding")?;
        let name = if call.name.is_empty() {
            meta(&binding, "name")
        } else {
            &*call.name
        };
        if meta(&binding, "name") != name {
            return Err(Failure::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        let dry = call.query.dry_run("CreateOptions")?;
        let target = binding
            .pointer("/target/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let kind = binding
            .pointer("/target/kind")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let refuse = |field: &str, reason, message: &str| {
            let cause = Cause {
                reason,
                message: message.to_owned(),
                field: field.to_owned(),
            };
            Err(Failure::invalid("", "Binding", name, &[cause]))
        };
        if target.is_empty() {
            return refuse("target.name", "FieldValueRequired", "Required value");
        }
        if !matches!(kind, "" | "Node") {
            let message = format!("Unsupported value: \"{kind}\": supported values: \"Node\", \"<empty>\"");
            return Err(Failure::new(500, "", format!("target.kind: {message}")));
        }
        let pods = self.builtin("", "v1", "pods")?;
        let conflict = |why: String| {
            let message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
            let mut failure = Failure::new(409, "Conflict", message);
            failure.details = Some(details("", "pods/binding", name));
            failure
        };
        let key = crate::store::key(&call.namespace, name);
        self.modify(&pods, &key, Part::Whole, dry, |old| {
            let mut pod = old.value.clone();
            if let Some(uid) = binding.pointer("/metadata/uid").and_then(Value::as_str)
                && uid != meta(&pod, "uid")
            {
                return Err(conflict(format!("pod {name} has another uid than the binding says")));
            }
            if crate::object::deleting(&pod) {
                return Err(conflict(format!(
                    "pod {name} is being deleted, cannot be assigned to a host"
                )));
            }
            let node = pod
                .pointer("/spec/nodeName")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if !node.is_empty() {
                return Err(conflict(format!("pod {name} is already assigned to node \"{node}\"")));
            }
            map(child(map(&mut pod), "spec")).insert("nodeName".to_owned(), target.into());
            let scheduled = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::now(),
            });
            set_condition(&mut pod, scheduled);
            Ok(pod)
        })
        .await?;
        Ok(answer::json_value(201, &success(), call.wanted))
    }

    /// `POST …/pods/NAME/eviction`: a deletion that asks first. Disruption budgets
    /// are stored but not enforced: nothing here computes their status.
    pub(crate) async fn evict(&self, call: &Call) -> Outcome<Answer> {
        let eviction = body(call, "Eviction")?;
        if !meta(&eviction, "name").is_empty() && meta(&eviction, "name") != call.name {
            return Err(Failure::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let order = match eviction.get("deleteOptions") {
            Some(options) => Order::from_options(options)?,
            None => Order::default(),
        };
        let dry = call.query.dry_run("CreateOptions")?;
        let order = order.dry(dry);
        // The condition is written first, so that whoever watches the Pod end knows why.
        let order = if dry {
            order
        } else {
            self.modify(&call.resource, &call.key(), Part::Whole, dry, |old| {
                order.check(&call.resource, &call.name, &old.value)?;
                let mut pod = old.value.clone();
                let evicting = json!({
                    "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::now(),
                    "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
                });
                set_condition(&mut pod, evicting);
                Ok(pod)
            })
            .await?;
            order.of_any_version()
        };
        self.discard(&call.resource, &call.key(), &order).await?;
        Ok(answer::json_value(201, &success(), call.wanted))
    }

    /// `POST` of a review: everybody may do everything here, and is told so.
    pub(crate) fn review(call: &Call) -> Outcome<Answer> {
        let resource = &call.resource;
        let mut review = body(call, &resource.kind)?;
        settle_namespace(call, &mut review)?;
        let all = json!(["*"]);
        review["apiVersion"] = resource.api_version().into();
        review["kind"] = resource.kind.as_str().into();
        review["metadata"] = json!({});
        review["status"] = match &*resource.kind {
            "SelfSubjectReview" => json!({"userInfo": {"username": "local", "groups": ["system:masters"]}}),
            "SelfSubjectRulesReview" => json!({
                "incomplete": false,
                "resourceRules": [{"verbs": all, "apiGroups": all, "resources": all}],
                "nonResourceRules": [{"verbs": all, "nonResourceURLs": all}],
            }),
            _ => json!({"allowed": true}),
        };
        Ok(answer::json_value(201, &review, call.wanted))
    }
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

/// Adds a condition to a Pod, in place of one of the same type.
fn set_condition(pod: &mut Value, condition: Value) {
    let conditions = child(map(child(map(pod), "status")), "conditions");
    let mut list = conditions.as_array().cloned().unwrap_or_default();
    list.retain(|other| other["type"] != condition["type"]);
    list.push(condition);
    *conditions = list.into();
}

/// The Scale of an object.
fn scale_of(resource: &Resource, object: &Object) -> Outcome<Value> {
    let value = &object.value;
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta(value, field).is_empty() {
            metadata.insert(field.to_owned(), meta(value, field).into());
        }
    }
    let (spec, status, selector) = match &resource.custom {
        None => {
            let selector = if resource.group.is_empty() {
                label_map(&value["spec"]["selector"])
            } else {
                label_selector(&value["spec"]["selector"])
            };
            (
                at_path(value, ".spec.replicas"),
                at_path(value, ".status.replicas"),
                selector,
            )
        }
        Some(custom) => {
            let paths = custom.scale.as_ref().ok_or_else(Failure::no_resource)?;
            let spec = at_path(value, &paths.spec);
            if spec.is_none() {
                return Err(Failure::internal(format!(
                    "the spec replicas field \"{}\" does not exist",
                    paths.spec
                )));
            }
            let selector = paths.selector.as_deref().and_then(|at| at_path(value, at));
            let selector = selector.and_then(Value::as_str).unwrap_or_default().to_owned();
            (spec, at_path(value, &paths.status), selector)
        }
    };
    let number = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or(0);
    let mut shown = json!({"replicas": number(status)});
    if !selector.is_empty() {
        shown["selector"] = selector.into();
    }
    let spec = match number(spec) {
        // Upstream leaves a zero out.
        0 => json!({}),
        replicas => json!({"replicas": replicas}),
    };
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": shown,
    }))
}

fn set_path(value: &mut Value, path: &str, new: Value) {
    let mut at = value;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        at = child(map(at), part);
    }
    *at = new;
}

fn label_map(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// A LabelSelector in the form of a query.
fn label_selector(selector: &Value) -> String {
    let mut parts = match label_map(&selector["matchLabels"]) {
        text if text.is_empty() => Vec::new(),
        text => vec![text],
    };
    for requirement in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = requirement["key"].as_str().unwrap_or_default();
        let mut values = crate::object::strings(requirement.get("values"));
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match requirement["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_queries() {
        let selector = json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "d", "operator": "DoesNotExist"},
                {"key": "e", "operator": "Exists"},
            ],
        });
        assert_eq!(label_selector(&selector), "a=1,b=2,c in (x,y),!d,e");
        assert_eq!(label_selector(&json!({})), "");
    }

    #[test]
    fn replicas_are_set_where_the_path_says() {
        let mut value = json!({"spec": {"a": 1}});
        set_path(&mut value, ".spec.workers.count", 3.into());
        assert_eq!(value, json!({"spec": {"a": 1, "workers": {"count": 3}}}));
        assert_eq!(at_path(&value, ".spec.workers.count"), Some(&json!(3)));
        assert_eq!(at_path(&value, ".spec.none"), None);
    }
}
