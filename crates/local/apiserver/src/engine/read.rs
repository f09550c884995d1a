//! `get` and `list`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Api, Call, one, partial, presented, typed};
use crate::answer::{self, Answer, Shape};
use crate::events;
use crate::failure::{Failure, Outcome};
use crate::forms::schema::Cause;
use crate::forms::selector::{Fields, Labels};
use crate::forms::table::Include;
use crate::object::meta;
use crate::store::{Listed, Object, Store, Unavailable, key};

/// What a list or watch chooses.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    labels: Labels,
    fields: Fields,
    /// Whether everything is chosen.
    all: bool,
}

impl Selection {
    /// # Errors
    /// 400 with the place of the mistake.
    pub(crate) fn read(call: &Call) -> Outcome<Self> {
        let labels =
            Labels::parse(call.query.get("labelSelector")).map_err(|error| Failure::bad_request(error.to_string()))?;
        let resource = &call.resource;
        let extra = resource
            .custom
            .as_ref()
            .map_or(&[][..], |custom| &custom.selectable_fields);
        let parse = |selector: &str, group: &str| {
            Fields::parse(selector, group, &resource.plural, extra)
                .map_err(|error| Failure::bad_request(error.to_string()))
        };
        let asked = call.query.get("fieldSelector");
        let mut fields = parse(asked, &resource.group)?;
        if resource.group == "events.k8s.io" {
            // They are stored in their core form, whichever group asks.
            fields = parse(&events::core_selector(asked), "")?;
        }
        let all = labels.is_empty() && fields.is_empty();
        Ok(Self { labels, fields, all })
    }

    /// The objects that may be chosen: one where the selection names it, else all
    /// of the namespace.
    pub(crate) fn candidates(&self, store: &Store, call: &Call) -> Listed {
        let resource = &call.resource;
        let namespace = namespace(call).or_else(|| self.fields.namespace().filter(|_| resource.namespaced));
        match self.fields.name() {
            Some(name) if !resource.namespaced || namespace.is_some() => {
                let key = key(namespace.unwrap_or_default(), name);
                store
                    .get(&resource.storage, &key)
                    .map(|object| (key, object.clone()))
                    .into_iter()
                    .collect()
            }
            _ => store.list(&resource.storage, namespace),
        }
    }

    pub(crate) fn matches(&self, value: &Value) -> bool {
        self.all || (self.labels.matches(value) && self.fields.matches(value))
    }
}

/// Where a list goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Token {
    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Outcome<Self> {
        let bad = |why: &str| Failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| bad(&error.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        if token.v == TOKEN_VERSION {
            Ok(token)
        } else {
            Err(bad("unknown version"))
        }
    }
}

impl Api {
    /// `GET` of an object.
    pub(crate) async fn read(&self, call: &Call) -> Outcome<Answer> {
        let asked = call.query.revision("resourceVersion")?;
        let (found, current) = {
            let store = self.store.lock();
            (
                store.get(&call.resource.storage, &call.key()).cloned(),
                store.revision(),
            )
        };
        if let Some(asked) = asked.filter(|asked| *asked > current) {
            return Err(Failure::future(asked, current));
        }
        let Some(object) = found else {
            return Err(Failure::not_found(&call.resource, &call.name));
        };
        self.durable(object.revision).await?;
        Ok(one(200, call, &object))
    }

    /// What the call's namespace and selectors choose now.
    pub(crate) fn select(&self, call: &Call) -> Outcome<Listed> {
        let selection = Selection::read(call)?;
        let mut objects = selection.candidates(&self.store.lock(), call);
        objects.retain(|(_, object)| selection.matches(&object.value));
        Ok(objects)
    }

    /// `GET` of a collection.
    pub(crate) async fn list(&self, call: &Call) -> Outcome<Answer> {
        let query = &call.query;
        check_options(call)?;
        check_table(call)?;
        query.number("timeoutSeconds")?;
        let selection = Selection::read(call)?;
        let limit = usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(0);
        let asked = query.revision("resourceVersion")?.unwrap_or(0);
        let matching = query.get("resourceVersionMatch");
        if asked > 0 && !query.get("continue").is_empty() {
            return Err(Failure::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = match query.get("continue") {
            "" => None,
            text => Some(Token::read(text)?),
        };
        // A limit with a resource version means that very version, unless said otherwise.
        let exact = asked > 0 && (matching == "Exact" || (matching.is_empty() && limit > 0));
        let snapshot = match &token {
            // A negative version in upstream's tokens asks for a fresh list; here it is 0.
            Some(token) if token.rv > 0 => Some(token.rv),
            None if exact => Some(asked),
            _ => None,
        };
        let (mut objects, revision, current) = {
            let store = self.store.lock();
            let current = store.revision();
            if asked > current {
                return Err(Failure::future(asked, current));
            }
            let list = match snapshot {
                None => Ok(selection.candidates(&store, call)),
                Some(at) => store.list_at(&call.resource.storage, namespace(call), at),
            };
            (list, snapshot.unwrap_or(current), current)
        };
        let objects = match &mut objects {
            Ok(objects) => std::mem::take(objects),
            Err(Unavailable::Future { current }) => return Err(Failure::future(revision, *current)),
            Err(Unavailable::Compacted { .. }) => return Err(expired(token.as_ref(), current)),
        };
        self.durable(revision).await?;
        let (page, metadata) = page(objects, &selection, token.as_ref(), limit, revision);
        Ok(list_answer(call, &page, &metadata))
    }
}

/// The namespace a call is limited to.
pub(crate) fn namespace(call: &Call) -> Option<&str> {
    (call.resource.namespaced && !call.namespace.is_empty()).then_some(&*call.namespace)
}

fn page(
    objects: Listed,
    selection: &Selection,
    token: Option<&Token>,
    limit: usize,
    revision: u64,
) -> (Vec<Arc<Object>>, Value) {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    let start = token.map_or("", |token| &token.start);
    let mut rest = objects.into_iter().filter(|(key, _)| **key >= *start);
    let mut page = Vec::new();
    let mut last: Arc<str> = "".into();
    for (key, object) in rest.by_ref() {
        if selection.matches(&object.value) {
            page.push(object);
            last = key;
        }
        if limit > 0 && page.len() == limit {
            break;
        }
    }
    let left = rest.filter(|(_, object)| selection.matches(&object.value)).count();
    if left > 0 {
        let token = Token {
            v: TOKEN_VERSION.to_owned(),
            rv: revision,
            start: format!("{last}\0"),
        };
        metadata["continue"] = token.text().into();
        if selection.all {
            metadata["remainingItemCount"] = left.into();
        }
    }
    (page, metadata)
}

/// 410, with a way to go on from the present where a token was given.
fn expired(token: Option<&Token>, current: u64) -> Failure {
    let Some(token) = token else {
        return Failure::new(410, "Expired", "The resourceVersion for the provided list is too old.");
    };
    let mut failure = Failure::new(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let again = Token {
        v: TOKEN_VERSION.to_owned(),
        rv: current,
        start: token.start.clone(),
    };
    failure.next = Some(again.text().into());
    failure
}

fn check_options(call: &Call) -> Outcome<()> {
    let query = &call.query;
    let matching = query.get("resourceVersionMatch");
    let forbidden = |field: &str, text: &str| {
        Err(Failure::invalid_options(
            "ListOptions",
            Cause {
                reason: "FieldValueForbidden",
                message: format!("Forbidden: {text}"),
                field: field.to_owned(),
            },
        ))
    };
    if query.has("sendInitialEvents") {
        return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    if matching.is_empty() {
        return Ok(());
    }
    if !query.get("continue").is_empty() {
        return forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    if query.get("resourceVersion").is_empty() {
        return forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
    }
    match matching {
        "NotOlderThan" => Ok(()),
        "Exact" if query.get("resourceVersion") == "0" => forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        "Exact" => Ok(()),
        other => Err(Failure::invalid_options("ListOptions", unknown_match(other))),
    }
}

/// # Errors
/// 400 for a Table with objects in a form that does not exist.
pub(crate) fn check_table(call: &Call) -> Outcome<()> {
    let asked = call.query.get("includeObject");
    if call.wanted.shape != Shape::Table || Include::parse(asked).is_some() {
        return Ok(());
    }
    Err(Failure::bad_request(format!(
        "Unable to convert to Table as requested: includeObject: Invalid value: \"{asked}\": must be 'Metadata', 'Object', 'None', or empty"
    )))
}

pub(crate) fn unknown_match(value: &str) -> Cause {
    Cause {
        reason: "FieldValueNotSupported",
        message: format!("Unsupported value: \"{value}\": supported values: \"Exact\", \"NotOlderThan\", \"\""),
        field: "resourceVersionMatch".to_owned(),
    }
}

/// Objects as a Table of the call's resource, without list metadata.
pub(crate) fn table(call: &Call, objects: &[&Object], with_definitions: bool) -> Value {
    let include = Include::parse(call.query.get("includeObject")).unwrap_or_default();
    let shown: Vec<Value> = match include {
        Include::Object => objects
            .iter()
            .map(|object| typed(&call.resource, &object.value))
            .collect(),
        _ => Vec::new(),
    };
    let values: Vec<&Value> = match include {
        Include::Object => shown.iter().collect(),
        _ => objects.iter().map(|object| &object.value).collect(),
    };
    let mut table = call
        .resource
        .columns
        .render(&values, include, Timestamp::now(), with_definitions);
    of_version(&mut table, include, call.wanted.meta_version);
    table
}

/// Says of a table, and of the metadata in its rows, which version they are of.
fn of_version(table: &mut Value, include: Include, version: &str) {
    table["apiVersion"] = version.into();
    if include == Include::Metadata {
        for row in table["rows"].as_array_mut().into_iter().flatten() {
            row["object"]["apiVersion"] = version.into();
        }
    }
}

/// A list in the shape the client wants.
pub(crate) fn list_answer(call: &Call, objects: &[Arc<Object>], metadata: &Value) -> Answer {
    let resource = &call.resource;
    match call.wanted.shape {
        Shape::Table => {
            let objects: Vec<&Object> = objects.iter().map(|object| &**object).collect();
            let mut table = table(call, &objects, true);
            table["metadata"] = metadata.clone();
            answer::json_value(200, &table, call.wanted)
        }
        Shape::Partial => {
            let items: Vec<Value> = objects.iter().map(|object| partial(call, &object.value)).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": call.wanted.meta_version, "metadata": metadata, "items": items,
            });
            answer::json_value(200, &list, call.wanted)
        }
        Shape::Plain => {
            let mut metadata = metadata.clone();
            if resource.custom.is_some() && metadata.get("continue").is_none() {
                // Upstream's lists of custom resources always say it.
                metadata["continue"] = "".into();
            }
            let mut out =
                Vec::with_capacity(256 + objects.iter().map(|object| object.json().len() + 64).sum::<usize>());
            out.extend_from_slice(
                format!(
                    "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                    resource.list_kind,
                    resource.api_version()
                )
                .as_bytes(),
            );
            for (index, object) in objects.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                item(call, object, &mut out);
            }
            out.extend_from_slice(b"]}\n");
            answer::json_text(200, out, call.wanted)
        }
    }
}

/// Items of lists carry their type only where upstream's do: in custom resources.
fn item(call: &Call, object: &Object, out: &mut Vec<u8>) {
    if call.resource.custom.is_some() {
        super::typed_text(&call.resource, object, out);
    } else if call.resource.group == "events.k8s.io" {
        out.extend_from_slice(&serde_json::to_vec(&presented(&call.resource, &object.value)).unwrap_or_default());
    } else {
        out.extend_from_slice(object.json());
    }
}

/// The resource version of an object, as text.
pub(crate) fn version(object: &Object) -> &str {
    meta(&object.value, "resourceVersion")
}
