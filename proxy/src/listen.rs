//! Listeners: binding them, accepting from them, and the word on where each connection was meant to go.
//!
//! One acceptor thread takes from all listeners and hands each connection to the worker with the fewest. At the
//! connection limit, and out of descriptors, it pauses: new connections wait in the kernel's queue.

mod accept;
mod bind;
mod own;
mod places;

pub(crate) use accept::start;
pub use bind::BindError;
pub(crate) use bind::{Bound, bind_all};
pub(crate) use own::{OwnAddresses, is_local};
pub(crate) use places::{Place, Places};
