//! The ConfigMaps and Secrets that containers refer to.

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret};
use kube::{Api, Client};

use super::environment::{Sources, needs};
use crate::call::{absent_is_none, call};

/// Where they are read from; tests have their own.
pub(crate) trait SourceReader: Send + Sync {
    /// The ConfigMap, `None` if it is not there.
    fn config_map(&self, namespace: &str, name: &str) -> BoxFuture<'static, Result<Option<ConfigMap>, String>>;
    /// The Secret, `None` if it is not there.
    fn secret(&self, namespace: &str, name: &str) -> BoxFuture<'static, Result<Option<Secret>, String>>;
}

impl SourceReader for Client {
    fn config_map(&self, namespace: &str, name: &str) -> BoxFuture<'static, Result<Option<ConfigMap>, String>> {
        let (api, name) = (Api::<ConfigMap>::namespaced(self.clone(), namespace), name.to_owned());
        async move { absent_is_none(call(|| format!("read configmap {name}"), api.get(&name)).await) }
            .map_err(|error| error.to_string())
            .boxed()
    }

    fn secret(&self, namespace: &str, name: &str) -> BoxFuture<'static, Result<Option<Secret>, String>> {
        let (api, name) = (Api::<Secret>::namespaced(self.clone(), namespace), name.to_owned());
        async move { absent_is_none(call(|| format!("read secret {name}"), api.get(&name)).await) }
            .map_err(|error| error.to_string())
            .boxed()
    }
}

/// Reads what the container needs; most need nothing and ask nobody.
pub(crate) async fn read(reader: &dyn SourceReader, namespace: &str, container: &Container) -> Result<Sources, String> {
    let (config_maps, secrets) = needs(container);
    let mut sources = Sources::default();
    for name in config_maps {
        let found = reader.config_map(namespace, &name).await?;
        sources.config_maps.insert(name, found);
    }
    for name in secrets {
        let found = reader.secret(namespace, &name).await?;
        sources.secrets.insert(name, found);
    }
    Ok(sources)
}
