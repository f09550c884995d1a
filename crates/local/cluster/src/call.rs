//! One call to the API: with a deadline, and with errors sorted by what a
//! controller does about them.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// No single request may hold a controller longer than this.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a part of the local cluster could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or could not be reached.
    #[error("{what}: {source}")]
    Api {
        /// What was being done, in words.
        what: String,
        /// The client's error.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API did not answer in time.
    #[error("{what}: no answer from the API within {} s", DEADLINE.as_secs())]
    Deadline {
        /// What was being done, in words.
        what: String,
    },
    /// A file, socket or process of this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, in words.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The options or an object say something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Error::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// The object is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    /// The object changed since it was read, or a precondition did not hold.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|s| s.code == 409 && s.reason != "AlreadyExists")
    }

    /// An object of that name is there already.
    pub(crate) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|s| s.reason == "AlreadyExists")
    }

    /// The API judged the object invalid: trying again cannot help.
    pub(crate) fn is_invalid(&self) -> bool {
        self.status().is_some_and(|s| s.code == 422)
    }

    /// The namespace is going away, so nothing may be made in it any more.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|s| s.code == 403)
    }
}

/// Waits for `request` up to the deadline; `what` says it in an error.
pub(crate) async fn call<T>(
    what: impl FnOnce() -> String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Api {
            what: what(),
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Deadline { what: what() }),
    }
}

/// `Ok(None)` when the object is not there.
pub(crate) fn absent_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Merges `patch` into an object.
pub(crate) async fn merge<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let what = || format!("patch {} {name}", K::kind(&Default::default()));
    call(what, api.patch(name, &params, &patch)).await
}

/// Merges `patch` into an object's status.
pub(crate) async fn merge_status<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let what = || format!("patch status of {} {name}", K::kind(&Default::default()));
    call(what, api.patch_status(name, &params, &patch)).await
}

/// Makes an object.
pub(crate) async fn create<K>(api: &Api<K>, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
    K::DynamicType: Default,
{
    let params = PostParams::default();
    let meta = object.meta();
    let name = || {
        meta.name
            .as_deref()
            .or(meta.generate_name.as_deref())
            .unwrap_or_default()
    };
    let what = || format!("create {} {}", K::kind(&Default::default()), name());
    call(what, api.create(&params, object)).await
}
