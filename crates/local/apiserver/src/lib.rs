//! Shell: an embedded Kubernetes-compatible API around a pure store.

pub mod forms;
