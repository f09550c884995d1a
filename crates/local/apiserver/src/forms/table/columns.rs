//! Which columns a built-in resource has.

use super::cells::{self, workloads};
use super::pod;
use jiff::Timestamp;
use serde_json::{Value, json};

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    name: &'static str,
    kind: &'static str,
    /// 1: shown by `-o wide` only.
    priority: u8,
}

impl Column {
    pub(super) fn definition(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({"name": self.name, "type": self.kind, "format": format, "description": self.description(),
            "priority": self.priority})
    }

    fn description(&self) -> String {
        match self.name {
            "Name" => "The object's name, unique among its kind in the namespace.".to_owned(),
            "Age" => "Time since the object was created.".to_owned(),
            "Created At" => "When the object was created.".to_owned(),
            name => format!("{name} of the object."),
        }
    }
}

/// The columns of a resource and how its cells are computed.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) cells: fn(&Value, Timestamp) -> Vec<Value>,
    pub(super) is_pods: bool,
}

const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 0,
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 1,
    }
}

const fn integer(name: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        priority: 0,
    }
}

const fn boolean(name: &'static str) -> Column {
    Column {
        name,
        kind: "boolean",
        priority: 0,
    }
}

pub(super) const NAME: Column = text("Name");
const AGE: Column = text("Age");

macro_rules! table {
    ($cells:path, $($column:expr),+ $(,)?) => {{
        static COLUMNS: &[Column] = &[NAME, $($column),+];
        static TABLE: Table = Table { columns: COLUMNS, cells: $cells, is_pods: false };
        &TABLE
    }};
}

/// The table of a resource.
pub(super) fn of(group: &str, resource: &str) -> &'static Table {
    match (group, resource) {
        ("", "pods") => {
            static COLUMNS: &[Column] = &[
                NAME,
                text("Ready"),
                text("Status"),
                text("Restarts"),
                AGE,
                wide("IP"),
                wide("Node"),
                wide("Nominated Node"),
                wide("Readiness Gates"),
            ];
            static TABLE: Table = Table {
                columns: COLUMNS,
                cells: pod::cells,
                is_pods: true,
            };
            &TABLE
        }
        ("", "nodes") => table!(
            cells::node,
            text("Status"),
            text("Roles"),
            AGE,
            text("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime")
        ),
        ("", "services") => table!(
            cells::service,
            text("Type"),
            text("Cluster-IP"),
            text("External-IP"),
            text("Port(s)"),
            AGE,
            wide("Selector")
        ),
        ("", "endpoints") => table!(cells::endpoints, text("Endpoints"), AGE),
        ("", "configmaps") => table!(cells::config_map, text("Data"), AGE),
        ("", "secrets") => table!(cells::secret, text("Type"), text("Data"), AGE),
        ("", "serviceaccounts") => table!(cells::service_account, AGE),
        ("" | "events.k8s.io", "events") => {
            static COLUMNS: &[Column] = &[
                text("Last Seen"),
                text("Type"),
                text("Reason"),
                text("Object"),
                wide("Subobject"),
                wide("Source"),
                text("Message"),
                wide("First Seen"),
                wide("Count"),
                wide("Name"),
            ];
            static TABLE: Table = Table {
                columns: COLUMNS,
                cells: cells::event,
                is_pods: false,
            };
            &TABLE
        }
        ("", "namespaces") => table!(cells::namespace, text("Status"), AGE),
        ("", "persistentvolumes") => table!(
            cells::volume,
            text("Capacity"),
            text("Access Modes"),
            text("Reclaim Policy"),
            text("Status"),
            text("Claim"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            text("Reason"),
            AGE,
            wide("VolumeMode")
        ),
        ("", "persistentvolumeclaims") => table!(
            cells::claim,
            text("Status"),
            text("Volume"),
            text("Capacity"),
            text("Access Modes"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            AGE,
            wide("VolumeMode")
        ),
        ("", "resourcequotas") => table!(cells::quota, text("Request"), text("Limit"), AGE),
        ("", "podtemplates") => table!(
            workloads::pod_template,
            text("Containers"),
            text("Images"),
            text("Pod Labels")
        ),
        ("", "replicationcontrollers") | ("apps", "replicasets") => table!(
            workloads::replica_set,
            integer("Desired"),
            integer("Current"),
            integer("Ready"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector")
        ),
        ("apps", "deployments") => table!(
            workloads::deployment,
            text("Ready"),
            text("Up-to-date"),
            text("Available"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector")
        ),
        ("apps", "statefulsets") => {
            table!(
                workloads::stateful_set,
                text("Ready"),
                AGE,
                wide("Containers"),
                wide("Images")
            )
        }
        ("apps", "daemonsets") => table!(
            workloads::daemon_set,
            integer("Desired"),
            integer("Current"),
            integer("Ready"),
            integer("Up-to-date"),
            integer("Available"),
            text("Node Selector"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector")
        ),
        ("apps", "controllerrevisions") => table!(workloads::revision, text("Controller"), text("Revision"), AGE),
        ("batch", "jobs") => table!(
            workloads::job,
            text("Status"),
            text("Completions"),
            text("Duration"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector")
        ),
        ("batch", "cronjobs") => table!(
            workloads::cron_job,
            text("Schedule"),
            text("Timezone"),
            boolean("Suspend"),
            integer("Active"),
            text("Last Schedule"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector")
        ),
        ("discovery.k8s.io", "endpointslices") => {
            table!(
                cells::endpoint_slice,
                text("AddressType"),
                text("Ports"),
                text("Endpoints"),
                AGE
            )
        }
        ("coordination.k8s.io", "leases") => table!(workloads::lease, text("Holder"), AGE),
        ("autoscaling", "horizontalpodautoscalers") => table!(
            workloads::autoscaler,
            text("Reference"),
            text("Targets"),
            text("MinPods"),
            text("MaxPods"),
            text("Replicas"),
            AGE
        ),
        ("policy", "poddisruptionbudgets") => table!(
            workloads::disruption_budget,
            text("Min Available"),
            text("Max Unavailable"),
            integer("Allowed Disruptions"),
            AGE
        ),
        ("scheduling.k8s.io", "priorityclasses") => table!(
            workloads::priority_class,
            integer("Value"),
            boolean("Global-Default"),
            AGE,
            text("PreemptionPolicy")
        ),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => table!(
            cells::role_binding,
            text("Role"),
            AGE,
            wide("Users"),
            wide("Groups"),
            wide("ServiceAccounts")
        ),
        ("networking.k8s.io", "ingresses") => table!(
            cells::ingress,
            text("Class"),
            text("Hosts"),
            text("Address"),
            text("Ports"),
            AGE
        ),
        ("networking.k8s.io", "networkpolicies") => table!(cells::network_policy, text("Pod-Selector"), AGE),
        ("networking.k8s.io", "ingressclasses") => {
            table!(cells::ingress_class, text("Controller"), text("Parameters"), AGE)
        }
        ("storage.k8s.io", "storageclasses") => table!(
            cells::storage_class,
            text("Provisioner"),
            text("ReclaimPolicy"),
            text("VolumeBindingMode"),
            text("AllowVolumeExpansion"),
            AGE
        ),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations" | "mutatingwebhookconfigurations") => {
            table!(cells::webhooks, integer("Webhooks"), AGE)
        }
        ("node.k8s.io", "runtimeclasses") => table!(cells::runtime_class, text("Handler"), AGE),
        _ => table!(
            cells::default,
            Column {
                name: "Created At",
                kind: "date",
                priority: 0
            }
        ),
    }
}
