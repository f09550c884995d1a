//! Shell: a vLLM-compatible server around the engine (tidegate sim).
