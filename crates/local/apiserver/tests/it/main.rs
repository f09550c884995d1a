//! The server over real connections: by `kube::Client`, and byte by byte.

mod crud;
mod definitions;
mod lifecycle;
mod persistence;
mod support;
mod watches;
mod wire;
