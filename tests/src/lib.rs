//! The end-to-end harness: a lab of network namespaces ([`Network`], [`Host`]) in which real programs run
//! ([`Process`]): control planes ([`TestControl`]), an [etcd](etcd::TestEtcd), intercepting proxies ([`TestProxy`]) and small servers of the
//! harness itself ([`TestApp`]). Requests are sent from a host by [`client`].
//!
//! The programs are the built ones, beside the test's own executable; `tests/run` builds them once. The harness never
//! asks a program how it feels: it looks at what peers get. Every wait has a deadline ([`wait`]).

pub mod app;
pub mod client;
pub mod control;
pub mod etcd;
pub mod net;
pub mod paths;
pub mod process;
pub mod proxy;
pub mod wait;

pub use app::TestApp;
pub use client::Reply;
pub use control::TestControl;
pub use net::{Host, Network, User};
pub use process::Process;
pub use proxy::TestProxy;
