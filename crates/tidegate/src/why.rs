//! `tidegate why`: asks a running autoscaler and prints its explanation.

use crate::cli::Why;
use crate::print;
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Largest answer that is read.
const LARGEST_ANSWER: usize = 64 << 20;

/// Answers the question on standard output.
///
/// # Errors
/// When nothing runs in the data folder, or the variant does not exist.
pub(crate) async fn answer(question: Why) -> anyhow::Result<()> {
    let Why::Variant {
        name,
        data_dir,
        autoscaler,
    } = question;
    let base = match autoscaler {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => running(&data_dir)?,
    };
    let leader = fetch(&base, "leader").await?;
    let views = fetch(&base, "variants").await?;
    let views = views.as_array().map(Vec::as_slice).unwrap_or_default();
    let full = |view: &Value| format!("{}/{}", text(view, "namespace"), text(view, "name"));
    let found: Vec<_> = views
        .iter()
        .filter(|view| text(view, "name") == name || full(view) == name)
        .collect();
    let first = found.first().map(|view| full(view));
    match found[..] {
        // Objects of several kinds may have one name: who has the variant comes first.
        [..] if first.is_some() && found.iter().all(|view| Some(full(view)) == first) => {
            if leader["observes"] == true {
                print("It observes (--actuator observe) and sets nothing: this is what it would decide.\n\n")?;
            } else if leader["leads"] == false {
                let who = Some(text(&leader, "leader")).filter(|who| !who.is_empty());
                let who = who.unwrap_or("nobody yet");
                print(&format!("Not the leader ({who} is): this is what it would decide.\n\n"))?;
            }
            let all: Vec<String> = found.iter().map(|view| explain(view)).collect();
            print(&all.join("\n\n"))
        }
        [] => {
            let names: Vec<_> = views.iter().map(full).collect();
            bail!(
                "no variant is called {name}; there are: {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            )
        }
        _ => bail!("{name} exists in several namespaces; say NAMESPACE/{name}"),
    }
}

/// Where the autoscaler of the fleet in this data folder is.
fn running(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("endpoints.json");
    let endpoints = std::fs::read(&path).with_context(|| {
        format!(
            "no tidegate runs with the data folder {} (--data-dir names another, --autoscaler the address of one in a cluster)",
            data_dir.display()
        )
    })?;
    let endpoints: Value =
        serde_json::from_slice(&endpoints).with_context(|| format!("{} is no JSON", path.display()))?;
    let base = endpoints["autoscaler"].as_str();
    base.map(str::to_owned)
        .with_context(|| format!("{} names no autoscaler", path.display()))
}

async fn fetch(base: &str, what: &str) -> anyhow::Result<Value> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let ask = async {
        let answer = client.get(format!("{base}/{what}").parse()?).await?;
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!(e))?;
        Ok::<_, anyhow::Error>(serde_json::from_slice(&body.to_bytes())?)
    };
    tokio::time::timeout(Duration::from_secs(5), ask)
        .await
        .map_err(|_| anyhow::anyhow!("no answer within 5 s"))
        .flatten()
        .with_context(|| format!("the autoscaler at {base} cannot be asked; does it still run?"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.2}"),
        None => "-".to_owned(),
    }
}

fn age(ms: &Value) -> String {
    match ms.as_u64() {
        Some(ms) if ms < 1_000 => format!("{ms} ms ago"),
        Some(ms) => format!("{:.1} s ago", ms as f64 / 1e3),
        None => "never".to_owned(),
    }
}

/// A variant's view as a person reads it.
fn explain(view: &Value) -> String {
    let mut out = String::new();
    let desired = if view["desired"].is_null() {
        "nothing decided yet".to_owned()
    } else {
        number(&view["desired"])
    };
    let of_kind = match text(view, "kind") {
        "VariantAutoscaling" | "" => String::new(),
        kind => format!(" ({kind})"),
    };
    let _ = writeln!(
        out,
        "{}{}  {} on {}",
        text(view, "name"),
        of_kind,
        text(view, "model"),
        view["accelerator"].as_str().unwrap_or("an unknown accelerator")
    );
    if view.get("min").is_some_and(Value::is_null) {
        let _ = writeln!(out, "  wants nothing: what it asks for is not in force");
        let _ = writeln!(out, "  {}: {}", text(view, "reason"), text(view, "sentence"));
        return out;
    }
    let _ = writeln!(
        out,
        "  wants {desired} of {} to {} replicas; has {}, {} ready; {} per replica and hour",
        number(&view["min"]),
        number(&view["max"]),
        number(&view["current"]),
        number(&view["ready"]),
        number(&view["cost"])
    );
    let _ = writeln!(out, "  {}: {}", text(view, "reason"), text(view, "sentence"));
    let configured = view["configured"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !configured.is_empty() {
        heading(&mut out, "What configuration says of it");
        lines(&mut out, configured, "nothing");
    }
    let explanation = &view["explanation"];
    let rows = |field: &str| explanation[field].as_array().cloned().unwrap_or_default();
    heading(&mut out, "What each rule said");
    for rule in rows("rules") {
        let _ = writeln!(
            out,
            "  {:<8} {:<18} {}",
            text(&rule, "verdict"),
            text(&rule, "rule"),
            text(&rule, "says")
        );
    }
    heading(&mut out, "What bound the answer");
    lines(&mut out, &rows("bounds"), "nothing");
    heading(&mut out, "What would change it");
    lines(&mut out, &rows("wouldChange"), "not known before the first decision");
    heading(&mut out, "Signals of that decision");
    for input in rows("inputs") {
        let value = if input["value"].is_null() {
            format!("missing: {}", text(&input, "missing"))
        } else {
            let stale = if input["fresh"] == Value::Bool(false) {
                ", too old to count"
            } else {
                ""
            };
            format!(
                "{} {} ({}, {}{stale})",
                number(&input["value"]),
                text(&input, "unit"),
                text(&input, "source"),
                age(&input["ageMs"])
            )
        };
        let _ = writeln!(out, "  {:<28} {:<24} {value}", text(&input, "of"), text(&input, "what"));
    }
    heading(&mut out, "Replicas now");
    let replicas = view["replicas"].as_array().cloned().unwrap_or_default();
    if replicas.is_empty() {
        out.push_str("  none\n");
    }
    for replica in replicas {
        let seen = |field: &str| number(&replica[field]["value"]);
        let _ = writeln!(
            out,
            "  {:<28} {:<9} in flight {} of {}, running {}, waiting {}, KV cache {} ({}){}",
            text(&replica, "pod"),
            text(&replica, "state"),
            seen("inFlight"),
            seen("slots"),
            seen("running"),
            seen("waiting"),
            seen("kvUsage"),
            age(&replica["kvUsage"]["ageMs"]),
            replica["missing"]
                .as_str()
                .map(|why| format!("; {why}"))
                .unwrap_or_default()
        );
    }
    out
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{text}");
}

fn lines(out: &mut String, rows: &[Value], none: &str) {
    if rows.is_empty() {
        let _ = writeln!(out, "  {none}");
    }
    for row in rows {
        let _ = writeln!(out, "  {}", row.as_str().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_explanation_names_signals_rules_bounds_and_what_would_change_it() {
        let view = json!({"name": "v", "namespace": "default", "model": "m", "accelerator": "L4", "cost": 0.8, "min": 1, "max": 4,
            "current": 3, "ready": 2, "desired": 3, "reason": "Saturated", "sentence": "KV 91 % on all replicas",
            "replicas": [{"pod": "v-1", "state": "ready", "kvUsage": {"value": 0.91, "ageMs": 400}, "missing": null}],
            "explanation": {"inputs": [
                {"of": "gateway", "what": "queued", "unit": "requests", "value": 22.0, "ageMs": 0, "source": "gateway", "fresh": true},
                {"of": "v-2", "what": "kv", "unit": "share", "value": null, "missing": "connection refused", "fresh": false}],
              "rules": [{"rule": "slots", "verdict": "up", "says": "needs 70 slots"}],
              "bounds": ["max 4"], "wouldChange": ["fewer than 20 requests"]}});
        let text = explain(&view);
        for word in [
            "wants 3 of 1 to 4",
            "Saturated",
            "needs 70 slots",
            "max 4",
            "fewer than 20",
            "22 requests",
            "missing: connection refused",
            "0.91 (400 ms ago)",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn a_variant_without_a_decision_is_not_shown_as_zero() {
        let text = explain(&json!({"name": "v", "desired": null, "explanation": null}));
        assert!(text.contains("nothing decided yet"), "{text}");
        let refused = explain(
            &json!({"kind": "HorizontalPodAutoscaler", "name": "v", "model": "m", "desired": null,
            "min": null, "max": null, "cost": null, "reason": "InvalidConfiguration", "sentence": "taken already"}),
        );
        assert!(
            refused.contains("v (HorizontalPodAutoscaler)") && refused.contains("InvalidConfiguration: taken already"),
            "{refused}"
        );
        assert!(!refused.contains('0'), "{refused}");
    }
}
