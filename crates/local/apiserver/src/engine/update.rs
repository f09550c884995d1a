//! `update` and `patch`: reading the present state, changing it on paper, and
//! committing if nobody else was faster.

use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::create::{Strictness, judge, mistyped, object, same_kind, settle_namespace, unknown};
use super::{Api, Call, one, typed};
use crate::answer::{self, Answer};
use crate::failure::{Failure, Outcome};
use crate::forms::patch::{self, PatchErrorKind};
use crate::forms::schema::Cause;
use crate::lifecycle::{self, Part, released};
use crate::object::{meta, set_finalizers, strings};
use crate::resource::Resource;
use crate::store::{Expect, Object, Refused};
use crate::{crds, events, limits};

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Merge,
    Strategic,
}

/// A patch that was read.
#[derive(Debug)]
pub(crate) struct Patch {
    form: Form,
    value: Value,
}

impl Patch {
    /// # Errors
    /// 415 for an unknown form, 400 for a body that is no patch.
    pub(crate) fn read(call: &Call) -> Outcome<Self> {
        let strategic = call.resource.custom.is_none();
        let form = match &*call.content_type {
            "application/json-patch+json" => Form::Json,
            "application/merge-patch+json" => Form::Merge,
            "application/strategic-merge-patch+json" if strategic => Form::Strategic,
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                return Err(Failure::new(
                    415,
                    "UnsupportedMediaType",
                    "server-side apply is not served here: use client-side apply (kubectl apply without --server-side), \
                     or a patch of type application/merge-patch+json, application/json-patch+json \
                     or application/strategic-merge-patch+json",
                ));
            }
            "application/strategic-merge-patch+json" => {
                return Err(Failure::unsupported_media_type(
                    "application/json-patch+json, application/merge-patch+json",
                ));
            }
            _ => {
                let mut failure = Failure::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
                failure.details = Some(serde_json::json!({}));
                return Err(failure);
            }
        };
        let value: Value = serde_json::from_slice(&call.body)
            .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
        let wrong = match form {
            Form::Json => !value.is_array(),
            Form::Merge | Form::Strategic => !value.is_object(),
        };
        if wrong && value.is_null() {
            return Err(Failure::bad_request("Invalid JSON Patch"));
        }
        if wrong {
            let expected = if form == Form::Json {
                "a list of operations"
            } else {
                "an object"
            };
            return Err(Failure::bad_request(format!(
                "error decoding patch: the body must be {expected}"
            )));
        }
        Ok(Self { form, value })
    }

    /// Applies the patch to an object with its type.
    pub(crate) fn apply(&self, resource: &Resource, document: &mut Value) -> Outcome<()> {
        let name = meta(document, "name").to_owned();
        let result = match self.form {
            Form::Json => patch::json(document, &self.value),
            Form::Merge => {
                patch::merge(document, &self.value);
                Ok(())
            }
            Form::Strategic => match &resource.schema {
                Some(schema) => patch::strategic(document, &self.value, schema),
                None => {
                    patch::merge(document, &self.value);
                    Ok(())
                }
            },
        };
        result.map_err(|error| {
            tracing::debug!(name, detail = error.detail, "a patch does not apply");
            match error.kind {
                PatchErrorKind::BadRequest => Failure::bad_request(error.message),
                PatchErrorKind::TooLarge => Failure::new(413, "RequestEntityTooLarge", error.message),
                PatchErrorKind::Internal => Failure::new(500, "", error.message),
                PatchErrorKind::Invalid => Failure::unprocessable_patch(),
            }
        })
    }
}

impl Api {
    /// `PUT` and `PATCH` of an object or its status.
    pub(crate) async fn change(&self, call: &Call, method: &Method, part: Part) -> Outcome<Answer> {
        if method == Method::PATCH {
            self.patch(call, part).await
        } else {
            self.update(call, part).await
        }
    }

    async fn update(&self, call: &Call, part: Part) -> Outcome<Answer> {
        let dry = call.query.dry_run("UpdateOptions")?;
        call.query.check_manager("UpdateOptions")?;
        let (sent, warnings) = object(call, call.strictness("UpdateOptions")?)?;
        answer::warned(self.update_read(call, sent, part, dry).await, &warnings)
    }

    async fn update_read(&self, call: &Call, mut sent: Value, part: Part, dry: bool) -> Outcome<Answer> {
        let resource = &call.resource;
        check_name(&sent, &call.name)?;
        settle_namespace(call, &mut sent)?;
        let version = meta(&sent, "resourceVersion");
        if !version.is_empty() && version.parse::<u64>().is_err() {
            let why = format!("strconv.ParseUint: parsing \"{version}\": invalid syntax");
            return Err(Failure::new(500, "", why));
        }
        if !resource.unconditional() && meta(&sent, "resourceVersion").is_empty() {
            let cause = Cause {
                reason: "FieldValueInvalid",
                message: "Invalid value: 0: must be specified for an update".to_owned(),
                field: "metadata.resourceVersion".to_owned(),
            };
            // One that does not exist is still not found.
            if self.get(resource, &call.key()).is_some() {
                return Err(Failure::invalid(
                    &resource.group,
                    &resource.plural,
                    &call.name,
                    &[cause],
                ));
            }
        }
        if resource.group == "events.k8s.io" {
            sent = events::from_events_group(&sent);
        }
        let creates = resource.is("coordination.k8s.io", "leases") || resource.is("", "events");
        if creates && part == Part::Main && self.get(resource, &call.key()).is_none() {
            crate::object::unset_meta(&mut sent, "resourceVersion");
            let stored = self.insert(&self.storing(resource)?, sent, dry).await?;
            return Ok(one(201, call, &stored));
        }
        let uid = meta(&sent, "uid").to_owned();
        let storing = self.storing(resource)?;
        let stored = self
            .modify(&storing, &call.key(), part, dry, |old| {
                if !uid.is_empty() && uid != meta(&old.value, "uid") {
                    let group = if resource.custom.is_some() {
                        format!("{}/", resource.group)
                    } else {
                        String::new()
                    };
                    let why = format!(
                        "StorageError: invalid object, Code: 4, Key: /registry/{group}{}/{}, ResourceVersion: 0, \
                         AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                        resource.plural,
                        call.key(),
                        meta(&old.value, "uid")
                    );
                    return Err(Failure::conflict(resource, &call.name, &why));
                }
                if resource.group == "events.k8s.io" {
                    events::check_change(&old.value, &sent)?;
                }
                Ok(sent.clone())
            })
            .await?;
        Ok(one(200, call, &stored))
    }

    async fn patch(&self, call: &Call, part: Part) -> Outcome<Answer> {
        let resource = &call.resource;
        let dry = call.query.dry_run("PatchOptions")?;
        let strictness = call.strictness("PatchOptions")?;
        call.query.check_manager("PatchOptions")?;
        let patch = Patch::read(call)?;
        call.query.check_no_force()?;
        let mut warnings = Vec::new();
        let storing = self.storing(resource)?;
        let changed = self
            .modify(&storing, &call.key(), part, dry, |old| {
                let mut document = typed(resource, &old.value);
                patch.apply(resource, &mut document)?;
                if !document.is_object() {
                    return Err(Failure::unprocessable_patch());
                }
                if let Some(why) = self.misfit(resource, &document) {
                    return Err(Failure::misfit("<the object>", &why));
                }
                same_kind(resource, &mut document)?;
                check_name(&document, &call.name)?;
                settle_namespace(call, &mut document)?;
                warnings = match mistyped(resource, &document) {
                    Some(why) => Err(why),
                    None => judge(unknown(resource, &document), strictness),
                }
                .map_err(|why| {
                    let shown = serde_json::to_string(&document.to_string()).unwrap_or_default();
                    Failure::misfit(&shown, &why)
                })?;
                if resource.group == "events.k8s.io" {
                    document = events::from_events_group(&document);
                    events::check_change(&old.value, &document)?;
                }
                Ok(document)
            })
            .await;
        answer::warned(changed.map(|stored| one(200, call, &stored)), &warnings)
    }

    /// Why a patched object that now says to be of another kind cannot be read
    /// as one: that is found out before the kinds are compared.
    fn misfit(&self, resource: &Resource, document: &Value) -> Option<String> {
        let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let registry = self.registry();
        let other = registry
            .resources
            .iter()
            .find(|other| other.kind == kind && other.api_version() == version)?;
        mistyped(other, document).filter(|_| other.kind != resource.kind)
    }

    /// Changes an object: `next` makes the wanted state from the present one. It
    /// is asked again when somebody else was faster, unless it insists on a
    /// resource version.
    ///
    /// # Errors
    /// 404 when there is no such object, 409 on conflict, and what `next` says.
    pub(crate) async fn modify(
        &self,
        resource: &Resource,
        key: &Arc<str>,
        part: Part,
        dry: bool,
        mut next: impl FnMut(&Object) -> Outcome<Value>,
    ) -> Outcome<Arc<Object>> {
        let name = key.rsplit('/').next().unwrap_or_default();
        for _ in 0..=limits::RETRIES {
            let old = self
                .get(resource, key)
                .ok_or_else(|| Failure::not_found(resource, name))?;
            let wanted = next(&old)?;
            if !matches!(meta(&wanted, "resourceVersion"), "" | "0")
                && meta(&wanted, "resourceVersion") != old.revision.to_string()
            {
                return Err(Failure::stale(resource, name));
            }
            let mut new = lifecycle::updated(resource, &old.value, wanted, part)?;
            if resource.is(crds::GROUP, crds::PLURAL) && part == Part::Main {
                crds::updated(&old.value, &mut new)?;
            }
            if new == old.value {
                self.durable(old.revision).await?;
                return Ok(old);
            }
            if dry {
                return Ok(Arc::new(Object::unsaved(new)));
            }
            let done = if released(&new) {
                // Watchers see the last state that was stored, the client the one it
                // wrote, at the version that the object had.
                self.remove(resource, key, old.value.clone(), old.revision)
                    .await?
                    .map(|_| {
                        let mut last = new.clone();
                        crate::object::set_meta(&mut last, "resourceVersion", meta(&old.value, "resourceVersion"));
                        Arc::new(Object::unsaved(last))
                    })
            } else {
                self.put(resource, key, new, Expect::Revision(old.revision)).await?
            };
            match done {
                Ok(stored) => {
                    if resource.is(crds::GROUP, crds::PLURAL) && part == Part::Main {
                        Box::pin(self.establish(name)).await?;
                    }
                    return Ok(stored);
                }
                Err(Refused::Missing) => return Err(Failure::not_found(resource, name)),
                Err(Refused::Stale | Refused::Exists) => {}
            }
        }
        Err(Failure::stale(resource, name))
    }

    /// `PUT …/finalize` of a namespace: lets go of it.
    pub(crate) async fn finalize(&self, call: &Call) -> Outcome<Answer> {
        let (sent, _) = object(call, Strictness::Ignore)?;
        let dry = call.query.dry_run("UpdateOptions")?;
        let kept: Vec<String> = strings(sent.pointer("/spec/finalizers"))
            .into_iter()
            .map(str::to_owned)
            .collect();
        let stored = self
            .modify(&call.resource, &call.key(), Part::Whole, dry, |old| {
                let mut new = old.value.clone();
                if kept.is_empty() {
                    new["spec"] = serde_json::json!({});
                } else {
                    new["spec"] = serde_json::json!({"finalizers": kept});
                }
                let finalizers = strings(sent.pointer("/metadata/finalizers"))
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                set_finalizers(&mut new, finalizers);
                Ok(new)
            })
            .await?;
        Ok(one(200, call, &stored))
    }
}

/// The object must have the name that the path says.
fn check_name(object: &Value, expected: &str) -> Outcome<()> {
    match meta(object, "name") {
        name if name == expected => Ok(()),
        "" => Err(Failure::bad_request(format!(
            "the name of the object ({expected} based on URL) was undeterminable: name must be provided"
        ))),
        name => Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({expected})"
        ))),
    }
}
