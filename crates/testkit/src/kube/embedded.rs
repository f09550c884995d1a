//! The embedded API, in this process.

use super::Access;
use anyhow::{Context as _, Result};
use apiserver::{Options, Running, serve};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tempfile::TempDir;

/// A running embedded API. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Embedded {
    access: Access,
    _server: Running,
    _folder: TempDir,
}

impl Embedded {
    /// Starts one on a free loopback port, with its data in a temporary folder.
    ///
    /// # Errors
    /// When it cannot serve.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-embedded-").tempdir()?;
        let options = Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: Some(folder.path().join("data")),
        };
        let server = serve(options).await.context("the embedded API does not start")?;
        let access = Access::write(folder.path(), &format!("http://{}", server.address), None, None)?;
        Ok(Self {
            access,
            _server: server,
            _folder: folder,
        })
    }

    /// The way to it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.access.kubeconfig()
    }

    /// A client, as [`Access::client`].
    ///
    /// # Errors
    /// When the kubeconfig does not make a client.
    pub async fn client(&self) -> Result<kube::Client> {
        self.access.client().await
    }
}
