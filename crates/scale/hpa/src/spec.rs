//! What an HPA asks for, after the API server's defaults.

use std::time::Duration;

/// `spec` of a HorizontalPodAutoscaler together with the flags of the
/// controller. The API server has validated it: bounds in order, targets above
/// zero, at least one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Namespace of the object; only messages carry it.
    pub namespace: String,
    /// `minReplicas`.
    pub min_replicas: u32,
    /// `maxReplicas`.
    pub max_replicas: u32,
    /// `metrics`; the largest proposal wins.
    pub metrics: Vec<Metric>,
    /// `behavior`; without it the older rule holds: at most twice the replicas,
    /// or 4, in one pass, and the controller's window on the way down.
    pub behavior: Option<Behavior>,
    /// Flags of the controller.
    pub settings: Settings,
}

impl Spec {
    /// A spec without `behavior`, with the controller's default flags, in the
    /// namespace `default`.
    #[must_use]
    pub fn new(min_replicas: u32, max_replicas: u32, metrics: Vec<Metric>) -> Self {
        Self {
            namespace: "default".into(),
            min_replicas,
            max_replicas,
            metrics,
            behavior: None,
            settings: Settings::default(),
        }
    }

    /// The tolerances in force: those of `behavior`, else the controller's.
    #[must_use]
    pub fn tolerance(&self) -> Tolerance {
        let of = |rules: Option<&Rules>| rules.and_then(|r| r.tolerance).unwrap_or(self.settings.tolerance);
        let behavior = self.behavior.as_ref();
        Tolerance {
            down: of(behavior.map(|b| &b.down)),
            up: of(behavior.map(|b| &b.up)),
        }
    }
}

/// Flags of the controller that hold for every HPA.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The window on the way down where the object names none.
    pub downscale_stabilisation: Duration,
    /// How far the ratio may be from 1 without action, where the object names
    /// none.
    pub tolerance: f64,
    /// How long after its start a Pod's CPU is taken only while it is ready and
    /// with a sample that begins after it became so.
    pub cpu_initialisation: Duration,
    /// A Pod whose readiness changed last within this time of its start was
    /// never ready.
    pub initial_readiness_delay: Duration,
    /// The feature gate HPAScaleToZero (off by default in Kubernetes 1.36).
    pub scale_to_zero: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            downscale_stabilisation: Duration::from_secs(300),
            tolerance: 0.1,
            cpu_initialisation: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            scale_to_zero: false,
        }
    }
}

/// How far usage over target may be from 1 without action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
}

impl Tolerance {
    /// Whether `ratio` asks for nothing.
    #[must_use]
    pub fn holds(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// One entry of `metrics`. Values are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A resource of the whole Pod.
    Resource {
        /// `cpu`, `memory`.
        name: String,
        /// Wanted per Pod.
        target: ResourceTarget,
    },
    /// A resource of one container of the Pod.
    ContainerResource {
        /// `cpu`, `memory`.
        name: String,
        /// The container.
        container: String,
        /// Wanted per Pod.
        target: ResourceTarget,
    },
    /// A custom metric that every Pod has.
    Pods {
        /// Name of the metric.
        name: String,
        /// Wanted per Pod.
        average_milli: i64,
    },
    /// A metric of one other object.
    Object {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        object: String,
        /// Name of the metric.
        name: String,
        /// The metric's selector as messages print it; see [`Metric::external`].
        selector: String,
        /// What is wanted.
        target: Target,
    },
    /// A metric from outside of the cluster's objects.
    External {
        /// Name of the metric.
        name: String,
        /// The selector as messages print it; see [`Metric::external`].
        selector: String,
        /// What is wanted.
        target: Target,
    },
}

impl Metric {
    /// The external metric `name` without a selector. (The real controller
    /// prints a selector as its language does, and none as `nil`.)
    #[must_use]
    pub fn external(name: impl Into<String>, target: Target) -> Self {
        Self::External {
            name: name.into(),
            selector: "nil".into(),
            target,
        }
    }

    /// CPU of the whole Pod, in percent of its request.
    #[must_use]
    pub fn cpu(percent: u32) -> Self {
        Self::Resource {
            name: "cpu".into(),
            target: ResourceTarget::Utilization(percent),
        }
    }

    /// The Pods' metric `name`, `average_milli` wanted per Pod.
    #[must_use]
    pub fn pods(name: impl Into<String>, average_milli: i64) -> Self {
        Self::Pods {
            name: name.into(),
            average_milli,
        }
    }
}

/// The target of an object's or an external metric, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Of the whole: the replicas move as the value over the target does.
    Value(i64),
    /// Per replica: the replicas are the value over the target.
    AverageValue(i64),
}

/// The target of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceTarget {
    /// In percent of the request.
    Utilization(u32),
    /// Per Pod, in thousandths.
    AverageValue(i64),
}

/// `behavior` with all its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    /// `scaleUp`.
    pub up: Rules,
    /// `scaleDown`.
    pub down: Rules,
}

impl Default for Behavior {
    /// What the API server makes of `behavior: {}`.
    fn default() -> Self {
        Self {
            up: Rules::default_up(),
            down: Rules::default_down(),
        }
    }
}

/// How fast one direction may move.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// `stabilizationWindowSeconds`; `None` is 0 on the way up and the
    /// controller's window on the way down.
    pub window: Option<Duration>,
    /// `selectPolicy`.
    pub select: Select,
    /// `policies`.
    pub policies: Vec<Policy>,
    /// `tolerance`.
    pub tolerance: Option<f64>,
}

impl Rules {
    /// The larger of 4 Pods and 100 % in 15 s, without a window.
    #[must_use]
    pub fn default_up() -> Self {
        Self {
            window: Some(Duration::ZERO),
            select: Select::Max,
            policies: vec![Policy::pods(4, 15), Policy::percent(100, 15)],
            tolerance: None,
        }
    }

    /// 100 % in 15 s, with the controller's window.
    #[must_use]
    pub fn default_down() -> Self {
        Self {
            window: None,
            select: Select::Max,
            policies: vec![Policy::percent(100, 15)],
            tolerance: None,
        }
    }
}

/// Which of several policies holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: no movement in this direction.
    Disabled,
}

/// At most so much change in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// Pods, or percent of the replicas at the period's start.
    pub value: u32,
    /// `periodSeconds`.
    pub period: Duration,
}

/// What a policy's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// Replicas.
    Pods,
    /// Percent of the replicas at the period's start.
    Percent,
}

impl Policy {
    /// `value` Pods in `period_seconds`.
    #[must_use]
    pub const fn pods(value: u32, period_seconds: u64) -> Self {
        Self {
            kind: PolicyKind::Pods,
            value,
            period: Duration::from_secs(period_seconds),
        }
    }

    /// `value` percent in `period_seconds`.
    #[must_use]
    pub const fn percent(value: u32, period_seconds: u64) -> Self {
        Self {
            kind: PolicyKind::Percent,
            value,
            period: Duration::from_secs(period_seconds),
        }
    }
}
