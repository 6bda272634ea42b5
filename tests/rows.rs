//! Keeps count of the rows of the fault and bad-input matrices.
