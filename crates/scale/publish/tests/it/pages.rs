//! The manifests in the pages.
