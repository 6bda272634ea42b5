//! The HTTP/1 engine between real sockets. Rows of the fault and bad-input matrices carry their number.

mod answers;
mod faults;
mod harness;
mod input;
mod relaying;
