//! The API over real sockets on loopback.

mod access;
mod audit;
mod faults;
mod harness;
mod metrics;
mod objects;
mod openapi;
#[cfg(feature = "etcd")]
mod replicas;
mod status;
mod told;
mod watching;
