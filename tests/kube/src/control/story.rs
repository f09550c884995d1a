//! The story: two autoscalers, what goes wrong, and what they make of it.

use super::objects::{pool_with_picker, variant, workload};
use super::rights::{Right, given, used};
use super::{Cluster, LEASE, RETRY, Replica, SOON};
use crate::arena::autoscaler::{Autoscaler, value};
use crate::arena::web;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testkit::wait_for;

/// What a busy machine may add to a takeover.
const SLACK: Duration = Duration::from_secs(3);

/// The two processes of the story, and the cluster they look after.
#[derive(Debug)]
pub struct Story {
    cluster: Cluster,
    both: [Autoscaler; 2],
    /// Pods whose metrics are ours to set.
    replicas: Vec<Replica>,
}

impl Story {
    /// Begins it: a Deployment, its VariantAutoscaling, two autoscalers, of which
    /// one finds the cluster as a Pod does.
    ///
    /// # Errors
    /// When something is refused or does not start.
    pub async fn begin(tidegate: PathBuf) -> Result<Self> {
        let cluster = Cluster::start(tidegate).await?;
        cluster.kubectl("create namespace shop").await?;
        for name in ["llama", "other", "third"] {
            cluster.apply(&workload("Deployment", name)).await?;
        }
        cluster.apply(&workload("StatefulSet", "stateful")).await?;
        cluster.apply(&variant("Deployment", "llama", 2)).await?;
        cluster.apply(&variant("StatefulSet", "stateful", 3)).await?;
        let both = [
            cluster.autoscaler("one").await?,
            cluster.autoscaler_in_a_pod("two").await?,
        ];
        Ok(Self {
            cluster,
            both,
            replicas: Vec::new(),
        })
    }

    /// The place of the one that leads.
    async fn leader(&self) -> Result<usize> {
        let one = wait_for(SOON, async || {
            let leads = [self.both[0].leads().await, self.both[1].leads().await];
            match leads {
                [true, true] => Some(Err(anyhow::anyhow!("both lead"))),
                [false, false] => None,
                [first, _] => Some(Ok(usize::from(!first))),
            }
        });
        one.await.context("nobody leads")?
    }

    /// The manifests are taken as they stand, without a warning.
    ///
    /// # Errors
    /// What was warned of.
    pub async fn manifests(&mut self) -> Result<String> {
        let applied = &self.cluster.applied;
        ensure!(!applied.stderr.contains("Warning"), "{}", applied.stderr);
        let count = applied.stdout.lines().count();
        Ok(format!("{count} objects, no warnings"))
    }

    /// Exactly one acts, and only that one speaks of variants.
    ///
    /// # Errors
    /// What is not so.
    pub async fn one_acts(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        self.cluster
            .until("deployment llama -n shop", "{.spec.replicas}", |replicas| {
                replicas == "2"
            })
            .await?;
        for scaler in &self.both {
            wait_for(SOON, async || {
                let ready = web::get(&format!("{}/readyz", scaler.url)).await.ok()?;
                (ready.trim() == "ok").then_some(())
            })
            .await
            .context("one is not ready")?;
        }
        let follower = &self.both[1 - leader];
        wait_for(SOON, async || {
            let seen = web::get(&format!("{}/variants", follower.url)).await.ok()?;
            seen.contains("\"llama\"").then_some(())
        })
        .await
        .context("the follower watches nothing")?;
        ensure!(!follower.leads().await, "both lead");
        let desired = "wva_desired_replicas{variant_name=\"llama\"";
        ensure!(
            value(&follower.metrics().await?, desired).is_none(),
            "the follower speaks of variants"
        );
        ensure!(
            value(&self.both[leader].metrics().await?, desired) == Some(2.0),
            "the leader does not"
        );
        Ok(format!("{} leads", self.both[leader].name))
    }

    /// Whichever an HPA's question comes to, the one that leads answers it.
    ///
    /// # Errors
    /// What is not so.
    pub async fn any_answers(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        let follower = &self.both[1 - leader].name;
        let asked = async |name: &str| self.cluster.external_metric(name, "llama").await;
        let ours = wait_for(SOON, async || asked(&self.both[leader].name).await.ok());
        let ours = ours.await.context("the one that leads does not answer")?;
        ensure!(ours == "2", "it answers {ours:?}");
        // Nobody knows yet where the leader is.
        ensure!(asked(follower).await.is_err(), "the follower answers for itself");
        for scaler in &self.both {
            self.cluster.pod_of(&scaler.name).await?;
        }
        let theirs = wait_for(SOON, async || asked(follower).await.ok());
        let theirs = theirs.await.context("the follower hands nothing on")?;
        ensure!(theirs == ours, "{ours:?} here and {theirs:?} there");
        Ok(format!("{ours} replicas, asked at both"))
    }

    /// Saturated replicas raise the number, and the object says why.
    ///
    /// # Errors
    /// What is not so.
    pub async fn saturation(&mut self) -> Result<String> {
        for name in ["llama-a", "llama-b"] {
            let replica = self.cluster.replica("llama", name).await?;
            replica.tell(0.95, 12, 9);
            self.replicas.push(replica);
        }
        let raised = |replicas: &str| replicas.parse().is_ok_and(|replicas: u32| replicas > 2);
        let path = "{.spec.replicas}";
        let replicas = self.cluster.until("deployment llama -n shop", path, raised).await?;
        let path = "{.status.conditions[?(@.type==\"MetricsAvailable\")].reason}";
        self.cluster
            .until("variantautoscaling llama -n shop", path, |reason| {
                reason == "MetricsFound"
            })
            .await?;
        self.cluster
            .until("events -n shop", "{.items[*].reason}", |reasons| {
                reasons.contains("ScaledUp")
            })
            .await?;
        let leader = self.leader().await?;
        let why = tokio::process::Command::new(self.cluster.tidegate())
            .args(["why", "variant", "shop/llama", "--autoscaler", &self.both[leader].url])
            .output()
            .await?;
        let why = String::from_utf8(why.stdout)?;
        ensure!(
            why.contains("KV cache in use") && why.contains("kvCacheThreshold 0.8"),
            "{why}"
        );
        Ok(format!("{replicas} replicas"))
    }

    /// A mistake in a ConfigMap is refused, and the last good stays in force.
    ///
    /// # Errors
    /// What is not so.
    pub async fn configuration(&mut self) -> Result<String> {
        let map = |text: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wva-saturation-scaling-config",
                "namespace": "tidegate-system"}, "data": {"default": text}})
        };
        self.cluster.apply(&map("kvCacheThreshold: 80\n")).await?;
        let ready = "{.status.conditions[?(@.type==\"OptimizationReady\")].message}";
        let message = self
            .cluster
            .until("variantautoscaling llama -n shop", ready, |message| {
                message.contains("field kvCacheThreshold: is 80")
                    && message.contains("last good content stays in force")
            })
            .await?;
        let leader = self.leader().await?;
        let valid = "tidegate_config_valid{configmap=\"tidegate-system/wva-saturation-scaling-config\"}";
        ensure!(
            value(&self.both[leader].metrics().await?, valid) == Some(0.0),
            "the gauge says nothing"
        );
        self.cluster.apply(&map("kvCacheThreshold: 0.8\n")).await?;
        self.cluster
            .until("variantautoscaling llama -n shop", ready, |message| {
                !message.contains("ConfigMap")
            })
            .await?;
        Ok(message.split(';').next().unwrap_or_default().to_owned())
    }

    /// A managed HPA or ScaledObject is a variant of its own.
    ///
    /// # Errors
    /// What is not so.
    pub async fn managed(&mut self) -> Result<String> {
        let metadata = |name: &str, model: &str| {
            json!({"name": name, "namespace": "shop", "labels": {"llm-d.ai/managed": "true"},
                "annotations": {"llm-d.ai/model": model}})
        };
        let target = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
        self.cluster
            .apply(
                &json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                "metadata": metadata("other", "other"),
                "spec": {"scaleTargetRef": target("other"), "minReplicas": 3, "maxReplicas": 5}}),
            )
            .await?;
        self.cluster
            .apply(&json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata("third", "third"),
                "spec": {"scaleTargetRef": target("third"), "minReplicaCount": 2, "maxReplicaCount": 5, "triggers": []}}))
            .await?;
        let leader = self.leader().await?;
        for (name, wanted) in [("other", 3.0), ("third", 2.0)] {
            let series = format!("wva_desired_replicas{{variant_name=\"{name}\",namespace=\"shop\"");
            wait_for(SOON, async || {
                let page = self.both[leader].metrics().await.ok()?;
                value(&page, &series).filter(|replicas| *replicas == wanted)
            })
            .await
            .with_context(|| format!("no gauge of {wanted} replicas for {name}"))?;
            let line = format!("get deployment {name} -n shop -o jsonpath={{.spec.replicas}}");
            let replicas = self.cluster.kubectl(&line).await?;
            ensure!(replicas == "1", "{name} was set to {replicas}, which is not ours to do");
        }
        Ok("gauges of 3 and 2 replicas, and their targets left alone".to_owned())
    }

    /// The endpoint picker that an InferencePool names is found, and what it
    /// holds wakes a model without replicas.
    ///
    /// # Errors
    /// What is not so.
    pub async fn picker(&mut self) -> Result<String> {
        self.cluster.apply(&workload("Deployment", "asleep")).await?;
        self.cluster
            .kubectl("scale deployment asleep -n shop --replicas 0")
            .await?;
        self.cluster.apply(&variant("Deployment", "asleep", 0)).await?;
        let picker = self.cluster.replica("asleep-epp", "asleep-epp-a").await?;
        picker.hold("asleep", 0);
        let [pool, service] = pool_with_picker("asleep", picker.port);
        self.cluster.apply(&pool).await?;
        let leader = self.leader().await?;
        let path = "{.status.conditions[?(@.type==\"MetricsAvailable\")].message}";
        self.cluster
            .until("variantautoscaling asleep -n shop", path, |message| {
                message.contains("asleep-epp holds cannot be seen: there is no such Service")
            })
            .await?;
        let unseen = value(
            &self.both[leader].metrics().await?,
            "tidegate_picker_pools{state=\"unseen\"}",
        );
        ensure!(unseen == Some(1.0), "unseen are {unseen:?}");
        self.cluster.apply(&service).await?;
        let found = wait_for(SOON, async || {
            let why = tokio::process::Command::new(self.cluster.tidegate())
                .args(["why", "variant", "shop/asleep", "--autoscaler", &self.both[leader].url])
                .output();
            let why = String::from_utf8(why.await.ok()?.stdout).ok()?;
            let line = why
                .lines()
                .find(|line| line.contains("is asked at 1 Pod of Service asleep-epp"))?;
            Some(line.trim().to_owned())
        });
        let found = found.await.context("the picker is not found")?;
        let asleep = "wva_desired_replicas{variant_name=\"asleep\"";
        wait_for(SOON, async || {
            (value(&self.both[leader].metrics().await.ok()?, asleep) == Some(0.0)).then_some(())
        })
        .await
        .context("it is not decided to sleep on")?;
        picker.hold("asleep", 1);
        let held = Instant::now();
        wait_for(SOON, async || {
            (value(&self.both[leader].metrics().await.ok()?, asleep) == Some(1.0)).then_some(())
        })
        .await
        .context("it is not woken")?;
        let decided = held.elapsed();
        self.cluster
            .until("deployment asleep -n shop", "{.spec.replicas}", |replicas| {
                replicas == "1"
            })
            .await?;
        self.replicas.push(picker);
        Ok(format!("decided after {} ms; {found}", decided.as_millis()))
    }

    /// The leader is killed; the other takes over in time and acts.
    ///
    /// # Errors
    /// What is not so.
    pub async fn takeover(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        self.both[leader].kill().await?;
        let killed = Instant::now();
        let bound = LEASE + RETRY + SLACK;
        let other = 1 - leader;
        wait_for(bound, async || self.both[other].leads().await.then_some(()))
            .await
            .context("the other does not take over")?;
        let took = killed.elapsed();
        self.cluster.apply(&variant("Deployment", "llama", 6)).await?;
        self.cluster
            .until("deployment llama -n shop", "{.spec.replicas}", |replicas| {
                replicas == "6"
            })
            .await?;
        wait_for(SOON, async || {
            let answer = self.cluster.external_metric(&self.both[other].name, "llama").await;
            answer.is_ok_and(|replicas| replicas == "6").then_some(())
        })
        .await
        .context("who handed questions on does not answer them now")?;
        Ok(format!(
            "after {:.1} s of at most {:.1} s",
            took.as_secs_f64(),
            bound.as_secs_f64()
        ))
    }

    /// The manifests' rights were enough, and each of them was needed.
    ///
    /// # Errors
    /// What was denied, what nobody used, or what is allowed and should not be.
    pub async fn rights(&mut self) -> Result<String> {
        for scaler in &self.both {
            let log = scaler.log();
            let denied = log.lines().find(|line| line.contains("forbidden"));
            ensure!(denied.is_none(), "{}: {}", scaler.name, denied.unwrap_or_default());
        }
        let leader = self.leader().await?;
        let failures = value(
            &self.both[leader].metrics().await?,
            "tidegate_autoscaler_write_failures_total",
        );
        ensure!(failures == Some(0.0), "writes failed: {failures:?}");
        let (given, used) = (given()?, used(&self.cluster.audit())?);
        let idle: Vec<&Right> = given.difference(&used).collect();
        ensure!(idle.is_empty(), "the manifests give rights that nobody used: {idle:?}");
        for denied in [
            "get secrets -A",
            "list configmaps -A",
            "update leases/another -n tidegate-system",
        ] {
            ensure!(!self.cluster.may(denied).await?, "it may {denied}");
        }
        Ok(format!(
            "nothing was denied, and each of {} rights was used",
            given.len()
        ))
    }

    /// One that is told to end gives the Lease up.
    ///
    /// # Errors
    /// What is not so.
    pub async fn resignation(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        self.both[leader].stop().await?;
        let path = "{.spec.holderIdentity}";
        self.cluster
            .until("lease 72dd1cf1.llm-d.ai -n tidegate-system", path, str::is_empty)
            .await?;
        let changes = "{.spec.leaseTransitions}";
        let changes = self
            .cluster
            .until("lease 72dd1cf1.llm-d.ai -n tidegate-system", changes, |changes| {
                !changes.is_empty()
            })
            .await?;
        Ok(format!("released after {changes} change of leaders"))
    }
}
