//! The server over real connections: by `kube::Client`, and byte by byte.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod crud;
mod definitions;
mod lifecycle;
mod persistence;
mod support;
mod watches;
mod wire;
