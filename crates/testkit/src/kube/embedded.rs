//! The embedded API in this process: filled in once the crate serves.
