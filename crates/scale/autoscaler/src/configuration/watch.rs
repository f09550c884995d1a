//! Watches the ConfigMaps and keeps the [`Book`] up to date.

use super::{Book, ConfigMapRecord, Kind, Limits, ModelConfig, Scope};
use crate::world::keep;
use capacity::Policy;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// ConfigMaps and what they say.
#[derive(Debug)]
pub(crate) struct ConfigMaps {
    book: Book,
    watched: Vec<(Kind, Store<ConfigMap>)>,
}

impl ConfigMaps {
    /// Starts watching, by name and never more, so that the right to read
    /// those few is enough. Without a `scope` nothing is watched.
    pub(crate) fn watch(
        client: &Client,
        scope: Option<Scope>,
        base: &Policy,
        namespace: Option<&str>,
        changed: &Arc<Notify>,
        stop: &CancellationToken,
    ) -> Self {
        let mut watched = Vec::new();
        if let Some(scope) = &scope {
            for kind in Kind::ALL {
                let name = scope.names.of(kind);
                let only = || watcher::Config::default().fields(&format!("metadata.name={name}"));
                let mut apis: Vec<Api<ConfigMap>> = Vec::new();
                match namespace {
                    None if kind.may_be_local() => apis.push(Api::all(client.clone())),
                    own => {
                        apis.push(Api::namespaced(client.clone(), &scope.system_namespace));
                        if let Some(own) = own.filter(|own| kind.may_be_local() && *own != scope.system_namespace) {
                            apis.push(Api::namespaced(client.clone(), own));
                        }
                    }
                }
                for api in apis {
                    watched.push((kind, keep(api, only(), (), Some(changed.clone()), stop)));
                }
            }
        }
        let scope = scope.unwrap_or_else(|| Scope {
            system_namespace: String::new(),
            names: super::Names::default(),
            scale_to_zero: None,
        });
        Self {
            book: Book::new(scope, base.clone()),
            watched,
        }
    }

    /// Waits until every ConfigMap that there is has been read, and not for
    /// ever: who has no right to read them decides by the defaults.
    pub(crate) async fn ready(&self) {
        let all = futures::future::join_all(self.watched.iter().map(|(_, store)| store.wait_until_ready()));
        if tokio::time::timeout(Duration::from_secs(10), all).await.is_err() {
            tracing::warn!("ConfigMaps cannot be read; the defaults are in force until they can");
        }
    }

    /// Brings the book up to what is there now.
    pub(crate) fn refresh(&mut self) {
        let mut present = BTreeSet::new();
        for (kind, store) in &self.watched {
            for map in store.state() {
                let namespace = map.namespace().unwrap_or_default();
                present.insert((*kind, namespace.clone()));
                let version = map.resource_version().unwrap_or_default();
                let data = map.data.clone().unwrap_or_default();
                if let Err(error) = self.book.learn(*kind, &namespace, &version, &data) {
                    tracing::warn!(%error, "refused; the last good configuration stays in force");
                }
            }
        }
        self.book.keep_only(&present);
    }

    pub(crate) fn of_model(&mut self, namespace: &str, model: &str) -> Arc<ModelConfig> {
        self.book.of_model(namespace, model)
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.book.limits()
    }

    pub(crate) fn cost_of(&self, accelerator: &str) -> Option<f64> {
        self.book.cost_of(accelerator)
    }

    pub(crate) fn records(&self, counts: impl Fn(&str) -> bool) -> Vec<ConfigMapRecord> {
        self.book.records(counts)
    }
}
