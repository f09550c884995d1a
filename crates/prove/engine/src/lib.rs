//! Core: the physics of a model server: continuous batching, KV blocks, step time.
