//! Paths and query strings.

use crate::failure::{Failure, Outcome};
use crate::forms::schema::Cause;

/// A decoded query string.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name, true), decode(value, true))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// The first value of that name, empty when absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// Present and neither `0` nor `false`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.get(name), "0" | "false")
    }

    /// A number, absent when empty.
    ///
    /// # Errors
    /// 400 when it is not one.
    pub(crate) fn number(&self, name: &str) -> Outcome<Option<i64>> {
        match self.get(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))),
        }
    }

    /// A resource version, absent when empty.
    ///
    /// # Errors
    /// 400 when it is not a number.
    pub(crate) fn revision(&self, name: &str) -> Outcome<Option<u64>> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "invalid resource version: {name}: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
                ))
            }),
        }
    }

    /// Checks the name under which a client writes.
    ///
    /// # Errors
    /// 422 when it is too long or not printable.
    pub(crate) fn check_manager(&self, options: &str) -> Outcome<()> {
        const LONGEST: usize = 128;
        let manager = self.get("fieldManager");
        let refuse = |reason, message| {
            let field = "fieldManager".to_owned();
            Err(Failure::invalid_options(options, Cause { reason, message, field }))
        };
        if manager.len() > LONGEST {
            return refuse(
                "FieldValueTooLong",
                format!("Too long: may not be more than {LONGEST} bytes"),
            );
        }
        let odd = manager.char_indices().find(|(_, letter)| letter.is_control());
        let Some((at, letter)) = odd else { return Ok(()) };
        let shown: String = manager
            .chars()
            .map(|letter| match letter {
                '"' | '\\' => format!("\\{letter}"),
                '\t' => "\\t".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                letter if letter.is_control() => format!("\\x{:02x}", u32::from(letter)),
                letter => letter.to_string(),
            })
            .collect();
        refuse(
            "FieldValueInvalid",
            format!(
                "Invalid value: \"{shown}\": invalid character U+{:04X} (at position {at})",
                u32::from(letter)
            ),
        )
    }

    /// Refuses what only server-side apply may say.
    ///
    /// # Errors
    /// 422 when `force` is given, whatever its value.
    pub(crate) fn check_no_force(&self) -> Outcome<()> {
        if !self.has("force") {
            return Ok(());
        }
        let cause = Cause {
            reason: "FieldValueForbidden",
            message: "Forbidden: may not be specified for non-apply patch".to_owned(),
            field: "force".to_owned(),
        };
        Err(Failure::invalid_options("PatchOptions", cause))
    }

    /// Adds a value, unless there is one of that name.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Whether `dryRun=All` was asked for.
    ///
    /// # Errors
    /// 422 on any other value.
    pub(crate) fn dry_run(&self, options: &str) -> Outcome<bool> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(Failure::invalid_options(
                options,
                Cause {
                    reason: "FieldValueNotSupported",
                    message: format!("Unsupported value: [\"{other}\"]: supported values: \"All\""),
                    field: "dryRun".to_owned(),
                },
            )),
        }
    }
}

/// Undoes percent-encoding; `plus` also turns `+` into a space. What is not
/// valid encoding stays as it is, what is not UTF-8 is replaced.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            (b'+', _) if plus => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a path below `/api` or `/apis` points at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) sub: String,
}

/// Reads a resource path; `None` when it has another form.
pub(crate) fn place(path: &str) -> Option<Place> {
    let parts: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|part| decode(part, false))
        .collect();
    let (group, version, rest) = match &parts[..] {
        [api, version, rest @ ..] if api == "api" => ("", version, rest),
        [apis, group, version, rest @ ..] if apis == "apis" => (group.as_str(), version, rest),
        _ => return None,
    };
    let place = |namespace: &str, rest: &[String]| {
        let part = |at: usize| rest.get(at).cloned().unwrap_or_default();
        // Deeper paths (…/proxy/any/thing) belong to a subresource of several parts.
        let sub = rest.get(2..).unwrap_or_default().join("/");
        Some(Place {
            group: group.to_owned(),
            version: version.clone(),
            resource: part(0),
            namespace: namespace.to_owned(),
            name: part(1),
            sub,
        })
    };
    match rest {
        [] => None,
        [first, _, third, ..] if first == "namespaces" && !matches!(third.as_str(), "status" | "finalize") => {
            place(&rest[1], &rest[2..])
        }
        rest => place("", rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_is_for_apply_alone() {
        for (query, fits) in [
            ("", true),
            ("dryRun=All", true),
            ("force=true", false),
            ("force=false", false),
        ] {
            assert_eq!(Query::parse(query).check_no_force().is_ok(), fits, "{query}");
        }
    }

    #[test]
    fn paths_point_at_collections_objects_and_subresources() {
        for (path, expected) in [
            ("/api/v1/pods", ("", "v1", "pods", "", "", "")),
            ("/api/v1/namespaces", ("", "v1", "namespaces", "", "", "")),
            ("/api/v1/namespaces/a", ("", "v1", "namespaces", "", "a", "")),
            (
                "/api/v1/namespaces/a/status",
                ("", "v1", "namespaces", "", "a", "status"),
            ),
            ("/api/v1/namespaces/a/pods/x/log", ("", "v1", "pods", "a", "x", "log")),
            (
                "/apis/apps/v1/namespaces/a/deployments",
                ("apps", "v1", "deployments", "a", "", ""),
            ),
            (
                "/apis/g.io/v1/namespaces/a/things/x%2Dy",
                ("g.io", "v1", "things", "a", "x-y", ""),
            ),
        ] {
            let place = place(path).unwrap();
            let found = (
                &*place.group,
                &*place.version,
                &*place.resource,
                &*place.namespace,
                &*place.name,
                &*place.sub,
            );
            assert_eq!(found, expected, "{path}");
        }
        assert_eq!(place("/api/v1"), None);
        assert_eq!(place("/healthz"), None);
    }

    #[test]
    fn queries_are_decoded_and_bad_encoding_is_kept() {
        let query = Query::parse("a=1&b=x%3Dy+z&watch&c=%zz%e2%82%ac&d=%");
        assert_eq!(
            (query.get("a"), query.get("b"), query.get("c"), query.get("d")),
            ("1", "x=y z", "%zz€", "%")
        );
        assert!(query.flag("watch") && !query.flag("nothing"));
        assert_eq!(query.number("a").unwrap(), Some(1));
        assert_eq!(query.number("b").unwrap_err().code, 400);
    }
}
