//! Shell: the load generator (tidegate load); its schedule and statistics are pure.
