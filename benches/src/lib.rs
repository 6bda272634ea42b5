//! Load harness and side-by-side comparison with peers.
