//! Load harness and side-by-side comparison with peers.
//!
//! One run: start two backends and every peer, prove that each peer routes by the same baggage header, then measure
//! workload by workload, interleaved over the peers, and tell medians, spread and ratios from that one run.
//!
//! The rooms: [`cli`] what the user typed · [`backend`], [`relay`] and [`load`] what we had to write ourselves, each a
//! process of its own · [`seat`] and [`ground`] where processes run · [`peers`] how each peer is configured and started ·
//! [`control`] a control process and its API · [`verify`] the proof of routing · [`workload`] and [`tools`] the loads and
//! who makes them · [`measure`] one point: CPU, memory, rates · [`compare`], [`scale`], [`soak`] and [`micro`] the runs · [`routes`] made-up
//! tables · [`report`] table, page and JSON.
//!
//! Nothing outlives a run: every child dies with the harness (`setpriv --pdeathsig`), however that ends.

pub mod backend;
pub mod cli;
pub mod compare;
pub mod control;
pub mod ground;
pub mod install;
pub mod load;
pub mod machine;
pub mod measure;
pub mod micro;
pub mod peers;
pub mod process;
pub mod progress;
pub mod relay;
pub mod report;
pub mod routes;
pub mod scale;
pub mod seat;
pub mod soak;
pub mod stage;
pub mod tools;
pub mod verify;
pub mod workload;
