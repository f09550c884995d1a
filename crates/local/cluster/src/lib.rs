//! Shell: scheduler, Deployment and ReplicaSet controllers, garbage collector, endpoint slices, process kubelet: plain API clients.
