//! What the server serves: one row of strategy per resource.
//!
//! The request engine knows no kind by name except where a kind truly behaves
//! unlike all others (Namespace, Pod, CustomResourceDefinition, Event).

use std::sync::Arc;

use crate::forms::schema::Schema;
use crate::forms::table::Columns;
use crate::forms::{Gvk, schema, table};

/// A subresource as discovery tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sub {
    pub(crate) name: &'static str,
    /// Group, version and kind of its body; `None` means the resource's own.
    pub(crate) body: Option<(&'static str, &'static str, &'static str)>,
    pub(crate) verbs: &'static [&'static str],
}

pub(crate) const STATUS: Sub = Sub {
    name: "status",
    body: None,
    verbs: &["get", "patch", "update"],
};
pub(crate) const SCALE: Sub = Sub {
    name: "scale",
    body: Some(("autoscaling", "v1", "Scale")),
    verbs: &["get", "patch", "update"],
};
const FINALIZE: Sub = Sub {
    name: "finalize",
    body: None,
    verbs: &["update"],
};
const LOG: Sub = Sub {
    name: "log",
    body: None,
    verbs: &["get"],
};
const BINDING: Sub = Sub {
    name: "binding",
    body: Some(("", "v1", "Binding")),
    verbs: &["create"],
};
const EVICTION: Sub = Sub {
    name: "eviction",
    body: Some(("policy", "v1", "Eviction")),
    verbs: &["create"],
};
const APPROVAL: Sub = Sub {
    name: "approval",
    body: None,
    verbs: &["get", "patch", "update"],
};

pub(crate) const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// The same in the order in which upstream tells them of custom resources.
pub(crate) const ALL_CUSTOM: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];

/// Where a custom resource keeps what its scale subresource shows.
#[derive(Debug, Clone)]
pub(crate) struct ScalePaths {
    pub(crate) spec: String,
    pub(crate) status: String,
    pub(crate) selector: Option<String>,
}

/// What only resources of a CustomResourceDefinition have.
#[derive(Debug)]
pub(crate) struct Custom {
    /// Every version of its definition, served or not.
    pub(crate) versions: Vec<String>,
    pub(crate) scale: Option<ScalePaths>,
    /// Its definition is being deleted: nothing may be created.
    pub(crate) terminating: bool,
    pub(crate) selectable_fields: Vec<String>,
    /// The version's deprecation warning, if it is deprecated.
    pub(crate) warning: Option<String>,
}

/// One served resource in one version.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) subresources: Vec<Sub>,
    /// Which objects of the store these are; versions and groups may share them.
    pub(crate) storage: Arc<str>,
    /// Whether `metadata.generation` counts changes of the specification.
    pub(crate) generation: bool,
    pub(crate) schema: Option<Schema>,
    pub(crate) columns: Columns,
    pub(crate) custom: Option<Custom>,
}

impl Resource {
    /// `deployments.apps`, or `pods` for the core group.
    pub(crate) fn qualified(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    pub(crate) fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::new(&*self.group, &*self.version, &*self.kind)
    }

    pub(crate) fn sub(&self, name: &str) -> Option<&Sub> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    pub(crate) fn has_status(&self) -> bool {
        self.sub("status").is_some()
    }

    /// Whether an update need not say which version it was made from.
    pub(crate) fn unconditional(&self) -> bool {
        let kinds = [
            "Lease",
            "PodDisruptionBudget",
            "CustomResourceDefinition",
            "RuntimeClass",
        ];
        let webhooks = self.group == "admissionregistration.k8s.io";
        self.custom.is_none() && !webhooks && !kinds.contains(&&*self.kind)
    }

    /// Whether this is the named resource of a built-in group.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
}

pub(crate) fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// A row of the table below.
struct Row {
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    category: &'static str,
    scope: Scope,
    generation: bool,
    subresources: &'static [Sub],
    verbs: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Namespaced,
    Cluster,
}

use Scope::{Cluster, Namespaced};

const fn row(kind: &'static str, plural: &'static str, scope: Scope) -> Row {
    Row {
        kind,
        plural,
        short: "",
        category: "",
        scope,
        generation: false,
        subresources: &[],
        verbs: ALL,
    }
}

impl Row {
    const fn short(mut self, short: &'static str) -> Self {
        self.short = short;
        self
    }
    const fn category(mut self, category: &'static str) -> Self {
        self.category = category;
        self
    }
    const fn all(self) -> Self {
        self.category("all")
    }
    const fn generation(mut self) -> Self {
        self.generation = true;
        self
    }
    const fn subs(mut self, subresources: &'static [Sub]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.verbs = verbs;
        self
    }
}

/// Built-in groups in the order of discovery, each with one version.
const GROUPS: &[(&str, &str, &[Row])] = &[
    (
        "",
        "v1",
        &[
            row("Binding", "bindings", Namespaced).verbs(CREATE),
            row("ConfigMap", "configmaps", Namespaced).short("cm"),
            row("Endpoints", "endpoints", Namespaced).short("ep"),
            row("Event", "events", Namespaced).short("ev"),
            row("LimitRange", "limitranges", Namespaced).short("limits"),
            row("Namespace", "namespaces", Cluster)
                .short("ns")
                .subs(&[FINALIZE, STATUS])
                .verbs(NO_COLLECTION),
            row("Node", "nodes", Cluster).short("no").subs(&[STATUS]),
            row("PersistentVolumeClaim", "persistentvolumeclaims", Namespaced)
                .short("pvc")
                .subs(&[STATUS]),
            row("PersistentVolume", "persistentvolumes", Cluster)
                .short("pv")
                .subs(&[STATUS]),
            row("Pod", "pods", Namespaced)
                .short("po")
                .all()
                .generation()
                .subs(&[BINDING, EVICTION, LOG, STATUS]),
            row("PodTemplate", "podtemplates", Namespaced).generation(),
            row("ReplicationController", "replicationcontrollers", Namespaced)
                .short("rc")
                .all()
                .generation()
                .subs(&[SCALE, STATUS]),
            row("ResourceQuota", "resourcequotas", Namespaced)
                .short("quota")
                .subs(&[STATUS]),
            row("Secret", "secrets", Namespaced),
            row("ServiceAccount", "serviceaccounts", Namespaced).short("sa"),
            row("Service", "services", Namespaced)
                .short("svc")
                .all()
                .subs(&[STATUS]),
        ],
    ),
    (
        "apps",
        "v1",
        &[
            row("ControllerRevision", "controllerrevisions", Namespaced),
            row("DaemonSet", "daemonsets", Namespaced)
                .short("ds")
                .all()
                .generation()
                .subs(&[STATUS]),
            row("Deployment", "deployments", Namespaced)
                .short("deploy")
                .all()
                .generation()
                .subs(&[SCALE, STATUS]),
            row("ReplicaSet", "replicasets", Namespaced)
                .short("rs")
                .all()
                .generation()
                .subs(&[SCALE, STATUS]),
            row("StatefulSet", "statefulsets", Namespaced)
                .short("sts")
                .all()
                .generation()
                .subs(&[SCALE, STATUS]),
        ],
    ),
    ("events.k8s.io", "v1", &[row("Event", "events", Namespaced).short("ev")]),
    (
        "authentication.k8s.io",
        "v1",
        &[row("SelfSubjectReview", "selfsubjectreviews", Cluster).verbs(CREATE)],
    ),
    (
        "authorization.k8s.io",
        "v1",
        &[
            row("LocalSubjectAccessReview", "localsubjectaccessreviews", Namespaced).verbs(CREATE),
            row("SelfSubjectAccessReview", "selfsubjectaccessreviews", Cluster).verbs(CREATE),
            row("SelfSubjectRulesReview", "selfsubjectrulesreviews", Cluster).verbs(CREATE),
            row("SubjectAccessReview", "subjectaccessreviews", Cluster).verbs(CREATE),
        ],
    ),
    (
        "autoscaling",
        "v2",
        &[row("HorizontalPodAutoscaler", "horizontalpodautoscalers", Namespaced)
            .short("hpa")
            .all()
            .subs(&[STATUS])],
    ),
    (
        "batch",
        "v1",
        &[
            row("CronJob", "cronjobs", Namespaced)
                .short("cj")
                .all()
                .generation()
                .subs(&[STATUS]),
            row("Job", "jobs", Namespaced).all().generation().subs(&[STATUS]),
        ],
    ),
    (
        "certificates.k8s.io",
        "v1",
        &[row("CertificateSigningRequest", "certificatesigningrequests", Cluster)
            .short("csr")
            .subs(&[APPROVAL, STATUS])],
    ),
    (
        "networking.k8s.io",
        "v1",
        &[
            row("IngressClass", "ingressclasses", Cluster).generation(),
            row("Ingress", "ingresses", Namespaced)
                .short("ing")
                .generation()
                .subs(&[STATUS]),
            row("NetworkPolicy", "networkpolicies", Namespaced)
                .short("netpol")
                .generation(),
        ],
    ),
    (
        "policy",
        "v1",
        &[row("PodDisruptionBudget", "poddisruptionbudgets", Namespaced)
            .short("pdb")
            .generation()
            .subs(&[STATUS])],
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        &[
            row("ClusterRoleBinding", "clusterrolebindings", Cluster),
            row("ClusterRole", "clusterroles", Cluster),
            row("RoleBinding", "rolebindings", Namespaced),
            row("Role", "roles", Namespaced),
        ],
    ),
    (
        "storage.k8s.io",
        "v1",
        &[row("StorageClass", "storageclasses", Cluster).short("sc")],
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        &[
            row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", Cluster)
                .category("api-extensions")
                .generation(),
            row(
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfigurations",
                Cluster,
            )
            .category("api-extensions")
            .generation(),
        ],
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        &[row("CustomResourceDefinition", "customresourcedefinitions", Cluster)
            .short("crd crds")
            .category("api-extensions")
            .generation()
            .subs(&[STATUS])],
    ),
    (
        "scheduling.k8s.io",
        "v1",
        &[row("PriorityClass", "priorityclasses", Cluster)
            .short("pc")
            .generation()],
    ),
    ("coordination.k8s.io", "v1", &[row("Lease", "leases", Namespaced)]),
    ("node.k8s.io", "v1", &[row("RuntimeClass", "runtimeclasses", Cluster)]),
    (
        "discovery.k8s.io",
        "v1",
        &[row("EndpointSlice", "endpointslices", Namespaced).generation()],
    ),
];

/// Every built-in resource, in the order of discovery.
pub(crate) fn builtin() -> Vec<Arc<Resource>> {
    let build = |group: &str, version: &str, row: &Row| {
        let gvk = Gvk::new(group, version, row.kind);
        // Events are one set of objects seen through two groups.
        let storage = if row.kind == "Event" {
            "events".to_owned()
        } else {
            qualified(row.plural, group)
        };
        Arc::new(Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: row.kind.to_owned(),
            list_kind: if row.kind == "Endpoints" {
                "EndpointsList".to_owned()
            } else {
                format!("{}List", row.kind)
            },
            plural: row.plural.to_owned(),
            singular: row.kind.to_lowercase(),
            short_names: words(row.short),
            categories: words(row.category),
            namespaced: row.scope == Namespaced,
            verbs: row.verbs,
            subresources: row.subresources.to_vec(),
            storage: storage.into(),
            generation: row.generation,
            schema: schema::builtin(&gvk),
            columns: table::builtin(group, row.plural),
            custom: None,
        })
    };
    GROUPS
        .iter()
        .flat_map(|(group, version, rows)| rows.iter().map(move |row| build(group, version, row)))
        .collect()
}

/// Whether a kind of this name is built in.
pub(crate) fn is_builtin(version: &str, kind: &str) -> bool {
    GROUPS
        .iter()
        .any(|(group, name, rows)| api_version(group, name) == version && rows.iter().any(|row| row.kind == kind))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
