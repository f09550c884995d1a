//! The data folder: one process at a time, and the files that tell others where things are.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A data folder held by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Whether the folder was made just now.
    pub(crate) new: bool,
    _lock: File,
}

/// Every address in use, as `endpoints.json` lists them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Endpoints {
    /// OpenAI-compatible base address.
    pub(crate) gateway: String,
    /// The gateway's metrics and signals.
    pub(crate) gateway_admin: Option<String>,
    /// The autoscaler's metrics and explanations.
    pub(crate) autoscaler: Option<String>,
    /// The external scaler for KEDA, gRPC, `IP:PORT`.
    pub(crate) keda: Option<String>,
    /// The page.
    pub(crate) dashboard: String,
    /// The Kubernetes API.
    pub(crate) kubernetes: String,
    /// Client configuration for it.
    pub(crate) kubeconfig: PathBuf,
    /// This process.
    pub(crate) pid: u32,
}

impl DataDir {
    /// Makes or opens the folder and takes its lock.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be written.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let new = !path.exists();
        std::fs::create_dir_all(path)
            .with_context(|| format!("--data-dir {}: cannot make the folder", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("--data-dir {}: cannot restrict access", path.display()))?;
        let path = path.canonicalize()?;
        let lock_path = path.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = lock.read_to_string(&mut owner);
            bail!(
                "another tidegate (process {}) is using {}; stop it, or name another folder with --data-dir",
                owner.trim(),
                path.display()
            );
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { path, new, _lock: lock })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a kubeconfig for the API at `server` and returns its path.
    pub(crate) fn write_kubeconfig(&self, server: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tidegate\nclusters:\n- name: tidegate\n  cluster:\n    server: {server}\n\
             contexts:\n- name: tidegate\n  context:\n    cluster: tidegate\n    user: tidegate\n    namespace: default\n\
             users:\n- name: tidegate\n  user: {{}}\n"
        );
        replace(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Writes `endpoints.json`.
    pub(crate) fn write_endpoints(&self, endpoints: &Endpoints) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(endpoints)?;
        text.push(b'\n');
        replace(&self.path.join("endpoints.json"), &text)
    }

    /// Removes `endpoints.json`: nobody listens there any more.
    pub(crate) fn remove_endpoints(&self) {
        let _ = std::fs::remove_file(self.path.join("endpoints.json"));
    }
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path).unwrap();
        assert!(first.new);
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            refused.contains("--data-dir") && refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        assert!(!DataDir::open(&path).unwrap().new);
    }

    #[test]
    fn the_kubeconfig_names_the_server_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let path = data.write_kubeconfig("http://127.0.0.1:6443").unwrap();
        let config = kube::config::Kubeconfig::read_from(&path).unwrap();
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("http://127.0.0.1:6443"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
