//! Masking what differs from one run to the next and says nothing: identities,
//! times, revisions, generated names and addresses. Shapes stay visible: a
//! missing uid, a time without seconds or a revision that did not move still
//! differ.

use crate::story::Step;
use regex::{Captures, Regex};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests run")
}

static UID: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})"));
static LONG_TIME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}"));
static CLUSTER_ADDRESS: LazyLock<Regex> = LazyLock::new(|| regex(r"\b10\.\d{1,3}\.\d{1,3}\.\d{1,3}\b"));
static NODE_PORT: LazyLock<Regex> = LazyLock::new(|| regex(r":3[0-2]\d{3}/"));
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d+y\d+d|\d+d\d+h|\d+h\d+m|\d+m\d+s|\d+(ms|[smhdy]))\b"));
static WHOLE_AGE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(\d+y\d+d|\d+d\d+h|\d+h\d+m|\d+m\d+s|\d+[smhdy])( ago)?( \(x\d+ over [0-9smhd]+\))?$"));
static VERSION_IN_TEXT: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(resourceVersion(?:=|"?: ?")|Resource Version: +)(\d+)"#));
/// Where kubectl diff puts the two sides.
static DIFF_FILE: LazyLock<Regex> = LazyLock::new(|| regex(r"/tmp/(LIVE|MERGED)-\d+"));
static FILE_TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d+ [+-]\d{4}"));
static GENERATED_IN_TEXT: LazyLock<Regex> = LazyLock::new(|| regex(r#"generateName"?: "?([a-z0-9.-]+)"#));
static VERSION_IN_MESSAGE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(current: |too old resource version: \d+ \(|in the precondition \(|in record \()\d+"));
/// A whole object quoted inside a message.
static DUMPED_OBJECT: LazyLock<Regex> = LazyLock::new(|| regex(r#"Invalid value: "\{\\"(.*)\}":"#));
static CONTINUE_IN_PATH: LazyLock<Regex> = LazyLock::new(|| regex(r"continue=[^&]+"));
static SPACES: LazyLock<Regex> = LazyLock::new(|| regex(r"(\S)( {2,}|\t+ *)"));
/// The random tail of generated Event names.
static EVENT_TAIL: LazyLock<Regex> = LazyLock::new(|| regex(r"\.[0-9a-f]{16}\b"));

/// Masks a whole record of one server.
#[must_use]
pub fn mask(steps: &[Step], server: &str) -> Vec<Step> {
    let mut seen = Seen::default();
    for step in steps {
        seen.gather(&step.seen);
    }
    let ranks = seen
        .versions
        .iter()
        .enumerate()
        .map(|(rank, version)| (version.to_string(), rank + 1))
        .collect();
    let names = seen.prefixes.iter().map(|prefix| generated(prefix)).collect();
    let mut masking = Masking {
        server,
        ranks,
        names,
        uids: BTreeMap::new(),
    };
    steps
        .iter()
        .map(|step| Step {
            title: masking.text(&step.title),
            seen: masking.value(&step.seen, step.title.starts_with("$ ")),
        })
        .collect()
}

/// What has to be known of the whole record before any of it is masked.
#[derive(Default)]
struct Seen {
    /// Revisions of single objects, in order: their ranks are compared.
    versions: BTreeSet<u64>,
    /// Prefixes of generated names.
    prefixes: BTreeSet<String>,
}

/// A name generated from a prefix, and what stands for it.
fn generated(prefix: &str) -> (Regex, String) {
    (
        regex(&format!(r"\b{}[a-z0-9]{{5}}\b", regex::escape(prefix))),
        format!("{prefix}<5>"),
    )
}

impl Seen {
    fn gather(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                let bookmark = map.get("type").is_some_and(|kind| kind == "BOOKMARK");
                if let Some(Value::Object(metadata)) = map.get("metadata")
                    && !is_collection(map)
                {
                    self.object(metadata);
                }
                for (key, inner) in map {
                    if !(bookmark && key == "object") {
                        self.gather(inner);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.gather(item)),
            Value::String(text) => {
                self.prefixes
                    .extend(GENERATED_IN_TEXT.captures_iter(text).map(|found| found[1].to_owned()));
            }
            _ => {}
        }
    }

    fn object(&mut self, metadata: &Map<String, Value>) {
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Ok(version) = text("resourceVersion").parse() {
            self.versions.insert(version);
        }
        let prefix = text("generateName");
        if !prefix.is_empty() {
            self.prefixes.insert(prefix.to_owned());
        }
    }
}

/// Lists and Tables carry the revision of the moment, which the other stories
/// move along.
fn is_collection(map: &Map<String, Value>) -> bool {
    map.contains_key("items") || map.contains_key("rows")
}

struct Masking<'a> {
    server: &'a str,
    ranks: BTreeMap<String, usize>,
    names: Vec<(Regex, String)>,
    uids: BTreeMap<String, usize>,
}

impl Masking<'_> {
    fn value(&mut self, value: &Value, terminal: bool) -> Value {
        match value {
            Value::Object(map) => self.map(map, terminal),
            Value::Array(items) => items.iter().map(|item| self.value(item, terminal)).collect(),
            Value::String(text) if terminal => self.line(text).into(),
            Value::String(text) => self.text(text).into(),
            other => other.clone(),
        }
    }

    fn map(&mut self, map: &Map<String, Value>, terminal: bool) -> Value {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort();
        let mut masked = Map::new();
        let bookmark = map.get("type").is_some_and(|kind| kind == "BOOKMARK");
        for key in keys {
            let inner = match (key.as_str(), &map[key]) {
                ("object", Value::Object(object)) if bookmark => self.bookmark(object),
                ("metadata", Value::Object(metadata)) => self.metadata(metadata, is_collection(map)),
                ("cells", Value::Array(cells)) => cells.iter().map(|cell| self.cell(cell)).collect(),
                ("nodePort", Value::Number(_)) => "<node port>".into(),
                (_, inner) => self.value(inner, terminal),
            };
            masked.insert(key.clone(), inner);
        }
        Value::Object(masked)
    }

    /// A bookmark's revision is that of the moment, as a list's is.
    fn bookmark(&mut self, object: &Map<String, Value>) -> Value {
        let mut masked = self.map(object, false);
        let version = object
            .get("metadata")
            .and_then(|metadata| metadata.get("resourceVersion"));
        if let Some(version) = version {
            masked["metadata"]["resourceVersion"] = self.version(version, true);
        }
        masked
    }

    fn metadata(&mut self, metadata: &Map<String, Value>, collection: bool) -> Value {
        let mut kept = metadata.clone();
        kept.remove("managedFields");
        let version = kept.remove("resourceVersion");
        let token = kept.remove("continue");
        let Value::Object(mut masked) = self.map(&kept, false) else {
            return Value::Null;
        };
        if let Some(version) = version {
            masked.insert("resourceVersion".to_owned(), self.version(&version, collection));
        }
        if let Some(token) = token {
            let empty = token.as_str().is_none_or(str::is_empty);
            masked.insert("continue".to_owned(), if empty { token } else { "<continue>".into() });
        }
        Value::Object(masked)
    }

    fn version(&self, version: &Value, collection: bool) -> Value {
        let text = version.as_str().unwrap_or_default();
        match self.ranks.get(text) {
            Some(rank) if !collection => format!("<version {rank}>").into(),
            _ if text.parse::<u64>().is_ok() => "<some version>".into(),
            _ => version.clone(),
        }
    }

    fn cell(&mut self, cell: &Value) -> Value {
        match cell.as_str() {
            Some(text) if WHOLE_AGE.is_match(text) => "<age>".into(),
            _ => self.value(cell, false),
        }
    }

    /// A line that kubectl printed: ages are masked, columns closed up.
    fn line(&mut self, line: &str) -> String {
        let masked = self.text(line.trim_end());
        let masked = AGE.replace_all(&masked, "<age>");
        SPACES.replace_all(&masked, "$1  ").into_owned()
    }

    fn text(&mut self, text: &str) -> String {
        let mut masked = text.replace(self.server, "<server>");
        if let Some((_, address)) = self.server.split_once("://") {
            masked = masked.replace(address, "<address>");
        }
        for (name, mask) in &self.names {
            masked = name.replace_all(&masked, mask.as_str()).into_owned();
        }
        masked = UID
            .replace_all(&masked, |found: &Captures<'_>| self.uid(&found[0]))
            .into_owned();
        masked = TIME
            .replace_all(&masked, |found: &Captures<'_>| {
                found[0].replace(|digit: char| digit.is_ascii_digit(), "0")
            })
            .into_owned();
        masked = FILE_TIME.replace_all(&masked, "<file time>").into_owned();
        masked = DIFF_FILE.replace_all(&masked, "/tmp/$1").into_owned();
        masked = LONG_TIME.replace_all(&masked, "<date>").into_owned();
        masked = CLUSTER_ADDRESS.replace_all(&masked, "<address>").into_owned();
        masked = NODE_PORT.replace_all(&masked, ":<node port>/").into_owned();
        masked = EVENT_TAIL.replace_all(&masked, ".<hex>").into_owned();
        masked = DUMPED_OBJECT
            .replace_all(&masked, "Invalid value: <the object>:")
            .into_owned();
        masked = CONTINUE_IN_PATH
            .replace_all(&masked, "continue=<continue>")
            .into_owned();
        masked = VERSION_IN_MESSAGE.replace_all(&masked, "$1<some version>").into_owned();
        VERSION_IN_TEXT
            .replace_all(&masked, |found: &Captures<'_>| {
                // In a path it may be that of a list.
                let version = self.version(&Value::from(&found[2]), found[1].ends_with('='));
                format!("{}{}", &found[1], version.as_str().unwrap_or_default())
            })
            .into_owned()
    }

    fn uid(&mut self, uid: &str) -> String {
        let next = self.uids.len() + 1;
        format!("<uid {}>", self.uids.entry(uid.to_owned()).or_insert(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masked(title: &str, seen: Value) -> Value {
        mask(
            &[Step {
                title: title.to_owned(),
                seen,
            }],
            "https://127.0.0.1:6443",
        )[0]
        .seen
        .clone()
    }

    #[test]
    fn equal_revisions_keep_their_rank_and_lists_lose_theirs() {
        let seen = json!({ "body": { "metadata": { "resourceVersion": "90" }, "items": [
            { "metadata": { "resourceVersion": "12", "uid": "0c59b4f4-2b0f-4f5c-9a53-6a5b8f6e2d11" } },
            { "metadata": { "resourceVersion": "7", "managedFields": [] } },
            { "metadata": { "resourceVersion": "12" } },
        ] } });
        assert_eq!(
            masked("GET /x", seen)["body"],
            json!({ "metadata": { "resourceVersion": "<some version>" }, "items": [
                { "metadata": { "resourceVersion": "<version 2>", "uid": "<uid 1>" } },
                { "metadata": { "resourceVersion": "<version 1>" } },
                { "metadata": { "resourceVersion": "<version 2>" } },
            ] })
        );
    }

    #[test]
    fn times_keep_their_shape_and_ages_and_columns_close_up() {
        assert_eq!(
            masked("GET /x", json!("at 2026-11-22T10:00:00.123456Z")),
            json!("at 0000-00-00T00:00:00.000000Z")
        );
        assert_eq!(
            masked("$ kubectl get", json!("web    1/1     2m10s ")),
            json!("web  1/1  <age>")
        );
        assert_eq!(masked("$ kubectl get", json!("    image: a")), json!("    image: a"));
        assert_eq!(
            masked("$ kubectl describe", json!("Start:  Sun, 22 Nov 2026 17:00:00 +0000")),
            json!("Start:  <date>")
        );
        assert_eq!(
            masked("$ x", json!("at https://127.0.0.1:6443/api")),
            json!("at <server>/api")
        );
    }

    #[test]
    fn generated_names_are_masked_wherever_they_show() {
        let seen =
            json!({ "body": { "metadata": { "generateName": "web-", "name": "web-x7k2p" } }, "text": "pod/web-x7k2p" });
        let masked = masked("POST /x", seen);
        assert_eq!(masked["text"], "pod/web-<5>");
        assert_eq!(masked["body"]["metadata"]["name"], "web-<5>");
    }
}
