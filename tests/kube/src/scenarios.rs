//! The closed loop, end to end.

pub(crate) mod reaction;

use crate::arena::process::{Signal, signal};
use crate::arena::{Arena, Ground, gone, nothing_mentions, ports_free, tail, web};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What holds.
    pub name: &'static str,
    /// Whether it says something about the embedded API alone.
    pub embedded_only: bool,
    /// Runs it; what it measured.
    pub run: for<'a> fn(&'a Ground) -> Running<'a>,
}

/// A scenario under way; it ends with figures worth printing.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

/// All scenarios, in the order in which a newcomer meets them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let both = |name, run| Scenario {
        name,
        embedded_only: false,
        run,
    };
    vec![
        Scenario {
            name: "first-request-within-two-seconds",
            embedded_only: true,
            run: |g| Box::pin(first_request(g)),
        },
        both("load-step-raises-replicas-and-returns", |g| Box::pin(load_step(g))),
        Scenario {
            name: "a-step-of-load-is-decided-at-once",
            embedded_only: true,
            run: |g| Box::pin(reaction::to_a_step(g)),
        },
        Scenario {
            name: "an-autoscaler-elsewhere-decides-at-once",
            embedded_only: true,
            run: |g| Box::pin(reaction::elsewhere(g)),
        },
        Scenario {
            name: "a-request-that-a-picker-holds-wakes-the-fleet-at-once",
            embedded_only: true,
            run: |g| Box::pin(reaction::by_a_picker(g)),
        },
        both("zero-replicas-wake-for-one-request", |g| Box::pin(from_zero(g))),
        both("deleted-pod-costs-no-request", |g| Box::pin(deleted_pod(g))),
        both("killed-model-server-is-restarted-and-counted", |g| {
            Box::pin(killed_server(g))
        }),
        both("rollout-restart-and-undo", |g| Box::pin(rollout(g))),
        both("sigkill-loses-nothing-and-leaves-nothing", |g| Box::pin(sigkill(g))),
        both("ctrl-c-drains-and-leaves-nothing", |g| Box::pin(ctrl_c(g))),
        Scenario {
            name: "logs-follow-a-model-server",
            embedded_only: true,
            run: |g| Box::pin(logs(g)),
        },
    ]
}

/// How long the cluster may take for a change that takes it a second when idle.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// How long scaling up and down may take, with all its waits.
pub(crate) const SCALED: Duration = Duration::from_secs(150);

/// A fleet of one small model: a replica computes four requests at once, an
/// answer of 40 tokens takes it a second, so eight requests a second need
/// more than one replica, and cost this machine next to nothing.
pub(crate) fn fleet(min: u32, max: u32) -> String {
    format!(
        "nodes:\n- {{name: node-a, gpus: {{type: L4, count: 8}}}}\nmodels:\n- name: tiny\n  slo: {{ttft: 500ms, itl: 100ms}}\n  \
         variants:\n  - name: tiny-l4\n    gpu: L4\n    cost: 0.80\n    replicas: {{min: {min}, max: {max}}}\n    slots: 4\n    \
         command: [tidegate, sim, --model, llama-3.1-8b, --served-model-name, tiny, --dtype, fp8, --gpu-type, L4, \
         --max-num-seqs, \"4\", --startup, 500ms]\n"
    )
}

pub(crate) const QUICK: &[&str] = &["--scale-down-after", "8s", "--zero-after", "4s"];

async fn first_request(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, None, &[])?;
    let up = arena.up().await?;
    let addresses = up.started.elapsed();
    let answered = up.first_answer("llama-8b", SOON).await?;
    ensure!(
        answered <= Duration::from_secs(2),
        "the first answer came {:.2} s after the start",
        answered.as_secs_f64()
    );
    Ok(format!(
        "addresses {:.2} s, first answer {:.2} s after the start",
        addresses.as_secs_f64(),
        answered.as_secs_f64()
    ))
}

async fn load_step(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 4)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    let results = arena.file("results.json");
    let flags = format!(
        "--model tiny --rate 8 --for 60s --output-tokens 40 --output-spread 0 --prompt-tokens 64 --prompt-spread 0 --output {}",
        results.display()
    );
    let loading = arena.load(&up, &flags);
    let watching = async {
        let grown = up.until(SCALED, "deployment/tiny-l4", "{.status.readyReplicas}", |count| {
            count.parse().is_ok_and(|n: u32| n >= 2)
        });
        let most = grown.await.context("replicas did not rise under load")?;
        anyhow::Ok((
            most,
            up.kubectl("describe variantautoscaling tiny-l4").await?.success()?,
        ))
    };
    let (summary, grown) = tokio::join!(loading, watching);
    let (summary, (most, described)) = (summary?, grown?);
    let counts = &summary["counts"];
    ensure!(counts["done"] == counts["planned"], "requests were lost: {summary}");

    let late = late_ttft(&results)?;
    ensure!(
        late < 1_000.0,
        "TTFT did not recover: median of the last quarter {late:.0} ms"
    );
    let fell = up
        .until(SCALED, "deployment/tiny-l4", "{.spec.replicas}", |count| count == "1")
        .await;
    fell.context("the fleet did not return to its minimum")?;
    ensure!(
        described.contains("Events:") && !described.contains("Events:  <none>"),
        "no events:\n{described}"
    );
    ensure!(described.contains("Conditions"), "no conditions:\n{described}");
    let log = arena.log();
    ensure!(log.contains("tiny-l4"), "the log names no decision:\n{}", tail(&log));
    arena.clean().await?;
    Ok(format!(
        "{most} replicas ready under load, late TTFT p50 {late:.0} ms, {} requests",
        counts["planned"]
    ))
}

/// Median TTFT in milliseconds of the requests planned in the last quarter.
fn late_ttft(results: &std::path::Path) -> Result<f64> {
    let text = std::fs::read_to_string(results).context("tidegate load wrote no results")?;
    let value: Value = serde_json::from_str(&text)?;
    let records = value
        .as_object()
        .into_iter()
        .flat_map(|map| map.values())
        .find_map(Value::as_array)
        .context("no records")?;
    let planned = |record: &Value| record["planned_ms"].as_f64().unwrap_or_default();
    let last = records.iter().map(planned).fold(0.0, f64::max);
    let mut late: Vec<f64> = records
        .iter()
        .filter(|record| planned(record) > last * 0.75)
        .filter_map(|record| find_number(record, "ttft_ms"))
        .collect();
    ensure!(
        late.len() > 10,
        "only {} streamed answers in the last quarter",
        late.len()
    );
    late.sort_by(f64::total_cmp);
    Ok(late[late.len() / 2])
}

fn find_number(value: &Value, name: &str) -> Option<f64> {
    match value {
        Value::Object(map) => map
            .get(name)
            .and_then(Value::as_f64)
            .or_else(|| map.values().find_map(|inner| find_number(inner, name))),
        _ => None,
    }
}

async fn from_zero(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(0, 2)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SCALED)
        .await
        .context("the first request from zero")?;
    let empty = up
        .until(SCALED, "deployment/tiny-l4", "{.spec.replicas}", |count| count == "0")
        .await;
    empty.context("the idle fleet did not go to zero")?;
    up.until(SOON, "pods", "{.items[*].metadata.name}", str::is_empty)
        .await
        .context("pods stayed")?;
    let asked = std::time::Instant::now();
    let (answer, decided) = tokio::join!(
        up.request("tiny", 4, SCALED),
        reaction::until_wanted(&up.addresses.autoscaler, 1, asked)
    );
    let ((status, body), decided) = (answer?, decided?);
    ensure!(
        status == 200,
        "the request that woke the fleet was answered {status}: {body}"
    );
    let answered = asked.elapsed().as_secs_f64();
    reaction::in_time(decided)?;
    arena.clean().await?;
    Ok(format!(
        "decided after {} ms, answered after {answered:.1} s",
        decided.as_millis()
    ))
}

async fn deleted_pod(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(2, 3)), QUICK)?;
    let up = arena.up().await?;
    up.until(SOON, "deployment/tiny-l4", "{.status.readyReplicas}", |count| {
        count == "2"
    })
    .await?;
    up.first_answer("tiny", SOON).await?;
    let loading = arena.load(
        &up,
        "--model tiny --rate 3 --for 25s --output-tokens 30 --output-spread 0 --prompt-tokens 64",
    );
    let deleting = async {
        // Twice one that is answering right now, the second time once its successor serves.
        for _ in 0..2 {
            let pod = up.busiest_pod(SOON).await?;
            up.kubectl(&format!("delete pod {pod} --wait=false")).await?.success()?;
            up.until(SOON, "pods", "{.items[*].metadata.name}", |pods| !pods.contains(&pod))
                .await?;
            up.until(SOON, "deployment/tiny-l4", "{.status.readyReplicas}", |count| {
                count.parse().is_ok_and(|n: u32| n >= 2)
            })
            .await?;
        }
        anyhow::Ok(())
    };
    let (summary, deleted) = tokio::join!(loading, deleting);
    deleted?;
    let summary = summary?;
    let counts = &summary["counts"];
    ensure!(
        counts["done"] == counts["planned"],
        "clients saw errors: {}",
        summary["failures"]
    );
    up.until(SOON, "deployment/tiny-l4", "{.status.readyReplicas}", |count| {
        count.parse().is_ok_and(|n: u32| n >= 2)
    })
    .await?;
    arena.clean().await?;
    Ok(format!("{} requests, none failed", counts["planned"]))
}

async fn killed_server(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 1)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    let family = up.family();
    let server = family
        .iter()
        .find(|mark| mark.line.contains("--served-model-name"))
        .context("no model server runs")?;
    signal(server.pid, Signal::KILL)?;
    let path = "{.items[0].status.containerStatuses[0].restartCount}";
    up.until(SOON, "pods", path, |count| count == "1")
        .await
        .context("the restart was not counted")?;
    let reason = "{.items[0].status.containerStatuses[0].lastState.terminated.exitCode}";
    let code = up.until(SOON, "pods", reason, |code| !code.is_empty()).await?;
    ensure!(code == "137", "killed, but the exit code is {code}");
    up.first_answer("tiny", SOON).await?;
    let described = up.kubectl("describe pods").await?.success()?;
    arena.clean().await?;
    ensure!(
        described.contains("Restart Count:  1"),
        "kubectl describe does not tell:\n{described}"
    );
    Ok("restarted once, exit code 137 told".to_owned())
}

async fn rollout(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 2)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    for line in [
        "rollout status deployment/tiny-l4 --timeout=60s",
        "rollout restart deployment/tiny-l4",
        "rollout status deployment/tiny-l4 --timeout=90s",
        "rollout undo deployment/tiny-l4",
        "rollout status deployment/tiny-l4 --timeout=90s",
    ] {
        up.kubectl(line)
            .await?
            .success()
            .with_context(|| format!("kubectl {line}"))?;
    }
    let history = up.kubectl("rollout history deployment/tiny-l4").await?.success()?;
    ensure!(history.contains('2') && history.contains('3'), "history:\n{history}");
    up.first_answer("tiny", SOON).await?;
    arena.clean().await?;
    Ok("restarted and undone while serving".to_owned())
}

async fn sigkill(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 1)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    up.kubectl("create configmap kept --from-literal=a=b")
        .await?
        .success()?;
    up.kubectl("label configmap kept scenario=kill").await?.success()?;
    up.kubectl("annotate deployment tiny-l4 example.org/mark=here")
        .await?
        .success()?;
    let (family, addresses) = (up.family(), up.addresses.clone());
    ensure!(family.len() >= 2, "no model server runs below tidegate: {family:?}");
    let _ = up.end(Signal::KILL, SOON).await?;
    gone(&family).await?;
    let own: Vec<String> = if arena.on_real() {
        addresses.listening[..4].to_vec()
    } else {
        addresses.listening.clone()
    };
    ports_free(&own).await?;
    nothing_mentions(&arena.data())?;

    let mut listen = own;
    listen.resize(4, "127.0.0.1:0".to_owned());
    let listen: [String; 4] = listen.try_into().map_err(|_| anyhow::anyhow!("four addresses"))?;
    let up = arena
        .up_on(&listen)
        .await
        .context("the second start, on the same ports")?;
    let again = up.first_answer("tiny", SOON).await?;
    let kept = up.ask("configmap/kept", "{.data.a}").await;
    ensure!(kept == "b", "the ConfigMap was lost");
    let mark = up
        .ask("deployment/tiny-l4", "{.metadata.annotations.example\\.org/mark}")
        .await;
    ensure!(mark == "here", "the annotation was lost");
    arena.clean().await?;
    Ok(format!(
        "{} processes gone, answered {:.1} s after the second start",
        family.len(),
        again.as_secs_f64()
    ))
}

async fn ctrl_c(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 1)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    let (family, addresses) = (up.family(), up.addresses.clone());
    let mut stream = web::stream(&addresses.gateway, "tiny", 100).await?;
    ensure!(stream.status == 200, "the stream was answered {}", stream.status);
    stream.next().await?.context("the stream ended at once")?;
    let (code, rest) = tokio::join!(up.end(Signal::INT, SOON), stream.rest());
    let (code, rest) = (code?, rest.context("the stream under way was cut")?);
    ensure!(rest.contains("[DONE]"), "the stream was cut: {}", tail(&rest));
    ensure!(code == 0, "it ended with {code}\n{}", tail(&arena.log()));
    gone(&family).await?;
    let own = if arena.on_real() {
        &addresses.listening[..4]
    } else {
        &addresses.listening[..]
    };
    ports_free(own).await?;
    nothing_mentions(&arena.data())?;
    ensure!(
        !arena.data().join("endpoints.json").exists(),
        "endpoints.json still names addresses"
    );
    arena.clean().await?;
    Ok(format!("{} processes gone, the stream was finished", family.len()))
}

async fn logs(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 1)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    let pod = up.ask("pods", "{.items[0].metadata.name}").await;
    let whole = up.kubectl(&format!("logs {pod}")).await?.success()?;
    ensure!(!whole.trim().is_empty(), "the log of a model server is empty");
    let last = up
        .kubectl(&format!("logs {pod} --tail=1 --timestamps"))
        .await?
        .success()?;
    ensure!(
        last.lines().count() == 1 && last.contains('T'),
        "--tail=1 --timestamps: {last}"
    );
    Ok(format!("{} lines", whole.lines().count()))
}
