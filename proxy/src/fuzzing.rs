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

/// Target `http1_requests`.
///
/// # Panics
/// Where hyper reads what goes on in another way than the relay did, or the relay's reading depends on how bytes arrive.
pub fn http1_requests(bytes: &[u8]) {
    crate::http1::oracle::requests(bytes);
}

/// Target `http1_answers`.
///
/// # Panics
/// As [`http1_requests`].
pub fn http1_answers(bytes: &[u8]) {
    crate::http1::oracle::answers(bytes);
}

/// Target `validation`.
///
/// # Panics
/// Where a head that HTTP/1 and HTTP/2 both accept is read in two ways.
pub fn validation(bytes: &[u8]) {
    crate::validate::oracle::run(bytes);
}

/// Target `watch`.
///
/// # Panics
/// Where a stream's meaning depends on how it is cut, or takes away a table in force.
pub fn watch(bytes: &[u8]) {
    crate::routes::oracle::watch(bytes);
}

/// Target `snapshot`.
///
/// # Panics
/// Where a snapshot that is believed does not read back as the same table.
pub fn snapshot(bytes: &[u8]) {
    crate::routes::oracle::snapshot(bytes);
}

/// Target `trace_context`.
///
/// # Panics
/// Where what is no trace is taken for one.
pub fn trace_context(bytes: &[u8]) {
    bellhop_spans::trace::oracle(bytes);
}
