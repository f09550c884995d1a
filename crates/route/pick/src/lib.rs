//! Core: which endpoint takes a request, and why; the in-flight ledger.
