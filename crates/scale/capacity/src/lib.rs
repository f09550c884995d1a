//! Core: signals become a number of replicas, with the reasons.
