//! Shell: the VariantAutoscaling controller: collects, decides, acts, reports.
