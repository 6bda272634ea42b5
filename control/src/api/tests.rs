//! The API over real sockets on loopback.

mod faults;
mod harness;
mod objects;
mod openapi;
mod watching;
