//! How soon a decision is published after what it answers.

use super::{QUICK, SCALED, SOON, fleet};
use crate::arena::autoscaler::Autoscaler;
use crate::arena::page::Page;
use crate::arena::{Arena, Ground, Up, web};
use anyhow::{Context as _, Result, ensure};
use std::time::{Duration, Instant};
use testkit::wait_until;

/// From a step of the load, or a request that nobody can serve, to the gauge.
const AT_ONCE: Duration = Duration::from_millis(300);
/// Between two looks at the gauge; it is part of what is measured.
const LOOK: Duration = Duration::from_millis(2);
/// How often the step is made.
const STEPS: usize = 3;
/// Requests of a step: a replica computes four at once and is given as many.
const REQUESTS: usize = 30;

/// Fails where a decision took too long.
pub(crate) fn in_time(took: Duration) -> Result<()> {
    ensure!(took <= AT_ONCE, "decided after {took:?}; {AT_ONCE:?} is allowed");
    Ok(())
}

/// The replicas that the autoscaler publishes for the one variant it has.
async fn wanted(autoscaler: &str) -> Option<u32> {
    let page = web::get(&format!("{autoscaler}/metrics")).await.ok()?;
    let gauge = page.lines().find(|line| line.starts_with("wva_desired_replicas{"))?;
    let value: f64 = gauge.rsplit(' ').next()?.parse().ok()?;
    (value >= 0.0).then_some(value as u32)
}

/// Time since `start` until at least `least` replicas are published.
pub(crate) async fn until_wanted(autoscaler: &str, least: u32, start: Instant) -> Result<Duration> {
    let looking = async {
        while wanted(autoscaler).await.is_none_or(|wanted| wanted < least) {
            tokio::time::sleep(LOOK).await;
        }
        start.elapsed()
    };
    tokio::time::timeout(SOON, looking)
        .await
        .with_context(|| format!("{least} replicas were not decided within {SOON:?}"))
}

/// Many requests at once, and the time until more replicas are decided; then
/// all of them are answered.
pub(crate) async fn step(up: &Up, autoscaler: &str) -> Result<Duration> {
    let start = Instant::now();
    let requests = (0..REQUESTS).map(|_| up.request("tiny", 40, SCALED));
    let (answers, decided) = tokio::join!(futures::future::join_all(requests), until_wanted(autoscaler, 2, start));
    for answer in answers {
        let (status, body) = answer?;
        ensure!(status == 200, "a request of the step was answered {status}: {body}");
    }
    decided
}

/// Waits until one replica is wanted and there.
pub(crate) async fn calm(up: &Up, autoscaler: &str) -> Result<()> {
    wait_until(SCALED, async || wanted(autoscaler).await == Some(1))
        .await
        .context("the fleet did not return to its minimum")?;
    up.until(SCALED, "deployment/tiny-l4", "{.spec.replicas}", |count| count == "1")
        .await?;
    Ok(())
}

/// The same from a process of its own, which the gateway tells over HTTP; and
/// from no replica at all.
pub(super) async fn elsewhere(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(0, 4)), &["--actuator", "observe"])?;
    let up = arena.up().await?;
    let mut command = tokio::process::Command::new(&ground.tidegate);
    command
        .args(["autoscaler", "--actuator=direct", "--watch-namespace=default"])
        .args(QUICK)
        .args(["--gateway", &up.addresses.gateway_admin])
        .arg("--kubeconfig")
        .arg(&up.addresses.kubeconfig);
    let scaler = Autoscaler::start("autoscaler", command, &arena.file("")).await?;
    wait_until(SOON, async || wanted(&scaler.url).await == Some(0))
        .await
        .context("no replica is wanted of an idle fleet")?;
    let asked = Instant::now();
    let (answer, woken) = tokio::join!(up.request("tiny", 4, SCALED), until_wanted(&scaler.url, 1, asked));
    let ((status, body), woken) = (answer?, woken?);
    ensure!(
        status == 200,
        "the request that woke the fleet was answered {status}: {body}"
    );
    in_time(woken)?;
    let stepped = step(&up, &scaler.url).await?;
    in_time(stepped)?;
    Ok(format!(
        "published {} ms after a request to no replica, {} ms after a step",
        woken.as_millis(),
        stepped.as_millis()
    ))
}

/// From the metrics of an endpoint picker, which is asked over HTTP. The picker
/// is one of ours: only its page counts here.
pub(super) async fn by_a_picker(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(0, 4)), &["--actuator", "observe"])?;
    let up = arena.up().await?;
    let (picker, url) = Page::serve().await?;
    let holds = |queued: u32| {
        picker.show(&format!(
            "# TYPE llm_d_epp_flow_control_queue_size gauge\n\
             llm_d_epp_flow_control_queue_size{{fairness_id=\"a\",inference_pool=\"tiny\",model_name=\"tiny\",priority=\"0\",target_model_name=\"tiny\"}} {queued}\n"
        ));
    };
    holds(0);
    let mut command = tokio::process::Command::new(&ground.tidegate);
    command
        .args(["autoscaler", "--actuator=direct", "--watch-namespace=default"])
        .args(QUICK)
        .args(["--picker", &format!("default={url}"), "--kubeconfig"])
        .arg(&up.addresses.kubeconfig);
    let scaler = Autoscaler::start("autoscaler", command, &arena.file("")).await?;
    wait_until(SOON, async || wanted(&scaler.url).await == Some(0))
        .await
        .context("no replica is wanted of an idle fleet")?;
    let held = Instant::now();
    holds(1);
    let woken = until_wanted(&scaler.url, 1, held).await?;
    in_time(woken)?;
    up.until(SCALED, "deployment/tiny-l4", "{.status.readyReplicas}", |count| {
        count == "1"
    })
    .await?;
    holds(0);
    wait_until(SCALED, async || wanted(&scaler.url).await == Some(0))
        .await
        .context("it did not return to zero once the picker held nothing")?;
    Ok(format!(
        "published {} ms after the picker held it, ready, and zero again",
        woken.as_millis()
    ))
}

/// From the gateway: what it holds is known at once, whatever the interval.
pub(super) async fn to_a_step(ground: &Ground) -> Result<String> {
    let arena = Arena::new(ground, Some(&fleet(1, 4)), QUICK)?;
    let up = arena.up().await?;
    up.first_answer("tiny", SOON).await?;
    let mut took = Vec::new();
    for _ in 0..STEPS {
        calm(&up, &up.addresses.autoscaler).await?;
        let decided = step(&up, &up.addresses.autoscaler).await?;
        in_time(decided)?;
        took.push(decided.as_millis());
    }
    arena.clean().await?;
    Ok(format!("published {took:?} ms after the step"))
}
