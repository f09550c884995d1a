//! What a client needs to reach a control plane.

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::{Path, PathBuf};

/// The way to one control plane: its address and a kubeconfig file.
#[derive(Debug, Clone)]
pub struct Access {
    server: String,
    kubeconfig: PathBuf,
}

impl Access {
    /// Writes `folder/kubeconfig` for the server at `server`. A real server
    /// also takes a token and shows a certificate signed by `authority` (PEM).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(folder: &Path, server: &str, token: Option<&str>, authority: Option<&Path>) -> Result<Self> {
        let mut cluster = serde_json::json!({ "server": server });
        if let Some(path) = authority {
            cluster["certificate-authority"] = path.display().to_string().into();
        }
        let user = token.map_or_else(|| serde_json::json!({}), |token| serde_json::json!({ "token": token }));
        // JSON is YAML too.
        let file = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, serde_json::to_string_pretty(&file)?)
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        Ok(Self {
            server: server.to_owned(),
            kubeconfig,
        })
    }

    /// The address, as a URL without a trailing slash.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client that does not repeat requests by itself, so that a test sees
    /// each answer.
    ///
    /// # Errors
    /// When the kubeconfig does not make a client.
    pub async fn client(&self) -> Result<kube::Client> {
        let file = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(kube::Client::try_from(config)?)
    }
}
