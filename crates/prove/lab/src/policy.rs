//! Scaling policies that are compared. Each sees the fleet once a second, as
//! its original would through its own signals and delays, and nothing of the
//! future.

mod tidegate;

pub use tidegate::Tidegate;
