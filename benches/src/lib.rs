//! Load harness and side-by-side comparison with peers.
//!
//! One run: start two backends and every peer, prove that each peer routes by the same baggage header, then measure
//! workload by workload, interleaved over the peers, and tell medians, spread and ratios from that one run.
//!
//! The rooms: [`cli`] what the user typed · [`backend`] and [`relay`] what we had to write ourselves, each a process of
//! its own · [`peers`] how each peer is configured and started · [`verify`] the proof of routing · [`workload`] the load
//! tools and their output · [`measure`] one point: CPU, memory, rates · [`compare`] and [`scale`] the two runs ·
//! [`report`] table and JSON.
//!
//! Nothing outlives a run: every child dies with the harness (`setpriv --pdeathsig`), however that ends.

pub mod backend;
pub mod cli;
pub mod compare;
pub mod install;
pub mod machine;
pub mod measure;
pub mod peers;
pub mod process;
pub mod relay;
pub mod report;
pub mod scale;
pub mod stage;
pub mod verify;
pub mod workload;
