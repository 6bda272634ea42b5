//! The proxy's own HTTP listeners. [`Doors`] opens both before anything is served; hyper serves them on the
//! housekeeping thread, so that nobody who asks ever delays a request.
//!
//! - the admin listener knows and does everything (`/config`, `/routes`, `POST /drain`), and therefore is on loopback
//!   or a Unix socket alone;
//! - the status listener has what [`status`](crate::status) tells, on any address.
//!
//! A loopback listener is within reach of any web page that a browser on this host shows: it answers only loopback
//! `Host` names (DNS rebinding) and no request with an `Origin`.

mod doors;
mod guard;
mod pages;
mod serve;

pub use self::doors::AdminBindError;
pub(crate) use self::{
    doors::{Bound, Doors, From},
    serve::{Page, serve, text, typed},
};

#[cfg(test)]
mod tests;
