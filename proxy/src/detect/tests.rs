//! Detection: tables and properties of the pure parts, then real sockets on loopback.

mod hello;
mod line;
mod settings;
mod sockets;
