//! What the fuzz targets in `proxy/fuzz` call; built for them alone.

/// Target `http2_to_http1`.
///
/// # Panics
/// Where a rule of the mapping does not hold.
pub fn http2_to_http1(bytes: &[u8]) {
    crate::http2::to_http1::oracle::run(bytes);
}

/// Target `detection`.
///
/// # Panics
/// Where the same bytes are judged in two ways.
pub fn detection(bytes: &[u8]) {
    crate::detect::oracle::detection(bytes);
}

/// Target `client_hello`.
///
/// # Panics
/// Where the same bytes are judged in two ways.
pub fn client_hello(bytes: &[u8]) {
    crate::detect::oracle::client_hello(bytes);
}
