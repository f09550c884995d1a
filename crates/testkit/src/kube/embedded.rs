//! The embedded API, in this process.

use super::Access;
use anyhow::{Result, bail};
use tempfile::TempDir;

/// A running embedded API. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Embedded {
    access: Access,
    _folder: TempDir,
}

impl Embedded {
    /// Starts one in a temporary folder.
    ///
    /// # Errors
    /// When it cannot serve.
    pub async fn start() -> Result<Self> {
        bail!("the embedded API is not built in yet")
    }

    /// The way to it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }
}
