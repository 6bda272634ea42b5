//! End-to-end harness and tests.
