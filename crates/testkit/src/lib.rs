//! Development only: clusters for tests, fixtures, runners of the real parts.
