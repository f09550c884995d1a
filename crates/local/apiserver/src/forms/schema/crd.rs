//! The schema of a custom kind from a CRD's `openAPIV3Schema`, and whether that is
//! structural.

use super::{Arena, Cause, Field, ListPatch, ListType, Node, Schema, Shape, check, fill};
use crate::forms::Gvk;
use serde_json::{Value, json};
use std::sync::Arc;

/// How deep a CRD's schema may nest.
const MAX_DEPTH: usize = 100;

/// The schema of a custom kind. Fields of the causes are relative to the schema
/// (`properties[spec].type`); the caller puts `spec.validation.openAPIV3Schema.` or
/// the version's path before them.
///
/// # Errors
/// Every place where the schema is not structural, in upstream's words.
pub fn from_crd(open_api_v3_schema: &Value, gvk: &Gvk) -> Result<Schema, Vec<Cause>> {
    let mut reader = Reader {
        arena: Arena::default(),
        causes: Vec::new(),
    };
    let root = reader.root(open_api_v3_schema, gvk);
    if !reader.causes.is_empty() {
        return Err(reader.causes);
    }
    let schema = Schema {
        arena: Arc::new(reader.arena),
        node: root,
    };
    let causes = wrong_defaults(&schema, open_api_v3_schema);
    if causes.is_empty() { Ok(schema) } else { Err(causes) }
}

struct Reader {
    arena: Arena,
    causes: Vec<Cause>,
}

/// Keywords of JSON schema that Kubernetes refuses.
const REFUSED: [&str; 7] = [
    "$ref",
    "id",
    "additionalItems",
    "patternProperties",
    "definitions",
    "dependencies",
    "$recursiveRef",
];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

impl Reader {
    fn refuse(&mut self, field: String, detail: &str) {
        self.causes.push(Cause::forbidden(field, detail));
    }

    fn root(&mut self, schema: &Value, gvk: &Gvk) -> usize {
        if !schema["additionalProperties"].is_null() {
            self.refuse("additionalProperties".to_owned(), "must not be used at the root");
            self.root_type(&schema["type"]);
            return self.arena.push(Node::default());
        }
        if schema["nullable"].as_bool() == Some(true) {
            self.refuse("nullable".to_owned(), "nullable cannot be true at the root");
        }
        let metadata = &schema["properties"]["metadata"];
        let extra = metadata["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .any(|(k, _)| k != "name" && k != "generateName");
        if extra {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.refuse("properties[metadata]".to_owned(), detail);
        }
        let root = self.node(schema, "", 0);
        // Upstream asks what is inside first.
        self.root_type(&schema["type"]);
        self.add_object_fields(root);
        self.arena.nodes[root].name = gvk.kind.clone();
        root
    }

    fn root_type(&mut self, kind: &Value) {
        self.causes.extend(match kind.as_str() {
            None | Some("") => Some(Cause::required("type", "must not be empty at the root")),
            Some("object") => None,
            Some(_) => Some(Cause::invalid("type", kind, "must be object at the root")),
        });
    }

    /// apiVersion, kind and metadata, which every object has.
    fn add_object_fields(&mut self, node: usize) {
        for name in ["apiVersion", "kind"] {
            let text = self.arena.push(Node {
                shape: Shape::String,
                ..Node::default()
            });
            self.arena.nodes[node].fields.insert(
                name.to_owned(),
                Field {
                    node: text,
                    ..Field::default()
                },
            );
        }
        let metadata = fill::metadata().map(|schema| self.copy(&schema));
        let metadata = metadata.unwrap_or_else(|| {
            self.arena.push(Node {
                open: true,
                ..Node::default()
            })
        });
        // What the schema says of metadata (a name's length or pattern) is checked too.
        let own = self.arena.nodes[node].fields.get("metadata").map(|field| field.node);
        if let Some(own) = own {
            let declared: Vec<_> = self.arena.nodes[own]
                .fields
                .iter()
                .map(|(k, f)| (k.clone(), f.clone()))
                .collect();
            for (name, field) in declared {
                self.arena.nodes[metadata].fields.insert(name, field);
            }
        }
        self.arena.nodes[node].fields.insert(
            "metadata".to_owned(),
            Field {
                node: metadata,
                ..Field::default()
            },
        );
    }

    /// Copies a built-in schema (of a type that does not contain itself) into this arena.
    fn copy(&mut self, schema: &Schema) -> usize {
        let source = schema.get();
        let mut node = Node {
            checks: None,
            ..source.clone()
        };
        if matches!(node.shape, Shape::Time | Shape::MicroTime) {
            node.shape = Shape::String;
        }
        for field in node.fields.values_mut().chain(&mut node.values).chain(&mut node.items) {
            field.node = self.copy(&schema.at(field));
        }
        self.arena.push(node)
    }

    fn node(&mut self, schema: &Value, path: &str, depth: usize) -> usize {
        let flag = |name: &str| schema[name].as_bool() == Some(true);
        let at = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        let mut node = Node {
            format: schema["format"].as_str().unwrap_or_default().to_owned(),
            open: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            nullable: flag("nullable"),
            ..Node::default()
        };
        if depth > MAX_DEPTH {
            self.causes.push(Cause::forbidden(
                path,
                &format!("a schema may nest {MAX_DEPTH} levels deep at most"),
            ));
            return self.arena.push(node);
        }
        for keyword in REFUSED {
            if !schema[keyword].is_null() {
                self.refuse(at(keyword), &format!("{keyword} is not supported"));
            }
        }
        if flag("uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.refuse(at("uniqueItems"), detail);
        }
        node.shape = self.shape(schema, &at("type"));
        if schema["properties"].is_object() && !schema["additionalProperties"].is_null() {
            self.refuse(
                at("additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            );
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let place = at(&format!("properties[{name}]"));
            let field = self.field(property, &place, "must not be empty for specified object fields", depth);
            node.fields.insert(name.clone(), field);
        }
        match &schema["additionalProperties"] {
            values @ Value::Object(_) => {
                let place = at("additionalProperties");
                node.values = Some(self.field(values, &place, "must not be empty for specified object fields", depth));
            }
            Value::Bool(true) => {
                let any = self.arena.push(Node {
                    open: true,
                    ..Node::default()
                });
                node.values = Some(Field {
                    node: any,
                    ..Field::default()
                });
            }
            _ => {}
        }
        match &schema["items"] {
            items @ Value::Object(_) => {
                let place = at("items");
                node.items = Some(self.field(items, &place, "must not be empty for specified array items", depth));
            }
            Value::Array(_) => self.refuse(at("items"), "items must be a schema object and not an array"),
            _ if node.shape == Shape::Array => self.causes.push(Cause::required(at("items"), "must be specified")),
            _ => {}
        }
        node.list_type = self.list_type(schema, &at);
        node.checks = self.checks(schema, path, depth).map(Box::new);
        if node.shape == Shape::Any && !node.fields.is_empty() {
            // Inside anyOf and its like, properties stand without a type.
            node.open = true;
        }
        let embedded = node.embedded;
        let index = self.arena.push(node);
        if embedded {
            self.add_object_fields(index);
        }
        index
    }

    fn field(&mut self, schema: &Value, path: &str, untyped: &str, depth: usize) -> Field {
        let free = ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"]
            .iter()
            .any(|name| schema[*name].as_bool() == Some(true));
        let node = self.node(schema, path, depth + 1);
        if schema["type"].as_str().is_none_or(str::is_empty) && !free {
            self.causes.push(Cause::required(format!("{path}.type"), untyped));
        }
        Field {
            node,
            list_patch: ListPatch::Replace,
            default: schema.get("default").filter(|d| !d.is_null()).cloned(),
            ..Field::default()
        }
    }

    fn shape(&mut self, schema: &Value, path: &str) -> Shape {
        if schema["x-kubernetes-int-or-string"].as_bool() == Some(true) {
            return Shape::IntOrString;
        }
        match schema["type"].as_str() {
            Some("object") => Shape::Object,
            Some("array") => Shape::Array,
            Some("string") => Shape::String,
            Some("integer") => Shape::Integer,
            Some("number") => Shape::Number,
            Some("boolean") => Shape::Boolean,
            None | Some("") => Shape::Any,
            Some(_) => {
                self.causes.push(Cause::not_supported(path, &schema["type"], &TYPES));
                Shape::Any
            }
        }
    }

    fn list_type(&mut self, schema: &Value, at: &dyn Fn(&str) -> String) -> ListType {
        match schema["x-kubernetes-list-type"].as_str() {
            None | Some("atomic") => ListType::Atomic,
            Some("set") => ListType::Set,
            Some("map") => {
                let keys: Vec<String> = strings(&schema["x-kubernetes-list-map-keys"]);
                if keys.is_empty() {
                    let detail = "must not be empty if x-kubernetes-list-type is map";
                    self.causes
                        .push(Cause::required(at("x-kubernetes-list-map-keys"), detail));
                }
                let items = &schema["items"];
                let required = strings(&items["required"]);
                for key in &keys {
                    let property = &items["properties"][key];
                    if property.is_null() {
                        let detail = "entries must all be names of item properties";
                        let place = at("x-kubernetes-list-map-keys");
                        self.causes.push(Cause::invalid(place, &json!(key), detail));
                    } else if !required.contains(key) && property["default"].is_null() {
                        let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                                      required property";
                        self.causes
                            .push(Cause::required(at(&format!("items.properties[{key}].default")), detail));
                    }
                }
                ListType::Map(keys)
            }
            Some(_) => {
                let value = &schema["x-kubernetes-list-type"];
                let place = at("x-kubernetes-list-type");
                self.causes
                    .push(Cause::not_supported(place, value, &["atomic", "set", "map"]));
                ListType::Atomic
            }
        }
    }

    fn checks(&mut self, schema: &Value, path: &str, depth: usize) -> Option<check::Checks> {
        let at = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        let count = |name: &str| schema[name].as_u64();
        let bound = |name: &str, exclusive: &str| {
            let Value::Number(number) = &schema[name] else {
                return None;
            };
            Some((number.clone(), schema[exclusive].as_bool() == Some(true)))
        };
        let mut checks = check::Checks {
            required: strings(&schema["required"]),
            choices: schema["enum"].as_array().cloned().unwrap_or_default(),
            length: (count("minLength"), count("maxLength")),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: match &schema["multipleOf"] {
                Value::Number(number) if number.as_f64() != Some(0.0) => Some(number.clone()),
                _ => None,
            },
            items: (count("minItems"), count("maxItems")),
            properties: (count("minProperties"), count("maxProperties")),
            ..check::Checks::default()
        };
        if let Some(pattern) = schema["pattern"].as_str().filter(|p| !p.is_empty()) {
            match regex::RegexBuilder::new(pattern).size_limit(1 << 20).build() {
                Ok(regex) => checks.pattern = Some((regex, pattern.to_owned())),
                Err(error) => {
                    let why = error.to_string();
                    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    let detail = format!("must be a valid regular expression, but isn't: {why}");
                    self.causes
                        .push(Cause::invalid(at("pattern"), &schema["pattern"], &detail));
                }
            }
        }
        for (keyword, target) in [
            ("allOf", &mut checks.all_of),
            ("anyOf", &mut checks.any_of),
            ("oneOf", &mut checks.one_of),
        ] {
            for (position, branch) in schema[keyword].as_array().into_iter().flatten().enumerate() {
                target.push(self.branch(branch, &at(&format!("{keyword}[{position}]")), depth));
            }
        }
        if schema["not"].is_object() {
            checks.not = Some(self.branch(&schema["not"], &at("not"), depth));
        }
        // A node without demands needs no box.
        let asks = [
            "required",
            "enum",
            "pattern",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "multipleOf",
        ]
        .iter()
        .any(|k| !schema[*k].is_null())
            || schema
                .as_object()
                .is_some_and(|s| s.keys().any(|k| k.starts_with("min") || k.starts_with("max")));
        asks.then_some(checks)
    }

    /// A schema inside anyOf and its like: it only checks values, so it may not say
    /// what the structure is.
    fn branch(&mut self, schema: &Value, path: &str, depth: usize) -> usize {
        let int_or_string = matches!(schema["type"].as_str(), Some("integer" | "string"));
        let before = self.causes.len();
        let node = self.node(schema, path, depth + 1);
        // Nested properties need no type here; other complaints stay.
        let nested = self.causes.split_off(before);
        self.causes.extend(
            nested
                .into_iter()
                .filter(|c| !(c.reason == "FieldValueRequired" && c.field.ends_with(".type"))),
        );
        self.forbid_structure(schema, path, int_or_string);
        node
    }

    fn forbid_structure(&mut self, schema: &Value, path: &str, may_have_type: bool) {
        const DETAIL: &str = "must be empty to be structural";
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            self.forbid_structure(property, &format!("{path}.properties[{name}]"), false);
        }
        if schema["items"].is_object() {
            self.forbid_structure(&schema["items"], &format!("{path}.items"), false);
        }
        for keyword in ["type", "default", "description", "title", "nullable"] {
            let typed = keyword == "type" && may_have_type;
            if !schema[keyword].is_null() && !typed {
                self.refuse(format!("{path}.{keyword}"), DETAIL);
            }
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

/// Defaults that do not fit their own schema.
fn wrong_defaults(schema: &Schema, source: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut places: Vec<(Schema, &Value, String)> = vec![(schema.clone(), source, String::new())];
    while let Some((schema, source, path)) = places.pop() {
        let at = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        if let Some(given) = source.get("default").filter(|d| !d.is_null()) {
            let mut filled = given.clone();
            fill::default(&schema, &mut filled);
            let mut found = Vec::new();
            check::validate(&schema, &filled, &mut found);
            causes.extend(found.into_iter().map(|cause| {
                let inner = if cause.field.is_empty() {
                    String::new()
                } else {
                    format!(".{}", cause.field)
                };
                Cause {
                    field: format!("{}{inner}", at("default")),
                    ..cause
                }
            }));
        }
        for (name, property) in source["properties"].as_object().into_iter().flatten() {
            if let Some(field) = schema.get().fields.get(name) {
                places.push((schema.at(field), property, at(&format!("properties[{name}]"))));
            }
        }
        if let (Some(items), true) = (&schema.get().items, source["items"].is_object()) {
            places.push((schema.at(items), &source["items"], at("items")));
        }
        if let (Some(values), true) = (&schema.get().values, source["additionalProperties"].is_object()) {
            places.push((
                schema.at(values),
                &source["additionalProperties"],
                at("additionalProperties"),
            ));
        }
    }
    causes
}
