//! Shell: an embedded Kubernetes-compatible API around a pure store.
//!
//! It serves what kubectl, kube clients and the controllers of a small cluster
//! need, on a loopback address, without authentication; it behaves on the wire as
//! kube-apiserver does, or refuses with a Status that says so.
//!
//! - `store` knows every object and the recent past; it is pure.
//! - `disk` makes changes durable before anybody is told.
//! - `resource` and `registry` say what is served; `engine` serves it, one set of
//!   verbs for all; `lifecycle` holds the rules of objects, as pure functions.
//! - `forms` are the forms of objects: patches, selectors, tables, schemas.
//! - `server` speaks HTTP.

mod answer;
mod crds;
mod discovery;
mod disk;
mod engine;
mod events;
mod failure;
#[expect(
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "the forms are written like a library of their own, of which not everything is used"
)]
pub(crate) mod forms;
mod json;
mod lifecycle;
pub mod limits;
mod logs;
mod object;
mod query;
mod registry;
mod resource;
mod server;
mod store;
mod tasks;
mod time;

pub use disk::DiskError;
pub use server::{Error, InProcess, Options, Running, serve};
