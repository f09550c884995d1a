//! Where the control plane's programs are.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// A folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler
/// and kubectl.
#[derive(Debug, Clone)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// The folder that `TIDEGATE_KUBE_BIN` names, or the one that
    /// `tests/kube/install.sh` prints (which builds them the first time).
    ///
    /// # Errors
    /// When they are neither there nor can be built.
    pub fn find() -> Result<Self> {
        let script = crate::root()?.join("tests/kube/install.sh");
        let output = Command::new(&script)
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        if !output.status.success() {
            bail!(
                "tests/kube/install.sh: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let folder = String::from_utf8(output.stdout)?;
        Ok(Self(folder.trim().into()))
    }

    /// The path of one of the programs.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }
}
