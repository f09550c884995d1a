//! Kubernetes control planes for tests: the real one from binaries, the
//! embedded one in this process, behind one [`Access`].

mod access;
mod binaries;
mod embedded;
mod keys;
mod real;

pub use access::Access;
pub use binaries::Binaries;
pub use embedded::Embedded;
pub use real::{ControlPlane, Options};
