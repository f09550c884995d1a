//! Shell: where signals come from: pod scrapes and the gateway.
