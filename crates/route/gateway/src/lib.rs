//! Shell: the OpenAI-compatible streaming gateway.
