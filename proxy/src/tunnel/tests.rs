//! Tests of the tunnel.
