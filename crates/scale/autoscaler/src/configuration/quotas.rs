//! Who may use how many GPUs, and how quickly: the ConfigMap of limits.
//!
//! Key `quotas`: GPUs by accelerator for the `cluster`, for single `namespaces`
//! and by `default` for the others; -1 is without limit; an accelerator that is
//! not named gets the `default` of its mapping, and nothing without one;
//! namespaces under `exclude` count and are bound nowhere. Key `limits`: what to
//! do while free GPUs are not known, and the most replicas at once.

use super::fields::{ConfigError, Fields};
use capacity::optimize::gpus::{Fail, MAX_QUOTA, Quota, Quotas};
use serde_json::Value;
use std::collections::BTreeMap;

/// What limits decisions besides free GPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Who may use how many GPUs.
    pub quotas: Quotas,
    /// `whenUnknown`: what to do while free GPUs are not known.
    pub when_unknown: Option<Fail>,
    /// `maxStepUp`: most replicas a variant gets in one pass.
    pub max_step_up: Option<u32>,
}

/// Reads the ConfigMap `configmap` (`namespace/name`).
///
/// # Errors
/// The first key or field that cannot be used.
pub fn parse(configmap: &str, data: &BTreeMap<String, String>) -> Result<Limits, ConfigError> {
    if let Some(unknown) = data.keys().find(|key| !["quotas", "limits"].contains(&key.as_str())) {
        return Err(ConfigError {
            configmap: configmap.to_owned(),
            key: unknown.chars().take(80).collect(),
            field: None,
            problem: "is not known: take it out, or write quotas or limits".to_owned(),
        });
    }
    let text = |key: &str| data.get(key).map_or("", String::as_str);
    let quotas = quotas(Fields::read(configmap, "quotas", text("quotas"))?)?;
    let mut fields = Fields::read(configmap, "limits", text("limits"))?;
    let when_unknown = match fields.text("whenUnknown")?.as_deref() {
        None => None,
        Some("open") => Some(Fail::Open),
        Some("closed") => Some(Fail::Closed),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            return Err(fields.refuse(
                "whenUnknown",
                format!("is `{other}`: it must be open (grow as if there were enough) or closed (do not grow)"),
            ));
        }
    };
    let max_step_up = match fields.number("maxStepUp")? {
        None => None,
        Some(step) if step.fract() == 0.0 && (1.0..=100_000.0).contains(&step) => Some(step as u32),
        Some(step) => {
            return Err(fields.refuse(
                "maxStepUp",
                format!("is {step}: it must be a whole number of replicas, 1 or more"),
            ));
        }
    };
    fields.finish()?;
    Ok(Limits {
        quotas,
        when_unknown,
        max_step_up,
    })
}

fn quotas(mut fields: Fields) -> Result<Quotas, ConfigError> {
    let mut read = Quotas::default();
    if let Some(values) = fields.mapping("cluster")? {
        read.cluster = Some(quota(&fields, "cluster", values)?);
    }
    if let Some(values) = fields.mapping("default")? {
        read.default = Some(quota(&fields, "default", values)?);
    }
    for (namespace, value) in fields.mapping("namespaces")?.unwrap_or_default() {
        let path = format!("namespaces.{namespace}");
        let Value::Object(values) = value else {
            return Err(fields.refuse(&path, "must be a mapping of accelerators to GPUs"));
        };
        let values = values.into_iter().collect();
        read.namespaces.insert(namespace, quota(&fields, &path, values)?);
    }
    read.excluded = fields.texts("exclude")?.into_iter().collect();
    fields.finish()?;
    Ok(read)
}

fn quota(fields: &Fields, path: &str, values: BTreeMap<String, Value>) -> Result<Quota, ConfigError> {
    let mut quota = Quota::default();
    for (accelerator, value) in values {
        let gpus = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(gpus) = gpus.filter(|gpus| (-1..=MAX_QUOTA).contains(gpus)) else {
            let shown: String = value.to_string().chars().take(40).collect();
            return Err(fields.refuse(
                &format!("{path}.{accelerator}"),
                format!("is {shown}: it must be a number of GPUs from 0 to {MAX_QUOTA}, or -1 for no limit"),
            ));
        };
        if accelerator == "default" {
            quota.default = Some(gpus);
        } else {
            quota.accelerators.insert(accelerator, gpus);
        }
    }
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(quotas: &str, limits: &str) -> Result<Limits, ConfigError> {
        let data = [("quotas", quotas), ("limits", limits)];
        let data = data.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
        parse("ns/q", &data)
    }

    #[test]
    fn quotas_are_read() {
        let read = read(
            "cluster: {L4: 8, default: -1}\nnamespaces:\n  team-a: {L4: \"4\"}\ndefault: {default: 2}\nexclude: [tests]\n",
            "whenUnknown: closed\nmaxStepUp: 3\n",
        )
        .unwrap();
        let quota = |accelerators: &[(&str, i64)], default| Quota {
            accelerators: accelerators
                .iter()
                .map(|(name, gpus)| ((*name).to_owned(), *gpus))
                .collect(),
            default,
        };
        let expected = Quotas {
            cluster: Some(quota(&[("L4", 8)], Some(-1))),
            namespaces: [("team-a".to_owned(), quota(&[("L4", 4)], None))].into(),
            default: Some(quota(&[], Some(2))),
            excluded: ["tests".to_owned()].into(),
        };
        assert_eq!(read.quotas, expected);
        assert_eq!(read.quotas.validate(), Ok(()));
        assert_eq!((read.when_unknown, read.max_step_up), (Some(Fail::Closed), Some(3)));
        assert_eq!(parse("ns/q", &BTreeMap::new()), Ok(Limits::default()));
    }

    #[test]
    fn what_cannot_be_used_names_its_path() {
        for (quotas, limits, says) in [
            (
                "cluster: {L4: -2}",
                "",
                "key \"quotas\", field cluster.L4: is -2: it must be a number of GPUs",
            ),
            ("cluster: {L4: 1.5}", "", "field cluster.L4: is 1.5"),
            ("cluster: 8", "", "field cluster: is a number: it must be a mapping"),
            (
                "namespaces: {team-a: {L4: 1048577}}",
                "",
                "field namespaces.team-a.L4: is 1048577: it must be a number of GPUs from 0 to 1048576",
            ),
            (
                "namespaces: {team-a: 4}",
                "",
                "field namespaces.team-a: must be a mapping",
            ),
            ("exclude: tests", "", "field exclude: is a text: it must be a list"),
            ("exclude: [[a]]", "", "field exclude[0]: is a list: it must be a text"),
            ("team-a: {L4: 4}", "", "field team-a: is not known"),
            (
                "",
                "whenUnknown: maybe",
                "key \"limits\", field whenUnknown: is `maybe`",
            ),
            ("", "maxStepUp: 0", "field maxStepUp: is 0: it must be a whole number"),
        ] {
            let error = read(quotas, limits).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
        let data = [("quota".to_owned(), String::new())].into();
        let error = parse("ns/q", &data).unwrap_err().to_string();
        assert!(
            error.contains("key \"quota\": is not known: take it out, or write quotas or limits"),
            "{error}"
        );
    }
}
