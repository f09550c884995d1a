//! `delete` and `deletecollection`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::create::body;
use super::{Api, Call, one};
use crate::answer::{self, Answer};
use crate::failure::{Failure, Outcome, details};
use crate::forms::schema::Cause;
use crate::lifecycle::{self, Deleted, Deletion, Propagation};
use crate::object::meta;
use crate::resource::Resource;
use crate::store::{Expect, Object, Refused};
use crate::{crds, limits};

/// What a client says about a deletion.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) deletion: Deletion,
    uid: Option<String>,
    revision: Option<String>,
    dry: bool,
}

impl Order {
    /// The same of an object whose version was checked, and changed since.
    pub(crate) fn of_any_version(mut self) -> Self {
        self.revision = None;
        self
    }

    /// Reads the body, or the query where there is none.
    ///
    /// # Errors
    /// 400 for a body that is not `DeleteOptions`, 422 for unknown values.
    pub(crate) fn read(call: &Call) -> Outcome<Self> {
        let query = &call.query;
        let dry = query.dry_run("DeleteOptions")?;
        let mut options = if call.body.is_empty() {
            json!({})
        } else {
            body(call, "DeleteOptions")?
        };
        let (version, kind) = (
            options["apiVersion"].as_str().unwrap_or("v1"),
            options["kind"].as_str().unwrap_or_default(),
        );
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(Failure::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        if let Some(seconds) = query.number("gracePeriodSeconds")? {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if query.has("propagationPolicy") {
            options["propagationPolicy"] = query.get("propagationPolicy").into();
        }
        if query.has("orphanDependents") {
            options["orphanDependents"] = query.flag("orphanDependents").into();
        }
        let mut order = Self::from_options(&options)?;
        order.dry |= dry;
        Ok(order)
    }

    /// # Errors
    /// 422 for unknown values.
    pub(crate) fn from_options(options: &Value) -> Outcome<Self> {
        let propagation = match options["propagationPolicy"].as_str().unwrap_or_default() {
            "" => Propagation::Unset,
            "Background" => Propagation::Background,
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            other => {
                return Err(Failure::invalid_options(
                    "DeleteOptions",
                    Cause {
                        reason: "FieldValueNotSupported",
                        message: format!(
                            "Unsupported value: \"{other}\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                        ),
                        field: "propagationPolicy".to_owned(),
                    },
                ));
            }
        };
        if options["orphanDependents"].is_boolean() && options["propagationPolicy"].is_string() {
            return Err(Failure::invalid_options(
                "DeleteOptions",
                Cause {
                    reason: "FieldValueInvalid",
                    message: format!(
                        "Invalid value: {}: orphanDependents and deletionPropagation cannot be both set",
                        options["propagationPolicy"]
                    ),
                    field: "propagationPolicy".to_owned(),
                },
            ));
        }
        let propagation = match options["orphanDependents"].as_bool() {
            Some(true) => Propagation::Orphan,
            Some(false) => Propagation::Background,
            None => propagation,
        };
        let text = |path: &str| options.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            deletion: Deletion {
                grace: options["gracePeriodSeconds"].as_i64(),
                propagation,
            },
            uid: text("/preconditions/uid"),
            revision: text("/preconditions/resourceVersion"),
            dry: crate::object::strings(options.get("dryRun")).contains(&"All"),
        })
    }

    /// What the server itself orders.
    pub(crate) fn background() -> Self {
        Self {
            deletion: Deletion {
                grace: None,
                propagation: Propagation::Background,
            },
            ..Self::default()
        }
    }

    pub(crate) fn dry(mut self, dry: bool) -> Self {
        self.dry |= dry;
        self
    }

    pub(crate) fn check(&self, resource: &Resource, name: &str, object: &Value) -> Outcome<()> {
        let refuse = |what: &str, asked: &str, found: &str, hint: &str| {
            let message = format!(
                "Operation cannot be fulfilled on {} \"{name}\": the {what} in the precondition ({asked}) does not match the {what} in record ({found}). The object might have been {hint}",
                crate::resource::qualified(&resource.kind, &resource.group)
            );
            let mut failure = Failure::new(409, "Conflict", message);
            failure.details = Some(details(&resource.group, &resource.kind, name));
            Err(failure)
        };
        match (&self.uid, &self.revision) {
            (Some(uid), _) if uid != meta(object, "uid") => {
                refuse("UID", uid, meta(object, "uid"), "deleted and then recreated")
            }
            (_, Some(revision)) if revision != meta(object, "resourceVersion") => {
                refuse("ResourceVersion", revision, meta(object, "resourceVersion"), "modified")
            }
            _ => Ok(()),
        }
    }
}

/// What became of an object.
#[derive(Debug)]
pub(crate) enum Fate {
    Gone(Arc<Object>),
    Held(Arc<Object>),
}

impl Api {
    /// `DELETE` of an object.
    pub(crate) async fn delete(&self, call: &Call) -> Outcome<Answer> {
        let order = Order::read(call)?;
        let resource = &call.resource;
        match self.discard(resource, &call.key(), &order).await? {
            Fate::Held(object) => Ok(one(200, call, &object)),
            Fate::Gone(object) if returned(resource) => Ok(one(200, call, &object)),
            Fate::Gone(object) => {
                let mut about = details(&resource.group, &resource.plural, &call.name);
                about["uid"] = meta(&object.value, "uid").into();
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": about,
                });
                Ok(answer::json_value(200, &status, call.wanted))
            }
        }
    }

    /// `DELETE` of a collection: what the selectors choose, one by one.
    pub(crate) async fn delete_collection(&self, call: &Call) -> Outcome<Answer> {
        let order = Order::read(call)?;
        let chosen = self.select(call)?;
        let mut deleted = Vec::new();
        for (key, before) in chosen {
            match self.discard(&call.resource, &key, &order).await {
                // What is answered is what was chosen, as it was then.
                Ok(Fate::Gone(_) | Fate::Held(_)) => deleted.push(before),
                // Somebody else was faster.
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        let revision = self.store.lock().revision();
        Ok(super::read::list_answer(
            call,
            &deleted,
            &json!({"resourceVersion": revision.to_string()}),
        ))
    }

    /// Deletes an object, or begins to.
    ///
    /// # Errors
    /// 404 when there is none, 409 when a precondition fails.
    pub(crate) async fn discard(&self, resource: &Resource, key: &Arc<str>, order: &Order) -> Outcome<Fate> {
        let name = key.rsplit('/').next().unwrap_or_default();
        if resource.is("", "namespaces") && matches!(name, "default" | "kube-system" | "kube-public") {
            return Err(Failure::forbidden(resource, name, "this namespace may not be deleted"));
        }
        for _ in 0..=limits::RETRIES {
            let old = self
                .get(resource, key)
                .ok_or_else(|| Failure::not_found(resource, name))?;
            order.check(resource, name, &old.value)?;
            // Instances go before their definition: a finalizer holds it meanwhile.
            let held = resource.is(crds::GROUP, crds::PLURAL).then(|| crds::held(&old.value));
            let before = held.as_ref().unwrap_or(&old.value);
            let done = match lifecycle::deleted(resource, before, &order.deletion, &self.time()) {
                Deleted::Held(new) if new == old.value => {
                    self.durable(old.revision).await?;
                    return Ok(Fate::Held(old));
                }
                Deleted::Held(new) if order.dry => return Ok(Fate::Held(Arc::new(Object::unsaved(new)))),
                Deleted::Gone(last) if order.dry => return Ok(Fate::Gone(Arc::new(Object::unsaved(last)))),
                Deleted::Held(mut new) => {
                    let definition = resource.is(crds::GROUP, crds::PLURAL);
                    if definition {
                        crds::terminate(&mut new);
                    }
                    let put = self
                        .put(resource, key, new, Expect::Revision(old.revision))
                        .await?
                        .map(Fate::Held);
                    if definition {
                        self.refresh();
                    }
                    put
                }
                Deleted::Gone(last) => {
                    let gone = self.remove(resource, key, last, old.revision).await?.map(Fate::Gone);
                    if resource.is(crds::GROUP, crds::PLURAL) {
                        self.refresh();
                    }
                    gone
                }
            };
            match done {
                Ok(fate) => return Ok(fate),
                Err(Refused::Missing) => return Err(Failure::not_found(resource, name)),
                Err(Refused::Stale | Refused::Exists) => {}
            }
        }
        Err(Failure::stale(resource, name))
    }
}

/// The kinds whose deletion answers the object instead of a Status.
fn returned(resource: &Resource) -> bool {
    let kinds = [
        "pods",
        "services",
        "serviceaccounts",
        "persistentvolumes",
        "persistentvolumeclaims",
        "podtemplates",
        "resourcequotas",
    ];
    resource.group.is_empty() && kinds.contains(&&*resource.plural)
}
