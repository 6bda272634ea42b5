//! What the fuzz targets in `proxy/fuzz` call; built for them alone.

/// Target `http2_to_http1`.
///
/// # Panics
/// Where a rule of the mapping does not hold.
pub fn http2_to_http1(bytes: &[u8]) {
    crate::http2::to_http1::oracle::run(bytes);
}
